// Package commandcgroup puts a command into a cgroup of its own.
package commandcgroup

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/containerid"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/internal/systemd"
)

// Cgroup is the cgroup of a command.
type Cgroup struct {
	Path    string // below the root of the hierarchy
	cgroups kernel.Cgroups
	id      uint64
	scope   bool // systemd removes the cgroup
}

// Make makes a cgroup and moves a process into it. Where systemd runs, it is the cgroup of a transient scope: systemd
// may remove cgroups that it has not made. Otherwise, and if systemd refuses, it is a cgroup below the cgroup of this
// process. The process of a container makes it below the root, because it would be a part of the container.
func Make(ctx context.Context, cgroups kernel.Cgroups, pid int, description string) (*Cgroup, error) {
	if systemd.Running() {
		if c, err := makeScope(ctx, cgroups, pid, description); err == nil {
			return c, nil
		}
	}
	return makeDirectory(cgroups, pid)
}

// moveTime is how long systemd needs at most to move a process into a scope.
const moveTime = 10 * time.Second

func makeScope(ctx context.Context, cgroups kernel.Cgroups, pid int, description string) (*Cgroup, error) {
	scope, err := systemd.StartScope(ctx, pid, description)
	if err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(moveTime); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		where, err := cgroups.Path(pid)
		if err != nil {
			return nil, err
		}
		if path.Base(where) != scope {
			continue
		}
		id, err := cgroups.ID(where)
		return &Cgroup{where, cgroups, id, true}, err
	}
	return nil, fmt.Errorf("systemd has not moved process %d into the scope %s", pid, scope)
}

func makeDirectory(cgroups kernel.Cgroups, pid int) (*Cgroup, error) {
	parent, err := cgroups.Path(os.Getpid())
	if err != nil {
		return nil, err
	}
	if _, inContainer := containerid.FromCgroup(parent); inContainer {
		parent = "/"
	}
	c := &Cgroup{Path: path.Join(parent, "capmon-"+strings.ToLower(rand.Text())), cgroups: cgroups}
	if err := os.Mkdir(c.directory(), 0o755); err != nil {
		return nil, fmt.Errorf("making a cgroup for the command: %w", err)
	}
	if c.id, err = cgroups.ID(c.Path); err == nil {
		err = c.move(c.Path, pid)
	}
	if err != nil {
		return nil, errors.Join(err, os.Remove(c.directory()))
	}
	return c, nil
}

func (c *Cgroup) directory() string { return path.Join(c.cgroups.Mount, c.Path) }

// move moves a process into a cgroup.
func (c *Cgroup) move(where string, pid int) error {
	err := os.WriteFile(path.Join(c.cgroups.Mount, where, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0)
	if err != nil {
		return fmt.Errorf("moving process %d into the cgroup %s: %w", pid, kernel.ShortPath(where), err)
	}
	return nil
}

// ReplacedError means that the cgroup of a command is gone, or that another one has its path.
type ReplacedError struct{ Path string }

func (e *ReplacedError) Error() string {
	return fmt.Sprintf("a process has removed or replaced the cgroup %s of the command", e.Path)
}

// removeAttempts is how often Remove tries again if processes start in the meantime.
const removeAttempts = 20

// Remove removes the cgroup. It moves processes that still run to the cgroup above, where they would be without capmon.
// It does not end them. systemd removes a scope itself. The error is a [*ReplacedError] if the command has removed or
// replaced the cgroup.
func (c *Cgroup) Remove() error {
	id, err := c.cgroups.ID(c.Path)
	if c.scope {
		if err == nil && id != c.id {
			return &ReplacedError{c.Path}
		}
		return nil // it ends with its last process
	}
	if errors.Is(err, os.ErrNotExist) || err == nil && id != c.id {
		return &ReplacedError{c.Path}
	}
	for range removeAttempts {
		if err = c.removeOnce(); err == nil || !errors.Is(err, unix.EBUSY) {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if err != nil {
		return fmt.Errorf("removing the cgroup of the command: %w; when its processes have ended, remove it with rmdir %s", err, c.directory())
	}
	return nil
}

func (c *Cgroup) removeOnce() error {
	var all []string
	var pids []int
	err := c.cgroups.WalkDirs(c.Path, func(below kernel.CgroupDir) error {
		procs, err := below.Procs()
		pids, all = append(pids, procs...), append(all, below.Path())
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, pid := range pids {
		if err := c.move(path.Dir(c.Path), pid); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	for _, one := range slices.Backward(all) { // those below first
		if err := os.Remove(path.Join(c.cgroups.Mount, one)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
