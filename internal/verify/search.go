// Package verify proves which capabilities a workload needs. It runs the workload many times, each time with fewer
// capabilities.
package verify

import (
	"cmp"
	"context"
	"slices"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/profile"
)

// Outcome is the result of running the workload with a set of capabilities.
type Outcome int

// The outcomes.
const (
	Untried Outcome = iota
	Differs         // the outcome differs from that under the original flags
	Same
	Varies // the runs had different outcomes
)

// Runner runs the workload with each of several sets, possibly at the same time. With an error, it returns the outcomes
// that are known.
type Runner func(ctx context.Context, sets []capability.Set) ([]Outcome, error)

// Search is the input of [Minimize].
type Search struct {
	// Start is a set with the original outcome.
	Start capability.Set
	// Keep are members that must not be left out, because the outcome does not show whether they are needed.
	Keep capability.Set
	// Narrower returns the capabilities to try, all together, in place of a member of a set. The set without that
	// member was run and had another outcome. Narrower may be nil.
	Narrower func(set capability.Set, wide capability.Capability) capability.Set
}

// Found is the result of a search.
type Found struct {
	// Set is the set found. Its outcome is the original one. No member for which Verdicts has profile.Needed can be
	// left out.
	Set capability.Set
	// Verdicts has a verdict for each member of Start and of Set.
	Verdicts map[capability.Capability]profile.Verdict
	// Shown has, for each verdict, the set whose outcome shows it.
	Shown map[capability.Capability]capability.Set
	// InsteadOf has, for each narrower capability, the wider one that it replaces.
	InsteadOf map[capability.Capability]capability.Capability
}

// Minimize finds a set from which no member can be left out. A program can fail because it has more capabilities: for
// example, a program that may change its user does so, and then fails because it may not change its group. So whenever
// Minimize has left out a member, it tries to leave out each of the other members again. If there are several such
// sets, it finds one of them. It first tries to leave out the capabilities that Docker does not grant by default. With
// an error, it also returns what it has found until then.
func Minimize(ctx context.Context, run Runner, search Search) (Found, error) {
	s := &searcher{run: run, keep: search.Keep, known: map[capability.Set]Outcome{search.Start: Same}}
	found := Found{
		Verdicts:  make(map[capability.Capability]profile.Verdict),
		Shown:     make(map[capability.Capability]capability.Set),
		InsteadOf: make(map[capability.Capability]capability.Capability),
	}
	set, err := s.minimize(ctx, search.Start)
	for _, wide := range ordered(set) {
		if err == nil && search.Narrower != nil && set.Has(wide) {
			set, err = s.narrow(ctx, &found, set, wide, search.Narrower(set, wide).Minus(set))
		}
	}
	s.conclude(&found, search.Start, set)
	return found, err
}

// narrow replaces a wide capability with narrower ones, if there are any and the outcome stays the same.
func (s *searcher) narrow(ctx context.Context, found *Found, set capability.Set, wide capability.Capability, narrower capability.Set) (capability.Set, error) {
	if narrower.Empty() {
		return set, nil
	}
	replaced := set.Without(wide).Union(narrower)
	if same, err := s.same(ctx, replaced); err != nil || !same {
		return set, err
	}
	for _, c := range narrower.Sorted() {
		found.InsteadOf[c] = wide
	}
	return s.minimize(ctx, replaced)
}

// searcher has the known outcomes, so that no set is run twice.
type searcher struct {
	run   Runner
	keep  capability.Set
	known map[capability.Set]Outcome
}

// minimize leaves out members until none can be left out. With an error, it returns the set that it has reached.
func (s *searcher) minimize(ctx context.Context, set capability.Set) (capability.Set, error) {
	for {
		droppable, err := s.droppable(ctx, set)
		if err != nil || droppable.Empty() {
			return set, err
		}
		if set, err = s.drop(ctx, set, droppable); err != nil {
			return set, err
		}
	}
}

// droppable returns the members that can each be left out alone.
func (s *searcher) droppable(ctx context.Context, set capability.Set) (capability.Set, error) {
	members := ordered(set)
	without := make([]capability.Set, len(members))
	for i, c := range members {
		without[i] = set.Without(c)
	}
	if err := s.runUnknown(ctx, without); err != nil {
		return 0, err
	}
	var droppable capability.Set
	for i, c := range members {
		if s.known[without[i]] == Same && !s.keep.Has(c) {
			droppable = droppable.With(c)
		}
	}
	return droppable, nil
}

// drop leaves out the droppable members: together if that works, otherwise one after the other.
func (s *searcher) drop(ctx context.Context, set, droppable capability.Set) (capability.Set, error) {
	switch same, err := s.same(ctx, set.Minus(droppable)); {
	case err != nil:
		return set, err
	case same:
		return set.Minus(droppable), nil
	}
	for _, c := range ordered(droppable) {
		same, err := s.same(ctx, set.Without(c))
		if err != nil {
			return set, err
		}
		if same {
			set = set.Without(c)
		}
	}
	return set, nil
}

func (s *searcher) same(ctx context.Context, set capability.Set) (bool, error) {
	err := s.runUnknown(ctx, []capability.Set{set})
	return s.known[set] == Same, err
}

// runUnknown runs the sets whose outcome is not known yet.
func (s *searcher) runUnknown(ctx context.Context, sets []capability.Set) error {
	var unknown []capability.Set
	for _, set := range sets {
		if _, ok := s.known[set]; !ok {
			unknown = append(unknown, set)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	outcomes, err := s.run(ctx, unknown)
	for i, outcome := range outcomes {
		if outcome != Untried {
			s.known[unknown[i]] = outcome
		}
	}
	return err
}

// conclude sets the verdict of each capability.
func (s *searcher) conclude(found *Found, start, set capability.Set) {
	found.Set = set
	for _, c := range start.Minus(set).Sorted() {
		found.Verdicts[c] = profile.Unneeded
		found.Shown[c] = set
	}
	for _, c := range set.Sorted() {
		found.Shown[c] = set.Without(c)
		found.Verdicts[c] = profile.Unsure
		if s.known[set.Without(c)] == Differs {
			found.Verdicts[c] = profile.Needed
		}
	}
	for narrow := range found.InsteadOf {
		if !set.Has(narrow) {
			delete(found.InsteadOf, narrow) // it was left out itself
		}
	}
}

// ordered returns the members of a set, first those that Docker does not grant by default.
func ordered(set capability.Set) []capability.Capability {
	members := set.Sorted()
	byDefault := capability.DockerDefault()
	rank := func(c capability.Capability) int {
		if byDefault.Has(c) {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(members, func(one, other capability.Capability) int { return cmp.Compare(rank(one), rank(other)) })
	return members
}
