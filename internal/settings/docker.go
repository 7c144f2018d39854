// Package settings writes the settings that grant a list of capabilities and nothing else, for each tool or file format
// (see [Targets]).
package settings

import (
	"cmp"
	"slices"
	"strings"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/dockerflags"
)

// ServiceUpdate returns the command that grants a swarm service the needs and nothing else. The command also removes
// earlier grants.
func ServiceUpdate(needs capability.Set, service string) string {
	return serviceUpdate([]string{dockerflags.All}, needs, service)
}

// serviceUpdate returns a command that changes the engine's default. RESET removes the capabilities that the service
// added or dropped before (updateCapabilities, cli/command/service/update.go of docker/cli).
func serviceUpdate(drop []string, add capability.Set, service string) string {
	const reset = "RESET"
	flags := dockerflags.Of(slices.Concat([]string{reset}, drop), slices.Concat([]string{reset}, Names(add)))
	return strings.Join(slices.Concat([]string{"docker", "service", "update"}, flags, []string{service}), " ")
}

func dockerTarget() Target {
	return Target{
		Name: Docker, About: "options of docker run and docker create", standard: capability.DockerDefault(),
		text: options, join: lines,
	}
}

func serviceTarget() Target {
	return Target{
		Name: "service", About: "options of docker service create", standard: capability.DockerDefault(),
		text: options, join: lines,
	}
}

// options returns the options of docker and podman.
func options(c changes) string {
	return strings.Join(dockerflags.Of(c.dropped(dockerflags.All), Names(c.add)), " ")
}

// placeholder replaces the name of a service that is not known.
const placeholder = "SERVICE"

func serviceUpdateTarget() Target {
	return Target{
		Name: "service-update", About: "the command docker service update", standard: capability.DockerDefault(),
		text: func(c changes) string {
			return serviceUpdate(c.dropped(dockerflags.All), c.add, cmp.Or(c.service(), placeholder))
		},
		notes: func(c changes) []string {
			if c.service() != "" {
				return nil
			}
			return []string{"the container is not a task of a swarm service: replace " + placeholder + " with the name of a service"}
		},
		join: lines,
	}
}

// service returns the swarm service to update, "" if the container is not a task of one.
func (c changes) service() string { return c.Members[0].Container.Service() }
