package verify

import (
	"context"
	"sync"
	"time"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/profile"
)

// trials runs trials and records them.
type trials struct {
	executor *executor
	options  Options
	// original is the outcome of the workload under its own flags.
	original string
	// denied are the capabilities that the kernel denied under the original flags.
	denied capability.Set
	// list is the set that the search began with.
	list capability.Set

	mu   sync.Mutex
	done []profile.Trial
	// doubts are the reasons why the host may have decided trials, by their numbers.
	doubts    map[int]string
	notifying sync.Mutex
}

// attempt is one trial with the results of its runs.
type attempt struct {
	profile.Trial
	results []runResult
	// doubt is the reason why the host may have decided the trial; empty if it has not.
	doubt string
}

// try runs the workload under a set, or under the original flags if set is nil. It repeats the trial if the host may
// have decided the outcome.
func (t *trials) try(ctx context.Context, set *capability.Set) (attempt, error) {
	a, err := t.attempt(ctx, set)
	for range hostRepeats {
		if err != nil || a.doubt == "" {
			break
		}
		t.note("%s: verify repeats the trial", a.doubt)
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
	t.notify(t.options.AfterTrial, a.Trial)
	return a, nil
}

// attempt makes the runs of a trial.
func (t *trials) attempt(ctx context.Context, set *capability.Set) (attempt, error) {
	a := attempt{Trial: profile.Trial{Original: set == nil, Same: true}}
	if set != nil {
		a.Set, a.Without, a.With = *set, t.list.Minus(*set), set.Minus(t.list)
	}
	t.notify(t.options.BeforeTrial, a.Trial)
	trial := a.Trial
	slow := func(after, limit time.Duration) {
		if t.options.SlowTrial != nil {
			t.notify(func(trial profile.Trial) { t.options.SlowTrial(trial, after, limit) }, trial)
		}
	}
	for range t.options.Repeat {
		e, err := t.executor.run(ctx, containerSpec{grants: set, slow: slow})
		if err != nil {
			return attempt{}, err
		}
		a.add(e, t.original)
	}
	if t.options.Repeat == 1 && a.endsOtherwise(t.original) {
		e, err := t.executor.run(ctx, containerSpec{grants: set, slow: slow})
		if err != nil {
			return attempt{}, err
		}
		if e.words() != a.Outcomes[0] {
			a.add(e, t.original)
		}
	}
	if set != nil {
		a.doubt = decidedByHost(a, t.denied)
	}
	return a, nil
}

// note prints a message while trials may be running.
func (t *trials) note(format string, args ...any) {
	t.notifying.Lock()
	defer t.notifying.Unlock()
	t.options.note(format, args...)
}

// notify calls a listener, if there is one, and never two listeners at the same time.
func (t *trials) notify(listener func(profile.Trial), trial profile.Trial) {
	if listener != nil {
		t.notifying.Lock()
		defer t.notifying.Unlock()
		listener(trial)
	}
}

// add adds the result of a run. If original is "", the outcome of the first run is the expected one.
func (a *attempt) add(e runResult, original string) {
	if original == "" && len(a.Outcomes) > 0 {
		original = a.Outcomes[0]
	}
	same := original == "" || e.words() == original
	a.results = append(a.results, e)
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

// endsOtherwise reports whether the test passed on each start and only the end of the container differs. That may be
// chance, for example if the stop signal arrived before the container had a handler for it.
func (a *attempt) endsOtherwise(original string) bool {
	e := a.results[0]
	return original != "" && !a.Same && e.outcome == passed && (e.second == nil || e.second.outcome == passed)
}

// outcome compares the runs with the original one and with each other. If the host may have decided the trial, the
// outcome could vary.
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

// run implements [Runner]. It runs up to Options.Jobs sets at the same time.
func (t *trials) run(ctx context.Context, sets []capability.Set) ([]Outcome, error) {
	jobs := t.options.Jobs
	if t.executor.exclusive {
		jobs = 1
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	outcomes := make([]Outcome, len(sets))
	slots := make(chan struct{}, jobs)
	var workers sync.WaitGroup
	for i, set := range sets {
		slots <- struct{}{}
		if context.Cause(ctx) != nil {
			break
		}
		workers.Go(func() {
			defer func() { <-slots }()
			a, err := t.try(ctx, &set)
			if err != nil {
				cancel(err) // the first error is the cause of the others
				return
			}
			outcomes[i] = a.outcome()
		})
	}
	workers.Wait()
	return outcomes, context.Cause(ctx)
}

// lastTrial returns the number of the last trial of a set, 0 if there is none.
func (t *trials) lastTrial(set capability.Set) (number int) {
	for _, trial := range t.done {
		if !trial.Original && trial.Set == set {
			number = trial.Number
		}
	}
	return number
}
