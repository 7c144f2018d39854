package main

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/capmon/capmon/capability"
)

// list has the capabilities that capmon lists for a container, with their marks.
type list map[capability.Capability]mark

// mark is the report's warning that a capability may not be needed.
type mark string

const (
	unmarked mark = ""
	unsure   mark = "unsure"
	soft     mark = "soft"
)

func (m mark) String() string { return cmp.Or(string(m), "unmarked") }

// differences describes each capability that only one of the lists has, or that has another mark in the other list.
func (l list) differences(other list) map[capability.Capability]string {
	all := make(map[capability.Capability]string)
	for _, c := range members(l).Union(members(other)).Sorted() {
		if one, two := l.describe(c), other.describe(c); one != two {
			all[c] = fmt.Sprintf("%v is %s, then %s", c, one, two)
		}
	}
	return all
}

func (l list) describe(c capability.Capability) string {
	if mark, ok := l[c]; ok {
		return mark.String()
	}
	return "not listed"
}

// described joins the descriptions of differences.
func described(differences map[capability.Capability]string) string {
	var lines []string
	for _, c := range members(differences).Sorted() {
		lines = append(lines, differences[c])
	}
	return strings.Join(lines, "; ")
}

// members returns the capabilities that are keys of a map.
func members[T any](of map[capability.Capability]T) (set capability.Set) {
	for c := range of {
		set = set.With(c)
	}
	return set
}

func (l list) String() string {
	var all []string
	for _, c := range members(l).Sorted() {
		all = append(all, strings.TrimSuffix(fmt.Sprintf("%v (%v)", c, l[c]), " (unmarked)"))
	}
	return "[" + strings.Join(all, " ") + "]"
}
