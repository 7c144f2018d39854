package kernel

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// Way is where a path leads: the directories that are searched, in their order, and the file.
type Way struct {
	Directories []Node
	// File is nil if there is none of this name.
	File *Node
	// Program is set if the file was to be executed.
	Program *Program
}

// Program is what the kernel looks at when a file is executed: the file, or the interpreter of a
// script.
type Program struct {
	Path string
	FileCapabilities
	// Changed is the ctime, in nanoseconds.
	Changed int64
	// NoSuid: it lies on a mount where file capabilities count for nothing.
	NoSuid bool
}

// Node is a file as it was found.
type Node struct {
	// Path from the root directory on, without links.
	Path               string
	Owner, Group, Mode uint32 // Mode with the type
	Inode              uint64
	// Image: it is as the container's image has it, and what the container made of it is not
	// known any more.
	Image bool
}

// IsDirectory reports whether it is one.
func (n Node) IsDirectory() bool { return n.Mode&unix.S_IFMT == unix.S_IFDIR }

// IsLink reports whether it is a link.
func (n Node) IsLink() bool { return n.Mode&unix.S_IFMT == unix.S_IFLNK }

// maxLinks is how many links the kernel follows in one path (MAXSYMLINKS,
// include/linux/namei.h).
const maxLinks = 40

// A hostile path leads through many long links and deep directories. These bound the work that one
// makes, and the size of a Way.
const (
	maxSteps = 512
	maxBytes = 1 << 16 // of all paths of a Way together
)

// Walker goes from a root directory along paths as a process with that root would, and
// never out of it: links and ".." end there, and what it opens it opens with O_PATH
// below a directory that it has open. It reads no file and wakes no device.
type Walker struct {
	stack []step // from the root to where it is
	root  int    // length of the stack at the root of the paths
	links int
	steps int
	bytes int
	way   Way
}

type step struct {
	file *os.File
	node Node
}

// NewWalker begins at a directory of this machine, which is the root. Close ends it.
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

// Close lets go of all that it has open.
func (w *Walker) Close() {
	for _, step := range w.stack {
		step.file.Close()
	}
	w.stack = nil
}

// Here is where it is.
func (w *Walker) Here() Node { return w.top().node }

// Name gives the directory where it is another path.
func (w *Walker) Name(path string) { w.stack[len(w.stack)-1].node.Path = path }

// MakeRoot makes the directory where it is the root of the paths to come.
func (w *Walker) MakeRoot() { w.root = len(w.stack) }

// Go walks a path, and stays where it led. Of a link at its end it goes on if follow says so.
// os.ErrNotExist is in the error's tree if a directory of it is missing; then, as with every
// error, the walker has to be closed.
func (w *Walker) Go(path string, follow bool) (Way, error) {
	w.way = Way{}
	if err := w.walk(path, follow); err != nil {
		return w.way, fmt.Errorf("following a path: %w", err)
	}
	return w.way, nil
}

func (w *Walker) top() step { return w.stack[len(w.stack)-1] }

func (w *Walker) walk(path string, follow bool) error {
	if strings.HasPrefix(path, "/") {
		w.backTo(w.root)
	}
	names := strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
	if len(names) == 0 {
		node := w.Here()
		w.way.File = &node
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

// enter takes one step.
func (w *Walker) enter(name string, last, follow bool) error {
	if w.steps++; w.steps > maxSteps {
		return unix.ELOOP
	}
	here := w.top()
	if !here.node.IsDirectory() {
		return unix.ENOTDIR
	}
	w.way.Directories = append(w.way.Directories, here.node)
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
		w.way.File = &node
	}
}

func (w *Walker) down(name string, last, follow bool) error {
	here := w.top()
	fd, err := unix.Openat(int(here.file.Fd()), name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if last && errors.Is(err, unix.ENOENT) {
		w.way.File = nil
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

// through goes to the directory that a link in the middle of a path points to.
func (w *Walker) through(target string) error {
	if err := w.walk(target, true); err != nil {
		return err
	}
	if w.way.File == nil {
		return unix.ENOENT
	}
	w.way.File = nil
	return nil
}

func (w *Walker) backTo(length int) {
	for _, step := range w.stack[length:] {
		step.file.Close()
	}
	w.stack = w.stack[:length]
}

// File is where it is. Close closes it.
func (w *Walker) File() *os.File { return w.top().file }

// ProgramOf is an open file as execve sees it, by the path that is given.
func ProgramOf(file *os.File, path string) (*Program, error) {
	carried, stat, err := FileCapabilitiesOf(file)
	if err != nil {
		return nil, err
	}
	var system unix.Statfs_t
	if err := unix.Fstatfs(int(file.Fd()), &system); err != nil {
		return nil, fmt.Errorf("reading how a program's file system is mounted: %w", err)
	}
	return &Program{Path: path, FileCapabilities: carried, Changed: stat.Ctim.Nano(), NoSuid: system.Flags&unix.ST_NOSUID != 0}, nil
}

func readLink(file *os.File) (string, error) {
	var target [unix.PathMax]byte
	n, err := unix.Readlinkat(int(file.Fd()), "", target[:])
	if err == nil && n == 0 {
		err = unix.ENOENT
	}
	return string(target[:max(n, 0)]), err
}

// Size is about how many bytes of memory it takes.
func (w Way) Size() int {
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

// NodeOf is what an open file is, by the path that is given.
func NodeOf(file *os.File, path string) (Node, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &stat); err != nil {
		return Node{}, err
	}
	return Node{
		Path: path, Owner: stat.Uid, Group: stat.Gid, Mode: stat.Mode, Inode: stat.Ino,
	}, nil
}
