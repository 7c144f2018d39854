// Package unixsocket opens Unix sockets that are never accessible to more users than intended.
package unixsocket

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"
)

// Listen opens a socket at a path that only the user of this process and the members of a group may use. If group is
// "", only the user may. The umask has no effect. Listen replaces a socket that no process answers. Any other file at
// the path is an error.
func Listen(path, group string) (net.Listener, error) {
	gid, err := groupID(group)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("creating the socket's directory: %w", err)
	}
	if err := removeUnanswered(path); err != nil {
		return nil, err
	}
	// The socket is created in a private directory, so that other users cannot access it before its mode is set.
	private, err := os.MkdirTemp(filepath.Dir(path), ".capmon-")
	if err != nil {
		return nil, fmt.Errorf("creating the socket: %w", err)
	}
	defer os.RemoveAll(private)
	draft := filepath.Join(private, "s")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: draft, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("creating the socket: %w", err)
	}
	listener.SetUnlinkOnClose(false)
	if err = permit(draft, gid); err == nil {
		err = os.Rename(draft, path)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("creating the socket: %w", err), listener.Close())
	}
	return listener, nil
}

// Permit gives a group access to the socket at a path. If group is "", no group has access.
func Permit(path, group string) error {
	gid, err := groupID(group)
	if err != nil {
		return err
	}
	return permit(path, gid)
}

// noGroup is the group ID for no group.
const noGroup = -1

func groupID(group string) (int, error) {
	if group == "" {
		return noGroup, nil
	}
	found, err := user.LookupGroup(group)
	if err != nil {
		return noGroup, fmt.Errorf("looking up the socket's group: %w", err)
	}
	gid, err := strconv.Atoi(found.Gid)
	if err != nil {
		return noGroup, fmt.Errorf("looking up the socket's group: %w", err)
	}
	return gid, nil
}

func permit(path string, gid int) error {
	if err := os.Chmod(path, 0o600); err != nil || gid == noGroup {
		return err
	}
	return errors.Join(os.Chown(path, -1, gid), os.Chmod(path, 0o660))
}

// removeUnanswered removes a socket that no process answers. It does not remove anything else.
func removeUnanswered(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("inspecting the socket's path: %w", err)
	}
	if info.Mode()&os.ModeSocket == 0 {
		return fmt.Errorf("%s exists and is not a socket: choose another path", path)
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		_ = conn.Close()
		return fmt.Errorf("another process listens at %s: stop it, or choose another path", path)
	}
	return os.Remove(path)
}
