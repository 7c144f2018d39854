package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

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

// EventType tells what happened to a container.
type EventType string

// The events that matter here, in Docker's words.
const (
	Created EventType = "create"
	Started EventType = "start"
	Died    EventType = "die" // its first process has ended
	Removed EventType = "destroy"
	Renamed EventType = "rename" // Name is the new one
	Killed  EventType = "kill"   // its first process was sent a signal
)

// Event is something that happened to a container.
type Event struct {
	Type            EventType
	ID, Name, Image string
	Labels          map[string]string
	Time            time.Time
	// ExitStatus of the first process, of Died; nil if the engine does not tell.
	ExitStatus *int
	// Stops: the signal of Killed tells most programs to end.
	Stops bool
}

// Exit is an end of a container's first process.
type Exit struct {
	Time   time.Time
	Status int
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
