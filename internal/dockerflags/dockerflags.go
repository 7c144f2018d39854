// Package dockerflags returns the options of docker that drop and add capabilities.
package dockerflags

import (
	"strings"

	"github.com/capmon/capmon/capability"
)

// All is Docker's name for all capabilities.
const All = "ALL"

// Grant returns the options of docker run, docker create and docker service create that grant the needs and nothing
// else.
func Grant(needs capability.Set) []string {
	var add []string
	for _, c := range needs.Sorted() {
		add = append(add, c.String())
	}
	return Of([]string{All}, add)
}

// Line returns the result of [Grant] as one line.
func Line(needs capability.Set) string { return strings.Join(Grant(needs), " ") }

// Of returns the options that drop and add the named capabilities.
func Of(drop, add []string) []string {
	var flags []string
	for _, name := range drop {
		flags = append(flags, "--cap-drop="+name)
	}
	for _, name := range add {
		flags = append(flags, "--cap-add="+name)
	}
	return flags
}
