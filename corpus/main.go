// Command corpus measures capmon with real software: it finds by trial which capabilities the software needs, and
// compares them with capmon's lists.
//
//	corpus run [-caps LIST] NAME...    run the workloads and their tests; exit with 3 if one fails
//	corpus truth [NAME...]             find the minimal sets; exit with 1 if they differ from the stored ones
//	corpus truth -update [NAME...]     find and store the minimal sets
//	corpus compare [NAME...]           compare capmon's lists with the truth, and with its lists for runs that
//	                                   have only these capabilities; exit with 1 if there is a difference that
//	                                   workload.json does not explain
//	corpus compare -update [NAME...]   also run capmon verify, and store the results
//	corpus table [NAME...]             print the stored results
//	corpus table -update               write all stored results to docs/precision.md
//
// Without NAME, a command handles all workloads. corpus needs root, a Docker daemon at DOCKER_HOST with the images of
// scripts/corpus-images.sh and, for compare, capmon.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/capmon/capmon/capability"
)

// workloadFails is the exit code if a workload fails. Other errors exit with 1.
const workloadFails = 3

type command struct {
	directory string
	// caps are the capabilities to run with, or nil for the default.
	caps *capability.Set
	// capmon and self are the paths of capmon and of this program.
	capmon, self    string
	update, verify  bool
	times, parallel int
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := execute(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "corpus:", err)
		if errors.As(err, new(failure)) {
			os.Exit(workloadFails)
		}
		os.Exit(1)
	}
}

func execute(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return errors.New("no command: the usage is corpus run|truth|compare|table [flags] [NAME...]")
	}
	var c command
	var err error
	if c.self, err = os.Executable(); err != nil {
		return err
	}
	flags := flag.NewFlagSet("corpus "+args[0], flag.ContinueOnError)
	flags.StringVar(&c.directory, "directory", "corpus", "the directory of the corpus")
	flags.StringVar(&c.capmon, "capmon", "bin/capmon", "compare: path of the capmon to measure")
	flags.Func("caps", "run: the capabilities to grant, separated by commas (default: those that users of the software grant)", func(list string) error {
		set, err := parseSet(list)
		c.caps = &set
		return err
	})
	flags.BoolVar(&c.update, "update", false, "truth, compare: store the results; table: write to docs/precision.md")
	flags.BoolVar(&c.verify, "verify", false, "compare: also prove the list with capmon verify (slow)")
	flags.IntVar(&c.times, "times", 2, "truth: find the minimal sets this many times; they must be the same each time")
	flags.IntVar(&c.parallel, "parallel", 2, "truth: number of workloads to run at the same time")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	workloads, err := load(c.directory, flags.Args())
	if err != nil {
		return err
	}
	switch args[0] {
	case "run":
		return c.run(ctx, workloads)
	case "truth":
		return c.truth(ctx, workloads, out)
	case "compare":
		return c.compare(ctx, workloads, out)
	case "table":
		if c.update {
			return c.updateDocumentation()
		}
		return c.table(workloads, out)
	}
	return fmt.Errorf("unknown command %q: use run, truth, compare or table", args[0])
}

func (c command) run(ctx context.Context, workloads []workload) error {
	for _, w := range workloads {
		granted := w.granted()
		if c.caps != nil {
			granted = *c.caps
		}
		if err := w.run(ctx, granted); err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
	}
	return nil
}

// parseSet parses the text of a capability.Set.
func parseSet(list string) (set capability.Set, err error) {
	for name := range strings.SplitSeq(list, ",") {
		if name == "" {
			continue
		}
		c, err := capability.Parse(name)
		if err != nil {
			return 0, err
		}
		set = set.With(c)
	}
	return set, nil
}
