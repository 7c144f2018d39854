package verify

import (
	"regexp"
	"slices"
	"strings"

	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/dockerrun"
)

// keyValueFlags are the options of docker run with values of the form KEY=VALUE, where VALUE may be secret.
var keyValueFlags = []string{"label", "annotation", "log-opt", "storage-opt"}

// driverOption matches the options that --mount and --network pass on to a driver.
var driverOption = regexp.MustCompile(`((?:volume-opt|volume-label|driver-opt)=[^=,]*=)[^,]*`)

// shown returns the option as a word of a command line, without values that may be secret. A proof contains it, and
// proofs are stored and shared.
func (o option) shown() string {
	switch key, value, hasValue := strings.Cut(o.value, "="); {
	case o.name == "env": // docker reads the value from its own environment
		return "--env=" + key
	case o.name == "health-cmd":
		return "--health-cmd=" + container.Redacted
	case slices.Contains(keyValueFlags, o.name) && hasValue && value != "":
		return "--" + o.name + "=" + key + "=" + container.Redacted
	case slices.Contains([]string{"mount", "network", "net"}, o.name) && strings.Contains(o.value, `"`):
		return "--" + o.name + "=" + container.Redacted
	case o.value == "true" && o.isSwitch():
		return "--" + o.name
	}
	return "--" + o.name + "=" + dockerrun.WithoutCredentials(driverOption.ReplaceAllString(o.value, "${1}"+container.Redacted))
}

func (o option) isSwitch() bool {
	return slices.ContainsFunc(strings.Fields(runSwitches), func(names string) bool {
		long, _, _ := strings.Cut(names, ",")
		return long == o.name
	})
}

// Line implements [Command].
func (c dockerRun) Line() []string {
	line := []string{c.docker, "run"}
	for _, o := range c.options {
		line = append(line, o.shown())
	}
	line = append(line, c.image)
	if len(c.args) > 0 {
		line = append(line, container.Redacted)
	}
	return line
}
