package compare

import (
	"cmp"
	"slices"

	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/profile"
)

// Change is what became of a way to use a capability.
type Change string

// The changes.
const (
	New     Change = "new"
	Changed Change = "changed"
	Gone    Change = "gone"
	Same    Change = "same"
)

// Field is what may have changed in a use that is otherwise the same.
type Field string

// The fields.
const (
	Class   Field = "class"
	Granted Field = "granted"
	Program Field = "program"
	Call    Field = "call"
	Site    Field = "site"
)

// Use is a way in which a capability was asked for, before and after.
type Use struct {
	Change Change
	// Fields that changed, if the change is Changed.
	Fields []Field
	// Before is nil if the use is new, After if it is gone.
	Before, After *profile.Use
}

// Latest is the use as it is now, or as it was if it is gone.
func (u Use) Latest() profile.Use {
	if u.After != nil {
		return *u.After
	}
	return *u.Before
}

// Matters reports whether the use is, or was, a need or a refusal.
func (u Use) Matters() bool {
	return u.Before != nil && matters(*u.Before) || u.After != nil && matters(*u.After)
}

func matters(use profile.Use) bool { return use.Class.Need() || use.Class == classify.Denied }

// how is all that is compared of a use.
type how struct {
	capability, program, call, site string
	class                           classify.Class
	granted                         bool
}

func howOf(use profile.Use) how {
	h := how{use.Capability.String(), use.Program, use.Call, use.Site, use.Class, use.Granted}
	if use.Entry { // the runtime's own name, at that moment
		h.program = ""
	}
	return h
}

// likenesses are what two uses have to have in common to be taken for the same one, the most
// first. A use is taken for the one that it is most like.
var likenesses = []func(how) how{
	func(h how) how { return h },
	func(h how) how { h.class, h.granted = "", false; return h },
	func(h how) how { h.program = ""; return h },
	func(h how) how { h.call = ""; return h },
	func(h how) how { h.site = ""; return h },
	func(h how) how { h.class, h.granted, h.program = "", false, ""; return h },
	func(h how) how { h.class, h.granted, h.call = "", false, ""; return h },
	func(h how) how { h.class, h.granted, h.site = "", false, ""; return h },
}

// uses finds out which use is which. What the runtime did is left out.
func uses(before, after []profile.Use) []Use {
	then, now := withoutSetup(before), withoutSetup(after)
	var all []Use
	for _, likeness := range likenesses {
		index := make(map[how][]*profile.Use)
		for _, use := range then {
			key := likeness(howOf(*use))
			index[key] = append(index[key], use)
		}
		taken := make(map[*profile.Use]bool)
		for _, use := range now {
			key := likeness(howOf(*use))
			if candidates := index[key]; len(candidates) > 0 {
				all = append(all, changeOf(candidates[0], use))
				index[key] = candidates[1:]
				taken[use], taken[candidates[0]] = true, true
			}
		}
		isTaken := func(use *profile.Use) bool { return taken[use] }
		then, now = slices.DeleteFunc(then, isTaken), slices.DeleteFunc(now, isTaken)
	}
	for _, use := range now {
		all = append(all, Use{Change: New, After: use})
	}
	for _, use := range then {
		all = append(all, Use{Change: Gone, Before: use})
	}
	slices.SortStableFunc(all, compareUses)
	return all
}

func withoutSetup(uses []profile.Use) []*profile.Use {
	var all []*profile.Use
	for i := range uses {
		if uses[i].Class != classify.Setup {
			all = append(all, &uses[i])
		}
	}
	return all
}

func changeOf(before, after *profile.Use) Use {
	use := Use{Change: Same, Before: before, After: after}
	then, now := howOf(*before), howOf(*after)
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

// compareUses goes by change, then by what reports go by; the rest is in the order of the
// profile.
func compareUses(one, other Use) int {
	changes := []Change{New, Changed, Gone, Same}
	classes := classify.Classes()
	return cmp.Or(
		cmp.Compare(slices.Index(changes, one.Change), slices.Index(changes, other.Change)),
		cmp.Compare(slices.Index(classes, one.Latest().Class), slices.Index(classes, other.Latest().Class)),
		cmp.Compare(one.Latest().Capability.String(), other.Latest().Capability.String()),
	)
}
