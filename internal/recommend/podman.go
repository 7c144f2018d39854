package recommend

import (
	"strings"

	"github.com/capmon/capmon/internal/capability"
)

// podmanDefault is what podman grants a container that asks for nothing
// (default_capabilities in containers.conf(5) of containers-common).
func podmanDefault() capability.Set {
	return capability.DockerDefault().Minus(capability.Of(capability.AuditWrite, capability.Mknod, capability.NetRaw))
}

func podmanTarget() Target {
	return Target{
		Name: "podman", About: "options of podman run and podman create", standard: podmanDefault(),
		text: options, join: lines, strictPorts: true,
	}
}

// QuadletLines are the lines in the section [Container] of a quadlet unit that grant
// needs and nothing else.
func QuadletLines(needs capability.Set) []string {
	lines := []string{"DropCapability=all"}
	if !needs.Empty() {
		lines = append(lines, "AddCapability="+strings.Join(Names(needs), " "))
	}
	return lines
}

func quadletTarget() Target {
	return Target{
		Name: "quadlet", About: "lines of a podman quadlet, NAME.container",
		noDelta: "what a quadlet grants by itself depends on podman's version and configuration",
		text: func(c changes) string {
			return "[Container]\n" + strings.Join(QuadletLines(c.Needs), "\n") + "\n"
		},
		join: commented("\n"), comments: true, strictPorts: true,
	}
}
