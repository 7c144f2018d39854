package verify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
)

// The engine's defaults for stopping a container.
const (
	stopSignal = "SIGTERM"
	stopGrace  = 10 * time.Second
)

// maxGrace is the longest time that a container gets to stop. Each run that does not stop takes that time.
const maxGrace = time.Minute

// stopConfig is the signal that stops a container, and the time that the container gets to stop.
type stopConfig struct {
	signal string
	grace  time.Duration
}

func stopConfigOf(config *container.Config) stopConfig {
	s := stopConfig{stopSignal, stopGrace}
	if config.StopSignal != "" {
		s.signal = config.StopSignal
	}
	if config.StopTimeout != nil {
		s.grace = time.Duration(*config.StopTimeout) * time.Second
	}
	if s.grace < 0 || s.grace > maxGrace { // below 0 means without limit
		s.grace = maxGrace
	}
	return s
}

// containerEnd describes the end of a container after its test had passed.
type containerEnd struct {
	words  string
	killed bool
}

// stop stops a container as docker stop does, and returns how it ended. docker stop itself does not distinguish a
// container that it killed from one that ended with status 137.
func (x *executor) stop(ctx context.Context, id string, exit exitWaiter) (containerEnd, error) {
	signal, grace := x.stopping.signal, x.stopping.grace
	switch err := x.api.ContainerKill(ctx, id, signal); {
	case errdefs.IsConflict(err): // it no longer runs
		status, err := exit.await(ctx)
		return containerEnd{words: exited("ended by itself: ", status)}, err
	case err != nil:
		return containerEnd{}, fmt.Errorf("stopping the container: %w", err)
	}
	waitCtx, cancel := context.WithTimeoutCause(ctx, grace, errGrace)
	defer cancel()
	status, err := exit.await(waitCtx)
	if err == nil || !errors.Is(context.Cause(waitCtx), errGrace) {
		return containerEnd{words: exited("stopped on "+signal+": ", status)}, err
	}
	if err := x.end(ctx, id); err != nil {
		return containerEnd{}, err
	}
	return containerEnd{fmt.Sprintf("did not stop on %s, was killed after %g s", signal, grace.Seconds()), true}, nil
}

// errGrace is the cause of the context if the time to stop is over. It distinguishes that from the time limit of the
// run.
var errGrace = errors.New("the time to stop is over")

// exitWaiter receives the engine's report of a container's end. It is created before the start.
type exitWaiter struct {
	exits  <-chan container.WaitResponse
	failed <-chan error
}

// await returns the container's exit status.
func (e exitWaiter) await(ctx context.Context) (int64, error) {
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
