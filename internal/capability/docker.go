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

// Granted is what Docker makes of a container's settings, as TweakCapabilities in
// moby's oci/caps/utils.go does:
//
//   - A privileged container gets all capabilities, whatever it adds or drops.
//   - Adding ALL gives all but those dropped by name: dropping ALL as well has no effect.
//   - Else dropping ALL leaves what is added.
//   - Else what is dropped leaves the default and what is added joins it: what is
//     both added and dropped is granted.
//
// last is the highest capability that the kernel knows, the end of "all". Names
// may be in any case and begin with CAP_, but CAP_ALL is none. A name that the
// engine would refuse is an error.
//
// An engine that lacks some capabilities itself (Docker in Docker, rootless with
// a bounding set) grants no more than it has, which Granted cannot know.
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
