package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/docker/docker/client"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/capmon/capmon/internal/store"
	"github.com/capmon/capmon/monitor"
)

// serve measures the resources that capmon serve uses: idle, after short-lived containers, with many running
// containers, and while one of them is busy.
type serve struct {
	program   string
	every     time.Duration
	period    time.Duration
	come      int
	batches   int
	running   int
	format    string
	directory string
	capmon    *recording
	table     table.Writer
}

func newServeCommand() *cobra.Command {
	var s serve
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Measure the memory and the CPU time of capmon serve, and the size of its database",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return s.run(cmd) },
	}
	flags := cmd.Flags()
	flags.StringVar(&s.program, "capmon", "bin/capmon", "path of the capmon to measure")
	flags.DurationVar(&s.every, "save-every", 30*time.Second, "interval between saves")
	flags.DurationVar(&s.period, "period", 30*time.Second, "duration of each measurement of CPU time, such as a multiple of --save-every")
	flags.IntVar(&s.come, "come-and-go", 300, "number of short-lived containers; bench measures after each third of them")
	flags.IntVar(&s.running, "running", 100, "number of containers that run at the end")
	registerFormat(flags, &s.format)
	s.batches = 3
	return cmd
}

func (s *serve) run(cmd *cobra.Command) (err error) {
	if s.every < time.Second || s.period <= 0 || s.come < s.batches || s.running < 1 {
		return errors.New("--save-every must be at least 1s, --come-and-go at least 3, and --period and --running positive")
	}
	if err := checkFormat(s.format); err != nil {
		return err
	}
	ctx, cancel := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	if s.directory, err = os.MkdirTemp("", "bench"); err != nil { // paths of unix sockets are limited
		return err
	}
	pins := filepath.Join("/sys/fs/bpf", "capmon-"+filepath.Base(s.directory))
	defer func() { err = errors.Join(err, monitor.RemovePins(pins), os.RemoveAll(s.directory)) }()
	s.capmon, err = startCapmon(s.program, nil, "serve", "--db", s.database(), "--pins", pins, "--socket", s.socket(), "--save-every", s.every.String())
	if err != nil {
		return err
	}
	s.table = table.NewWriter()
	s.table.SetOutputMirror(cmd.OutOrStdout())
	s.table.AppendHeader(table.Row{"capmon serve", "resident, MiB", "at most", "CPU, % of a core", "CPU seconds per hour", "database, MiB", "runs"})
	err = s.measure(ctx)
	_, endErr := s.capmon.end()
	if err := errors.Join(err, endErr); err != nil {
		return err
	}
	if s.format == "markdown" {
		s.table.RenderMarkdown()
	} else {
		s.table.Render()
	}
	return nil
}

func (s *serve) database() string { return filepath.Join(s.directory, "capmon.db") }
func (s *serve) socket() string   { return filepath.Join(s.directory, "s") }

func (s *serve) measure(ctx context.Context) (err error) {
	engine, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		return err
	}
	many := &idleContainers{engine: engine}
	defer func() { err = errors.Join(err, many.end()) }()
	if err := s.row(ctx, "idle"); err != nil {
		return err
	}
	short := churn{engine: engine}
	for gone := 0; gone < s.come; {
		until := min(s.come, gone+(s.come+s.batches-1)/s.batches)
		group, all := errgroup.WithContext(ctx)
		group.SetLimit(parallel)
		for ; gone < until; gone++ {
			number := gone
			group.Go(func() error { return short.runOne(all, number) })
		}
		if err := group.Wait(); err != nil {
			return err
		}
		if err := s.row(ctx, fmt.Sprintf("after %d containers", gone)); err != nil {
			return err
		}
	}
	if err := many.grow(ctx, s.running); err != nil {
		return err
	}
	if err := s.row(ctx, fmt.Sprintf("%d running", s.running)); err != nil {
		return err
	}
	m, err := newMeasurement(nil, "")
	if err != nil {
		return err
	}
	working, stop := context.WithCancel(ctx)
	worked := make(chan error, 1)
	go func() { worked <- work(working, m.inside) }()
	err = s.row(ctx, fmt.Sprintf("%d running, one busy", s.running))
	stop()
	return errors.Join(err, <-worked, m.end())
}

// row waits until everything recorded before has been saved, then measures and adds a row.
func (s *serve) row(ctx context.Context, what string) error {
	if err := s.saved(ctx); err != nil {
		return err
	}
	p := process(s.capmon.cmd.Process.Pid)
	cpu, err := share(ctx, p, s.period)
	if err != nil {
		return err
	}
	now, most, err := p.resident()
	if err != nil {
		return err
	}
	db, err := store.Open(ctx, s.database(), store.Options{})
	if err != nil {
		return err
	}
	info, err := db.Info(ctx)
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	const hour = 3600
	s.table.AppendRow(table.Row{what, fmt.Sprintf("%.1f", mebibytes(now)), fmt.Sprintf("%.1f", mebibytes(most)), fmt.Sprintf("%.2f", cpu),
		fmt.Sprintf("%.0f", cpu/100*hour), fmt.Sprintf("%.1f", mebibytes(uint64(info.Size))), info.Runs})
	return nil
}

// saved waits for the end of a save that started after this call. A save that is already running does not count.
func (s *serve) saved(ctx context.Context) error {
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", s.socket())
	}}
	const changes = 1 + 2 // the first response also counts as a change
	var last time.Time
	for saves := 0; saves < changes; {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://capmon/api/v1/state", nil)
		if err != nil {
			return err
		}
		response, err := (&http.Client{Transport: transport}).Do(request)
		if err != nil {
			return err
		}
		var state struct{ Saved time.Time }
		err = json.NewDecoder(response.Body).Decode(&state)
		if err := errors.Join(err, response.Body.Close()); err != nil {
			return err
		}
		if !state.Saved.Equal(last) {
			last = state.Saved
			saves++
		}
		select {
		case <-time.After(s.every / 10):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
