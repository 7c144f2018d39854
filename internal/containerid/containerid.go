// Package containerid finds the IDs of containers in cgroup paths, and shortens them.
package containerid

import (
	"regexp"
	"strings"

	"github.com/capmon/capmon/bpf"
)

// cgroupName matches the names that engines give to a container's cgroup: the ID alone, or ENGINE-<ID>.scope with
// systemd. conmon, the monitor process of Podman and CRI-O, has a cgroup of its own next to the container's, which does
// not count. The same rule is implemented in C, in bpf/cgroup.h.
var cgroupName = regexp.MustCompile(`^(?:(.+-))?([0-9a-f]{64})(\.scope)?$`)

// maxCgroupName is the longest cgroup name that is checked: the BPF programs need the final NUL, and one more byte that
// shows that the name was not truncated.
const maxCgroupName = int(bpf.CapmonLimitsCGROUP_NAME_LEN) - 2

// FromCgroup returns the ID of the container that a cgroup belongs to. The ID is in the topmost component with a
// container's name, because cgroups inside a container belong to that container. The path may be absolute or relative,
// in any hierarchy. Anyone who can create cgroups can create one with such a name; only the engine knows whether it is
// true.
func FromCgroup(path string) (id string, ok bool) {
	for component := range strings.SplitSeq(path, "/") {
		if len(component) > maxCgroupName {
			continue
		}
		match := cgroupName.FindStringSubmatch(component)
		if match == nil || (match[1] == "") != (match[3] == "") || strings.HasSuffix(match[1], "conmon-") {
			continue
		}
		return match[2], true
	}
	return "", false
}

// ShortLength is the number of digits of an ID that engines show.
const ShortLength = 12

// UnknownPrefix begins the IDs that capmon gives to cgroups that are named like a container's but that no engine
// confirms: cgroup- and the inode number of the cgroup's directory (find -inum).
const UnknownPrefix = "cgroup-"

// Short returns an ID as engines show it: its first [ShortLength] digits. It returns an ID that capmon has given
// unchanged.
func Short(id string) string {
	if strings.HasPrefix(id, UnknownPrefix) {
		return id
	}
	return id[:min(len(id), ShortLength)]
}

// Denotes reports whether a text is an ID, or at least its first [ShortLength] digits. A text that denotes an ID that
// capmon has given is the whole ID, because another one may begin with it.
func Denotes(text, id string) bool {
	if text == id {
		return text != ""
	}
	return len(text) >= ShortLength && strings.HasPrefix(id, text) && !strings.HasPrefix(id, UnknownPrefix)
}
