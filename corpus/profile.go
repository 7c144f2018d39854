package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/capmon/capmon/capability"
)

// report has the fields of capmon's JSON report that corpus reads.
type report struct{ Containers []profiled }

type profiled struct {
	Complete   bool
	Incomplete []string

	Required, Implicit, Soft, Unsure capability.Set

	Uses []use
}

// use is one pattern of use, with all its fields except times.
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

func (p profiled) list() list {
	all := make(list)
	for _, c := range p.Required.Union(p.Implicit).Union(p.Soft).Sorted() {
		switch {
		case p.Soft.Has(c):
			all[c] = soft
		case p.Unsure.Has(c):
			all[c] = unsure
		default:
			all[c] = unmarked
		}
	}
	return all
}

// profile returns capmon's report of one run of the workload with the granted capabilities. A second capmon, which
// walks the stack at every check, observes the same run and must report the same uses. The error is a failure if the
// workload fails.
func (c command) profile(ctx context.Context, w workload, granted capability.Set) (profiled, error) {
	directory, err := os.MkdirTemp("", "corpus.")
	if err != nil {
		return profiled{}, err
	}
	defer os.RemoveAll(directory)
	caching, walking := filepath.Join(directory, "caching"), filepath.Join(directory, "walking")
	cmd := exec.CommandContext(ctx, c.capmon, "profile", "--save", caching, "--",
		c.capmon, "profile", "--walk", "--save", walking, "--",
		c.self, "run", "-directory", c.directory, "-caps", granted.String(), w.name)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState != nil && cmd.ProcessState.ExitCode() == workloadFails {
		return profiled{}, failure{string(out)}
	}
	if err != nil {
		return profiled{}, fmt.Errorf("running %s under capmon: %w\n%s", w.name, err, out)
	}
	seen, err := c.report(ctx, caching)
	if err != nil {
		return profiled{}, fmt.Errorf("%s: %w", w.name, err)
	}
	walked, err := c.report(ctx, walking)
	if err != nil {
		return profiled{}, fmt.Errorf("%s, walking: %w", w.name, err)
	}
	if difference := differing(seen.Uses, walked.Uses); difference != "" {
		return profiled{}, fmt.Errorf("%s: call sites from the cache differ from those of stack walks:\n%s", w.name, difference)
	}
	return seen, nil
}

// report returns capmon's report of a saved profile, which must have one complete container.
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
		return profiled{}, fmt.Errorf("the report does not have exactly one complete container: %+v", r)
	}
	return r.Containers[0], nil
}

// differing lists the uses that are only in one of the reports, one per line.
func differing(cached, walked []use) string {
	lines := make(map[string]int)
	for _, u := range cached {
		lines[fmt.Sprintf("%+v", u)]++
	}
	for _, u := range walked {
		lines[fmt.Sprintf("%+v", u)]--
	}
	var list []string
	for line, n := range lines {
		switch {
		case n > 0:
			list = append(list, "from the cache: "+line)
		case n < 0:
			list = append(list, "from stack walks: "+line)
		}
	}
	slices.Sort(list)
	return strings.Join(list, "\n")
}
