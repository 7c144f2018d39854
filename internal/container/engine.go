package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// Engine is a container engine. Its methods are safe for concurrent use.
type Engine interface {
	// Name returns the kind of the engine, such as docker.
	Name() string
	// Version returns the version of the engine and facts about its host.
	Version(ctx context.Context) (Version, error)
	// List returns the running containers, or all. The results are not Inspected.
	List(ctx context.Context, all bool) ([]Info, error)
	// Inspect returns a container by ID or name. The error is [ErrNotFound] if there is none.
	Inspect(ctx context.Context, id string) (Info, error)
	// Events returns the events since a time, including past ones, until ctx ends. If the stream fails before that, the
	// second channel receives the error. The second channel is then closed; the first is never closed.
	Events(ctx context.Context, since time.Time) (<-chan Event, <-chan error)
	// Past returns the events between two times, as far as the engine still has them: Docker keeps its last 256 events
	// of any type.
	Past(ctx context.Context, since, until time.Time) ([]Event, error)
	// PIDs returns the PIDs of the processes that see the files of Layers, by the Engine in [Info]. It lacks engines
	// without a process that always runs, and processes that are not on this machine or not in this pid namespace.
	PIDs() map[string]int
	// Close closes the connection.
	Close() error
}

// Announcer is an engine that reports a new container before the container has a cgroup, with the path of that cgroup.
// Its event [Created] has the Engine. Its List has the Cgroup of all containers.
type Announcer interface {
	// Announced returns what List has about a container. It is faster than Inspect. The error is as for Inspect.
	Announced(ctx context.Context, id string) (Info, error)
}

// Version is the version of an engine, with facts about its host.
type Version struct {
	Engine, API string // 28.5.2, 1.51
	Title       string // names and versions of several engines; empty for one
	Host        string // name of the host
	OS          string // operating system of the host, such as Debian GNU/Linux 12 (bookworm)
	// Kernel is the release of the kernel that the containers run on. If it differs from this machine's, capmon cannot
	// see the containers.
	Kernel        string
	CgroupDriver  string // cgroupfs, systemd or none
	CgroupVersion string // 1 or 2
	Rootless      bool   // whether the engine runs without root, in a user namespace
	UsernsRemap   bool   // whether containers get a user namespace
}

// EventType is the type of an [Event].
type EventType string

// The types of events that capmon uses, in Docker's words.
const (
	Created EventType = "create"
	Started EventType = "start"
	Died    EventType = "die" // the first process has ended
	Removed EventType = "destroy"
	Renamed EventType = "rename" // Name is the new name
	Killed  EventType = "kill"   // a signal was sent to the first process
	// EnginesChanged is not about a container: one of several engines no longer answers, or answers again. PIDs and
	// Version may then have other results.
	EnginesChanged EventType = "engines"
)

// Event is a change of a container that the engine reports.
type Event struct {
	Type            EventType
	ID, Name, Image string
	Labels          map[string]string
	Engine          string // as in [Info]
	Time            time.Time
	// Pid is the PID of the first process, for Started. It is 0 if the engine does not report it.
	Pid int
	// ExitStatus is the exit status of the first process, for Died. It is nil if the engine does not report it.
	ExitStatus *int
	// Stops: for Killed, the signal ends most programs.
	Stops bool
}

// Exit is the end of a container's first process.
type Exit struct {
	Time   time.Time
	Status int
}

// ErrNotFound means that the engine has no such container.
var ErrNotFound = errors.New("no such container")

// ErrTooLarge means that the engine's description of a container is larger than capmon reads. It stays so.
var ErrTooLarge = errors.New("the description of the container is too large")

// UnreachableError means that no engine answers at the endpoint.
type UnreachableError struct {
	Endpoint string // such as unix:///var/run/docker.sock
	Err      error
}

// Error implements error. The text ends with the remedy.
func (e *UnreachableError) Error() string { return e.Text() + "; " + e.Remedy() }

// Text returns the text of the error without the remedy.
func (e *UnreachableError) Text() string {
	return fmt.Sprintf("cannot reach Docker at %s: %v", e.Endpoint, e.Err)
}

// Remedy returns what to do.
func (e *UnreachableError) Remedy() string {
	if errors.Is(e.Err, os.ErrPermission) {
		return "run capmon as root or as a member of the group docker"
	}
	return "start Docker, or correct DOCKER_HOST or the docker context"
}

// Unwrap returns the cause.
func (e *UnreachableError) Unwrap() error { return e.Err }
