// Package containerid finds the IDs of containers in cgroup paths, and shortens them.
package containerid

import (
	"path"
	"regexp"
	"strings"

	"github.com/capmon/capmon/bpf"
)

// cgroupName matches the names that engines give to a container's cgroup: the ID alone, ENGINE-<ID>.scope with systemd,
// or libpod-<ID> and libpod-payload-<ID> from Podman without systemd. conmon, the monitor process of Podman and CRI-O,
// has a cgroup of its own next to the container's, which does not count. The same rule is implemented in C, in
// bpf/cgroup.h.
var cgroupName = regexp.MustCompile(`^(?:(.+-))?([0-9a-f]{64})(\.scope)?$`)

// maxCgroupName is the longest cgroup name that is checked: the BPF programs need the final NUL, and one more byte that
// shows that the name was not truncated.
const maxCgroupName = int(bpf.CapmonLimitsCGROUP_NAME_LEN) - 2

// FromCgroup returns the ID of the container that a cgroup belongs to. The ID is in the topmost component with a
// container's name, because cgroups inside a container belong to that container. The path may be absolute or relative,
// in any hierarchy. Anyone who can create cgroups can create one with such a name; only the engine knows whether it is
// true.
func FromCgroup(path string) (id string, ok bool) {
	_, id, ok = Topmost(path)
	return id, ok
}

// Topmost returns the cgroup and the ID of the container that a cgroup belongs to. The result is the beginning of all
// up to the component with the ID. See [FromCgroup].
func Topmost(all string) (cgroup, id string, ok bool) {
	above, end := "", 0
	for component := range strings.SplitSeq(all, "/") {
		end += len(component)
		id, ok := fromName(component)
		if ok && (end == len(all) || !isPod(above, component)) {
			return all[:end], id, true
		}
		above = component
		end++ // the slash
	}
	return "", "", false
}

// MayBePod reports whether a cgroup can be a pod of Podman without systemd: libpod_parent/<ID of the pod>. The
// containers of the pod are below it. A cgroup of this form with a process of its own is not a pod, but a container
// that an engine made below libpod_parent. A container cannot choose what is above its cgroup, so it cannot pass for a
// pod.
func MayBePod(cgroup string) bool {
	above, name := path.Split(cgroup)
	return isPod(path.Base(above), name)
}

func isPod(above, name string) bool { return above == podParent && len(name) == idLength }

const (
	podParent = "libpod_parent"
	idLength  = 64
)

// fromName returns the ID in the name of a container's cgroup.
func fromName(name string) (id string, ok bool) {
	if len(name) > maxCgroupName {
		return "", false
	}
	match := cgroupName.FindStringSubmatch(name)
	if match == nil {
		return "", false
	}
	switch before, scope := match[1], match[3] != ""; {
	case scope:
		ok = before != "" && !strings.HasSuffix(before, "conmon-")
	default:
		ok = before == "" || before == "libpod-" || before == "libpod-payload-"
	}
	if !ok {
		return "", false
	}
	return match[2], true
}

// ShortLength is the number of digits of an ID that engines show.
const ShortLength = 12

// UnknownPrefix begins the IDs that capmon gives to cgroups that are named like a container's but that no engine
// confirms: cgroup- and the inode number of the cgroup's directory (find -inum).
const UnknownPrefix = "cgroup-"

// ProcessPrefix and UnitPrefix begin the IDs that capmon gives to commands and to units of systemd: the prefix and the
// name. No cgroup with the name of a container, and no container of containerd, has such an ID.
const (
	ProcessPrefix = "process:"
	UnitPrefix    = "unit:"
)

// Qualified returns the ID by which capmon knows a container of containerd. Users choose the names of such containers,
// and a name is unique only in its namespace. So the result is NAMESPACE/NAME. A name that is an ID of 64 hexadecimal
// digits is the result itself.
func Qualified(namespace, name string) string {
	if _, ok := fromName(name); ok && len(name) == idLength {
		return name
	}
	return namespace + "/" + name
}

// QualifiedName returns the name by which capmon knows a container with a name in a namespace of containerd. Outside
// the namespace default, it is NAMESPACE/NAME.
func QualifiedName(namespace, name string) string {
	if name == "" || namespace == "" || namespace == "default" {
		return name
	}
	return namespace + "/" + name
}

// IsStandalone reports whether an ID is that of a container that no engine manages: the path of the file or directory
// that shows the container. No name of a cgroup has a slash, and no namespace of containerd begins with one.
func IsStandalone(id string) bool { return strings.HasPrefix(id, "/") }

// IsQualified reports whether an ID is NAMESPACE/NAME or [IsStandalone]. The name of a cgroup is not, because it has no
// slash.
func IsQualified(id string) bool { return strings.Contains(id, "/") }

// IsInCgroupName reports whether the path of a cgroup has the ID of the container.
func IsInCgroupName(cgroup, id string) bool {
	found, ok := FromCgroup(cgroup)
	return ok && found == id
}

// hasDigits reports whether an engine made an ID of digits.
func hasDigits(id string) bool {
	for _, prefix := range []string{UnknownPrefix, ProcessPrefix, UnitPrefix} {
		if strings.HasPrefix(id, prefix) {
			return false
		}
	}
	return !IsQualified(id)
}

// Short returns an ID as engines show it: its first [ShortLength] digits. It returns an ID that is not digits
// unchanged.
func Short(id string) string {
	if !hasDigits(id) {
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
	return len(text) >= ShortLength && strings.HasPrefix(id, text) && hasDigits(id)
}
