package capability

import (
	"encoding/json"
	"math/bits"
	"slices"
	"strings"
)

// Set is a set of capabilities, bit n for capability n. The zero value is empty.
type Set uint64

// Of returns the set of the given capabilities.
func Of(all ...Capability) Set {
	var s Set
	for _, c := range all {
		s = s.With(c)
	}
	return s
}

// defaultCapabilities is the name of [ParseSet] for what Docker grants by default.
const defaultCapabilities = "DEFAULT"

// ParseSet reads the name of a capability like [Parse], or the name of a set, in upper or lower case: ALL for all
// capabilities, also those that this package has no name for, and DEFAULT for [DockerDefault].
func ParseSet(name string) (Set, error) {
	switch strings.ToUpper(name) {
	case allCapabilities:
		return ^Set(0), nil
	case defaultCapabilities:
		return DockerDefault(), nil
	}
	c, err := Parse(name)
	if err != nil {
		return 0, err
	}
	return Of(c), nil
}

// Known returns the set of all capabilities up to last, the highest that a kernel knows
// (/proc/sys/kernel/cap_last_cap).
func Known(last Capability) Set {
	if last >= limit-1 {
		return ^Set(0)
	}
	return 1<<(last+1) - 1
}

// Has reports whether c is in the set.
func (s Set) Has(c Capability) bool { return c < limit && s>>c&1 == 1 }

// With returns the set with c added.
func (s Set) With(c Capability) Set { return s | 1<<c }

// Without returns the set without c.
func (s Set) Without(c Capability) Set { return s &^ (1 << c) }

// Union returns the capabilities that are in s, in other, or in both.
func (s Set) Union(other Set) Set { return s | other }

// Intersect returns the capabilities that are in both sets.
func (s Set) Intersect(other Set) Set { return s & other }

// Minus returns the capabilities that are in s and not in other.
func (s Set) Minus(other Set) Set { return s &^ other }

// Empty reports whether the set has no capabilities.
func (s Set) Empty() bool { return s == 0 }

// Len returns the number of capabilities in the set.
func (s Set) Len() int { return bits.OnesCount64(uint64(s)) }

// Sorted returns the capabilities in order of their names. Capabilities without a name come first.
func (s Set) Sorted() []Capability {
	all := make([]Capability, 0, s.Len())
	for c := Capability(0); c < limit; c++ {
		if s.Has(c) {
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(one, other Capability) int {
		return strings.Compare(one.String(), other.String())
	})
	return all
}

// String returns the names in the order of [Set.Sorted], separated by commas: "NET_RAW,SETUID".
func (s Set) String() string { return s.joined(",") }

// Text returns the same names as [Set.String], with a space after each comma: "NET_RAW, SETUID".
func (s Set) Text() string { return s.joined(", ") }

func (s Set) joined(separator string) string {
	var names []string
	for _, c := range s.Sorted() {
		names = append(names, c.String())
	}
	return strings.Join(names, separator)
}

// MarshalJSON returns the list of names in the order of [Set.Sorted], [] for the empty set.
func (s Set) MarshalJSON() ([]byte, error) { return json.Marshal(s.Sorted()) }

// UnmarshalJSON reads a list of texts that [Parse] accepts, in any order.
func (s *Set) UnmarshalJSON(data []byte) error {
	var all []Capability
	if err := json.Unmarshal(data, &all); err != nil {
		return err
	}
	*s = Of(all...)
	return nil
}
