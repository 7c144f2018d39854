package settings

import (
	"fmt"
	"slices"
	"strings"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/profile"
)

// WithLiftedLimits adds the capability that the group also needs if the target keeps the kernel's limits on low ports
// and on ICMP echo, and returns notes for the reader. Docker lifts both limits with sysctls for all containers that do
// not use the host's network (daemon/oci_linux.go, WithSysctls, since 20.10), so the kernel makes no check there.
func (t Target) WithLiftedLimits(g Group) (Group, []string) {
	if !t.keepsLimits {
		return g, nil
	}
	var notes []string
	add := func(note string) {
		if note != "" {
			notes = append(notes, note)
		}
	}
	if !g.Needs.Has(capability.NetBindService) {
		bound := g.lifted(capability.NetBindService)
		if len(bound) > 0 {
			g.Needs = g.Needs.With(capability.NetBindService)
		}
		add(g.portNote(bound, t.rootOnly))
	}
	if !g.Needs.Has(capability.NetRaw) {
		add(g.echoNote(g.lifted(capability.NetRaw)))
	}
	return g, notes
}

// lifted returns the members' uses of a limit that Docker lifts.
func (g Group) lifted(c capability.Capability) []profile.Lifted {
	var all []profile.Lifted
	for _, member := range g.Members {
		all = append(all, member.LiftedFor(c)...)
	}
	return all
}

// limitsHidden reports whether a member may have used a lifted limit although capmon did not see the use.
func (g Group) limitsHidden() bool {
	return slices.ContainsFunc(g.Members, func(c LabeledContainer) bool {
		return c.Container.NetworkMode != "host" && (c.Container.NetworkMode != "" || len(c.Lifted) > 0) && !c.LimitsSeen
	})
}

// portNote explains why NET_BIND_SERVICE is in the list, or why it may be missing. rootOnly as in [Target].
func (g Group) portNote(bound []profile.Lifted, rootOnly bool) string {
	const sysctl = "the sysctl net.ipv4.ip_unprivileged_port_start="
	if len(bound) == 0 {
		if !g.limitsHidden() {
			return ""
		}
		return "capmon does not know whether the container binds ports below 1024, which Docker allows without a capability. " +
			"If it does, it needs NET_BIND_SERVICE here, or " + sysctl + "0"
	}
	note := fmt.Sprintf("%s, which Docker allows without a capability. Here, NET_BIND_SERVICE is added; it is not needed with %s%d",
		binds(bound), sysctl, lowest(bound))
	if user := slices.IndexFunc(bound, func(l profile.Lifted) bool { return l.User != 0 }); rootOnly && user >= 0 {
		note += fmt.Sprintf(". A process of user %d binds such a port, and does not get an added capability: set the sysctl instead", bound[user].User)
	}
	return note
}

// binds describes which programs bound which ports.
func binds(bound []profile.Lifted) string {
	const most = 8
	var ports []string
	for _, l := range bound {
		port := "ports below 1024"
		if l.Port != 0 {
			port = fmt.Sprintf("port %d", l.Port)
			if l.Transport != "" {
				port = quote(l.Transport) + " " + port
			}
		}
		ports = appendNew(ports, port)
	}
	if len(ports) > most {
		ports = append(ports[:most], "others")
	}
	return programs(bound) + " bound " + strings.Join(ports, ", ")
}

// programs lists the programs, each as one word. A container chooses their names.
func programs(all []profile.Lifted) string {
	var names []string
	for _, l := range all {
		if l.Others {
			names = appendNew(names, "others")
		} else {
			names = appendNew(names, quote(l.Program))
		}
	}
	return profile.Names(names)
}

func appendNew(list []string, text string) []string {
	if slices.Contains(list, text) {
		return list
	}
	return append(list, text)
}

// lowest returns the lowest port, 0 if one port is not known.
func lowest(bound []profile.Lifted) uint16 {
	return slices.MinFunc(bound, func(a, b profile.Lifted) int { return int(a.Port) - int(b.Port) }).Port
}

// echoNote explains the requirements of ICMP echo. capmon does not add NET_RAW: it helps only a program that uses a raw
// socket if the other kind of socket is denied, and it allows the program to forge packets.
func (g Group) echoNote(opened []profile.Lifted) string {
	const sysctl = "the sysctl net.ipv4.ping_group_range=0 2147483647"
	if len(opened) > 0 {
		return fmt.Sprintf("%s opened a socket for ICMP echo (ping) that is not raw, which Docker allows without a capability. Here, the socket may require %s, "+
			"or NET_RAW if the program can use a raw socket instead", programs(opened), sysctl)
	}
	if !g.limitsHidden() {
		return ""
	}
	return "capmon does not know whether the container sends ICMP echo (ping), which Docker allows without a capability. " +
		"If it does, it may need NET_RAW here, or " + sysctl
}
