package capability

import (
	"fmt"
	"strings"
)

// DockerDefault is what Docker grants a container that asks for nothing
// (oci/caps/defaults.go of moby): the 14 of CIS Docker Benchmark 5.4.
func DockerDefault() Set {
	return Of(AuditWrite, Chown, DACOverride, Fowner, Fsetid, Kill, Mknod, NetBindService,
		NetRaw, Setfcap, Setgid, Setpcap, Setuid, SysChroot)
}

// allCapabilities is Docker's word for every capability the kernel knows.
const allCapabilities = "ALL"

// Granted is what Docker makes of a container's settings (TweakCapabilities in
// moby's oci/caps/utils.go): --privileged beats all; adding ALL beats dropping
// ALL; else dropping ALL leaves just what is added. last is the highest
// capability that the kernel knows.
func Granted(add, drop []string, privileged bool, last Capability) (Set, error) {
	if privileged {
		return Known(last), nil
	}
	added, addAll, err := parseList(add)
	if err != nil {
		return 0, fmt.Errorf("added capabilities: %w", err)
	}
	dropped, dropAll, err := parseList(drop)
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

func parseList(names []string) (set Set, all bool, err error) {
	for _, name := range names {
		if strings.EqualFold(name, allCapabilities) {
			all = true
			continue
		}
		c, err := Parse(name)
		if err != nil {
			return 0, false, err
		}
		set = set.With(c)
	}
	return set, all, nil
}
