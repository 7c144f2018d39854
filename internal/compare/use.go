package compare

import (
	"cmp"
	"slices"

	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/profile"
)

// Change is the change of a pattern of use.
type Change string

// The changes.
const (
	New     Change = "new"
	Changed Change = "changed"
	Gone    Change = "gone"
	Same    Change = "same"
)

// Field is a field that may differ between two patterns of use that were matched.
type Field string

// The fields.
const (
	Class   Field = "class"
	Granted Field = "granted"
	Program Field = "program"
	Call    Field = "call"
	Site    Field = "site"
)

// UseChange is a pattern of use, before and after.
type UseChange struct {
	Change Change
	// Fields are the fields that changed, if Change is Changed.
	Fields []Field
	// Before is nil if the use is new. After is nil if it is gone.
	Before, After *profile.UsePattern
}

// Latest returns After, or Before if the use is gone.
func (u UseChange) Latest() profile.UsePattern {
	if u.After != nil {
		return *u.After
	}
	return *u.Before
}

// Matters reports whether the use is, or was, a need or denied.
func (u UseChange) Matters() bool {
	return u.Before != nil && matters(*u.Before) || u.After != nil && matters(*u.After)
}

func matters(use profile.UsePattern) bool { return use.Class.Need() || use.Class == classify.Denied }

// fields are the fields of a use that are compared.
type fields struct {
	capability, program, call, site string
	class                           classify.Class
	granted                         bool
}

func fieldsOf(use profile.UsePattern) fields {
	f := fields{use.Capability.String(), use.Program, use.Call, use.Site, use.Class, use.Granted}
	if use.Entry { // Program is the name of the runtime
		f.program = ""
	}
	return f
}

// matchLevels reduce two uses to the fields in which they must be equal, strictest level first. A use is matched with
// the most similar one.
var matchLevels = []func(fields) fields{
	func(f fields) fields { return f },
	func(f fields) fields { f.class, f.granted = "", false; return f },
	func(f fields) fields { f.program = ""; return f },
	func(f fields) fields { f.call = ""; return f },
	func(f fields) fields { f.site = ""; return f },
	func(f fields) fields { f.class, f.granted, f.program = "", false, ""; return f },
	func(f fields) fields { f.class, f.granted, f.call = "", false, ""; return f },
	func(f fields) fields { f.class, f.granted, f.site = "", false, ""; return f },
}

// uses matches the uses of two profiles. It leaves out the uses of the runtime setup.
func uses(before, after []profile.UsePattern) []UseChange {
	then, now := withoutSetup(before), withoutSetup(after)
	var all []UseChange
	for _, reduce := range matchLevels {
		index := make(map[fields][]*profile.UsePattern)
		for _, use := range then {
			key := reduce(fieldsOf(*use))
			index[key] = append(index[key], use)
		}
		matched := make(map[*profile.UsePattern]bool)
		for _, use := range now {
			key := reduce(fieldsOf(*use))
			if candidates := index[key]; len(candidates) > 0 {
				all = append(all, changeOf(candidates[0], use))
				index[key] = candidates[1:]
				matched[use], matched[candidates[0]] = true, true
			}
		}
		isMatched := func(use *profile.UsePattern) bool { return matched[use] }
		then, now = slices.DeleteFunc(then, isMatched), slices.DeleteFunc(now, isMatched)
	}
	for _, use := range now {
		all = append(all, UseChange{Change: New, After: use})
	}
	for _, use := range then {
		all = append(all, UseChange{Change: Gone, Before: use})
	}
	slices.SortStableFunc(all, compareUses)
	return all
}

func withoutSetup(uses []profile.UsePattern) []*profile.UsePattern {
	var all []*profile.UsePattern
	for i := range uses {
		if uses[i].Class != classify.Setup {
			all = append(all, &uses[i])
		}
	}
	return all
}

func changeOf(before, after *profile.UsePattern) UseChange {
	use := UseChange{Change: Same, Before: before, After: after}
	then, now := fieldsOf(*before), fieldsOf(*after)
	for _, field := range []struct {
		name    Field
		changed bool
	}{
		{Class, then.class != now.class},
		{Granted, then.granted != now.granted},
		{Program, then.program != now.program},
		{Call, then.call != now.call},
		{Site, then.site != now.site},
	} {
		if field.changed {
			use.Change = Changed
			use.Fields = append(use.Fields, field.name)
		}
	}
	return use
}

// compareUses sorts by change, then like reports. Equal uses stay in the order of the profile.
func compareUses(one, other UseChange) int {
	changes := []Change{New, Changed, Gone, Same}
	classes := classify.Classes()
	return cmp.Or(
		cmp.Compare(slices.Index(changes, one.Change), slices.Index(changes, other.Change)),
		cmp.Compare(slices.Index(classes, one.Latest().Class), slices.Index(classes, other.Latest().Class)),
		cmp.Compare(one.Latest().Capability.String(), other.Latest().Capability.String()),
	)
}
