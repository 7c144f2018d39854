package verify

import (
	"context"
	"fmt"
	"strings"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"

	"github.com/docker/docker/api/types/container"
)

// eventStream has the engine's events of a container.
type eventStream struct {
	messages <-chan events.Message
	failed   <-chan error
}

// follow reads the events of a container. It is called before the start.
func (x *executor) follow(ctx context.Context, id string) eventStream {
	messages, failed := x.api.Events(ctx, events.ListOptions{Filters: filters.NewArgs(
		filters.Arg("type", string(events.ContainerEventType)), filters.Arg("container", id),
	)})
	return eventStream{messages, failed}
}

// runTest waits until the container is ready and runs the test.
func (x *executor) runTest(ctx context.Context, id string, events eventStream) (runResult, error) {
	if x.healthcheck {
		notReady, err := x.awaitHealth(ctx, id, events)
		if err != nil || notReady.outcome != "" {
			return notReady, err
		}
	}
	c, err := x.api.ContainerInspect(ctx, id)
	if err != nil {
		return runResult{}, fmt.Errorf("inspecting the container: %w", err)
	}
	if err := x.awaitPorts(ctx, c); err != nil {
		return runResult{}, err
	}
	return x.shell(ctx, append(portVariables(c.NetworkSettings.Ports), "CONTAINER="+strings.TrimPrefix(c.Name, "/")))
}

// awaitHealth waits until the container is healthy. The outcome is empty if it is healthy.
func (x *executor) awaitHealth(ctx context.Context, id string, events eventStream) (runResult, error) {
	for {
		select {
		case <-ctx.Done():
			return runResult{}, ctx.Err()
		case err := <-events.failed:
			return runResult{}, fmt.Errorf("waiting for the container's health: %w", closed(err))
		case message := <-events.messages:
			switch status, health, _ := strings.Cut(string(message.Action), ": "); {
			case status == "die":
				return runResult{outcome: "ended before it was healthy: exit status " + message.Actor.Attributes["exitCode"]}, nil
			case health == container.Unhealthy:
				return runResult{outcome: "unhealthy", output: x.healthOutput(ctx, id)}, nil
			case health == container.Healthy:
				return runResult{}, nil
			}
		}
	}
}

// healthOutput returns the output of the last health check.
func (x *executor) healthOutput(ctx context.Context, id string) string {
	c, err := x.api.ContainerInspect(ctx, id)
	if err != nil || c.State == nil || c.State.Health == nil || len(c.State.Health.Log) == 0 {
		return ""
	}
	last := tail{kept: []byte(c.State.Health.Log[len(c.State.Health.Log)-1].Output)}
	return last.lastLine()
}
