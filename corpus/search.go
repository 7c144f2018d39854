package main

import (
	"slices"

	"github.com/capmon/capmon/capability"
)

// trial reports whether the workload passes its test with the capabilities.
type trial func(capability.Set) (bool, error)

// minimalSets finds the minimal subsets of all with which a workload passes, only by trials. It assumes that a workload
// that passes with some capabilities also passes with more. The result is empty if the workload does not even pass with
// all.
func minimalSets(all capability.Set, try trial) ([]capability.Set, error) {
	s := search{try: try, tried: map[capability.Set]bool{}}
	if ok, err := s.passes(all); !ok || err != nil {
		return nil, err
	}
	needed, err := s.needed(all)
	if err != nil {
		return nil, err
	}
	if ok, err := s.passes(needed); err != nil {
		return nil, err
	} else if ok {
		return []capability.Set{needed}, nil
	}
	if err := s.alternatives(all, needed); err != nil {
		return nil, err
	}
	slices.SortFunc(s.found, func(one, other capability.Set) int {
		return slices.Compare(one.Sorted(), other.Sorted())
	})
	return s.found, nil
}

type search struct {
	try   trial
	tried map[capability.Set]bool
	found []capability.Set
}

func (s *search) passes(set capability.Set) (bool, error) {
	if known, ok := s.tried[set]; ok {
		return known, nil
	}
	ok, err := s.try(set)
	if err == nil {
		s.tried[set] = ok
	}
	return ok, err
}

// needed returns the capabilities without which no subset passes.
func (s *search) needed(all capability.Set) (needed capability.Set, err error) {
	for _, c := range all.Sorted() {
		ok, err := s.passes(all.Without(c))
		if err != nil {
			return 0, err
		}
		if !ok {
			needed = needed.With(c)
		}
	}
	return needed, nil
}

// alternatives finds every minimal set. A minimal set that it has not found yet lacks at least one member of each found
// set, and this member is not one that all sets need.
func (s *search) alternatives(all, needed capability.Set) error {
	queue, queued := []capability.Set{0}, map[capability.Set]bool{0: true}
	for len(queue) > 0 {
		without := queue[0]
		queue = queue[1:]
		set, ok, err := s.minimalIn(all.Minus(without), needed)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		for _, c := range set.Minus(needed).Sorted() {
			if next := without.With(c); !queued[next] {
				queue, queued[next] = append(queue, next), true
			}
		}
	}
	return nil
}

// minimalIn returns a minimal passing subset of the set, if there is one.
func (s *search) minimalIn(set, needed capability.Set) (capability.Set, bool, error) {
	for _, found := range s.found {
		if found.Minus(set).Empty() {
			return found, true, nil
		}
	}
	if ok, err := s.passes(set); !ok || err != nil {
		return 0, false, err
	}
	for _, c := range set.Minus(needed).Sorted() {
		ok, err := s.passes(set.Without(c))
		if err != nil {
			return 0, false, err
		}
		if ok {
			set = set.Without(c)
		}
	}
	s.found = append(s.found, set)
	return set, true, nil
}
