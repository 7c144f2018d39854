package untrustedfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/kernel"
)

// Request is one lookup in a container's file system. Exactly one of its members is set.
type Request struct {
	RunsFile *RunsFile
	Program  *Program
	Path     *Path
}

// Answer is the answer to a [Request]. Found is false if the file does not exist.
type Answer struct {
	Found        bool
	Capabilities kernel.FileCapabilities // for a Program
	Walk         kernel.PathWalk         // for a Path
}

func (r Request) answer() (answer Answer) {
	switch {
	case r.RunsFile != nil:
		answer.Found = r.RunsFile.matches()
	case r.Program != nil:
		answer.Capabilities, answer.Found = r.Program.fileCapabilities()
	case r.Path != nil:
		walk, err := r.Path.follow()
		answer.Walk, answer.Found = walk, err == nil
	}
	return answer
}

// errNotFound is returned for a file that does not exist any more.
var errNotFound = errors.New("the file does not exist any more")

// RunsFile is a request that determines whether a process currently executes the file with an inode number.
type RunsFile struct {
	PID   uint32
	Inode uint64
}

func (r RunsFile) executable() string { return fmt.Sprintf("/proc/%d/exe", r.PID) }

// matches reads the inode number. AT_STATX_DONT_SYNC makes the kernel answer without the file system's server, if the
// kernel has the number cached.
func (r RunsFile) matches() bool {
	var stat unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, r.executable(), unix.AT_STATX_DONT_SYNC, unix.STATX_INO, &stat)
	return err == nil && stat.Ino == r.Inode
}

// Program is a request for the file capabilities of a file that a process executed. The helper process opens the
// file through the process if that still executes it, and otherwise where the engine stores the file.
type Program struct {
	// EngineProc is the engine's view of the files, as a directory in /proc (see [kernel.ProcDirectory]).
	EngineProc string
	PID        uint32
	// Device is the device number in the kernel's format (MKDEV, include/linux/kdev_t.h), and Inode the inode number
	// of the file.
	Device uint32
	Inode  uint64
	// Changed is the file's ctime when it was executed, in nanoseconds; 0 if the kernel did not provide it. A file
	// with another ctime may have other capabilities now.
	Changed int64
	// Path is the path in the file system; "" if the full path is not known.
	Path string
	// Layers are the layers of the container's root file system, top layer first, if that is on overlayfs.
	Layers []string
}

// Path is a request to follow a path: in the root directory of one of the container's processes or, after all of
// them have exited, where the engine stores the files.
type Path struct {
	// Cgroup and Cgroups determine which processes belong to the container.
	Cgroup  uint64
	Cgroups kernel.Cgroups
	// PIDs are processes whose root directories are tried in order. 0 is skipped.
	PIDs []int
	// Base is the directory at which the path begins, or the root directory if the path is absolute.
	Base      string
	BaseInode uint64
	Path      string
	// Follow is set if a link at the end of the path is followed.
	Follow bool
	// Executed is set if the file was to be executed. Then the answer has Walk.Program.
	Executed bool
	// EngineProc is as in Program. Inspected is set if the engine provided Layers, top layer first, and Mounts.
	EngineProc string
	Inspected  bool
	Layers     []string
	Mounts     []container.Mount
}

// onHost opens a directory by its path on the engine's host. It follows no links, because the container may have made
// them.
func onHost(engineProc, directory string) (*os.File, error) {
	return openBelow(filepath.Join(engineProc, "root"), directory)
}
