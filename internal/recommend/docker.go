// Package recommend turns a list of needed capabilities into the settings that
// grant just these.
package recommend

import (
	"strings"

	"github.com/capmon/capmon/internal/capability"
)

// DockerFlags are the options of docker run, docker create and docker service create
// that grant needs and nothing else.
func DockerFlags(needs capability.Set) []string {
	flags := []string{"--cap-drop=ALL"}
	for _, c := range needs.Sorted() {
		flags = append(flags, "--cap-add="+c.String())
	}
	return flags
}

// DockerLine is DockerFlags as they are typed.
func DockerLine(needs capability.Set) string {
	return strings.Join(DockerFlags(needs), " ")
}

// ServiceUpdate is the command that gives a service of a swarm needs and nothing else,
// whatever it was given before: RESET forgets that (updateCapabilities,
// cli/command/service/update.go of docker/cli).
func ServiceUpdate(needs capability.Set, service string) string {
	words := []string{"docker", "service", "update", "--cap-drop=RESET", "--cap-drop=ALL", "--cap-add=RESET"}
	for _, c := range needs.Sorted() {
		words = append(words, "--cap-add="+c.String())
	}
	return strings.Join(append(words, service), " ")
}

// ComposeLines are the lines of a service in a compose file that grant needs and
// nothing else.
func ComposeLines(needs capability.Set) []string {
	lines := []string{"cap_drop: [ALL]"}
	if !needs.Empty() {
		lines = append(lines, "cap_add: ["+strings.ReplaceAll(needs.String(), ",", ", ")+"]")
	}
	return lines
}
