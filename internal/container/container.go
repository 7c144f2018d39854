// Package container knows containers as their engines do: who they are, how they
// are configured, which of them a command started.
package container

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// Info is what an engine knows of one container.
type Info struct {
	ID   string
	Name string
	// Image as the user named it, with its tag; ImageID its content's digest.
	Image, ImageID string
	Labels         map[string]string
	// User as configured: a name or number, "" for the image's default.
	User            string
	Privileged      bool
	CapAdd, CapDrop []string
	Running         bool
	// Inspected: the engine was asked in full; otherwise only the ID, names and
	// labels are known, from an event.
	Inspected bool
}

// EventType tells what happened to a container.
type EventType string

// The events that matter here, in Docker's words.
const (
	Created EventType = "create"
	Started EventType = "start"
	Renamed EventType = "rename"
)

// Event is something that happened to a container.
type Event struct {
	Type            EventType
	ID, Name, Image string
	Labels          map[string]string
	Time            time.Time
}

// Engine runs containers and can be asked about them.
type Engine interface {
	// Name of the kind of engine, such as docker.
	Name() string
	// List of the containers, the running ones or all.
	List(ctx context.Context, all bool) ([]Info, error)
	// Inspect one by ID or name. The error is ErrNotFound if there is none.
	Inspect(ctx context.Context, id string) (Info, error)
	// Events from a moment on, until ctx ends. The second channel gets the error
	// that ended them before.
	Events(ctx context.Context, since time.Time) (<-chan Event, <-chan error)
}

// ErrNotFound: the engine has no such container.
var ErrNotFound = errors.New("no such container")

// UnreachableError: the engine does not answer.
type UnreachableError struct {
	Endpoint string
	Err      error
}

func (e *UnreachableError) Error() string {
	return fmt.Sprintf("cannot reach Docker at %s: %v; is it running, and are DOCKER_HOST and the docker context right?", e.Endpoint, e.Err)
}

func (e *UnreachableError) Unwrap() error { return e.Err }

// cgroupName is how engines name a container's cgroup: its ID alone, or
// ENGINE-<ID>.scope under systemd. conmon, Podman's and CRI-O's monitor, has a
// cgroup of its own beside its container's. The same rule stands in C, in
// bpf/cgroup.h.
var cgroupName = regexp.MustCompile(`^(?:(.+-))?([0-9a-f]{64})(\.scope)?$`)

// maxCgroupName is the longest cgroup name that is looked at, CGROUP_NAME_LEN of
// bpf/record.h less the final NUL.
const maxCgroupName = 126

// IDFromCgroup finds the container that a cgroup belongs to: the topmost
// component with a container's name, since what runs inside a container belongs
// to that container.
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

// ShortID is an ID as engines show it.
func ShortID(id string) string { return id[:min(len(id), 12)] }
