// Package verify proves which capabilities a workload needs: it runs it again and
// again, each time with fewer of them.
package verify

import (
	"cmp"
	"context"
	"slices"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/profile"
)

// Outcome is what running the workload with a set of capabilities came to.
type Outcome int

// The outcomes.
const (
	Untried Outcome = iota
	Differs         // from that under the original flags
	Same
	Varies // it did not come out the same each time
)

// Runner runs the workload with each of several sets, perhaps at the same time. With an error it
// returns the outcomes that it knows.
type Runner func(ctx context.Context, sets []capability.Set) ([]Outcome, error)

// Search says what to minimize.
type Search struct {
	// Start is a set with which the outcome is the same.
	Start capability.Set
	// Keep are members that may not be left out, since the outcome does not tell
	// whether they are needed.
	Keep capability.Set
	// Narrower are the capabilities to try, all together, in the place of a member of a set. The set
	// without it was run, and the outcome was another one. Nil if there are none.
	Narrower func(set capability.Set, wide capability.Capability) capability.Set
}

// Found is the end of a search.
type Found struct {
	// Set is the set found. Its outcome is the same, and no member can be left out
	// for which Verdicts has profile.Needed.
	Set capability.Set
	// Verdicts has one for each member of Start and of Set.
	Verdicts map[capability.Capability]profile.Verdict
	// Shown is the set whose outcome is the reason for the verdict.
	Shown map[capability.Capability]capability.Set
	// InsteadOf tells for a narrower capability whose place it has taken.
	InsteadOf map[capability.Capability]capability.Capability
}

// Minimize finds a set from which no member can be left out. It does not assume
// that more capabilities never do harm: a program that may change its user does,
// and fails if it may not change its group. So whenever a member has gone all
// others are tried again.
//
// Of several such sets it finds one, and leaves out what Docker does not grant by
// default first. With an error it returns what it has found until then.
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

// narrow puts narrower capabilities in the place of a wide one, if there are any and that works.
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

// searcher remembers the outcomes, so that no set is run twice.
type searcher struct {
	run   Runner
	keep  capability.Set
	known map[capability.Set]Outcome
}

// minimize leaves out members until none can be. With an error it returns what it has come to.
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

// droppable are the members each of which can be left out alone.
func (s *searcher) droppable(ctx context.Context, set capability.Set) (capability.Set, error) {
	members := ordered(set)
	without := make([]capability.Set, len(members))
	for i, c := range members {
		without[i] = set.Without(c)
	}
	if err := s.learn(ctx, without); err != nil {
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

// drop leaves out all that can be left out alone, jointly if that works or else
// one by one.
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
	err := s.learn(ctx, []capability.Set{set})
	return s.known[set] == Same, err
}

// learn runs those of the sets whose outcome is not known yet.
func (s *searcher) learn(ctx context.Context, sets []capability.Set) error {
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

// conclude gives each capability its verdict.
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
			delete(found.InsteadOf, narrow) // it has become superfluous itself
		}
	}
}

// ordered lists a set with what Docker does not grant by default first.
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
