package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/capmon/capmon/internal/capability"
)

// comparison is a workload and what was measured of it.
type comparison struct {
	workload
	measured
	// fails is why the workload does not work with the list; nil if it does.
	fails error
}

// measured is what compare finds out about a workload, and stores beside the truth.
type measured struct {
	// Naive is what a recorder says that counts every granted check of the container,
	// and sees nothing but checks.
	Naive capability.Set
	// First is what capmon lists for a run with all that the software's users grant.
	First list
	// Again is what it lists for a run with the first list; nil if the software does not work with that.
	Again list
	// Proved is what capmon verify leaves of a list of its own; nil if it was not asked.
	Proved *capability.Set
}

func (c command) compareOne(ctx context.Context, w workload) (comparison, error) {
	result := comparison{workload: w}
	if w.truth == nil {
		return result, fmt.Errorf("%s: its truth is not known: corpus truth -update %s", w.name, w.name)
	}
	seen, err := c.profile(ctx, w, w.granted())
	if errors.As(err, new(failure)) {
		err = fmt.Errorf("%s fails with all that its users grant: %v", w.name, err)
	}
	if err != nil {
		return result, err
	}
	for _, use := range seen.Uses {
		if use.Granted && use.Class != "demanded" {
			result.Naive = result.Naive.With(use.Capability)
		}
	}
	result.First = seen.list()
	if err := c.profileAgain(ctx, &result); err != nil {
		return result, err
	}
	if c.verify || c.update {
		result.Proved, err = c.prove(ctx, w)
	}
	return result, err
}

// profileAgain runs the workload with the list and nothing else. The list has to be enough, and
// capmon has to list the same again.
func (c command) profileAgain(ctx context.Context, r *comparison) error {
	seen, err := c.profile(ctx, r.workload, members(r.First))
	switch {
	case errors.As(err, new(failure)):
		r.fails = err
	case err != nil:
		return err
	default:
		r.Again = seen.list()
	}
	return nil
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

// check returns an error if capmon is wrong where the workload does not say so, or
// right where it says otherwise.
func (r comparison) check() error {
	var problems []error
	complain := func(format string, args ...any) {
		problems = append(problems, fmt.Errorf("%s: "+format, append([]any{r.name}, args...)...))
	}
	excess, missing := r.deviation(members(r.First))
	if known := members(r.Excess); excess != known {
		complain("too many are %v, not %v: observed %v, truth %v", excess, known, r.First, r.truth)
	}
	if known := members(r.Missing); missing != known {
		complain("missing are %v, not %v: observed %v, truth %v", missing, known, r.First, r.truth)
	}
	if r.Proved != nil && !slices.Contains(r.truth, *r.Proved) {
		complain("capmon verify says %v, truth %v", *r.Proved, r.truth)
	}
	if works := r.Again != nil; works != missing.Empty() {
		complain("missing are %v, but with %v it does this: %v", missing, r.First, r.fails)
	}
	if got, known := members(r.differences()), members(r.Differs); got != known {
		complain("in a run with its list capmon lists or marks [%v] otherwise, not [%v]: %s", got, known, described(r.differences()))
	}
	return errors.Join(problems...)
}

// differences are between the list and that of a run with it.
func (r comparison) differences() map[capability.Capability]string {
	if r.Again == nil {
		return nil
	}
	return r.First.differences(r.Again)
}

// checkStored returns an error if capmon lists or marks something else than when the
// measurement was stored.
func (r comparison) checkStored() error {
	if r.stored == nil {
		return fmt.Errorf("%s: was not measured yet: corpus compare -update %s", r.name, r.name)
	}
	if changes := r.stored.First.differences(r.First); len(changes) > 0 {
		return fmt.Errorf("%s: not what was stored by corpus compare -update: %s", r.name, described(changes))
	}
	return nil
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
		problems = append(problems, result.check(), c.store(result))
	}
	writeTables(out, results)
	return errors.Join(problems...)
}

// store updates what is stored, or compares with it.
func (c command) store(r comparison) error {
	if c.update {
		return r.saveMeasured(r.measured)
	}
	return r.checkStored()
}
