package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"
)

// mostAlerts is the number of alerts of a container within a minute that capmon does not delay. More of them are a
// flood.
const mostAlerts = 90

// latency measures the time from a system call to the line of capmon watch, and to the alert of a rule.
type latency struct {
	program string
	times   int
	extra   []string
	format  string
}

func newLatencyCommand() *cobra.Command {
	var l latency
	cmd := &cobra.Command{
		Use:   "latency",
		Short: "Measure the time from a system call to the line of capmon watch, or to the alert",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return l.run(cmd) },
	}
	flags := cmd.Flags()
	flags.StringVar(&l.program, "capmon", "bin/capmon", "path of the capmon to measure")
	flags.IntVar(&l.times, "times", 200, "number of uses to measure, one after the other; at most 90 with rules")
	flags.StringArrayVar(&l.extra, "with", nil, "also measure with these options of capmon watch, such as '--every'; may be repeated")
	registerFormat(flags, &l.format)
	return cmd
}

// background is the load on the machine during a measurement.
type background struct {
	name, kind string // "" for nothing
	inside     bool   // in a separate container
}

var backgrounds = []background{
	{"nothing else", "", false},
	{"every core busy", "getppid", false},
	{"another container floods", "rawsock", true},
}

// output is how uses are reported, and where bench reads them.
type output struct {
	name    string
	options []string
	times   int
	webhook *webhook // nil: standard output
}

// outputs returns the outputs to measure.
func (l *latency) outputs(hook *webhook, printed string) (all []output) {
	for _, options := range append([]string{""}, l.extra...) {
		all = append(all, output{options, strings.Fields(options), l.times, nil})
	}
	few := min(l.times, mostAlerts)
	return append(all,
		output{"--rules FILE", []string{"--rules", printed}, few, nil},
		output{"--rules FILE, webhook and spool", []string{"--rules", hook.rules}, few, hook},
	)
}

func (l *latency) run(cmd *cobra.Command) (err error) {
	if l.times < 1 {
		return fmt.Errorf("--times %d: use 1 or more", l.times)
	}
	if err := checkFormat(l.format); err != nil {
		return err
	}
	ctx, cancel := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	m, err := newMeasurement(nil, "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.end()) }()
	flood, err := startInside(m.program, containerName+"-flood")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, flood.end()) }()
	hook, printed, err := newWebhook()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, hook.end()) }()
	t := table.NewWriter()
	t.SetOutputMirror(cmd.OutOrStdout())
	t.AppendHeader(table.Row{"capmon watch", "background", "lines", "median, ms", "99 of 100", "worst"})
	for _, output := range l.outputs(hook, printed) {
		for _, background := range backgrounds {
			other := m.outside
			if background.inside {
				other = flood
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "bench: latency %s: %s\n", output.name, background.name)
			took, err := l.measure(ctx, m.inside, other, background.kind, output)
			if err != nil {
				return fmt.Errorf("%s: %w", background.name, err)
			}
			slices.Sort(took)
			at := func(share float64) string { return fmt.Sprintf("%.1f", took[int(share*float64(len(took)-1))]) }
			t.AppendRow(table.Row{output.name, background.name, len(took), at(0.5), at(0.99), at(1)})
		}
	}
	if l.format == "markdown" {
		t.RenderMarkdown()
	} else {
		t.Render()
	}
	return nil
}

// measure makes one generator produce uses while another produces its kind of load on all cores, and returns the number
// of milliseconds from each use to its line.
func (l *latency) measure(ctx context.Context, g, other *generator, kind string, output output) (took []float64, err error) {
	lines, out, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer lines.Close()
	capmon, err := startCapmon(l.program, out, append([]string{"watch", "-o", "json", "--cap=NET_RAW"}, output.options...)...)
	if err := errors.Join(err, out.Close()); err != nil {
		return nil, err
	}
	defer func() {
		go func() { _, _ = io.Copy(io.Discard, lines) }()
		_, endErr := capmon.end()
		err = errors.Join(err, endErr)
	}()
	stop := make(chan struct{})
	stopped := make(chan error, 1)
	go func() { stopped <- keepBusy(other, kind, stop) }()
	defer func() {
		close(stop)
		err = errors.Join(err, <-stopped)
	}()
	reader := bufio.NewReader(lines)
	next := func() (float64, error) { return nextLine(reader, g.name) }
	if output.webhook != nil {
		go func() { _, _ = io.Copy(io.Discard, reader) }()
		next = func() (float64, error) { return output.webhook.next(ctx, g.name) }
	}
	for range output.times {
		if _, err := g.make("program", 1, 1); err != nil {
			return nil, err
		}
		milliseconds, err := next()
		if err := errors.Join(err, ctx.Err()); err != nil {
			return nil, err
		}
		took = append(took, milliseconds)
	}
	return took, nil
}

// nextLine reads the next line about a container, and returns its age in milliseconds.
func nextLine(lines *bufio.Reader, name string) (float64, error) {
	for {
		line, err := lines.ReadBytes('\n')
		now := time.Now()
		if err != nil {
			return 0, fmt.Errorf("reading the output of capmon watch: %w", err)
		}
		use, err := parseUse(line)
		if err != nil {
			return 0, err
		}
		if use.Container.Name == name {
			return milliseconds(now.Sub(use.Time)), nil
		}
	}
}

// keepBusy makes a kind of load on every core until stop is closed.
func keepBusy(g *generator, kind string, stop <-chan struct{}) error {
	for kind != "" {
		select {
		case <-stop:
			return nil
		default:
		}
		if _, err := g.make(kind, 20000, runtime.NumCPU()); err != nil {
			return err
		}
	}
	return nil
}
