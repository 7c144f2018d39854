package settings

import (
	"fmt"
	"slices"
	"strings"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/profile"
)

// podmanDefault returns podman's default capabilities (default_capabilities in containers.conf(5) of
// containers-common).
func podmanDefault() capability.Set {
	return capability.DockerDefault().Minus(capability.Of(capability.AuditWrite, capability.Mknod, capability.NetRaw))
}

func podmanTarget() Target {
	return Target{
		Name: Podman, About: "options of podman run and podman create", standard: podmanDefault(),
		text: options, notes: seccompNotes("--security-opt=seccomp=FILE"), join: lines, keepsLimits: true,
	}
}

// seccompNotes returns notes about system calls that podman's seccomp profile may deny with a list that is sufficient
// for Docker's profile: bpf without SYS_ADMIN and, until October 2025, perf_event_open without both PERFMON and
// SYS_ADMIN (seccomp.json of containers/common). option is the setting that chooses another profile.
func seccompNotes(option string) func(changes) []string {
	return func(c changes) (notes []string) {
		for _, rule := range []struct {
			call   string
			wanted capability.Set
		}{
			{"bpf", capability.Of(capability.SysAdmin)},
			{"perf_event_open", capability.Of(capability.Perfmon, capability.SysAdmin)},
		} {
			if missing := rule.wanted.Minus(c.Needs); !missing.Empty() && c.calls(rule.call) {
				notes = append(notes, fmt.Sprintf("podman's seccomp profile may require %s for %s. If %[2]s fails, do not add %[3]s: choose a seccomp profile that allows %[2]s, such as Docker's (%[4]s)",
					rule.wanted.Text(), rule.call, missing.Text(), option))
			}
		}
		return notes
	}
}

// calls reports whether a member used a needed capability in the system call.
func (g Group) calls(name string) bool {
	return slices.ContainsFunc(g.Members, func(c LabeledContainer) bool {
		return slices.ContainsFunc(c.Uses, func(use profile.UsePattern) bool { return use.CallName() == name && use.Class.Need() })
	})
}

// QuadletLines returns the lines in the section [LabeledContainer] of a quadlet that grant the needs and nothing else.
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
		noDelta: "the default capabilities of a quadlet depend on podman's version and configuration",
		text: func(c changes) string {
			return "[Container]\n" + strings.Join(QuadletLines(c.Needs), "\n") + "\n"
		},
		notes: seccompNotes("SeccompProfile=FILE"), join: commented("\n"), comments: true, keepsLimits: true,
	}
}
