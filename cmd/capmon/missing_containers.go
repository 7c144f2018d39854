package main

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/capmon/capmon/internal/bundle"
	"github.com/capmon/capmon/internal/containerid"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/internal/observe"
	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/profile"
)

// missingError is the error of a command that started containers that capmon could not see, or none.
type missingError struct {
	text string
	none bool // capmon saw no container of the command
}

func (e *missingError) Error() string { return e.text }

// missingContainers returns an error if the profile lacks containers that the command started, or has no container that
// belongs to the command. Otherwise it returns nil. A command that was interrupted need not have started containers.
func missingContainers(observer *observe.Observer, all profile.Profile, belongs func(profile.Run) bool, interrupted bool) (*missingError, error) {
	unseen, err := observer.Unseen()
	if err != nil {
		return nil, err
	}
	none := !slices.ContainsFunc(all.Runs, belongs)
	switch {
	case len(unseen) > 0:
		cgroups, err := kernel.DetectCgroups()
		return &missingError{unseenText(unseen, cgroups), none}, err
	case none && !interrupted:
		return &missingError{noneText(all), true}, nil
	}
	return nil, nil
}

// unseenText describes containers without a cgroup.
func unseenText(unseen []observe.PodmanContainer, cgroups kernel.Cgroups) string {
	var names []string
	rootless := false
	for _, c := range unseen {
		names = append(names, printable.Word(cmp.Or(c.Name, containerid.Short(c.ID))))
		rootless = rootless || c.Rootless
	}
	text := "containers that the command started with podman have no cgroup of their own, so capmon could not see them: " + abbreviate(names)
	if rootless && cgroups.Controller != "" {
		return text + "; with cgroup v1, Podman makes cgroups only if root runs it: run podman as root, or use cgroup v2"
	}
	return text + "; leave out --cgroups=disabled"
}

// noneText says why capmon may have seen no container of the command.
func noneText(all profile.Profile) string {
	var others []string
	for _, run := range all.Runs {
		if !run.Existed {
			others = append(others, fmt.Sprintf("%s (%s)", printable.Word(nameOf(run)), cmp.Or(run.Container.Engine, bundle.Docker)))
		}
	}
	slices.Sort(others)
	if others = slices.Compact(others); len(others) == 0 {
		return "no container that capmon can see started while the command ran, so there is nothing to profile"
	}
	return "containers started while the command ran, but capmon cannot tell whether the command started them: " + abbreviate(others) +
		"; to profile them, use --all-containers. capmon recognizes the containers that a command starts with docker or podman, " +
		"but not those of ctr, nerdctl, swarm services or units, and not those of an engine at an address that the command chooses itself"
}
