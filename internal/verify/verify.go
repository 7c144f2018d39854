package verify

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/observe"
	"github.com/capmon/capmon/internal/profile"
)

// Options are the settings of [Verify].
type Options struct {
	Docker   *container.Docker
	Observer *observe.Observer
	Command  Command
	// Profile has the list to prove. If it is nil, verify first observes a run.
	Profile *profile.Profile
	// Test is a shell command whose exit status is the outcome. Without a test, the exit status of the workload is the
	// outcome.
	Test string
	// ExpectExit is the exit status with which the workload succeeds, if there is no test.
	ExpectExit int
	// Timeout is the time limit of a start. If it is 0, the limit is 5 minutes under the original flags. After that, it
	// is 10 times the duration of that start, but at least 30 seconds.
	Timeout time.Duration
	// Repeat is the number of runs of each set, Jobs the number of sets at the same time. Both are at least 1.
	Repeat, Jobs int
	// KeepGoing searches among all granted capabilities if the list is not enough.
	KeepGoing bool
	// SharedVolumes allows runs to write to volumes and directories that another container uses.
	SharedVolumes bool
	// SecondStart starts each container, or another one with the same volumes, a second time.
	SecondStart bool

	// BeforeTrial and AfterTrial are called before and after each trial, never at the same time. They may be nil.
	BeforeTrial, AfterTrial func(profile.Trial)
	// SlowTrial is called if a trial takes long. after is its duration until now, limit is when verify ends it.
	SlowTrial func(trial profile.Trial, after, limit time.Duration)
	// Note receives other messages for the user. It may be nil.
	Note func(string)
}

func (o Options) note(format string, args ...any) {
	if o.Note != nil {
		o.Note(fmt.Sprintf(format, args...))
	}
}

// Verify proves which capabilities the command's workload needs. The returned profile has the proof and the runs that
// the list comes from. If ctx ends, the proof has what was shown until then; Works is false if the list was not tried.
// None of the containers that Verify has started exist when it returns.
func Verify(ctx context.Context, o Options) (p profile.Profile, proof profile.Proof, err error) {
	x, err := newExecutor(o)
	if err != nil {
		return p, proof, err
	}
	cleared, err := x.removeStale(ctx)
	if err != nil {
		return p, proof, x.explain(ctx, err)
	}
	switch cleared {
	case 0:
	case 1:
		o.note("removed 1 container that a killed verify had left")
	default:
		o.note("removed %d containers that killed verify processes had left", cleared)
	}
	defer func() {
		if closeErr := x.close(ctx); err == nil {
			err = closeErr
		}
	}()
	if err := x.inspect(ctx, o.SharedVolumes); err != nil {
		return p, proof, err
	}
	for _, note := range o.Command.notes() {
		o.note("%s", note)
	}
	for _, m := range x.shared {
		o.note("the runs share %s: a run finds what earlier runs left there, which may hide a need", mountName(m))
	}
	t := &trials{executor: x, options: o, doubts: make(map[int]string)}
	original, err := t.baseline(ctx)
	if err != nil {
		return p, proof, err
	}
	t.denied = original.Denied
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

// baseline runs the workload under its own flags. If that fails, there is nothing to compare other runs with.
func (t *trials) baseline(ctx context.Context) (attempt, error) {
	a, err := t.try(ctx, nil)
	if err != nil {
		return a, err
	}
	for _, e := range a.results {
		switch {
		case e.broken && strings.HasPrefix(e.outcome, "no end"):
			advice := "if it does not end by itself, check with --test COMMAND that it works (--test true if its HEALTHCHECK is sufficient); otherwise, set a longer --timeout"
			if t.options.Test != "" {
				advice = "the test did not end, or the container did not become healthy or did not listen on a port that the test uses: set a longer --timeout"
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

// expectExit sets the expected outcome to the exit status of success. A run that fails proves nothing, because the
// steps that it does not reach may need anything.
func (t *trials) expectExit(a *attempt) error {
	if t.expect(a) {
		return nil
	}
	first := a.results[0]
	if t.options.ExpectExit != 0 {
		return fmt.Errorf("the workload ends with %s under its own flags, not with %d as --expect-exit says%s", first.outcome, t.options.ExpectExit, quoted(first.output))
	}
	return fmt.Errorf("the workload fails under its own flags: %s%s: a run that fails proves nothing; if this exit status means success, use --expect-exit %s",
		first.outcome, quoted(first.output), strings.TrimPrefix(first.outcome, "exit status "))
}

// expect sets the expected outcome to that of the first success, and reports whether there is one.
func (t *trials) expect(a *attempt) (found bool) {
	a.Same = true
	for _, e := range a.results {
		success := e.outcome == t.executor.success
		a.Same = a.Same && success
		if success && !found {
			t.original, found = e.words(), true
		}
	}
	return found
}

// expectPass sets the expected outcome to a passed test and the end of the container. The end is not part of it if it
// is not reliable: if verify had to kill the container, or if it does not end in the same way each time.
func (t *trials) expectPass(a *attempt) error {
	if !t.expect(a) {
		return fmt.Errorf("the test fails under the container's own flags: %s%s; verify tried nothing else", a.Outcomes[0], quoted(a.results[0].output))
	}
	var ends []containerEnd
	for _, e := range a.results {
		for _, start := range []*runResult{&e, e.second} {
			if start != nil && start.outcome == passed && !slices.Contains(ends, start.ending) {
				ends = append(ends, start.ending)
			}
		}
	}
	switch killed := slices.IndexFunc(ends, func(end containerEnd) bool { return end.killed }); {
	case killed >= 0:
		t.compareNoEnding("it " + ends[killed].words)
	case len(ends) > 1:
		t.compareNoEnding(fmt.Sprintf("it did not end in the same way each time (%s, %s)", ends[0].words, ends[1].words))
	}
	return nil
}

func (t *trials) compareNoEnding(reason string) {
	t.options.note("under its own flags %s: verify does not compare how it ends", reason)
	expected := runResult{outcome: passed}
	if t.executor.second != none {
		expected.second = &runResult{outcome: passed}
	}
	t.original, t.executor.skipsStop = expected.words(), true
}

func quoted(line string) string {
	if line == "" {
		return ""
	}
	return fmt.Sprintf(" (%q)", line)
}

// proposal returns the profile with the list to prove: the given one, or that of the original run.
func (t *trials) proposal(original attempt) (profile.Profile, profile.Summary, error) {
	var runs []profile.Run
	for _, e := range original.results {
		runs = append(runs, e.all()...)
	}
	taken := profile.New(runs...)
	if t.options.Profile == nil {
		summaries := profile.Summaries(taken)
		if len(summaries) != 1 || !summaries[0].Started {
			return taken, profile.Summary{}, errors.New("capmon saw no workload in the container: perhaps the container does not run on this kernel, for example in a virtual machine; run capmon doctor")
		}
		return taken, summaries[0], nil
	}
	summary, err := choose(*t.options.Profile, t.executor.container)
	if err == nil && summary.Container.ImageID != t.executor.container.ImageID {
		t.options.note("the profile is of another build of %s: verify runs the current build", summary.Container.Image)
	}
	return *t.options.Profile, summary, err
}

// choose returns the container in the profile that the command starts.
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
		return profile.Summary{}, fmt.Errorf("the profile has no workload of image %s, but it has %s", wanted.Image, strings.Join(others, ", "))
	case 1:
		return found[0], nil
	}
	return profile.Summary{}, fmt.Errorf("the profile has several containers of image %s: add to the command line the --name of one of %s", wanted.Image, strings.Join(others, ", "))
}

// prove tries the list, with what a second start needs in addition, and then smaller and smaller sets.
func (t *trials) prove(ctx context.Context, original attempt, s profile.Summary, more capability.Set) (profile.Proof, error) {
	proof := profile.Proof{
		ID: rand.Text(), Time: time.Now().UTC(), Command: t.options.Command.Line(), Service: t.options.Command.serviceName(), Test: t.options.Test, Repeat: t.options.Repeat,
		Container: s.Container, Observed: s.Needs().Union(more), Set: s.Needs().Union(more), SecondStart: t.executor.second != none, Recorder: t.options.Observer.Recorder(ctx),
	}
	proof.Container.ImageID, proof.Container.Labels = t.executor.container.ImageID, nil
	err := t.search(ctx, &proof, original, s)
	proof.Trials = t.done
	return proof, err
}
