package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/report"
	"github.com/capmon/capmon/internal/verify"
)

// trialPrinter prints a line for each finished trial. On a terminal, it also shows the trials in progress as a status
// line. It is safe for concurrent use.
type trialPrinter struct {
	progress, notes io.Writer
	statusLine      *statusLine // nil if the progress does not go to a terminal
	begun           time.Time

	mu sync.Mutex // guards the fields below
	// running has the trials in progress, the oldest first.
	running []profile.Trial
	// done is the number of finished trials, total an estimate of their number.
	done, total int
	// tried has the sets of the finished trials, except that of the container's own flags.
	tried map[capability.Set]bool
	// fails and works have the members of the list without which alone the outcome differed or stayed the same.
	fails, works capability.Set
}

func newTrialPrinter(progress, notes io.Writer) *trialPrinter {
	return &trialPrinter{progress: progress, notes: notes, statusLine: statusLineOf(progress), begun: time.Now(), total: 2, tried: make(map[capability.Set]bool)}
}

func (t *trialPrinter) register(options *verify.Options) {
	options.BeforeTrial = func(trial profile.Trial) {
		t.start(trial)
		if t.statusLine != nil {
			t.statusLine.show(t.status(time.Now()))
		}
	}
	options.AfterTrial = func(trial profile.Trial) { printLine(t.progress, t.finish(trial)) }
	options.SlowTrial = func(trial profile.Trial, after, limit time.Duration) {
		printLine(t.progress, fmt.Sprintf("%s: still running after %s; verify ends it after %s", t.describe(trial), after.Round(time.Second), limit))
	}
	options.Note = func(note string) { printLine(t.notes, "note: "+printable.Lines(note)) }
}

// showStatus shows the trials in progress, if the output is a terminal, until the caller calls stop.
func (t *trialPrinter) showStatus() (stop func()) {
	if t.statusLine == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var showing sync.WaitGroup
	showing.Go(func() { showStatus(ctx, t.statusLine, t.status) })
	return func() {
		cancel()
		showing.Wait()
	}
}

// start records that a trial runs. verify starts a trial again if the host may have decided the outcome.
func (t *trialPrinter) start(trial profile.Trial) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !slices.ContainsFunc(t.running, sameGrants(trial)) {
		t.running = append(t.running, trial)
	}
}

// finish records the result of a trial, and returns it as one line.
func (t *trialPrinter) finish(trial profile.Trial) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running = slices.DeleteFunc(t.running, sameGrants(trial))
	t.done++
	if t.done == 2 { // the list was tried; then one trial without each member, and one with the remaining list
		t.total += trial.Set.Len() + 1
	}
	result := report.TrialResult(trial, t.again(trial))
	if trial.Original {
		return result
	}
	t.tried[trial.Set] = true
	if trial.Without.Len() == 1 && trial.With.Empty() {
		switch {
		case trial.Same:
			t.works = t.works.Union(trial.Without)
		case len(slices.Compact(slices.Clone(trial.Outcomes))) == 1:
			t.fails = t.fails.Union(trial.Without)
		}
	}
	return result
}

// sameGrants returns whether other trials grant the same as this one.
func sameGrants(trial profile.Trial) func(profile.Trial) bool {
	return func(other profile.Trial) bool { return other.Original == trial.Original && other.Set == trial.Set }
}

// again reports whether an earlier trial has granted the same set.
func (t *trialPrinter) again(trial profile.Trial) bool { return !trial.Original && t.tried[trial.Set] }

func (t *trialPrinter) describe(trial profile.Trial) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return report.DescribeTrial(trial, t.again(trial))
}

// status returns the progress as one line: the trials in progress, and what the finished ones have shown.
func (t *trialPrinter) status(now time.Time) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	elapsed := shortDuration(now.Sub(t.begun).Truncate(time.Second))
	parts := []string{t.inProgress(elapsed)}
	if !t.fails.Empty() {
		parts = append(parts, "fails without "+t.fails.Text())
	}
	if !t.works.Empty() {
		parts = append(parts, "works without "+t.works.Text())
	}
	return strings.Join(parts, "; ")
}

// inProgress describes the trials in progress. If verify can drop a member, there are more trials than estimated.
func (t *trialPrinter) inProgress(elapsed string) string {
	if len(t.running) == 0 && t.done == 0 {
		return "preparing the first trial, " + elapsed
	}
	t.total = max(t.total, t.done+len(t.running))
	if len(t.running) == 0 {
		return fmt.Sprintf("%d of about %d trials done, %s", t.done, t.total, elapsed)
	}
	first := t.running[0]
	text := fmt.Sprintf("trial %d of about %d, %s: %s", t.done+1, t.total, elapsed, report.DescribeTrial(first, t.again(first)))
	if more := len(t.running) - 1; more > 0 {
		text += fmt.Sprintf(" and %s at the same time", plural(uint64(more), "other trial"))
	}
	return text
}

func printLine(out io.Writer, text string) { fmt.Fprintln(out, "capmon:", text) }
