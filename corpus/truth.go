package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/capmon/capmon/capability"
)

// derive finds the minimal sets of the workload several times. They are the truth only if they are the same each time.
func (w workload) derive(ctx context.Context, times int) ([]capability.Set, error) {
	var sets []capability.Set
	for i := range times {
		again, err := w.deriveOnce(ctx)
		if err != nil {
			return nil, err
		}
		if i > 0 && !slices.Equal(sets, again) {
			return nil, fmt.Errorf("%s: the minimal sets differ between two searches: %v and %v", w.name, sets, again)
		}
		sets = again
	}
	return sets, nil
}

func (w workload) deriveOnce(ctx context.Context) ([]capability.Set, error) {
	// Only this run reports the reason of a failure, because the runs with fewer capabilities may fail.
	if err := w.run(ctx, w.granted()); err != nil {
		return nil, fmt.Errorf("%s fails with all capabilities that its users grant: %w", w.name, err)
	}
	try := func(granted capability.Set) (bool, error) {
		err := w.run(ctx, granted)
		if errors.As(err, new(failure)) {
			return false, nil
		}
		return err == nil, err
	}
	sets, err := minimalSets(w.granted(), try)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", w.name, err)
	}
	return withNarrower(sets, try)
}

// withNarrower adds sets in which a narrower capability that Docker does not grant replaces one that it grants.
func withNarrower(sets []capability.Set, try trial) ([]capability.Set, error) {
	for _, set := range slices.Clone(sets) {
		if !set.Has(capability.DACOverride) {
			continue
		}
		narrower := set.Without(capability.DACOverride).With(capability.DACReadSearch)
		ok, err := try(narrower)
		if err != nil {
			return nil, err
		}
		if ok {
			sets = append(sets, narrower)
		}
	}
	return sets, nil
}

// truth finds the minimal sets of all the workloads, and compares them with the stored ones or stores them.
func (c command) truth(ctx context.Context, workloads []workload, out io.Writer) error {
	var lock sync.Mutex
	var problems []error
	var group sync.WaitGroup
	slots := make(chan struct{}, c.parallel)
	for _, w := range workloads {
		group.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			sets, err := w.derive(ctx, c.times)
			lock.Lock()
			defer lock.Unlock()
			if err == nil {
				fmt.Fprintln(out, w.name, sets)
				err = c.judge(w, sets)
			}
			problems = append(problems, err)
		})
	}
	group.Wait()
	return errors.Join(problems...)
}

func (c command) judge(w workload, sets []capability.Set) error {
	if c.update {
		return w.saveTruth(sets)
	}
	if !slices.Equal(sets, w.truth) {
		return fmt.Errorf("%s: found %v, but %s has %v: if the new sets are right, run corpus truth -update %[1]s", w.name, sets, w.truthFile(), w.truth)
	}
	return nil
}
