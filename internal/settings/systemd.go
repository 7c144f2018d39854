package settings

import (
	"slices"
	"strings"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/dockerflags"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/shell"
)

func systemdTarget() Target {
	return Target{
		Name: Systemd, About: "lines of a unit of systemd, or of a drop-in for a unit",
		noDelta: "a service has all capabilities of the host by default",
		text:    systemdLines,
		notes: func(c changes) []string {
			if !slices.ContainsFunc(c.Members, func(m LabeledContainer) bool { return m.Container.Kind == "" }) {
				return nil
			}
			return []string{"capmon observed the program in a container: outside of the container, files may have other owners and modes, and the program may need other capabilities"}
		},
		join: commented("\n"), comments: true, keepsLimits: true,
	}
}

// The names of the settings of a unit that grant capabilities.
const (
	BoundingSetKey = "CapabilityBoundingSet"
	AmbientSetKey  = "AmbientCapabilities"
)

// systemdLines returns the section of a unit or, for a unit that capmon observed, of a drop-in for that unit.
func systemdLines(c changes) string {
	var lines []string
	if c.isUnit() {
		lines = DropIn(c.Needs, c.Ambient())
	} else {
		lines = []string{BoundingSet(c.Needs)}
		if !c.Needs.Empty() {
			lines = append(lines, "# with a User= other than root, also set:", "# "+AmbientSetKey+"="+strings.Join(capNames(c.Needs), " "))
		}
	}
	return "[Service]\n" + strings.Join(lines, "\n") + "\n"
}

// DropIn returns the settings in a drop-in for a unit that grant the needs and nothing else. For each setting, the
// first line removes the values of the unit: systemd would otherwise add the list to them. ambient has the capabilities
// that the unit gives to a process of a user other than root. systemd cannot start a unit whose ambient set has more
// than its bounding set.
func DropIn(needs, ambient capability.Set) []string {
	lines := replacing(BoundingSetKey, needs)
	if !ambient.Empty() {
		lines = append(lines, replacing(AmbientSetKey, ambient.Intersect(needs))...)
	}
	return lines
}

func replacing(key string, set capability.Set) []string {
	lines := []string{key + "="}
	if !set.Empty() {
		lines = append(lines, key+"="+strings.Join(capNames(set), " "))
	}
	return lines
}

// isUnit reports whether all members are units of systemd.
func (g Group) isUnit() bool {
	return len(g.Members) > 0 && !slices.ContainsFunc(g.Members, func(c LabeledContainer) bool { return c.Container.Kind != container.Unit })
}

// Ambient returns the union of the members' ambient sets.
func (g Group) Ambient() (union capability.Set) {
	for _, c := range g.Members {
		if c.Grants.Ambient != nil {
			union = union.Union(*c.Grants.Ambient)
		}
	}
	return union
}

// InDropIn returns the settings of a drop-in for a unit as one line, for people. systemd does not start the processes
// of a scope, so a scope has no such settings.
func InDropIn(s profile.Summary) string {
	if isScope(s) {
		return SystemdRun(s.List()) + " …"
	}
	text := "in a drop-in of " + s.Container.Name + ": " + BoundingSet(s.List())
	if ambient := s.Grants.Ambient; ambient != nil && !ambient.Empty() {
		text += " and " + AmbientSetKey + "=" + strings.Join(capNames(ambient.Intersect(s.List())), " ")
	}
	return text
}

// isScope reports whether a unit is a scope.
func isScope(s profile.Summary) bool {
	return s.Container.Kind == container.Unit && strings.HasSuffix(s.Container.Name, ".scope")
}

// BoundingSet returns the setting of a unit that grants the needs and nothing else.
func BoundingSet(needs capability.Set) string {
	return BoundingSetKey + "=" + strings.Join(capNames(needs), " ")
}

// SystemdRun returns the beginning of a command that runs a program with the needs and nothing else.
func SystemdRun(needs capability.Set) string {
	return "systemd-run --pty " + strings.Join(Flags(container.Process, needs), " ")
}

// Flags returns the options that grant a workload the needs and nothing else: of docker run for a container, of
// systemd-run for the others. They are words for a shell.
func Flags(kind container.Kind, needs capability.Set) []string {
	if kind == "" {
		return dockerflags.Grant(needs)
	}
	return []string{shell.Quote("--property=" + BoundingSet(needs))}
}
