package settings

import "strings"

func systemdTarget() Target {
	return Target{
		Name: "systemd", About: "lines of a unit that runs the program without a container",
		noDelta: "a service has all capabilities of the host by default",
		text:    systemdLines,
		notes: func(c changes) []string {
			return []string{"capmon observed the program in a container: outside of the container, files may have other owners and modes, and the program may need other capabilities"}
		},
		join: commented("\n"), comments: true, keepsLimits: true,
	}
}

func systemdLines(c changes) string {
	set := strings.Join(capNames(c.Needs), " ")
	lines := []string{"[Service]", "CapabilityBoundingSet=" + set}
	if set != "" {
		lines = append(lines, "# with a User= other than root, also set:", "# AmbientCapabilities="+set)
	}
	return strings.Join(lines, "\n") + "\n"
}
