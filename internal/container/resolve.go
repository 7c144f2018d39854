package container

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
	"github.com/capmon/capmon/internal/containerid"
)

// UnknownError means that no container, or none that runs, has this name or ID.
type UnknownError struct {
	Name string
	// Nearest are the names of at most three running containers with the most similar names, the most similar first.
	Nearest []string
	// Stopped: the container of this engine (as in [Info]) exists but does not run.
	Stopped bool
	Engine  string
}

// Error implements error. The text ends with what to do.
func (e *UnknownError) Error() string {
	switch {
	case e.Stopped && e.Engine == Podman:
		return fmt.Sprintf("container %q is not running: start it, or profile it from its start with capmon profile -- podman start -a %s", e.Name, e.Name)
	case e.Stopped && e.Engine != "":
		return fmt.Sprintf("container %q is not running: start it", e.Name)
	case e.Stopped:
		return fmt.Sprintf("container %q is not running: start it, or profile it from its start with capmon profile -- docker start -a %s", e.Name, e.Name)
	case len(e.Nearest) == 0:
		return fmt.Sprintf("no container %q: no container is running", e.Name)
	}
	return fmt.Sprintf("no container %q: the nearest that run are %s", e.Name, strings.Join(e.Nearest, ", "))
}

// nearestShown is the number of names that an [UnknownError] lists.
const nearestShown = 3

// Resolve returns the running containers with these names. A name is an ID, a name, or an unambiguous prefix of an ID,
// in this order of precedence, as for docker (Daemon.GetContainer, daemon/container.go). Containers of several engines
// may have the same name; a name then means the one that runs. The name of a pod of Kubernetes means all its running
// containers. Each container is returned once, even if several names refer to it. The error is an [*UnknownError] if
// there is no such container or if it does not run.
func Resolve(ctx context.Context, engine Engine, names []string) ([]Info, error) {
	all, err := engine.List(ctx, true)
	if err != nil {
		return nil, err
	}
	found, err := Find(all, names)
	if err != nil {
		return nil, err
	}
	for _, info := range found {
		if !info.Running {
			return nil, &UnknownError{Name: cmp.Or(info.Name, info.ID), Stopped: true, Engine: info.Engine}
		}
	}
	return found, nil
}

// Find is like [Resolve], among the containers of a list, which need not run. The names of a pod mean its running
// containers, if there are any.
func Find(all []Info, names []string) (found []Info, err error) {
	for _, name := range names {
		info, err := resolve(all, name)
		if err != nil {
			return nil, err
		}
		for _, one := range membersOf(all, info, name) {
			if !slices.ContainsFunc(found, func(other Info) bool { return other.ID == one.ID }) {
				found = append(found, one)
			}
		}
	}
	return found, nil
}

// membersOf returns the running containers of a pod of Kubernetes, if a name is that of the pod. Otherwise it returns
// the container that has the name.
func membersOf(all []Info, named Info, name string) []Info {
	var members []Info
	if named.Sandbox && named.Kubernetes.Name != "" && named.Name == name {
		for _, info := range all {
			if info.Pod == named.Pod && info.Running && !info.Sandbox {
				members = append(members, info)
			}
		}
	}
	if len(members) == 0 {
		return []Info{named}
	}
	return members
}

func resolve(all []Info, name string) (Info, error) {
	matches := matching(all, name)
	if len(matches) > 1 {
		var ids []string
		for _, info := range matches {
			ids = append(ids, containerid.Short(info.ID)+" ("+info.Name+")")
		}
		if matches[0].Name == name {
			return Info{}, fmt.Errorf("%q is the name of several containers: %s; use the ID", name, strings.Join(ids, ", "))
		}
		return Info{}, fmt.Errorf("%q is the beginning of several containers' IDs: %s; use more digits of the ID", name, strings.Join(ids, ", "))
	}
	if len(matches) == 0 {
		return Info{}, &UnknownError{Name: name, Nearest: nearest(all, name)}
	}
	return matches[0], nil
}

func matching(all []Info, name string) []Info {
	if !slices.ContainsFunc(all, func(info Info) bool { return info.ID == name }) { // the ID may be a path
		name = strings.TrimPrefix(name, "/")
	}
	if name == "" {
		return nil
	}
	for _, is := range []func(Info) bool{
		func(info Info) bool { return info.ID == name },
		func(info Info) bool { return info.Name == name && info.Running },
		func(info Info) bool { return info.Name == name },
		func(info Info) bool { return strings.HasPrefix(info.ID, name) },
	} {
		if matches := slices.DeleteFunc(slices.Clone(all), func(info Info) bool { return !is(info) }); len(matches) > 0 {
			return matches
		}
	}
	return nil
}

func nearest(all []Info, name string) []string {
	var names []string
	for _, info := range all {
		if info.Running {
			names = append(names, info.Name)
		}
	}
	slices.SortFunc(names, func(one, other string) int {
		return cmp.Or(
			cmp.Compare(levenshtein.ComputeDistance(name, one), levenshtein.ComputeDistance(name, other)),
			cmp.Compare(one, other),
		)
	})
	return names[:min(len(names), nearestShown)]
}
