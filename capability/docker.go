package capability

import (
	"fmt"
	"strings"
)

// DockerDefault returns the capabilities that Docker grants to a container by default (oci/caps/defaults.go of moby):
// the 14 of CIS Docker Benchmark 5.4.
func DockerDefault() Set {
	return Of(AuditWrite, Chown, DACOverride, Fowner, Fsetid, Kill, Mknod, NetBindService,
		NetRaw, Setfcap, Setgid, Setpcap, Setuid, SysChroot)
}

// allCapabilities is Docker's name for all capabilities that the kernel knows.
const allCapabilities = "ALL"

// Risky returns the capabilities that allow a process to escape from the container or to change the host. None of them
// is a default of Docker.
func Risky() Set { return Of(RiskyOrder()...) }

// RiskyOrNetRaw returns [Risky] and NET_RAW: a container that has one of them and does not use it needs attention.
func RiskyOrNetRaw() Set { return Risky().With(NetRaw) }

// RiskyOrder returns the capabilities of [Risky], those that give the most power over the host first.
func RiskyOrder() []Capability {
	return []Capability{
		SysAdmin, SysModule, SysRawio, SysPtrace, BPF, Perfmon, DACReadSearch, CheckpointRestore,
		SysBoot, NetAdmin, MacAdmin, MacOverride, Syslog, AuditControl, SysTime,
	}
}

// Granted returns the capabilities that Docker grants for a container's settings, as TweakCapabilities in moby's
// oci/caps/utils.go computes them:
//
//   - A privileged container gets all capabilities. add and drop have no effect.
//   - If add contains ALL, the container gets all capabilities except those that drop names. ALL in drop has no effect.
//   - Otherwise, if drop contains ALL, the container gets the capabilities in add.
//   - Otherwise it gets the default without those in drop, and then those in add. A capability in both is granted.
//
// last is the highest capability that the kernel knows: "all" ends there. Names may be in upper or lower case and begin
// with CAP_, but CAP_ALL is not a name. Granted returns an error for a name that the engine would reject.
//
// An engine that lacks capabilities itself (Docker in Docker, rootless with a bounding set) grants no more than it has.
// Granted does not take that into account.
func Granted(add, drop []string, privileged bool, last Capability) (Set, error) {
	if privileged {
		return Known(last), nil
	}
	added, addAll, err := parseList(add, last)
	if err != nil {
		return 0, fmt.Errorf("added capabilities: %w", err)
	}
	dropped, dropAll, err := parseList(drop, last)
	if err != nil {
		return 0, fmt.Errorf("dropped capabilities: %w", err)
	}
	switch {
	case addAll:
		return Known(last).Minus(dropped), nil
	case dropAll:
		return added, nil
	}
	return DockerDefault().Minus(dropped).Union(added), nil
}

func parseList(names []string, last Capability) (set Set, all bool, err error) {
	for _, name := range names {
		if strings.EqualFold(name, allCapabilities) {
			all = true
			continue
		}
		c, err := parseName(name)
		if err != nil {
			return 0, false, err
		}
		if c > last {
			return 0, false, fmt.Errorf("capability %s is not supported by the kernel, whose last is %s", c, last)
		}
		set = set.With(c)
	}
	return set, all, nil
}
