// Package container knows containers as their engines do: who they are, how they
// are configured, which of them a command started.
package container

import (
	"regexp"
	"strings"
	"time"

	"github.com/capmon/capmon/internal/seccomp"
)

// Info is what an engine knows of one container. What the engine does not tell is
// the zero value.
type Info struct {
	ID   string
	Name string // without Docker's leading slash
	// Image as the user named it, with its tag: nginx:latest, or an image ID.
	Image string
	// ImageID is the digest of the image's configuration (of its index, in engines
	// with containerd's image store), which changes with its content.
	ImageID string
	// ImageDigest is what registries know the image by, sha256:…; "" for one that
	// was never pushed or pulled, unless the engine has containerd's image store: there it
	// is ImageID.
	ImageDigest string
	Labels      map[string]string
	// User as configured: a name or number, "" for root.
	User                         string
	Privileged                   bool
	CapAdd, CapDrop, SecurityOpt []string
	// Seccomp is the profile in force, of a privileged container the one that it would
	// have without; nil if it is not known.
	Seccomp *seccomp.Profile
	// The namespaces' settings in Docker's words: "", host, container:ID, …
	PidMode, NetworkMode, UsernsMode, CgroupnsMode string
	CgroupParent                                   string

	Running bool
	Pid     int // of the first process, as the engine's host sees it; 0 unless it runs
	// NeverStarted: it was made and nobody has started it yet.
	NeverStarted bool
	// CreatedAt, StartedAt (the last time) and FinishedAt are zero if that has not
	// happened yet. Docker takes down the start a little late: what ends at once may
	// have finished before it started.
	CreatedAt, StartedAt, FinishedAt time.Time
	ExitCode                         int

	// Layers are the directories of the engine's host that its root file system is
	// stacked of, the one it writes to first; none if the engine does not tell.
	Layers []string

	// Mounts are what was mounted over it. Without Source it is not known what.
	Mounts []Mount

	// Unconfirmed is the cgroup of a container that no engine confirms. Its ID begins with
	// UnknownPrefix. It is empty of others.
	Unconfirmed string

	// Inspected: the engine was asked in full. Otherwise a listing or an event has
	// told the ID, the name, the image, the labels and whether it runs.
	Inspected bool
}

// Mount is a directory or file of the engine's host, seen in a container.
type Mount struct{ Source, Destination string }

// cgroupName is how engines name a container's cgroup: its ID alone, or
// ENGINE-<ID>.scope under systemd. conmon, Podman's and CRI-O's monitor, has a
// cgroup of its own beside its container's. The same rule stands in C, in
// bpf/cgroup.h.
var cgroupName = regexp.MustCompile(`^(?:(.+-))?([0-9a-f]{64})(\.scope)?$`)

// maxCgroupName is the longest cgroup name that is looked at: CGROUP_NAME_LEN of
// bpf/record.h less the final NUL and the byte that tells that nothing was cut.
const maxCgroupName = 126

// IDFromCgroup finds the container that a cgroup belongs to: the topmost
// component with a container's name, since what runs inside a container belongs
// to that container. The path may be absolute or not, of any hierarchy. Anybody who
// may make cgroups can make one with such a name: the engine knows what is true.
func IDFromCgroup(path string) (id string, ok bool) {
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

// shortLen is how much of an ID engines show.
const shortLen = 12

// UnknownPrefix begins the IDs that capmon gives to cgroups that are named like a container's
// and that no engine confirms: cgroup- and the number of the cgroup's directory (find -inum).
const UnknownPrefix = "cgroup-"

// ShortID is an ID as engines show it: its first 12 digits. Those that capmon gives are whole.
func ShortID(id string) string {
	if strings.HasPrefix(id, UnknownPrefix) {
		return id
	}
	return id[:min(len(id), shortLen)]
}
