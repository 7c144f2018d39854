package kernel

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// PathWalk is the result of following a path: the directories that were searched, in order, and the file.
type PathWalk struct {
	Directories []Node
	// File is nil if the file does not exist.
	File *Node
	// Program is set if the path was followed for an execution.
	Program *Program
}

// Program is the file that the kernel loads when a file is executed: the file itself, or the interpreter of a script.
type Program struct {
	Path string
	FileCapabilities
	// Changed is the file's ctime, in nanoseconds.
	Changed int64
	// NoSuid is set if the file is on a mount with nosuid, where file capabilities have no effect.
	NoSuid bool
}

// Node is a file as capmon found it.
type Node struct {
	// Path is the path from the root directory, without links.
	Path               string
	Owner, Group, Mode uint32 // Mode includes the file type
	Inode              uint64
	// Image is set if this is the file of the container's image, and it is not known whether the container changed it.
	Image bool
}

// IsDirectory reports whether the file is a directory.
func (n Node) IsDirectory() bool { return n.Mode&unix.S_IFMT == unix.S_IFDIR }

// IsLink reports whether the file is a symbolic link.
func (n Node) IsLink() bool { return n.Mode&unix.S_IFMT == unix.S_IFLNK }

// maxLinks is how many links the kernel follows in one path (MAXSYMLINKS, include/linux/namei.h).
const maxLinks = 40

// A hostile path leads through many long links and deep directories. These constants limit the work for one path and
// the size of a PathWalk.
const (
	maxSteps = 512
	maxBytes = 1 << 16 // total length of all paths in a PathWalk
)

// Walker follows paths from a root directory as a process with that root directory does. It never leaves the root
// directory: absolute links and ".." end there. It opens files only with O_PATH, below a directory that it has open, so
// it reads no files and opens no devices. Walker is not safe for concurrent use.
type Walker struct {
	stack  []step // from the root directory to the current position
	root   int    // length of the stack at the root directory for absolute paths
	links  int
	steps  int
	bytes  int
	result PathWalk
}

type step struct {
	file *os.File
	node Node
}

// NewWalker returns a walker whose root directory and current position are a directory of this machine. Call
// [Walker.Close] after use.
func NewWalker(directory string) (*Walker, error) {
	file, err := os.OpenFile(directory, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	node, err := NodeOf(file, "/")
	if err != nil {
		file.Close()
		return nil, err
	}
	return &Walker{stack: []step{{file, node}}, root: 1}, nil
}

// Close closes all files that the walker has open.
func (w *Walker) Close() {
	for _, step := range w.stack {
		step.file.Close()
	}
	w.stack = nil
}

// Here returns the file at the current position.
func (w *Walker) Here() Node { return w.top().node }

// SetPath changes the path of the file at the current position.
func (w *Walker) SetPath(path string) { w.stack[len(w.stack)-1].node.Path = path }

// MakeRoot makes the directory at the current position the root directory for the following paths.
func (w *Walker) MakeRoot() { w.root = len(w.stack) }

// Go follows a path. The file at its end becomes the current position. If follow is set, Go follows a link at the end
// of the path. The error matches [os.ErrNotExist] if a directory of the path does not exist. After any error, the
// walker can only be closed.
func (w *Walker) Go(path string, follow bool) (PathWalk, error) {
	w.result = PathWalk{}
	if err := w.walk(path, follow); err != nil {
		return w.result, fmt.Errorf("following a path: %w", err)
	}
	return w.result, nil
}

func (w *Walker) top() step { return w.stack[len(w.stack)-1] }

func (w *Walker) walk(path string, follow bool) error {
	if strings.HasPrefix(path, "/") {
		w.backTo(w.root)
	}
	names := strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
	if len(names) == 0 {
		node := w.Here()
		w.result.File = &node
		return nil
	}
	follow = follow || strings.HasSuffix(path, "/")
	for i, name := range names {
		last := i == len(names)-1
		if err := w.enter(name, last, !last || follow); err != nil {
			return err
		}
	}
	return nil
}

// enter follows one name of a path.
func (w *Walker) enter(name string, last, follow bool) error {
	if w.steps++; w.steps > maxSteps {
		return unix.ELOOP
	}
	here := w.top()
	if !here.node.IsDirectory() {
		return unix.ENOTDIR
	}
	w.result.Directories = append(w.result.Directories, here.node)
	switch name {
	case ".":
	case "..":
		if len(w.stack) > w.root {
			w.backTo(len(w.stack) - 1)
		}
	default:
		return w.down(name, last, follow)
	}
	w.arrive(last)
	return nil
}

func (w *Walker) arrive(last bool) {
	if last {
		node := w.Here()
		w.result.File = &node
	}
}

func (w *Walker) down(name string, last, follow bool) error {
	here := w.top()
	fd, err := unix.Openat(int(here.file.Fd()), name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if last && errors.Is(err, unix.ENOENT) {
		w.result.File = nil
		return nil
	}
	if err != nil {
		return err
	}
	file := os.NewFile(uintptr(fd), name)
	full := path.Join(here.node.Path, name)
	if w.bytes += len(full); len(full) > unix.PathMax || w.bytes > maxBytes {
		file.Close()
		return unix.ENAMETOOLONG
	}
	node, err := NodeOf(file, full)
	if err != nil {
		file.Close()
		return err
	}
	if follow && node.IsLink() {
		defer file.Close()
		if w.links++; w.links > maxLinks {
			return unix.ELOOP
		}
		target, err := readLink(file)
		if err != nil {
			return err
		}
		if !last {
			return w.through(target)
		}
		return w.walk(target, true)
	}
	w.stack = append(w.stack, step{file, node})
	w.arrive(last)
	return nil
}

// through moves to the directory that a link in the middle of a path points to.
func (w *Walker) through(target string) error {
	if err := w.walk(target, true); err != nil {
		return err
	}
	if w.result.File == nil {
		return unix.ENOENT
	}
	w.result.File = nil
	return nil
}

func (w *Walker) backTo(length int) {
	for _, step := range w.stack[length:] {
		step.file.Close()
	}
	w.stack = w.stack[:length]
}

// File returns the open file at the current position. [Walker.Close] closes it.
func (w *Walker) File() *os.File { return w.top().file }

// ProgramOf returns the properties of an open file that execve uses, with the given path.
func ProgramOf(file *os.File, path string) (*Program, error) {
	capabilities, stat, err := FileCapabilitiesOf(file)
	if err != nil {
		return nil, err
	}
	var system unix.Statfs_t
	if err := unix.Fstatfs(int(file.Fd()), &system); err != nil {
		return nil, fmt.Errorf("reading the mount flags of a program's file system: %w", err)
	}
	return &Program{Path: path, FileCapabilities: capabilities, Changed: stat.Ctim.Nano(), NoSuid: system.Flags&unix.ST_NOSUID != 0}, nil
}

func readLink(file *os.File) (string, error) {
	var target [unix.PathMax]byte
	n, err := unix.Readlinkat(int(file.Fd()), "", target[:])
	if err == nil && n == 0 {
		err = unix.ENOENT
	}
	return string(target[:max(n, 0)]), err
}

// Size returns the approximate size in memory, in bytes.
func (w PathWalk) Size() int {
	const node = 96
	size := node * (len(w.Directories) + 1)
	for _, directory := range w.Directories {
		size += len(directory.Path)
	}
	if w.Program != nil {
		size += node + len(w.Program.Path)
	}
	return size
}

// NodeOf returns the Node of an open file, with the given path.
func NodeOf(file *os.File, path string) (Node, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &stat); err != nil {
		return Node{}, err
	}
	return Node{
		Path: path, Owner: stat.Uid, Group: stat.Gid, Mode: stat.Mode, Inode: stat.Ino,
	}, nil
}
