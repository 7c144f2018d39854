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

	"github.com/capmon/capmon/capability"
)

// comparison is a workload with its measurement.
type comparison struct {
	workload
	measured
	// fails is the error of a run with the list First, or nil if the workload works with it.
	fails error
}

// measured is the measurement of a workload, which compare stores in measured.json.
type measured struct {
	// Naive is the list of a recorder that counts every granted check of the container and sees only checks.
	Naive capability.Set
	// First is capmon's list for a run with all capabilities that the software's users grant.
	First list
	// Again is capmon's list for a run with First, or nil if the software does not work with First.
	Again list
	// Proved is the list that capmon verify proves in a separate run, or nil if compare did not run verify.
	Proved *capability.Set
}

func (c command) compareOne(ctx context.Context, w workload) (comparison, error) {
	result := comparison{workload: w}
	if w.truth == nil {
		return result, fmt.Errorf("%s: the truth is unknown: run corpus truth -update %s", w.name, w.name)
	}
	seen, err := c.profile(ctx, w, w.granted())
	if errors.As(err, new(failure)) {
		err = fmt.Errorf("%s fails with all capabilities that its users grant: %v", w.name, err)
	}
	if err != nil {
		return result, err
	}
	for _, use := range seen.Uses {
		if use.Granted && use.Class != "implicit" {
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

// profileAgain profiles the workload with only the list First, and sets Again or fails.
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

// prove returns the list that capmon verify proves for the workload, with a new profile.
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

// check returns an error if the results differ from truth.json and workload.json, or if workload.json explains a
// deviation that capmon does not have.
func (r comparison) check() error {
	var problems []error
	problem := func(format string, args ...any) {
		problems = append(problems, fmt.Errorf("%s: "+format, append([]any{r.name}, args...)...))
	}
	excess, missing := r.deviation(members(r.First))
	if known := members(r.Excess); excess != known {
		problem("the list has the unneeded %v, but workload.json expects %v: observed %v, truth %v", excess, known, r.First, r.truth)
	}
	if known := members(r.Missing); missing != known {
		problem("the list lacks the needed %v, but workload.json expects %v: observed %v, truth %v", missing, known, r.First, r.truth)
	}
	if r.Proved != nil && !slices.Contains(r.truth, *r.Proved) {
		problem("capmon verify proves %v, truth %v", *r.Proved, r.truth)
	}
	if works := r.Again != nil; works != missing.Empty() {
		problem("the list lacks %v, but a run with %v ended with this error: %v", missing, r.First, r.fails)
	}
	if got, known := members(r.differences()), members(r.Differs); got != known {
		problem("in a run with its own list, capmon lists or marks [%v] differently, but workload.json expects [%v]: %s", got, known, described(r.differences()))
	}
	return errors.Join(problems...)
}

// differences describes the differences between First and Again.
func (r comparison) differences() map[capability.Capability]string {
	if r.Again == nil {
		return nil
	}
	return r.First.differences(r.Again)
}

// checkStored returns an error if capmon lists or marks something other than the stored measurement.
func (r comparison) checkStored() error {
	if r.stored == nil {
		return fmt.Errorf("%s: no stored measurement: run corpus compare -update %s", r.name, r.name)
	}
	if changes := r.stored.First.differences(r.First); len(changes) > 0 {
		return fmt.Errorf("%s: capmon's list differs from the stored one (if that is right, run corpus compare -update %s): %s", r.name, r.name, described(changes))
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

// store stores the measurement with -update. Otherwise it compares the measurement with the stored one.
func (c command) store(r comparison) error {
	if c.update {
		return r.saveMeasured(r.measured)
	}
	return r.checkStored()
}
