package verify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
)

// How a container is stopped if it does not say: the engine's defaults.
const (
	stopSignal = "SIGTERM"
	stopGrace  = 10 * time.Second
)

// longestGrace bounds the time that a container is given to stop. Each run in which
// it does not stop takes as long.
const longestGrace = time.Minute

// stopping is how a container is told to stop, and for how long it is waited for.
type stopping struct {
	signal string
	grace  time.Duration
}

func stoppingOf(config *container.Config) stopping {
	s := stopping{stopSignal, stopGrace}
	if config.StopSignal != "" {
		s.signal = config.StopSignal
	}
	if config.StopTimeout != nil {
		s.grace = time.Duration(*config.StopTimeout) * time.Second
	}
	if s.grace < 0 || s.grace > longestGrace { // below 0 stands for ever
		s.grace = longestGrace
	}
	return s
}

// ending is how a container ended whose test passed.
type ending struct {
	words  string
	killed bool
}

// stop does what docker stop does, and tells what came of it. docker stop itself
// would not tell a container that it had to kill from one that ends with 137.
func (b *bench) stop(ctx context.Context, id string, exit exiting) (ending, error) {
	signal, grace := b.stopping.signal, b.stopping.grace
	switch err := b.api.ContainerKill(ctx, id, signal); {
	case errdefs.IsConflict(err): // it does not run any more
		status, err := exit.await(ctx)
		return ending{words: exited("ended by itself: ", status)}, err
	case err != nil:
		return ending{}, fmt.Errorf("stopping the container: %w", err)
	}
	patient, cancel := context.WithTimeoutCause(ctx, grace, errGrace)
	defer cancel()
	status, err := exit.await(patient)
	if err == nil || !errors.Is(context.Cause(patient), errGrace) {
		return ending{words: exited("stopped on "+signal+": ", status)}, err
	}
	if err := b.end(ctx, id); err != nil {
		return ending{}, err
	}
	return ending{fmt.Sprintf("did not stop on %s, was killed after %g s", signal, grace.Seconds()), true}, nil
}

// errGrace tells the end of a container's time to stop from that of the run.
var errGrace = errors.New("the time to stop is up")

// exiting is the engine's word on a container's end, asked for before its start.
type exiting struct {
	exits  <-chan container.WaitResponse
	failed <-chan error
}

// await returns the container's exit status.
func (e exiting) await(ctx context.Context) (int64, error) {
	select {
	case exit := <-e.exits:
		if exit.Error != nil {
			return 0, fmt.Errorf("waiting for the container's end: %s", exit.Error.Message)
		}
		return exit.StatusCode, nil
	case err := <-e.failed:
		return 0, fmt.Errorf("waiting for the container's end: %w", closed(err))
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}
