// Command bench measures what capmon costs the observed processes, compared with a bpftrace one-liner that only counts
// the checks. docs/development.md explains the results.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/capmon/capmon/internal/printable"
)

func main() {
	if err := newCommand().Execute(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
}

type options struct {
	program   string
	generator string
	counting  bool
	extra     []string
	rounds    int
	only      []string
	format    string
}

func newCommand() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:           "bench",
		Short:         "Measure what capmon costs, with the Docker daemon at DOCKER_HOST and its image bb",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.program, "capmon", "bin/capmon", "path of the capmon to measure")
	flags.StringVar(&o.generator, "generator", "", "path of the program that makes the loads (default: compile scripts/workloads/load.c)")
	flags.BoolVar(&o.counting, "bpftrace", true, "also measure bpftrace, and compare with it")
	flags.StringArrayVar(&o.extra, "with", nil, "also measure capmon with these options, such as '--outcomes=false'; may be repeated")
	flags.IntVar(&o.rounds, "rounds", 5, "number of measurements of each load")
	flags.StringSliceVar(&o.only, "load", nil, "only these loads, such as mmap,setuid (default: all)")
	registerFormat(flags, &o.format)
	cmd.AddCommand(newScaleCommand(), newChurnCommand(), newLatencyCommand(), newServeCommand())
	return cmd
}

func (o *options) run(cmd *cobra.Command) (err error) {
	if o.rounds < 1 {
		return fmt.Errorf("--rounds %d: use 1 or more", o.rounds)
	}
	if err := checkFormat(o.format); err != nil {
		return err
	}
	chosen, err := choose(o.only)
	if err != nil {
		return err
	}
	watchers := []watcher{baseline}
	if o.counting {
		if err := showTracepoints(); err != nil {
			return err
		}
		watchers = append(watchers, bpftrace)
	}
	watchers = append(watchers, capmon("capmon", o.program))
	for _, extra := range o.extra {
		watchers = append(watchers, capmon("capmon "+extra, o.program, strings.Fields(extra)...))
	}
	ctx, cancel := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	m, err := newMeasurement(watchers, o.generator)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.end()) }()
	for round := range o.rounds {
		for _, l := range chosen {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "bench: round %d of %d: %s\n", round+1, o.rounds, l)
			if err := m.measure(l, round); err != nil {
				return fmt.Errorf("%s: %w", l, err)
			}
		}
	}
	writeTable(cmd.OutOrStdout(), o.format, chosen, m)
	return nil
}

// choose returns all loads of these kinds, or all loads if kinds is empty.
func choose(kinds []string) ([]load, error) {
	if len(kinds) == 0 {
		return loads(), nil
	}
	var chosen []load
	for _, kind := range kinds {
		before := len(chosen)
		for _, l := range loads() {
			if l.kind == kind {
				chosen = append(chosen, l)
			}
		}
		if len(chosen) == before {
			return nil, fmt.Errorf("--load %s: choose %s", kind, printable.Choice(loadKinds()))
		}
	}
	return chosen, nil
}
