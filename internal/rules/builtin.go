package rules

import (
	_ "embed" // for the file of the built-in rules
	"reflect"
	"slices"
)

// BuiltinText is the file of the built-in rules.
//
//go:embed builtin.yaml
var BuiltinText string

// Builtin are the built-in rules.
func Builtin() (File, error) { return Parse("built-in rules", []byte(BuiltinText)) }

// complete takes what is not given from the built-in rule of a name; false if there is none.
func (r *Rule) complete(builtin []Rule) bool {
	i := slices.IndexFunc(builtin, func(b Rule) bool { return b.Name == r.Builtin })
	if i < 0 {
		return false
	}
	fill(reflect.ValueOf(r).Elem(), reflect.ValueOf(builtin[i]))
	return true
}

// fill sets fields that have no value to those of a default.
func fill(value, byDefault reflect.Value) {
	for i := range value.NumField() {
		switch field := value.Field(i); {
		case !field.CanSet():
		case value.Type().Field(i).Anonymous:
			fill(field, byDefault.Field(i))
		case field.IsZero():
			field.Set(byDefault.Field(i))
		}
	}
}
