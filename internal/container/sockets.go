package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/docker/docker/client"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// The sockets of Podman's services: root's, and that of each user, below the directory of the user.
const rootSocket, userSocket = "/run/podman/podman.sock", "podman/podman.sock"

// userDirectories has the directories of the users, by their IDs.
var userDirectories = "/run/user"

// otherUsersTime is how long capmon looks for sockets of other users.
const otherUsersTime = time.Second

// FindPodman returns the services of Podman on this host: at CONTAINER_HOST, and at the usual sockets that root or the
// user of this process owns. Another user could answer anything on a socket. skipped has the reason for each socket
// that is not used. The services need not answer.
func FindPodman() (engines []*Docker, skipped map[string]error, err error) {
	skipped = socketsOfOthers()
	var sockets []string
	if host := os.Getenv(containerHost); host != "" {
		path, isSocket := strings.CutPrefix(host, "unix://")
		if !isSocket {
			skipped[host] = fmt.Errorf("capmon supports only unix sockets in CONTAINER_HOST")
		} else {
			sockets = append(sockets, path)
		}
	}
	for _, socket := range []string{rootSocket, filepath.Join(userDirectories, strconv.Itoa(os.Geteuid()), userSocket)} {
		if err := trusted(socket); err == nil {
			sockets = append(sockets, socket)
		} else if !errors.Is(err, os.ErrNotExist) {
			skipped[socket] = err
		}
	}
	for i, socket := range sockets {
		if isOneOf(socket, sockets[:i]) {
			continue
		}
		engine, err := newPodman("unix://" + socket)
		if err != nil {
			return nil, nil, err
		}
		engines = append(engines, engine)
	}
	return engines, skipped, nil
}

// PodmanAtHost returns the service of Podman at CONTAINER_HOST, which need not answer. It returns nil if CONTAINER_HOST
// is not set, or is not the address of a socket.
func PodmanAtHost() (*Docker, error) {
	endpoint := os.Getenv(containerHost)
	if !strings.HasPrefix(endpoint, "unix://") {
		return nil, nil
	}
	return newPodman(endpoint)
}

// containerHost is the variable with the address of Podman's service.
const containerHost = "CONTAINER_HOST"

func newPodman(endpoint string) (*Docker, error) {
	api, err := client.NewClientWithOpts(client.WithHost(endpoint), client.WithAPIVersionNegotiation())
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", endpoint, err)
	}
	return &Docker{client: api, endpoint: endpoint, guess: Podman}, nil
}

// socketsOfOthers returns the sockets of other users, with the reason why capmon does not use them. A user can replace
// the directory of a socket by a link to a file system that never answers. So capmon does not wait for long.
func socketsOfOthers() map[string]error {
	found, pattern := make(chan map[string]error, 1), filepath.Join(userDirectories, "*", userSocket)
	go func() {
		sockets, _ := filepath.Glob(pattern) // it is valid
		others := make(map[string]error)
		for _, socket := range sockets {
			user := filepath.Base(filepath.Dir(filepath.Dir(socket)))
			if user != strconv.Itoa(os.Geteuid()) {
				others[socket] = fmt.Errorf("it belongs to user %s, who could report anything about containers of others", user)
			}
		}
		found <- others
	}()
	select {
	case others := <-found:
		return others
	case <-time.After(otherUsersTime):
		reason := fmt.Errorf("a file system did not answer within %v; capmon does not know which other users have a Podman", otherUsersTime)
		return map[string]error{userDirectories: reason}
	}
}

// existing returns the paths at which a socket exists.
func existing(paths []string) (sockets []string) {
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil && info.Mode().Type() == os.ModeSocket && !isOneOf(path, sockets) {
			sockets = append(sockets, path)
		}
	}
	return sockets
}

// criSockets are the well-known paths of the sockets of runtimes of Kubernetes that are not containerd.
var criSockets = []string{"/run/crio/crio.sock", "/var/run/crio/crio.sock"}

// FindCRI returns the runtimes of Kubernetes on this host: the one at CONTAINER_RUNTIME_ENDPOINT, or otherwise those at
// the well-known sockets. It leaves out the runtimes of containerds that capmon asks already, and containerds without
// the CRI plugin. skipped has the reason for each other socket that is not used. The runtimes need not answer.
func FindCRI(ctx context.Context, known []*Containerd) (found []*CRI, skipped map[string]error, err error) {
	skipped = make(map[string]error)
	sockets := existing(slices.Concat(containerdSockets, criSockets))
	if endpoint := os.Getenv("CONTAINER_RUNTIME_ENDPOINT"); endpoint != "" {
		path, isSocket := strings.CutPrefix(endpoint, "unix://")
		if !isSocket && !filepath.IsAbs(path) {
			skipped[endpoint] = errors.New("capmon supports only unix sockets in CONTAINER_RUNTIME_ENDPOINT")
			return nil, skipped, nil
		}
		sockets = []string{path}
	}
	var asked []string
	for _, containerd := range known {
		asked = append(asked, containerd.address)
	}
	for _, socket := range sockets {
		if isOneOf(socket, asked) {
			continue
		}
		runtime, err := ConnectCRI(socket)
		if err != nil {
			return nil, nil, err
		}
		found = append(found, runtime)
	}
	return withoutUnimplemented(ctx, found), skipped, nil
}

// withoutUnimplemented leaves out the sockets at which another service answers. It asks all at the same time.
func withoutUnimplemented(ctx context.Context, found []*CRI) []*CRI {
	ctx, cancel := context.WithTimeout(ctx, memberTimeout)
	defer cancel()
	missing := make([]bool, len(found))
	var asking sync.WaitGroup
	for i, runtime := range found {
		asking.Go(func() { missing[i] = status.Code(runtime.Alive(ctx)) == codes.Unimplemented })
	}
	asking.Wait()
	var implemented []*CRI
	for i, runtime := range found {
		if missing[i] {
			_ = runtime.Close()
			continue
		}
		implemented = append(implemented, runtime)
	}
	return implemented
}

// SameSocket reports whether two engines are at the same socket.
func (d *Docker) SameSocket(other *Docker) bool {
	one, isSocket := strings.CutPrefix(d.endpoint, "unix://")
	path, alsoSocket := strings.CutPrefix(other.endpoint, "unix://")
	return isSocket && alsoSocket && isOneOf(one, []string{path})
}

// isOneOf reports whether a file is one of several files.
func isOneOf(path string, files []string) bool {
	info, err := os.Stat(path)
	for _, file := range files {
		other, otherErr := os.Stat(file)
		if path == file || err == nil && otherErr == nil && os.SameFile(info, other) {
			return true
		}
	}
	return false
}

// trusted checks that only root and the user of this process can have made a socket: they own it and the two
// directories above it, and nobody else can write to these.
func trusted(socket string) error {
	for depth, path := 0, socket; depth < 3; depth, path = depth+1, filepath.Dir(path) {
		var stat unix.Stat_t
		if err := unix.Lstat(path, &stat); err != nil {
			return err
		}
		kind := uint32(unix.S_IFDIR)
		if depth == 0 {
			kind = unix.S_IFSOCK
		}
		switch {
		case stat.Mode&unix.S_IFMT != kind:
			return fmt.Errorf("%s is not a socket or directory", path)
		case stat.Uid != 0 && int(stat.Uid) != os.Geteuid():
			return fmt.Errorf("%s belongs to user %d, who could report anything about containers of others", path, stat.Uid)
		case depth > 0 && stat.Mode&0o022 != 0:
			return fmt.Errorf("users other than the owner can write to %s", path)
		}
	}
	return nil
}
