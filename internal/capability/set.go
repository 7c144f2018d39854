package capability

import (
	"encoding/json"
	"math/bits"
	"strings"
)

// Set is a set of capabilities, bit n for capability n. The zero value is empty.
type Set uint64

// Of makes a set.
func Of(all ...Capability) Set {
	var s Set
	for _, c := range all {
		s = s.With(c)
	}
	return s
}

// Known is the set of all capabilities up to the highest that a kernel knows.
func Known(last Capability) Set {
	if last >= limit-1 {
		return ^Set(0)
	}
	return 1<<(last+1) - 1
}

// Has reports whether c is in the set.
func (s Set) Has(c Capability) bool { return c < limit && s>>c&1 == 1 }

// With is the set and c.
func (s Set) With(c Capability) Set { return s | 1<<c }

// Without is the set without c.
func (s Set) Without(c Capability) Set { return s &^ (1 << c) }

// Union is what is in either set.
func (s Set) Union(other Set) Set { return s | other }

// Intersect is what is in both sets.
func (s Set) Intersect(other Set) Set { return s & other }

// Minus is what is in s and not in other.
func (s Set) Minus(other Set) Set { return s &^ other }

// Empty reports whether nothing is in the set.
func (s Set) Empty() bool { return s == 0 }

// Len is how many capabilities are in the set.
func (s Set) Len() int { return bits.OnesCount64(uint64(s)) }

// Sorted lists the set by name.
func (s Set) Sorted() []Capability {
	all := make([]Capability, 0, s.Len())
	for c := Capability(0); c < limit; c++ {
		if s.Has(c) {
			all = append(all, c)
		}
	}
	return sorted(all)
}

// String lists the names, separated by commas.
func (s Set) String() string {
	var names []string
	for _, c := range s.Sorted() {
		names = append(names, c.String())
	}
	return strings.Join(names, ",")
}

// MarshalJSON makes a set the list of its names.
func (s Set) MarshalJSON() ([]byte, error) { return json.Marshal(s.Sorted()) }

// UnmarshalJSON reads a list of names.
func (s *Set) UnmarshalJSON(data []byte) error {
	var all []Capability
	if err := json.Unmarshal(data, &all); err != nil {
		return err
	}
	*s = Of(all...)
	return nil
}
