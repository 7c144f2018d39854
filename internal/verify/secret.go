package verify

import (
	"regexp"
	"slices"
	"strings"

	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/dockerrun"
)

// keyed are the options of docker run with a value of the form KEY=VALUE, of which the second
// part may be secret.
var keyed = []string{"label", "annotation", "log-opt", "storage-opt"}

// driverOption is what --mount and --network pass on to a driver.
var driverOption = regexp.MustCompile(`((?:volume-opt|volume-label|driver-opt)=[^=,]*=)[^,]*`)

// shown is the option as a word of a command line, without what may be secret. A proof holds
// it, and proofs are stored and shared.
func (o option) shown() string {
	switch key, value, hasValue := strings.Cut(o.value, "="); {
	case o.name == "env": // docker takes the value from its own environment
		return "--env=" + key
	case o.name == "health-cmd":
		return "--health-cmd=" + container.LeftOut
	case slices.Contains(keyed, o.name) && hasValue && value != "":
		return "--" + o.name + "=" + key + "=" + container.LeftOut
	case slices.Contains([]string{"mount", "network", "net"}, o.name) && strings.Contains(o.value, `"`):
		return "--" + o.name + "=" + container.LeftOut
	case o.value == "true" && o.isSwitch():
		return "--" + o.name
	}
	return "--" + o.name + "=" + dockerrun.WithoutCredentials(driverOption.ReplaceAllString(o.value, "${1}"+container.LeftOut))
}

func (o option) isSwitch() bool {
	return slices.ContainsFunc(strings.Fields(runSwitches), func(names string) bool {
		long, _, _ := strings.Cut(names, ",")
		return long == o.name
	})
}

// Line implements Command.
func (c runLine) Line() []string {
	line := []string{c.docker, "run"}
	for _, o := range c.options {
		line = append(line, o.shown())
	}
	line = append(line, c.image)
	if len(c.args) > 0 {
		line = append(line, container.LeftOut)
	}
	return line
}
