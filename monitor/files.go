package monitor

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/capmon/capmon/bpf"
	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/kernel"
)

// FileUse is a file for which a workload asked for a capability, as its system call names
// it. Not every check of a frequent kind is among those counted here.
type FileUse struct {
	Capability capability.Capability
	Granted    bool
	// Call is the name of the system call.
	Call string
	// Stack as in Check, nil in an Event.
	Stack []string
	// Program, PID and UID as in Check, but that UID and GID are those by which the kernel
	// grants access to files. The program chose its name and that of the file: any bytes.
	Program       string
	PID, UID, GID uint32
	Naming        Naming
	// Path as the program wrote it, for ByPath; Cut if it goes on.
	Path string
	Cut  bool
	// Base is where the path begins, or the open file for ByDescriptor.
	Base FileBase
	// OfTwo: the call is about two files, and this is the first or the second of them; 0
	// if it is about one only.
	OfTwo       uint8
	Count       uint64
	First, Last time.Time
}

// FileBase is a file that the kernel had in its hands when it was asked. The zero value is one
// that could not be told.
type FileBase struct {
	File FileID
	// Path in the mount namespace of the process; Cut if its beginning is missing.
	Path string
	Cut  bool
	// Owner, Group and Mode, with the type of the file, when the first check was made. Ids
	// are those of the initial user namespace, and of the file system where a mount maps ids.
	Owner, Group, Mode uint32
}

// Known reports whether it could be told.
func (b FileBase) Known() bool { return b != FileBase{} }

// Naming tells how a system call says which file it is about.
type Naming uint8

// The ways to name a file.
const (
	// Unnamed: the call does not say, or it could not be read.
	Unnamed = Naming(bpf.CapmonNamingNAMING_NONE)
	// ByPath that begins at the root directory of the process, at its working directory or
	// at one that it has open.
	ByPath = Naming(bpf.CapmonNamingNAMING_PATH)
	// ByDescriptor: the process has it open.
	ByDescriptor = Naming(bpf.CapmonNamingNAMING_DESCRIPTOR)
)

// fileArguments tells which arguments name the files of a system call, by their index.
type fileArguments struct {
	path, base           int // base: the directory, or without path the file
	otherPath, otherBase int
	address              bool // path is that of a socket's address
}

const none = -1

func byPath(path int) fileArguments       { return fileArguments{path, none, none, none, false} }
func byDescriptor(fd int) fileArguments   { return fileArguments{none, fd, none, none, false} }
func belowDirectory(fd int) fileArguments { return fileArguments{fd + 1, fd, none, none, false} }
func bySocket(address int) fileArguments  { return fileArguments{address, none, none, none, true} }

// fileCalls are the system calls that name files. Those of 32-bit programs which got wider
// ids, sizes or times are told by the same names with an ending (endings).
var fileCalls = map[string]fileArguments{
	"access": byPath(0), "acct": byPath(0), "chdir": byPath(0), "chmod": byPath(0), "chown": byPath(0), "chroot": byPath(0),
	"creat": byPath(0), "execve": byPath(0), "getxattr": byPath(0), "lchown": byPath(0), "lgetxattr": byPath(0),
	"listxattr": byPath(0), "llistxattr": byPath(0), "lremovexattr": byPath(0), "lsetxattr": byPath(0), "lstat": byPath(0),
	"mkdir": byPath(0), "mknod": byPath(0), "open": byPath(0), "readlink": byPath(0), "removexattr": byPath(0), "rmdir": byPath(0),
	"setxattr": byPath(0), "stat": byPath(0), "statfs": byPath(0), "swapoff": byPath(0), "swapon": byPath(0), "truncate": byPath(0),
	"umount": byPath(0), "umount2": byPath(0), "unlink": byPath(0), "uselib": byPath(0), "utime": byPath(0), "utimes": byPath(0),

	"inotify_add_watch": byPath(1), "mount": byPath(1), "symlink": byPath(1),

	"execveat": belowDirectory(0), "faccessat": belowDirectory(0), "faccessat2": belowDirectory(0), "fchmodat": belowDirectory(0),
	"fchmodat2": belowDirectory(0), "fchownat": belowDirectory(0), "file_getattr": belowDirectory(0), "file_setattr": belowDirectory(0),
	"fspick": belowDirectory(0), "fstatat": belowDirectory(0), "futimesat": belowDirectory(0), "getxattrat": belowDirectory(0),
	"listxattrat": belowDirectory(0), "mkdirat": belowDirectory(0), "mknodat": belowDirectory(0), "mount_setattr": belowDirectory(0),
	"name_to_handle_at": belowDirectory(0), "newfstatat": belowDirectory(0), "open_tree": belowDirectory(0), "openat": belowDirectory(0),
	"openat2": belowDirectory(0), "readlinkat": belowDirectory(0), "removexattrat": belowDirectory(0), "setxattrat": belowDirectory(0),
	"statx": belowDirectory(0), "unlinkat": belowDirectory(0), "utimensat": belowDirectory(0), "symlinkat": belowDirectory(1),

	"fallocate": byDescriptor(0), "fchdir": byDescriptor(0), "fchmod": byDescriptor(0), "fchown": byDescriptor(0), "fcntl": byDescriptor(0),
	"fgetxattr": byDescriptor(0), "flistxattr": byDescriptor(0), "fremovexattr": byDescriptor(0), "fsetxattr": byDescriptor(0),
	"fstat": byDescriptor(0), "ftruncate": byDescriptor(0), "getdents": byDescriptor(0), "ioctl": byDescriptor(0), "pwrite64": byDescriptor(0),
	"pwritev": byDescriptor(0), "pwritev2": byDescriptor(0), "sendfile": byDescriptor(0), "write": byDescriptor(0), "writev": byDescriptor(0),
	"copy_file_range": byDescriptor(2), "splice": byDescriptor(2),

	"bind": bySocket(1), "connect": bySocket(1), "sendto": bySocket(4),

	"link": {0, none, 1, none, false}, "rename": {0, none, 1, none, false},
	"linkat": {1, 0, 3, 2, false}, "renameat": {1, 0, 3, 2, false}, "renameat2": {1, 0, 3, 2, false}, "move_mount": {1, 0, 3, 2, false},
}

// endings of the names of system calls for wider ids, sizes or times.
var endings = []string{"32", "64", "_time64"}

// fileTable lays the rules out by number for an architecture's system calls.
func fileTable(arch kernel.Arch) [maxCalls]bpf.CapmonFileRule {
	var table [maxCalls]bpf.CapmonFileRule
	for nr := range table {
		table[nr] = fileRuleOf(arch.SyscallName(nr))
	}
	return table
}

func fileRuleOf(name string) bpf.CapmonFileRule {
	arguments, ok := fileCalls[name]
	for _, ending := range endings {
		if !ok {
			arguments, ok = fileCalls[strings.TrimSuffix(name, ending)]
		}
	}
	if !ok {
		return bpf.CapmonFileRule{}
	}
	rule := bpf.CapmonFileRule{
		Path: uint8(1 + arguments.path), Base: uint8(1 + arguments.base),
		OtherPath: uint8(1 + arguments.otherPath), OtherBase: uint8(1 + arguments.otherBase),
	}
	if arguments.address {
		rule.Address = 1
	}
	return rule
}

func (m *Monitor) readFiles(symbols *kernel.Symbols) (map[uint64][]FileUse, error) {
	files := make(map[uint64][]FileUse)
	err := entries(m.attached.maps.Files, "files", func(key *bpf.CapmonFileKey, value *bpf.CapmonFileValue) {
		files[key.Container] = append(files[key.Container], m.fileUse(symbols, key, value))
	})
	return files, err
}

// fileEvent reads what was told of a file.
func (m *Monitor) fileEvent(sample []byte) (*FileUse, error) {
	var raw bpf.CapmonFileEvent
	if err := binary.Read(bytes.NewReader(sample), binary.NativeEndian, &raw); err != nil {
		return nil, fmt.Errorf("reading an event of a file: %w", err)
	}
	use := m.fileUse(nil, &raw.Key, &raw.Value)
	return &use, nil
}

func (m *Monitor) fileUse(symbols *kernel.Symbols, key *bpf.CapmonFileKey, value *bpf.CapmonFileValue) FileUse {
	use := FileUse{
		Capability: capability.Capability(key.Capability),
		Granted:    key.Granted != 0,
		Call:       m.archOf(key.Compat).SyscallName(int(key.Syscall)),
		Program:    text(key.Comm[:]),
		PID:        value.Pid,
		UID:        value.Uid,
		GID:        value.Gid,
		Naming:     Naming(key.Naming),
		Path:       text(key.Path[:]),
		Cut:        key.Cut != 0,
		OfTwo:      key.OfTwo,
		Count:      value.Count,
		First:      m.clock.Time(value.FirstNs),
		Last:       m.clock.Time(value.LastNs),
	}
	if symbols != nil {
		use.Stack = symbols.Frames(key.Site[:])
	}
	if key.Inode != 0 {
		base, cut := executionPath(value.Base[:])
		use.Base = FileBase{
			File: FileID{key.Device, key.Inode},
			Path: path.Clean(base), Cut: cut || value.Whole == 0,
			Owner: value.Owner, Group: value.Group, Mode: value.Mode,
		}
	}
	return use
}

// unlisted counts a container's checks whose files found no room.
func unlisted(value *bpf.CapmonContainer) (sum uint64) {
	for _, n := range value.Unlisted {
		sum += n
	}
	return sum
}
