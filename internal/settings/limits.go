package settings

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/profile"
)

// BehindLimits returns the group with what it also needs if the target keeps the kernel's limits on
// low ports and on ICMP echo, and notes for the reader. Docker lifts both
// by sysctls for all containers that do not use the host's network (daemon/oci_linux.go, WithSysctls,
// since 20.10), and so the kernel asks for no capability there.
func (t Target) BehindLimits(g Group) (Group, []string) {
	if !t.strictPorts {
		return g, nil
	}
	var notes []string
	add := func(note string) {
		if note != "" {
			notes = append(notes, note)
		}
	}
	if !g.Needs.Has(capability.NetBindService) {
		bound := g.behind(capability.NetBindService)
		if len(bound) > 0 {
			g.Needs = g.Needs.With(capability.NetBindService)
		}
		add(g.portNote(bound, t.rootOnly))
	}
	if !g.Needs.Has(capability.NetRaw) {
		add(g.echoNote(g.behind(capability.NetRaw)))
	}
	return g, notes
}

// behind are the ways in which members passed a limit that Docker lifts.
func (g Group) behind(c capability.Capability) []profile.Lifted {
	var all []profile.Lifted
	for _, member := range g.Members {
		all = append(all, member.LiftedFor(c)...)
	}
	return all
}

// limitsHidden reports whether a member may have passed a limit without being seen.
func (g Group) limitsHidden() bool {
	return slices.ContainsFunc(g.Members, func(c Container) bool {
		return c.Container.NetworkMode != "host" && (c.Container.NetworkMode != "" || len(c.Lifted) > 0) && !c.LimitsSeen
	})
}

// portNote says why NET_BIND_SERVICE is in the list, or that it may have to be. rootOnly as in Target.
func (g Group) portNote(bound []profile.Lifted, rootOnly bool) string {
	const sysctl = "the sysctl net.ipv4.ip_unprivileged_port_start="
	if len(bound) == 0 {
		if !g.limitsHidden() {
			return ""
		}
		return "not known: whether it binds ports below 1024, which Docker lets every container do. " +
			"If it does, it needs NET_BIND_SERVICE here, or " + sysctl + "0"
	}
	note := fmt.Sprintf("%s, which Docker lets every container do: NET_BIND_SERVICE is added for it. It is not needed with %s%d",
		binds(bound), sysctl, lowest(bound))
	if user := slices.IndexFunc(bound, func(l profile.Lifted) bool { return l.User != 0 }); rootOnly && user >= 0 {
		note += fmt.Sprintf(". User %d does so, whom an added capability does not reach: there it takes the sysctl", bound[user].User)
	}
	return note
}

// binds says which programs bound which ports.
func binds(bound []profile.Lifted) string {
	const most = 8
	var ports []string
	for _, l := range bound {
		port := "ports below 1024"
		if l.Port != 0 {
			port = fmt.Sprintf("%s port %d", cmp.Or(quote(l.Transport), "a"), l.Port)
		}
		ports = with(ports, port)
	}
	if len(ports) > most {
		ports = append(ports[:most], "others")
	}
	return programs(bound) + " bound " + strings.Join(ports, ", ")
}

// programs names them, each as one word: a container chooses their names.
func programs(all []profile.Lifted) string {
	var names []string
	for _, l := range all {
		if l.Others {
			names = with(names, "others")
		} else {
			names = with(names, quote(l.Program))
		}
	}
	return profile.Names(names)
}

func with(list []string, text string) []string {
	if slices.Contains(list, text) {
		return list
	}
	return append(list, text)
}

// lowest is the lowest of the ports, 0 if one is not known.
func lowest(bound []profile.Lifted) uint16 {
	return slices.MinFunc(bound, func(a, b profile.Lifted) int { return int(a.Port) - int(b.Port) }).Port
}

// echoNote says that ICMP echo takes something here. NET_RAW is not added: it helps only a program
// that takes a raw socket if it cannot have the other one, and it allows to forge packets.
func (g Group) echoNote(opened []profile.Lifted) string {
	const sysctl = "the sysctl net.ipv4.ping_group_range=0 2147483647"
	if len(opened) > 0 {
		return fmt.Sprintf("%s opened a socket for ICMP echo (ping) that is not raw, which Docker lets every container do. Here that takes %s, "+
			"or NET_RAW if the program can take a raw socket instead", programs(opened), sysctl)
	}
	if !g.limitsHidden() {
		return ""
	}
	return "not known: whether it sends ICMP echo (ping), which Docker lets every container do. " +
		"If it does, it needs NET_RAW here, or " + sysctl
}
