// Package container knows containers as their engines do: who they are, how they
// are configured, which of them a command started.
package container

import (
	"context"
	"errors"
	"fmt"
	"os"
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
	// was never pushed or pulled.
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
	// CreatedAt, StartedAt (the last time) and FinishedAt are zero if that has not
	// happened yet. Docker takes down the start a little late: what ends at once may
	// have finished before it started.
	CreatedAt, StartedAt, FinishedAt time.Time
	ExitCode                         int

	// Layers are the directories of the engine's host that its root file system is
	// stacked of, the one it writes to first; none if the engine does not tell.
	Layers []string

	// Inspected: the engine was asked in full. Otherwise a listing or an event has
	// told the ID, the name, the image, the labels and whether it runs.
	Inspected bool
}

// EventType tells what happened to a container.
type EventType string

// The events that matter here, in Docker's words.
const (
	Created EventType = "create"
	Started EventType = "start"
	Died    EventType = "die" // its first process has ended
	Removed EventType = "destroy"
	Renamed EventType = "rename" // Name is the new one
)

// Event is something that happened to a container.
type Event struct {
	Type            EventType
	ID, Name, Image string
	Labels          map[string]string
	Time            time.Time
}

// Version is what an engine says of itself and of its host.
type Version struct {
	Engine, API string // 28.5.2, 1.51
	OS          string // of the host, such as Debian GNU/Linux 12 (bookworm)
	// Kernel is the release of the kernel that the containers run on. A kernel
	// other than ours means that they are out of our sight.
	Kernel        string
	CgroupDriver  string // cgroupfs, systemd or none
	CgroupVersion string // 1 or 2
	Rootless      bool   // the engine runs without root, in a user namespace
	UsernsRemap   bool   // containers get a user namespace
}

// Engine runs containers and can be asked about them. Its methods may be called
// from several goroutines at once.
type Engine interface {
	// Name of the kind of engine, such as docker.
	Name() string
	// Version of the engine.
	Version(ctx context.Context) (Version, error)
	// List of the containers, the running ones or all, not Inspected.
	List(ctx context.Context, all bool) ([]Info, error)
	// Inspect one by ID or name. The error is ErrNotFound if there is none.
	Inspect(ctx context.Context, id string) (Info, error)
	// Events from a moment on, past ones included, until ctx ends. The second
	// channel gets the error that ended them before, then it is closed; the first
	// is never closed.
	Events(ctx context.Context, since time.Time) (<-chan Event, <-chan error)
	// Past is what happened between two moments, as far as the engine remembers:
	// Docker keeps its last 256 events of any kind.
	Past(ctx context.Context, since, until time.Time) ([]Event, error)
	// PID of the process that serves it, which sees the files of Layers; 0 if none does
	// on this machine, or in this pid namespace.
	PID() int
	// Close ends the connection.
	Close() error
}

// ErrNotFound: the engine has no such container.
var ErrNotFound = errors.New("no such container")

// UnreachableError: no engine answers at the endpoint.
type UnreachableError struct {
	Endpoint string // such as unix:///var/run/docker.sock
	Err      error
}

// Error ends in what to do.
func (e *UnreachableError) Error() string {
	advice := "is it running, and are DOCKER_HOST and the docker context right?"
	if errors.Is(e.Err, os.ErrPermission) {
		advice = "run this as root or as a member of the group docker"
	}
	return fmt.Sprintf("cannot reach Docker at %s: %v; %s", e.Endpoint, e.Err, advice)
}

// Unwrap gives the reason.
func (e *UnreachableError) Unwrap() error { return e.Err }

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

// ShortID is an ID as engines show it: its first 12 digits.
func ShortID(id string) string { return id[:min(len(id), shortLen)] }
