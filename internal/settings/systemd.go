package settings

import "strings"

func systemdTarget() Target {
	return Target{
		Name: "systemd", About: "lines of a unit that runs the program without a container",
		noDelta: "a service has all capabilities of the host by itself",
		text:    systemdLines,
		notes: func(c changes) []string {
			return []string{"seen in a container: outside it files have other owners and modes, so the program may need others"}
		},
		join: commented("\n"), comments: true, strictPorts: true,
	}
}

func systemdLines(c changes) string {
	set := strings.Join(capNames(c.Needs), " ")
	lines := []string{"[Service]", "CapabilityBoundingSet=" + set}
	if set != "" {
		lines = append(lines, "# with a User= other than root, besides:", "# AmbientCapabilities="+set)
	}
	return strings.Join(lines, "\n") + "\n"
}
