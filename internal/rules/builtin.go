package rules

import (
	_ "embed" // for the file of the built-in rules
	"reflect"
	"slices"
)

// BuiltinText is the file with the built-in rules.
//
//go:embed builtin.yaml
var BuiltinText string

// Builtin returns the built-in rules.
func Builtin() (File, error) { return Parse("built-in rules", []byte(BuiltinText)) }

// complete sets unset fields to the values of the built-in rule. It returns false if there is no such rule.
func (r *Rule) complete(builtin []Rule) bool {
	i := slices.IndexFunc(builtin, func(b Rule) bool { return b.Name == r.Builtin })
	if i < 0 {
		return false
	}
	fill(reflect.ValueOf(r).Elem(), reflect.ValueOf(builtin[i]))
	return true
}

// fill sets fields with zero values to the values of a default.
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
