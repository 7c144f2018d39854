// Package settings turns a list of needed capabilities into the settings that
// grant just these, for each way of running containers (Targets).
package settings

import (
	"cmp"
	"slices"
	"strings"

	"github.com/capmon/capmon/internal/capability"
)

// allDropped is Docker's word for everything that a container is granted by itself.
const allDropped = "ALL"

// DockerFlags are the options of docker run, docker create and docker service create
// that grant needs and nothing else.
func DockerFlags(needs capability.Set) []string {
	return GrantFlags([]string{allDropped}, Names(needs))
}

// DockerLine is DockerFlags as they are typed.
func DockerLine(needs capability.Set) string {
	return strings.Join(DockerFlags(needs), " ")
}

// GrantFlags are the options of docker that drop and add capabilities by their names, as they are.
func GrantFlags(drop, add []string) []string {
	var flags []string
	for _, name := range drop {
		flags = append(flags, "--cap-drop="+name)
	}
	for _, name := range add {
		flags = append(flags, "--cap-add="+name)
	}
	return flags
}

// ServiceUpdate is the command that gives a service of a swarm needs and nothing else,
// whatever it was given before.
func ServiceUpdate(needs capability.Set, service string) string {
	return serviceUpdate([]string{allDropped}, needs, service)
}

// serviceUpdate changes what the engine grants by itself: RESET forgets what the service
// was given before (updateCapabilities, cli/command/service/update.go of docker/cli).
func serviceUpdate(drop []string, add capability.Set, service string) string {
	const reset = "RESET"
	flags := GrantFlags(slices.Concat([]string{reset}, drop), slices.Concat([]string{reset}, Names(add)))
	return strings.Join(slices.Concat([]string{"docker", "service", "update"}, flags, []string{service}), " ")
}

func dockerTarget() Target {
	return Target{
		Name: "docker", About: "options of docker run and docker create", standard: capability.DockerDefault(),
		text: options, join: lines,
	}
}

func serviceTarget() Target {
	return Target{
		Name: "service", About: "options of docker service create", standard: capability.DockerDefault(),
		text: options, join: lines,
	}
}

// options are those of docker and podman.
func options(c changes) string {
	return strings.Join(GrantFlags(c.dropped(allDropped), Names(c.add)), " ")
}

// placeholder stands for the name of a service that is not known.
const placeholder = "SERVICE"

func serviceUpdateTarget() Target {
	return Target{
		Name: "service-update", About: "the command docker service update", standard: capability.DockerDefault(),
		text: func(c changes) string {
			return serviceUpdate(c.dropped(allDropped), c.add, cmp.Or(c.service(), placeholder))
		},
		notes: func(c changes) []string {
			if c.service() != "" {
				return nil
			}
			return []string{"it is no task of a swarm's service: put a service's name in the place of " + placeholder}
		},
		join: lines,
	}
}

// service is the swarm's service that is to be updated, "" if that is none.
func (c changes) service() string { return c.Members[0].Container.Service() }
