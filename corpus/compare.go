package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/capmon/capmon/internal/capability"
)

// comparison is what was measured of a workload.
type comparison struct {
	workload
	// naive is what a recorder says that counts every granted check of the container,
	// and sees nothing but checks.
	naive, observed capability.Set
	excess, missing capability.Set
	// proved is what capmon verify leaves of that; nil if it was not asked.
	proved *capability.Set
	// fails is why the workload does not work with what capmon observed; nil if it does.
	fails error
}

// report is what is read of capmon's JSON.
type report struct{ Containers []profiled }

type profiled struct {
	Complete   bool
	Incomplete []string

	Required, Demanded, Soft capability.Set

	Uses []use
}

// use is one kind of check, with all that was said of it but the time.
type use struct {
	Capability     capability.Capability
	Class, Program string
	Reason, Unsure string
	Call, Site     string
	Stack          []string
	Granted, Entry bool
	User           uint32
	Count          uint64
}

func (c command) compareOne(ctx context.Context, w workload) (comparison, error) {
	result := comparison{workload: w}
	if w.truth == nil {
		return result, fmt.Errorf("%s: its truth is not known: corpus truth -update %s", w.name, w.name)
	}
	seen, err := c.profile(ctx, w)
	if err != nil {
		return result, err
	}
	for _, use := range seen.Uses {
		if use.Granted && use.Class != "demanded" {
			result.naive = result.naive.With(use.Capability)
		}
	}
	result.observed = seen.Required.Union(seen.Demanded).Union(seen.Soft)
	result.excess, result.missing = w.deviation(result.observed)
	result.fails = w.run(ctx, result.observed)
	if result.fails != nil && !errors.As(result.fails, new(failure)) {
		return result, result.fails
	}
	if c.verify {
		result.proved, err = c.prove(ctx, w)
	}
	return result, err
}

// prove is what capmon verify makes of the workload, which takes a profile of its own.
func (c command) prove(ctx context.Context, w workload) (*capability.Set, error) {
	args := []string{"verify", "-o", "json", "--test", filepath.Join(w.directory, "test.sh"), "--", "docker", "run"}
	for _, c := range w.Adds.Sorted() {
		args = append(args, "--cap-add="+c.String())
	}
	cmd := exec.CommandContext(ctx, c.capmon, append(append(append(args, w.Options...), "corpus-"+w.name), w.Command...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	failed := cmd.Run()
	var proof struct{ Set *capability.Set }
	if err := json.Unmarshal(stdout.Bytes(), &proof); err != nil || proof.Set == nil {
		return nil, fmt.Errorf("%s: capmon verify: %w\n%s", w.name, errors.Join(failed, err), &stderr)
	}
	return proof.Set, nil
}

// profile is what capmon says of one run of the workload with all that its users grant. Another
// one that walks the stack at every check has to say the same.
func (c command) profile(ctx context.Context, w workload) (profiled, error) {
	directory, err := os.MkdirTemp("", "corpus.")
	if err != nil {
		return profiled{}, err
	}
	defer os.RemoveAll(directory)
	remembering, walking := filepath.Join(directory, "remembering"), filepath.Join(directory, "walking")
	out, err := exec.CommandContext(ctx, c.capmon, "profile", "--save", remembering, "--",
		c.capmon, "profile", "--walk", "--save", walking, "--",
		c.self, "run", "-directory", c.directory, w.name).CombinedOutput()
	if err != nil {
		return profiled{}, fmt.Errorf("%s under capmon: %w\n%s", w.name, err, out)
	}
	seen, err := c.report(ctx, remembering)
	if err != nil {
		return profiled{}, fmt.Errorf("%s: %w", w.name, err)
	}
	walked, err := c.report(ctx, walking)
	if err != nil {
		return profiled{}, fmt.Errorf("%s, walking: %w", w.name, err)
	}
	if difference := differing(seen.Uses, walked.Uses); difference != "" {
		return profiled{}, fmt.Errorf("%s: call sites told from memory are not those of walks:\n%s", w.name, difference)
	}
	return seen, nil
}

// report is what capmon makes of a saved profile, which has to be of one complete container.
func (c command) report(ctx context.Context, file string) (profiled, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, c.capmon, "report", "-o", "json", file)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return profiled{}, fmt.Errorf("capmon report: %w\n%s", err, &stderr)
	}
	var r report
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
		return profiled{}, fmt.Errorf("capmon's report: %w", err)
	}
	if len(r.Containers) != 1 || !r.Containers[0].Complete {
		return profiled{}, fmt.Errorf("capmon saw something else than one complete container: %+v", r)
	}
	return r.Containers[0], nil
}

// differing lists the uses that are not the same in both, a line each.
func differing(remembered, walked []use) string {
	lines := make(map[string]int)
	for _, u := range remembered {
		lines[fmt.Sprintf("%+v", u)]++
	}
	for _, u := range walked {
		lines[fmt.Sprintf("%+v", u)]--
	}
	var list []string
	for line, n := range lines {
		switch {
		case n > 0:
			list = append(list, "from memory: "+line)
		case n < 0:
			list = append(list, "from walks: "+line)
		}
	}
	slices.Sort(list)
	return strings.Join(list, "\n")
}

// check returns an error if capmon is wrong where the workload does not say so, or
// right where it says otherwise.
func (r comparison) check() error {
	var problems []error
	complain := func(format string, args ...any) {
		problems = append(problems, fmt.Errorf("%s: "+format, append([]any{r.name}, args...)...))
	}
	if known := known(r.Excess); r.excess != known {
		complain("too many are %v, not %v: observed %v, truth %v", r.excess, known, r.observed, r.truth)
	}
	if known := known(r.Missing); r.missing != known {
		complain("missing are %v, not %v: observed %v, truth %v", r.missing, known, r.observed, r.truth)
	}
	if r.proved != nil && !slices.Contains(r.truth, *r.proved) {
		complain("capmon verify says %v, truth %v", *r.proved, r.truth)
	}
	if works := r.fails == nil; works != r.missing.Empty() {
		complain("missing are %v, but with %v it does this: %v", r.missing, r.observed, r.fails)
	}
	return errors.Join(problems...)
}

func (c command) compare(ctx context.Context, workloads []workload, out io.Writer) error {
	var results []comparison
	var problems []error
	for _, w := range workloads {
		result, err := c.compareOne(ctx, w)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		results = append(results, result)
		problems = append(problems, result.check())
	}
	return errors.Join(append(problems, writeTable(out, c.format, results))...)
}
