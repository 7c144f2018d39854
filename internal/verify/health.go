package verify

import (
	"context"
	"fmt"
	"strings"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"

	"github.com/docker/docker/api/types/container"
)

// happening is what a container's life looks like to the engine.
type happening struct {
	messages <-chan events.Message
	failed   <-chan error
}

// follow listens to what happens to a container, from before its start on.
func (b *bench) follow(ctx context.Context, id string) happening {
	messages, failed := b.api.Events(ctx, events.ListOptions{Filters: filters.NewArgs(
		filters.Arg("type", string(events.ContainerEventType)), filters.Arg("container", id),
	)})
	return happening{messages, failed}
}

// runTest waits until the container is ready and lets the test decide.
func (b *bench) runTest(ctx context.Context, id string, events happening) (ended, error) {
	if b.healthcheck {
		notReady, err := b.awaitHealth(ctx, id, events)
		if err != nil || notReady.outcome != "" {
			return notReady, err
		}
	}
	c, err := b.api.ContainerInspect(ctx, id)
	if err != nil {
		return ended{}, fmt.Errorf("inspecting the container: %w", err)
	}
	if err := b.awaitPorts(ctx, c); err != nil {
		return ended{}, err
	}
	return b.shell(ctx, append(portVariables(c.NetworkSettings.Ports), "CONTAINER="+strings.TrimPrefix(c.Name, "/")))
}

// awaitHealth waits until the container is healthy. The outcome is empty if it
// is.
func (b *bench) awaitHealth(ctx context.Context, id string, events happening) (ended, error) {
	for {
		select {
		case <-ctx.Done():
			return ended{}, ctx.Err()
		case err := <-events.failed:
			return ended{}, fmt.Errorf("waiting for the container's health: %w", closed(err))
		case message := <-events.messages:
			switch status, health, _ := strings.Cut(string(message.Action), ": "); {
			case status == "die":
				return ended{outcome: "ended before it was healthy: exit status " + message.Actor.Attributes["exitCode"]}, nil
			case health == container.Unhealthy:
				return ended{outcome: "unhealthy", output: b.healthOutput(ctx, id)}, nil
			case health == container.Healthy:
				return ended{}, nil
			}
		}
	}
}

// healthOutput is what the last health check wrote.
func (b *bench) healthOutput(ctx context.Context, id string) string {
	c, err := b.api.ContainerInspect(ctx, id)
	if err != nil || c.State == nil || c.State.Health == nil || len(c.State.Health.Log) == 0 {
		return ""
	}
	last := tail{kept: []byte(c.State.Health.Log[len(c.State.Health.Log)-1].Output)}
	return last.lastLine()
}
