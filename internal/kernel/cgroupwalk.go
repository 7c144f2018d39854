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

// Whoever may make cgroups can nest them until their paths are longer than a system call takes
// (PATH_MAX). So cgroups are opened one below the other.

// atOnce is how many bytes of a path a system call takes, with some room.
const atOnce = unix.PathMax - 256

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

// firstPart splits a path so that a system call takes the first part.
func firstPart(name string) (part, rest string) {
	if len(name) <= atOnce {
		return name, ""
	}
	i := strings.LastIndexByte(name[:atOnce], '/')
	if i < 0 {
		return name, "" // no file has such a name
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

// openInside opens a directory below another one, which it closes.
func openInside(directory *os.File, name string) (*os.File, error) {
	defer directory.Close()
	return openDirectory(int(directory.Fd()), name)
}

func inode(file *os.File) (uint64, error) {
	var stat unix.Stat_t
	err := unix.Fstat(int(file.Fd()), &stat)
	return stat.Ino, err
}

// procs lists the processes of a cgroup by its directory.
func procs(directory *os.File) ([]int, error) {
	data, err := readAt(directory, "cgroup.procs")
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil // removed while being read; a threaded cgroup
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
		if pid != 0 { // one that has no number here
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

// downTo visits the cgroups on the way from the root to a cgroup, with what their directories
// are, until visit returns false.
func (c Cgroups) downTo(cgroup string, visit func(part string, stat *unix.Stat_t) (more bool)) error {
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

// ShortPath shortens a path for a message, in the middle.
func ShortPath(name string) string {
	const most, end = 240, 100
	if len(name) <= most {
		return name
	}
	return strings.ToValidUTF8(name[:end], "") + "…" + strings.ToValidUTF8(name[len(name)-end:], "")
}

// UnreadError tells of cgroups that a walk passed over, with all below them.
type UnreadError struct {
	Cgroups int
	First   error
}

func (e *UnreadError) Error() string {
	return fmt.Sprintf("%d cgroups could not be read, the first of which is %v", e.Cgroups, e.First)
}

// CgroupDir is a cgroup as a walk meets it. It is valid until visit returns.
type CgroupDir struct{ walk *cgroupWalk }

// Path is the cgroup's, which may be longer than a system call takes.
func (d CgroupDir) Path() string { return string(d.walk.path) }

// Name is the last part of the path, "" for the root.
func (d CgroupDir) Name() string {
	return string(d.walk.path[bytes.LastIndexByte(d.walk.path, '/')+1:])
}

// ID is as that of Cgroups.
func (d CgroupDir) ID() (uint64, error) { return inode(d.walk.here) }

// Procs is as that of Cgroups.
func (d CgroupDir) Procs() ([]int, error) { return procs(d.walk.here) }

// WalkDirs visits a cgroup and those below it, parents first. Cgroups that vanish meanwhile are
// passed over. An error of visit ends the walk and is returned, but fs.SkipDir passes over what
// is below the cgroup and fs.SkipAll over all the rest. Cgroups that this process may not
// read are passed over; then the error is an *UnreadError. os.ErrNotExist is in the error's tree if the
// first cgroup is gone.
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

// cgroupWalk is a walk. It has one directory open at a time, however deep that is.
type cgroupWalk struct {
	cgroups Cgroups
	here    *os.File
	path    []byte
	levels  []cgroupLevel // from the first cgroup to where it is
	visit   func(CgroupDir) error
	unread  UnreadError
}

// cgroupLevel is a cgroup on the way.
type cgroupLevel struct {
	below  []string // names of those that were not visited yet
	length int      // of its path
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
			if err := w.pass(name, err); err != nil {
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

// enter visits the cgroup where it is.
func (w *cgroupWalk) enter() error {
	err := w.visit(CgroupDir{w})
	level := cgroupLevel{length: len(w.path)}
	switch {
	case err == nil:
		if level.below, err = subdirectories(w.here); err != nil {
			if err := w.pass("", err); err != nil {
				return err
			}
		}
	case !errors.Is(err, fs.SkipDir):
		return err
	}
	w.levels = append(w.levels, level)
	return nil
}

// leave goes back to the parent. That is where it was: a cgroup cannot be moved to another one.
func (w *cgroupWalk) leave() error {
	w.levels = w.levels[:len(w.levels)-1]
	w.path = w.path[:w.levels[len(w.levels)-1].length]
	parent, err := openDirectory(int(w.here.Fd()), "..")
	if err != nil { // this process may not search the directory where it is
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

// pass passes over a cgroup below the one where it is, if that vanished or its owner closed it.
func (w *cgroupWalk) pass(name string, err error) error {
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

// Walk visits every cgroup as WalkDirs does, by its path.
func (c Cgroups) Walk(visit func(cgroup string) error) error {
	return c.WalkDirs("/", func(d CgroupDir) error { return visit(d.Path()) })
}
