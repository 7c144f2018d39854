package main

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/docker/docker/client"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"
)

// scale measures the resources that capmon itself uses on a machine with many containers.
type scale struct {
	program string
	sizes   []int
	rounds  int
	period  time.Duration
	kinds   uint64
}

func newScaleCommand() *cobra.Command {
	var s scale
	cmd := &cobra.Command{
		Use:   "scale",
		Short: "Measure the resources that capmon itself uses, with few and with many running containers",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return s.run(cmd) },
	}
	flags := cmd.Flags()
	flags.StringVar(&s.program, "capmon", "bin/capmon", "path of the capmon to measure")
	flags.IntSliceVar(&s.sizes, "containers", []int{1, 10, 100, 1000}, "numbers of running containers")
	flags.IntVar(&s.rounds, "rounds", 5, "number of measurements of durations in milliseconds")
	flags.DurationVar(&s.period, "period", 20*time.Second, "duration of the measurements of CPU time")
	flags.Uint64Var(&s.kinds, "kinds", 100000, "also measure with this many kinds of check of one container, with the default room and with a small one (0: do not)")
	return cmd
}

// reading has the results for a number of containers.
type reading struct {
	containers   int
	start, end   []float64 // milliseconds: until capmon records, and from the signal to the report
	idle, busy   float64   // CPU time: in percent of a core
	memory, most float64   // resident, in MiB
	maps         float64   // kernel memory, in MiB
	check        spread    // nanoseconds added to each mmap in one of the containers
}

func (s *scale) run(cmd *cobra.Command) (err error) {
	if s.rounds < 1 || s.period <= 0 || len(s.sizes) == 0 || slices.Min(s.sizes) < 1 {
		return errors.New("--rounds, --period and --containers must be positive")
	}
	slices.Sort(s.sizes)
	ctx, cancel := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	engine, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		return err
	}
	c := &idleContainers{engine: engine}
	defer func() { err = errors.Join(err, c.end()) }()
	m, err := newMeasurement([]watcher{baseline, capmon("capmon", s.program)}, "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.end()) }()
	if s.kinds > 0 {
		fmt.Fprintf(cmd.ErrOrStderr(), "bench: measuring with %d kinds of check\n", s.kinds)
		all, err := s.manyKinds(m.inside)
		if err != nil {
			return err
		}
		t := kindsTable(all)
		t.SetOutputMirror(cmd.OutOrStdout())
		t.Render()
	}
	var readings []reading
	for _, size := range s.sizes {
		fmt.Fprintf(cmd.ErrOrStderr(), "bench: starting containers until %d run\n", size)
		if err := c.grow(ctx, size-1); err != nil { // the load runs in another one
			return err
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "bench: measuring with %d containers\n", size)
		r, err := s.measure(ctx, m)
		if err != nil {
			return fmt.Errorf("with %d containers: %w", size, err)
		}
		r.containers = size
		readings = append(readings, r)
	}
	t := scaleTable(readings)
	t.SetOutputMirror(cmd.OutOrStdout())
	t.Render()
	return nil
}

func (s *scale) measure(ctx context.Context, m *measurement) (r reading, err error) {
	for range s.rounds {
		if err := s.startAndEnd(ctx, &r, func(process) error { return nil }); err != nil {
			return r, err
		}
	}
	err = s.startAndEnd(ctx, &r, func(p process) (err error) {
		if r.idle, err = s.share(ctx, p); err != nil {
			return err
		}
		working, stop := context.WithCancel(ctx)
		worked := make(chan error, 1)
		go func() { worked <- work(working, m.inside) }()
		r.busy, err = s.share(ctx, p)
		stop()
		if err := errors.Join(err, <-worked); err != nil {
			return err
		}
		now, most, err := p.resident()
		if err != nil {
			return err
		}
		maps, err := p.maps()
		r.memory, r.most, r.maps = mebibytes(now), mebibytes(most), mebibytes(maps)
		return err
	})
	if err != nil {
		return r, err
	}
	r.check, err = addedToMmap(ctx, m, s.rounds)
	return r, err
}

func mebibytes(bytes uint64) float64 { return float64(bytes) / (1 << 20) }

// startAndEnd measures the time that capmon takes to start and to report. It calls whileRunning while capmon runs.
func (s *scale) startAndEnd(ctx context.Context, r *reading, whileRunning func(process) error) error {
	begin := time.Now()
	capmon, err := startRecording(s.program)
	if err != nil {
		return err
	}
	r.start = append(r.start, milliseconds(time.Since(begin)))
	p := process(capmon.cmd.Process.Pid)
	if err = waitUntilIdle(ctx, p); err == nil {
		err = whileRunning(p)
	}
	begin = time.Now()
	_, endErr := capmon.end()
	r.end = append(r.end, milliseconds(time.Since(begin)))
	return errors.Join(err, endErr)
}

// waitUntilIdle waits until a process that has just started is idle: at first it inspects all running containers.
func waitUntilIdle(ctx context.Context, p process) error {
	const pause = 500 * time.Millisecond
	before, err := p.cpu()
	for err == nil {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
		var now time.Duration
		now, err = p.cpu()
		if err == nil && now-before <= tick {
			return nil
		}
		before = now
	}
	return err
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (s *scale) share(ctx context.Context, p process) (float64, error) {
	return share(ctx, p, s.period)
}

// share returns how much of a core a process uses during a period, in percent.
func share(ctx context.Context, p process, period time.Duration) (float64, error) {
	before, err := p.cpu()
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	select {
	case <-time.After(period):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	after, err := p.cpu()
	return 100 * float64(after-before) / float64(time.Since(begin)), err
}

// work makes loads, one after the other, until ctx is done.
func work(ctx context.Context, g *generator) error {
	for ctx.Err() == nil {
		for kind, times := range map[string]int{"mmap": 100000, "exec": 200, "open": 10000} {
			if _, err := g.make(kind, times, 1); err != nil {
				return err
			}
		}
	}
	return nil
}

// addedToMmap returns the nanoseconds that capmon adds to an mmap in a container.
func addedToMmap(ctx context.Context, m *measurement, rounds int) (spread, error) {
	l := load{"mmap", true, 1}
	delete(m.samples, l)
	m.times[l] = 0
	for round := range rounds {
		if err := errors.Join(m.measure(l, round), ctx.Err()); err != nil {
			return spread{}, err
		}
	}
	alone := each(m.samples[l][baseline.name]).median
	with := each(m.samples[l]["capmon"])
	return spread{with.median - alone, with.low - alone, with.high - alone}, nil
}

func scaleTable(readings []reading) table.Writer {
	t := table.NewWriter()
	t.AppendHeader(table.Row{"containers", "start, ms", "report, ms", "idle, % of a core", "busy, %", "resident, MiB", "at most", "kernel's maps, MiB", "+ each mmap, ns"})
	for _, r := range readings {
		one := func(value float64) string { return fmt.Sprintf("%.1f", value) }
		t.AppendRow(table.Row{r.containers, spreadOf(r.start), spreadOf(r.end), fmt.Sprintf("%.2f", r.idle), one(r.busy), one(r.memory), one(r.most), one(r.maps), r.check})
	}
	return t
}
