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
		text: options, notes: podmanNotes, join: lines, strictPorts: true,
	}
}

// podmanNotes says that podman's seccomp profile may refuse what Docker's allows: bpf with BPF, and
// before containers/common took it over in 2025, perf_event_open with PERFMON. Other calls that Docker's allows with a
// capability, podman's allows with the same one or always; or it refuses them whatever is granted.
func podmanNotes(c changes) []string {
	narrow := c.Needs.Intersect(capability.Of(capability.BPF, capability.Perfmon))
	if narrow.Empty() || c.Needs.Has(capability.SysAdmin) {
		return nil
	}
	return []string{narrow.Text() + ": podman's seccomp profile may allow bpf and perf_event_open only with SYS_ADMIN. If they fail, " +
		"use --security-opt=seccomp=FILE with a profile that allows them, such as Docker's, rather than SYS_ADMIN"}
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
		notes: podmanNotes, join: commented("\n"), comments: true, strictPorts: true,
	}
}
