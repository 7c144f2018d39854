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

// Request is one question to a container's file system. One of its members is set.
type Request struct {
	Executes *Executes
	Program  *Program
	Path     *Path
}

// Answer is the answer to a Request. Found is false if the file is not there.
type Answer struct {
	Found   bool
	Carried kernel.FileCapabilities // of a Program
	Way     kernel.Way              // of a Path
}

func (r Request) answer() (answer Answer) {
	switch {
	case r.Executes != nil:
		answer.Found = r.Executes.isSo()
	case r.Program != nil:
		answer.Carried, answer.Found = r.Program.carried()
	case r.Path != nil:
		way, err := r.Path.follow()
		answer.Way, answer.Found = way, err == nil
	}
	return answer
}

// errNotThere: the file is not there any more.
var errNotThere = errors.New("it is not there any more")

// Executes asks whether a process executes the file with an inode number.
type Executes struct {
	PID   uint32
	Inode uint64
}

func (e Executes) executable() string { return fmt.Sprintf("/proc/%d/exe", e.PID) }

// isSo does without the file system's word where the kernel has the number.
func (e Executes) isSo() bool {
	var stat unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, e.executable(), unix.AT_STATX_DONT_SYNC, unix.STATX_INO, &stat)
	return err == nil && stat.Ino == e.Inode
}

// Program asks which capabilities a file carries that a process executed: through the process, if
// that still executes it, or where the file lies.
type Program struct {
	// Viewer is the engine's view of the files, as a directory in /proc (kernel.Viewer).
	Viewer string
	PID    uint32
	// Device as the kernel has it (MKDEV, include/linux/kdev_t.h), and Inode of the file.
	Device uint32
	Inode  uint64
	// Changed is the file's ctime when it was executed, in nanoseconds; 0 if the kernel did not tell.
	// Who has changed the file since then may have changed its capabilities.
	Changed int64
	// Path in its file system; "" if it is not known in full.
	Path string
	// Layers are those of the container's root file system, the top first, if it is on overlayfs.
	Layers []string
}

// Path asks where a path leads: in the root directory of one of the container's processes or,
// after their end, where the engine keeps the files.
type Path struct {
	// Cgroup and Cgroups tell which processes are the container's.
	Cgroup  uint64
	Cgroups kernel.Cgroups
	// PIDs are processes to try, 0 for none.
	PIDs []int
	// Base is the directory at which the path begins, or the root if the path is absolute.
	Base      string
	BaseInode uint64
	Path      string
	// Follow: a link at the end is followed.
	Follow bool
	// Executed: the file was to be executed, and Way.Program is wanted.
	Executed bool
	// Viewer as in Program. Inspected: the engine has told Layers, the top first, and Mounts.
	Viewer    string
	Inspected bool
	Layers    []string
	Mounts    []container.Mount
}

// onHost opens a directory by its path on the engine's host. No link leads there: the container
// may have made it.
func onHost(viewer, directory string) (*os.File, error) {
	return openBelow(filepath.Join(viewer, "root"), directory)
}
