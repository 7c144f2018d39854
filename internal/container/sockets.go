package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/client"
	"golang.org/x/sys/unix"
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
	if host := os.Getenv("CONTAINER_HOST"); host != "" {
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
		endpoint := "unix://" + socket
		api, err := client.NewClientWithOpts(client.WithHost(endpoint), client.WithAPIVersionNegotiation())
		if err != nil {
			return nil, nil, fmt.Errorf("connecting to %s: %w", endpoint, err)
		}
		engines = append(engines, &Docker{client: api, endpoint: endpoint, guess: Podman})
	}
	return engines, skipped, nil
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
