package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/client"
	"golang.org/x/sync/errgroup"
)

// idleContainers are running containers that do nothing.
type idleContainers struct {
	engine client.APIClient
	size   int
}

const (
	benchName = "capmon-bench-" // the prefix of the containers' names
	idleLabel = "capmon-bench"
	parallel  = 4 // the number of containers that are started or removed at the same time; more would only wait for each other
)

// grow starts containers until this many run.
func (c *idleContainers) grow(ctx context.Context, size int) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for ; c.size < size; c.size++ {
		name := fmt.Sprintf("%s%d", benchName, c.size)
		group.Go(func() error { return c.start(ctx, name) })
	}
	return group.Wait()
}

func (c *idleContainers) start(ctx context.Context, name string) error {
	created, err := c.engine.ContainerCreate(ctx,
		&container.Config{Image: "bb", Cmd: []string{"sleep", "1000000"}, Labels: map[string]string{idleLabel: ""}},
		&container.HostConfig{NetworkMode: "none", LogConfig: container.LogConfig{Type: "none"}}, nil, nil, name)
	if err == nil {
		err = c.engine.ContainerStart(ctx, created.ID, container.StartOptions{})
	}
	if err != nil {
		return fmt.Errorf("starting %s: %w", name, err)
	}
	return nil
}

// end removes all of them, even after an interrupt.
func (c *idleContainers) end() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Minute)
	defer cancel()
	all, err := c.engine.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", idleLabel))})
	if err != nil {
		return errors.Join(err, c.engine.Close())
	}
	var group errgroup.Group
	group.SetLimit(parallel)
	for _, one := range all {
		group.Go(func() error {
			return c.engine.ContainerRemove(ctx, one.ID, container.RemoveOptions{Force: true})
		})
	}
	return errors.Join(group.Wait(), c.engine.Close())
}
