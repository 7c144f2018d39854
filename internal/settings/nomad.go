package settings

import (
	"fmt"
	"strings"

	"github.com/capmon/capmon/internal/capability"
)

// nomadAllowed is what a Nomad client lets tasks of the docker driver add unless its
// allow_caps says otherwise (NomadDefaults, drivers/shared/capabilities/defaults.go).
func nomadAllowed() capability.Set { return capability.DockerDefault().Without(capability.NetRaw) }

func nomadTarget() Target {
	return Target{
		Name: "nomad", About: "config of a task with Nomad's docker driver",
		noDelta: "what a task is granted by itself depends on Nomad's version and on allow_caps of the client",
		text:    nomadConfig,
		notes: func(c changes) []string {
			if beyond := c.add.Minus(nomadAllowed()); !beyond.Empty() {
				return []string{fmt.Sprintf("the client has to allow %s, which it does not by itself: allow_caps in its configuration, plugin \"docker\"", beyond.Text())}
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

// quotedList is a list of names in HCL.
func quotedList(names []string) string { return `["` + strings.Join(names, `", "`) + `"]` }
