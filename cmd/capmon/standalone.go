package main

import (
	"context"
	"slices"

	"github.com/capmon/capmon/internal/bundle"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/internal/standalone"
)

// withStandalone is an engine whose lists also have the running containers that no engine manages.
type withStandalone struct{ container.Engine }

// List implements [container.Engine].
func (w withStandalone) List(ctx context.Context, all bool) ([]container.Info, error) {
	infos, err := w.Engine.List(ctx, all)
	running := standaloneContainers()
	if err != nil && len(running) == 0 {
		return nil, err
	}
	return append(infos, running...), nil
}

// standaloneContainers returns the running containers that no engine manages.
func standaloneContainers() (infos []container.Info) {
	cgroups, err := kernel.DetectCgroups()
	if err != nil {
		return nil
	}
	for _, state := range standalone.NewFinder(cgroups).List() {
		if state.Pid != 0 {
			infos = append(infos, container.Info{ID: state.ID, Name: state.Name, Engine: state.Engine, Pid: state.Pid, Running: true})
		}
	}
	return infos
}

// monitoredContainers returns the names of the running containers of Podman and CRI-O, by their IDs.
func monitoredContainers() map[string]string {
	cgroups, err := kernel.DetectCgroups()
	if err != nil {
		return nil
	}
	return bundle.NewReader(cgroups).Monitored()
}

// areStandalone reports whether each name is the name or the ID of a running container that no engine manages.
func areStandalone(names []string) bool {
	running := standaloneContainers()
	return !slices.ContainsFunc(names, func(name string) bool {
		return !slices.ContainsFunc(running, func(info container.Info) bool { return name == info.Name || name == info.ID })
	})
}
