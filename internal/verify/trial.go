package verify

import (
	"context"
	"sync"
	"time"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/profile"
)

// trials carries out trials and takes them down.
type trials struct {
	bench   *bench
	options Options
	// original is the outcome of the workload under its own flags.
	original string
	// refused is what was refused under the original flags.
	refused capability.Set
	// list is the set that the search began with.
	list capability.Set

	mu   sync.Mutex
	done []profile.Trial
	// doubts are why the host may have decided trials, by their numbers.
	doubts  map[int]string
	telling sync.Mutex
}

// attempt is one trial with what its runs have shown.
type attempt struct {
	profile.Trial
	ended []ended
	// doubt is why the host may have decided it; empty if it has not.
	doubt string
}

// try runs the workload under a set or, if that is nil, under the original flags, and again if
// the host may have decided how that came out.
func (t *trials) try(ctx context.Context, set *capability.Set) (attempt, error) {
	a, err := t.attempt(ctx, set)
	for range hostRepeats {
		if err != nil || a.doubt == "" {
			break
		}
		t.note("%s: it is run again", a.doubt)
		a, err = t.attempt(ctx, set)
	}
	if err != nil {
		return attempt{}, err
	}
	t.mu.Lock()
	a.Number = len(t.done) + 1
	t.done = append(t.done, a.Trial)
	if a.doubt != "" {
		t.doubts[a.Number] = a.doubt
	}
	t.mu.Unlock()
	t.tell(t.options.Tried, a.Trial)
	return a, nil
}

// attempt runs the workload as often as it is to be repeated.
func (t *trials) attempt(ctx context.Context, set *capability.Set) (attempt, error) {
	a := attempt{Trial: profile.Trial{Original: set == nil, Same: true}}
	if set != nil {
		a.Set, a.Without, a.With = *set, t.list.Minus(*set), set.Minus(t.list)
	}
	t.tell(t.options.Trying, a.Trial)
	trial := a.Trial
	hanging := func(after, limit time.Duration) {
		if t.options.Hanging != nil {
			t.tell(func(trial profile.Trial) { t.options.Hanging(trial, after, limit) }, trial)
		}
	}
	for range t.options.Repeat {
		e, err := t.bench.execute(ctx, creation{grants: set, hanging: hanging})
		if err != nil {
			return attempt{}, err
		}
		a.note(e, t.original)
	}
	if t.options.Repeat == 1 && a.endsOtherwise(t.original) {
		e, err := t.bench.execute(ctx, creation{grants: set, hanging: hanging})
		if err != nil {
			return attempt{}, err
		}
		if e.words() != a.Outcomes[0] {
			a.note(e, t.original)
		}
	}
	if set != nil {
		a.doubt = decidedByHost(a, t.refused)
	}
	return a, nil
}

// note tells what else there is to know, while trials may be running.
func (t *trials) note(format string, args ...any) {
	t.telling.Lock()
	defer t.telling.Unlock()
	t.options.note(format, args...)
}

// tell tells whoever wants to know, one thing at a time.
func (t *trials) tell(listener func(profile.Trial), trial profile.Trial) {
	if listener != nil {
		t.telling.Lock()
		defer t.telling.Unlock()
		listener(trial)
	}
}

// note adds a run. An original of "" is what the first run makes it.
func (a *attempt) note(e ended, original string) {
	if original == "" && len(a.Outcomes) > 0 {
		original = a.Outcomes[0]
	}
	same := original == "" || e.words() == original
	a.ended = append(a.ended, e)
	a.Outcomes = append(a.Outcomes, e.words())
	a.Seconds += e.seconds
	output := e.output
	if e.second != nil {
		a.Seconds += e.second.seconds
		output = e.second.output
	}
	a.Same = a.Same && same
	if !same {
		a.Stderr = output
	}
	for _, run := range e.all() {
		for _, use := range run.Uses {
			if use.Class != classify.Denied {
				continue
			}
			a.Denied = a.Denied.With(use.Capability)
			a.DeniedChecks = append(a.DeniedChecks, use)
		}
	}
}

// endsOtherwise reports whether the test passed, on each start, and only the container's ending is
// another one. That may be chance, such as a signal that came before its handler was
// there.
func (a *attempt) endsOtherwise(original string) bool {
	e := a.ended[0]
	return original != "" && !a.Same && e.outcome == passed && (e.second == nil || e.second.outcome == passed)
}

// outcome compares the runs with the original one and with each other. One that the host may have
// decided could come out otherwise.
func (a *attempt) outcome() Outcome {
	switch {
	case a.Same:
		return Same
	case a.doubt != "":
		return Varies
	}
	for _, outcome := range a.Outcomes {
		if outcome != a.Outcomes[0] {
			return Varies
		}
	}
	return Differs
}

// run is the Runner of the search: as many sets at the same time as there may
// be.
func (t *trials) run(ctx context.Context, sets []capability.Set) ([]Outcome, error) {
	jobs := t.options.Jobs
	if t.bench.alone {
		jobs = 1
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	outcomes := make([]Outcome, len(sets))
	places := make(chan struct{}, jobs)
	var workers sync.WaitGroup
	for i, set := range sets {
		places <- struct{}{}
		if context.Cause(ctx) != nil {
			break
		}
		workers.Go(func() {
			defer func() { <-places }()
			a, err := t.try(ctx, &set)
			if err != nil {
				cancel(err) // the first one is the reason for the others
				return
			}
			outcomes[i] = a.outcome()
		})
	}
	workers.Wait()
	return outcomes, context.Cause(ctx)
}

// of finds the last trial of a set.
func (t *trials) of(set capability.Set) (number int) {
	for _, trial := range t.done {
		if !trial.Original && trial.Set == set {
			number = trial.Number
		}
	}
	return number
}
