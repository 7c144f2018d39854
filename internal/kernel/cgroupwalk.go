package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A user who may make cgroups can nest them until their paths are longer than system calls accept (PATH_MAX). So this
// package opens cgroups in several steps, one below the other.

// maxPart is the maximum length of a part of a path in one system call. It is a bit less than system calls accept.
const maxPart = unix.PathMax - 256

// open opens the directory of a cgroup with O_PATH.
func (c Cgroups) open(cgroup string) (*os.File, error) {
	directory, err := openDirectory(unix.AT_FDCWD, c.Mount)
	for rest := strings.Trim(cgroup, "/"); err == nil && rest != ""; {
		var part string
		part, rest = firstPart(rest)
		directory, err = openInside(directory, part)
	}
	return directory, err
}

// firstPart splits a path such that a system call accepts the first part.
func firstPart(name string) (part, rest string) {
	if len(name) <= maxPart {
		return name, ""
	}
	i := strings.LastIndexByte(name[:maxPart], '/')
	if i < 0 {
		return name, "" // longer than any file name
	}
	return name[:i], name[i+1:]
}

func openDirectory(at int, name string) (*os.File, error) {
	fd, err := unix.Openat(at, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "cgroup"), nil
}

// openInside opens a directory below another one, and closes that one.
func openInside(directory *os.File, name string) (*os.File, error) {
	defer directory.Close()
	return openDirectory(int(directory.Fd()), name)
}

func inode(file *os.File) (uint64, error) {
	var stat unix.Stat_t
	err := unix.Fstat(int(file.Fd()), &stat)
	return stat.Ino, err
}

// procs returns the processes of a cgroup, given its directory.
func procs(directory *os.File) ([]int, error) {
	data, err := readAt(directory, "cgroup.procs")
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil // the cgroup was removed while it was read, or is threaded
	}
	if err != nil {
		return nil, fmt.Errorf("listing a cgroup's processes: %w", err)
	}
	var pids []int
	for field := range strings.FieldsSeq(string(data)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			return nil, fmt.Errorf("listing a cgroup's processes: %w", err)
		}
		if pid != 0 { // 0: a process without a number in this PID namespace
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

func readAt(directory *os.File, name string) ([]byte, error) {
	fd, err := unix.Openat(int(directory.Fd()), name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), name)
	defer file.Close()
	return io.ReadAll(file)
}

// downTo visits the cgroups from the root down to a cgroup, with the status of their directories, until visit returns
// false.
func (c Cgroups) downTo(cgroup string, visit func(ancestor string, stat *unix.Stat_t) (more bool)) error {
	directory, err := openDirectory(unix.AT_FDCWD, c.Mount)
	part := "/"
	for rest := strings.Trim(cgroup, "/"); err == nil; {
		var stat unix.Stat_t
		if err := unix.Fstat(int(directory.Fd()), &stat); err != nil || !visit(part, &stat) || rest == "" {
			directory.Close()
			return err
		}
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		part = path.Join(part, name)
		directory, err = openInside(directory, name)
	}
	return err
}

// ShortPath shortens a path for a message: it replaces the middle of a long path with "…".
func ShortPath(name string) string {
	const maxLength, end = 240, 100
	if len(name) <= maxLength {
		return name
	}
	return strings.ToValidUTF8(name[:end], "") + "…" + strings.ToValidUTF8(name[len(name)-end:], "")
}

// UnreadError is the error for cgroups that a walk skipped, with all cgroups below them, because it could not read
// them. First is the error for the first of them.
type UnreadError struct {
	Cgroups int
	First   error
}

func (e *UnreadError) Error() string {
	return fmt.Sprintf("reading %d cgroups failed, the first: %v", e.Cgroups, e.First)
}

// CgroupDir is the cgroup that a walk visits. It is valid until visit returns.
type CgroupDir struct{ walk *cgroupWalk }

// Path returns the path of the cgroup. It may be longer than system calls accept.
func (d CgroupDir) Path() string { return string(d.walk.path) }

// Name returns the last part of the path, "" for the root.
func (d CgroupDir) Name() string {
	return string(d.walk.path[bytes.LastIndexByte(d.walk.path, '/')+1:])
}

// ID returns the same id as [Cgroups.ID].
func (d CgroupDir) ID() (uint64, error) { return inode(d.walk.here) }

// Procs returns the same processes as [Cgroups.Procs].
func (d CgroupDir) Procs() ([]int, error) { return procs(d.walk.here) }

// WalkDirs visits a cgroup and all cgroups below it, parents first. It skips cgroups that are removed during the walk.
// An error from visit ends the walk, and WalkDirs returns it. There are two exceptions: fs.SkipDir skips the cgroups
// below the visited one, and fs.SkipAll skips all remaining ones. If this process may not read some cgroups, WalkDirs
// skips them and returns an [*UnreadError]. The error matches [os.ErrNotExist] if the first cgroup does not exist.
func (c Cgroups) WalkDirs(cgroup string, visit func(CgroupDir) error) error {
	cgroup = path.Join("/", cgroup)
	top, err := c.open(cgroup)
	if errors.Is(err, unix.ENODEV) {
		err = os.ErrNotExist
	}
	if err != nil {
		return fmt.Errorf("walking the cgroups: %w", err)
	}
	w := &cgroupWalk{cgroups: c, here: top, path: []byte(cgroup), visit: visit}
	defer func() { w.here.Close() }()
	err = w.all()
	if errors.Is(err, fs.SkipAll) {
		err = nil
	}
	if err == nil && w.unread.Cgroups > 0 {
		return &w.unread
	}
	return err
}

// cgroupWalk is the state of a walk. It has one directory open at a time, at any depth.
type cgroupWalk struct {
	cgroups Cgroups
	here    *os.File
	path    []byte
	levels  []cgroupLevel // from the first cgroup to the current one
	visit   func(CgroupDir) error
	unread  UnreadError
}

// cgroupLevel is the current cgroup or one above it.
type cgroupLevel struct {
	below  []string // names of its cgroups that were not visited yet
	length int      // length of its path
}

func (w *cgroupWalk) all() error {
	if err := w.enter(); err != nil {
		return err
	}
	for {
		level := &w.levels[len(w.levels)-1]
		if len(level.below) == 0 {
			if len(w.levels) == 1 {
				return nil
			}
			if err := w.leave(); err != nil {
				return err
			}
			continue
		}
		name := level.below[0]
		level.below = level.below[1:]
		directory, err := openDirectory(int(w.here.Fd()), name)
		if err != nil {
			if err := w.skip(name, err); err != nil {
				return err
			}
			continue
		}
		w.here.Close()
		w.here = directory
		w.path = append(append(bytes.TrimSuffix(w.path, []byte("/")), '/'), name...)
		if err := w.enter(); err != nil {
			return err
		}
	}
}

// enter visits the current cgroup.
func (w *cgroupWalk) enter() error {
	err := w.visit(CgroupDir{w})
	level := cgroupLevel{length: len(w.path)}
	switch {
	case err == nil:
		if level.below, err = subdirectories(w.here); err != nil {
			if err := w.skip("", err); err != nil {
				return err
			}
		}
	case !errors.Is(err, fs.SkipDir):
		return err
	}
	w.levels = append(w.levels, level)
	return nil
}

// leave returns to the parent. The parent is still the same, because a cgroup cannot be moved to another parent.
func (w *cgroupWalk) leave() error {
	w.levels = w.levels[:len(w.levels)-1]
	w.path = w.path[:w.levels[len(w.levels)-1].length]
	parent, err := openDirectory(int(w.here.Fd()), "..")
	if err != nil { // this process may not search the current directory
		parent, err = w.cgroups.open(string(w.path))
	}
	if err != nil {
		if gone(err) {
			w.levels[len(w.levels)-1].below = nil
			return nil
		}
		return fmt.Errorf("walking the cgroups: %w", err)
	}
	w.here.Close()
	w.here = parent
	return nil
}

// skip records that a cgroup below the current one could not be opened. It returns an error unless the cgroup was
// removed, or its owner denies access.
func (w *cgroupWalk) skip(name string, err error) error {
	if gone(err) {
		return nil
	}
	err = fmt.Errorf("%s: %w", ShortPath(path.Join(string(w.path), name)), err)
	if !errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("walking the cgroups: %w", err)
	}
	if w.unread.Cgroups++; w.unread.First == nil {
		w.unread.First = err
	}
	return nil
}

func gone(err error) bool { return errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) }

func subdirectories(directory *os.File) ([]string, error) {
	fd, err := unix.Openat(int(directory.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "cgroup")
	defer file.Close()
	entries, err := file.ReadDir(-1)
	var names []string
	for _, entry := range entries {
		if entry.IsDir() {
			names = append(names, entry.Name())
		}
	}
	slices.Sort(names)
	return names, err
}

// Walk visits all cgroups like [Cgroups.WalkDirs], with their paths.
func (c Cgroups) Walk(visit func(cgroup string) error) error {
	return c.WalkDirs("/", func(d CgroupDir) error { return visit(d.Path()) })
}
