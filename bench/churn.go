package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
)

// churn starts and ends containers as fast as the engine can, and then verifies that the report has each of them, with
// exactly the checks that it made.
type churn struct {
	program string
	extra   string
	rate    int
	atOnce  int
	period  time.Duration
	engine  client.APIClient
}

func newChurnCommand() *cobra.Command {
	var c churn
	cmd := &cobra.Command{
		Use:   "churn",
		Short: "Start and end containers continuously, and verify that capmon reports all of them with exact counts",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return c.run(cmd) },
	}
	flags := cmd.Flags()
	flags.StringVar(&c.program, "capmon", "bin/capmon", "path of the capmon to test")
	flags.StringVar(&c.extra, "with", "", "options of capmon profile, such as --max-checks=20000")
	flags.IntVar(&c.rate, "rate", 20, "containers per second, if the engine is fast enough")
	flags.IntVar(&c.atOnce, "at-once", 16, "maximum number of containers at the same time")
	flags.DurationVar(&c.period, "for", 5*time.Minute, "time during which to start containers")
	return cmd
}

// checksMade returns how many checks of CAP_SETUID the container with that number makes.
func checksMade(number int) int { return 1 + number%97 }

func churnName(number int) string { return benchName + strconv.Itoa(number) }

func (c *churn) run(cmd *cobra.Command) (err error) {
	if c.rate < 1 || c.atOnce < 1 || c.period <= 0 {
		return errors.New("--rate, --at-once and --for must be positive")
	}
	ctx, cancel := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	if c.engine, err = client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation()); err != nil {
		return err
	}
	defer c.engine.Close()
	capmon, err := startRecording(c.program, strings.Fields(c.extra)...)
	if err != nil {
		return err
	}
	watch := watchMemory(process(capmon.cmd.Process.Pid))
	begin := time.Now()
	started, err := c.start(ctx)
	took := time.Since(begin)
	memory, memoryErr := watch()
	report, endErr := capmon.end()
	if err := errors.Join(err, memoryErr, endErr); err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%d containers in %s: %.1f per second\n", started, took.Round(time.Second), float64(started)/took.Seconds())
	fmt.Fprintf(cmd.OutOrStdout(), "capmon's resident memory: %.1f MiB at the start, %.1f MiB at most, %.1f MiB at the end\n",
		mebibytes(memory.first), mebibytes(memory.most), mebibytes(memory.last))
	if err := verifyChurn(report, started); err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "the report has all of these containers by name, with exactly the checks that they made\n")
	return nil
}

// start starts the containers, and returns their number when all have ended.
func (c *churn) start(ctx context.Context) (started int, err error) {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(c.atOnce)
	tick := time.NewTicker(time.Second / time.Duration(c.rate))
	defer tick.Stop()
	over := time.After(c.period)
	for {
		select {
		case <-ctx.Done():
			return started, errors.Join(ctx.Err(), group.Wait())
		case <-over:
			return started, group.Wait()
		case <-tick.C:
			number := started
			started++
			group.Go(func() error { return c.runOne(ctx, number) })
		}
	}
}

// runOne runs a container like docker run --rm.
func (c *churn) runOne(ctx context.Context, number int) error {
	name := churnName(number)
	created, err := c.engine.ContainerCreate(ctx,
		&container.Config{Image: "bb", Cmd: []string{"probe", "repeat", strconv.Itoa(checksMade(number)), "setuid0"}},
		&container.HostConfig{AutoRemove: true, NetworkMode: "none"}, nil, nil, name)
	if err != nil {
		return fmt.Errorf("creating %s: %w", name, err)
	}
	ended, failed := c.engine.ContainerWait(ctx, created.ID, container.WaitConditionRemoved)
	if err := c.engine.ContainerStart(ctx, created.ID, container.StartOptions{}); err != nil {
		return fmt.Errorf("starting %s: %w", name, err)
	}
	select {
	case end := <-ended:
		if end.StatusCode != 0 {
			return fmt.Errorf("%s ended with exit code %d", name, end.StatusCode)
		}
		return nil
	case err := <-failed:
		return fmt.Errorf("waiting for %s: %w", name, err)
	}
}

// verifyChurn fails unless a report has all the containers, complete, with the checks that each has made.
func verifyChurn(report []byte, started int) error {
	var parsed struct {
		Containers []struct {
			Name       string
			Image      string
			Lost       uint64
			Complete   bool
			Incomplete []string
			Uses       []struct {
				Capability, Class, Call string
				Count                   int
			}
		}
	}
	if err := json.Unmarshal(report, &parsed); err != nil {
		return fmt.Errorf("reading the report: %w", err)
	}
	made := make(map[string]int)
	var errs []error
	for _, c := range parsed.Containers {
		if !strings.HasPrefix(c.Name, benchName) {
			continue // not a container of bench
		}
		if c.Lost != 0 || !c.Complete {
			errs = append(errs, fmt.Errorf("%s: %d lost, %q", c.Name, c.Lost, c.Incomplete))
		}
		for _, use := range c.Uses {
			if use.Capability == "SETUID" && use.Class != "setup" {
				made[c.Name] += use.Count
			}
		}
	}
	for number := range started {
		name := churnName(number)
		if n, seen := made[name]; !seen {
			errs = append(errs, fmt.Errorf("%s is not in the report", name))
		} else if n != checksMade(number) {
			errs = append(errs, fmt.Errorf("%s: the report has %d checks of SETUID, but the container made %d", name, n, checksMade(number)))
		}
	}
	return errors.Join(errs...)
}

// memory has samples of a process's resident memory in bytes: the first, the highest and the last.
type memory struct{ first, most, last uint64 }

// watchMemory samples a process's memory until the returned function is called.
func watchMemory(p process) (end func() (memory, error)) {
	var samples []uint64
	var failed error
	var sampling sync.WaitGroup
	stop := make(chan struct{})
	sample := func() {
		now, _, err := p.resident()
		samples, failed = append(samples, now), errors.Join(failed, err)
	}
	sample()
	sampling.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				sample()
			case <-stop:
				sample()
				return
			}
		}
	})
	return func() (memory, error) {
		close(stop)
		sampling.Wait()
		return memory{samples[0], slices.Max(samples), samples[len(samples)-1]}, failed
	}
}
