package settings

import (
	"fmt"
	"strings"

	"github.com/capmon/capmon/capability"
)

// nomadAllowed returns the capabilities that a Nomad client lets tasks of the docker driver add by default, without
// allow_caps (NomadDefaults, drivers/shared/capabilities/defaults.go).
func nomadAllowed() capability.Set { return capability.DockerDefault().Without(capability.NetRaw) }

func nomadTarget() Target {
	return Target{
		Name: "nomad", About: "config of a task with Nomad's docker driver",
		noDelta: "the default capabilities of a task depend on Nomad's version and on allow_caps of the client",
		text:    nomadConfig,
		notes: func(c changes) []string {
			if beyond := c.add.Minus(nomadAllowed()); !beyond.Empty() {
				return []string{fmt.Sprintf("the client does not allow %s by default: add it to allow_caps in the client's configuration, plugin \"docker\"", beyond.Text())}
			}
			return nil
		},
		join: commented("\n"), comments: true,
	}
}

func nomadConfig(c changes) string {
	lines := []string{"config {", "  cap_drop = " + quotedList([]string{"all"})}
	if !c.add.Empty() {
		lines = append(lines, "  cap_add  = "+strings.ToLower(quotedList(Names(c.add))))
	}
	return strings.Join(append(lines, "}"), "\n") + "\n"
}

// quotedList returns a list of names in HCL.
func quotedList(names []string) string { return `["` + strings.Join(names, `", "`) + `"]` }
