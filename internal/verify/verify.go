package verify

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/observe"
	"github.com/capmon/capmon/internal/profile"
)

// Options of Verify.
type Options struct {
	Docker   *container.Docker
	Observer *observe.Observer
	Command  Command
	// Profile proposes the list; nil to take one first.
	Profile *profile.Profile
	// Test is a shell command that decides; without one the exit status does.
	Test string
	// ExpectExit is the exit status with which the workload succeeds, without a test.
	ExpectExit int
	// Timeout is the longest that a start may take. If it is 0, that is 5 minutes under the original
	// flags, and then 10 times as long as that took, but at least 30 seconds.
	Timeout time.Duration
	// Repeat is how often each set is run, Jobs how many sets at a time: at least 1.
	Repeat, Jobs int
	// KeepGoing searches among all that is granted if the list is not enough.
	KeepGoing bool
	// SharedVolumes allows writing where another container has its data.
	SharedVolumes bool
	// SecondStart starts each container, or one with the same volumes, a second time.
	SecondStart bool

	// Trying and Tried are told of each trial before and after, one at a time; nil for
	// nobody.
	Trying, Tried func(profile.Trial)
	// Hanging is told of a trial that takes long: how long until now, and when it will be ended.
	Hanging func(trial profile.Trial, after, limit time.Duration)
	// Note is told what else there is to know; nil for nobody.
	Note func(string)
}

func (o Options) note(format string, args ...any) {
	if o.Note != nil {
		o.Note(fmt.Sprintf(format, args...))
	}
}

// Verify proves what the command's workload needs. The profile returned has the
// proof, and the runs that the list is from. If ctx ends, the proof has what was shown
// until then; it does not say that a set works if that is nothing. Whatever happens,
// none of the containers started here is left when it returns.
func Verify(ctx context.Context, o Options) (p profile.Profile, proof profile.Proof, err error) {
	b, err := newBench(o)
	if err != nil {
		return p, proof, err
	}
	cleared, err := b.clear(ctx)
	if err != nil {
		return p, proof, b.reason(ctx, err)
	}
	switch cleared {
	case 0:
	case 1:
		o.note("removed 1 container that a verify which was killed had left")
	default:
		o.note("removed %d containers that verifies which were killed had left", cleared)
	}
	defer func() {
		if closeErr := b.close(ctx); err == nil {
			err = closeErr
		}
	}()
	if err := b.inspect(ctx, o.SharedVolumes); err != nil {
		return p, proof, err
	}
	for _, note := range o.Command.notes() {
		o.note("%s", note)
	}
	for _, m := range b.shared {
		o.note("the runs share %s: what one leaves there the next one finds, which may hide a need", describe(m))
	}
	t := &trials{bench: b, options: o, doubts: make(map[int]string)}
	original, err := t.baseline(ctx)
	if err != nil {
		return p, proof, err
	}
	t.refused = original.Denied
	p, summary, err := t.proposal(original)
	if err != nil {
		return p, proof, err
	}
	proof, err = t.prove(ctx, original, summary, t.noteSecondStart(original))
	if err != nil && !proof.Works {
		return profile.Profile{}, profile.Proof{}, err
	}
	return profile.Merge(p, profile.Profile{Proofs: []profile.Proof{proof}}), proof, err
}

// baseline runs the workload under its own flags. What does not work there cannot
// be compared with anything.
func (t *trials) baseline(ctx context.Context) (attempt, error) {
	a, err := t.try(ctx, nil)
	if err != nil {
		return a, err
	}
	for _, e := range a.ended {
		switch {
		case e.broken && strings.HasPrefix(e.outcome, "no end"):
			advice := "if it is not meant to end by itself, say with --test CMD how to see that it works (--test true if its HEALTHCHECK tells); else --timeout gives it more time"
			if t.options.Test != "" {
				advice = "the test did not end, or the container did not become healthy or did not listen on a port that the test names: --timeout gives them more time"
			}
			return a, fmt.Errorf("the workload under its own flags: %s; %s", e.outcome, advice)
		case e.broken:
			return a, fmt.Errorf("the container does not start under its own flags: %s", e.output)
		}
	}
	t.compareSecondStart(&a)
	if t.options.Test != "" {
		return a, t.expectPass(&a)
	}
	return a, t.expectExit(&a)
}

// expectExit makes the exit status of success the outcome to compare with. A run that fails proves
// nothing: what it does not come to may need anything.
func (t *trials) expectExit(a *attempt) error {
	if t.expect(a) {
		return nil
	}
	first := a.ended[0]
	if t.options.ExpectExit != 0 {
		return fmt.Errorf("the workload ends with %s under its own flags, not with the %d of --expect-exit%s", first.outcome, t.options.ExpectExit, quoted(first.output))
	}
	return fmt.Errorf("the workload fails under its own flags: %s%s: a run that fails proves nothing; if this exit status means success, say so with --expect-exit %s",
		first.outcome, quoted(first.output), strings.TrimPrefix(first.outcome, "exit status "))
}

// expect makes the outcome of the first success the one to compare with, and reports whether there
// is one.
func (t *trials) expect(a *attempt) (found bool) {
	a.Same = true
	for _, e := range a.ended {
		success := e.outcome == t.bench.success
		a.Same = a.Same && success
		if success && !found {
			t.original, found = e.words(), true
		}
	}
	return found
}

// expectPass makes a test that passes the outcome to compare with, and the
// container's ending, unless that says nothing: one that has to be killed anyway, or
// ends now so and now so.
func (t *trials) expectPass(a *attempt) error {
	if !t.expect(a) {
		return fmt.Errorf("the test fails although everything is granted: %s%s; nothing was tried", a.Outcomes[0], quoted(a.ended[0].output))
	}
	var ways []ending
	for _, e := range a.ended {
		for _, start := range []*ended{&e, e.second} {
			if start != nil && start.outcome == passed && !slices.Contains(ways, start.ending) {
				ways = append(ways, start.ending)
			}
		}
	}
	switch killed := slices.IndexFunc(ways, func(way ending) bool { return way.killed }); {
	case killed >= 0:
		t.compareNoEnding("it " + ways[killed].words)
	case len(ways) > 1:
		t.compareNoEnding(fmt.Sprintf("it ended now so and now so (%s, %s)", ways[0].words, ways[1].words))
	}
	return nil
}

func (t *trials) compareNoEnding(reason string) {
	t.options.note("under its own flags %s: how it ends is not compared", reason)
	expected := ended{outcome: passed}
	if t.bench.second != none {
		expected.second = &ended{outcome: passed}
	}
	t.original, t.bench.kills = expected.words(), true
}

func quoted(line string) string {
	if line == "" {
		return ""
	}
	return fmt.Sprintf(" (%q)", line)
}

// proposal is what is to be proved: the needs of the profile given or of the
// original run.
func (t *trials) proposal(original attempt) (profile.Profile, profile.Summary, error) {
	var runs []profile.Run
	for _, e := range original.ended {
		runs = append(runs, e.all()...)
	}
	taken := profile.New(runs...)
	if t.options.Profile == nil {
		summaries := profile.Summaries(taken)
		if len(summaries) != 1 || !summaries[0].Started {
			return taken, profile.Summary{}, errors.New("capmon saw no workload in the container: does it run on this kernel? See capmon doctor")
		}
		return taken, summaries[0], nil
	}
	summary, err := choose(*t.options.Profile, t.bench.container)
	if err == nil && summary.Container.ImageID != t.bench.container.ImageID {
		t.options.note("the profile is of another build of %s: it is verified as it is now", summary.Container.Image)
	}
	return *t.options.Profile, summary, err
}

// choose finds the container in the profile that the command starts.
func choose(p profile.Profile, wanted profile.Container) (profile.Summary, error) {
	var found []profile.Summary
	var others []string
	for _, s := range profile.Summaries(p) {
		if s.Started && s.Container.Image == wanted.Image {
			found = append(found, s)
		}
		others = append(others, s.Container.Name+" of "+s.Container.Image)
	}
	if named := slices.IndexFunc(found, func(s profile.Summary) bool { return s.Container.Name == wanted.Name }); named >= 0 {
		return found[named], nil
	}
	switch len(found) {
	case 0:
		return profile.Summary{}, fmt.Errorf("the profile has no workload of image %s: it has %s", wanted.Image, strings.Join(others, ", "))
	case 1:
		return found[0], nil
	}
	return profile.Summary{}, fmt.Errorf("the profile has several containers of image %s: choose one by its --name: %s", wanted.Image, strings.Join(others, ", "))
}

// prove tries the list, with what a second start needs more, and less and less of it.
func (t *trials) prove(ctx context.Context, original attempt, s profile.Summary, more capability.Set) (profile.Proof, error) {
	proof := profile.Proof{
		ID: rand.Text(), Time: time.Now().UTC(), Command: t.options.Command.Line(), Service: t.options.Command.serviceName(), Test: t.options.Test, Repeat: t.options.Repeat,
		Container: s.Container, Observed: s.Needs().Union(more), Set: s.Needs().Union(more), SecondStart: t.bench.second != none,
	}
	proof.Container.ImageID, proof.Container.Labels = t.bench.container.ImageID, nil
	err := t.search(ctx, &proof, original, s)
	proof.Trials = t.done
	return proof, err
}
