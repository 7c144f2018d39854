package monitor

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/bpf"
	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/syscalls"
)

// FileUse is a file, as a system call names it, for which the kernel checked a capability, or which the workload could
// not execute. For frequent kinds of check, capmon does not record the file of each check.
type FileUse struct {
	Capability capability.Capability
	Granted    bool
	// Call is the name of the system call.
	Call string
	// Stack is as in [Check], but nil in an Event.
	Stack []string
	// Program, PID and UID are as in [Check], but UID and GID are the ids with which the kernel decides about access to
	// files (fsuid, fsgid). The program can choose any bytes for its name and the names of files: they are untrusted.
	Program       string
	PID, UID, GID uint32
	Naming        Naming
	// Path is the path that the program passed, if Naming is ByPath. Cut is true if the end of the path is missing.
	Path string
	Cut  bool
	// Base is the directory where the path begins, or the open file if Naming is ByDescriptor.
	Base FileBase
	// WhichOfTwo is 1 or 2 if the call names two files, and this is the first or second of them. It is 0 if the call
	// names one file.
	WhichOfTwo uint8
	// NoFollow means that the call does not follow a link at the end of the path.
	NoFollow    bool
	Count       uint64
	First, Last time.Time
	// Failed is set if the call is an execve that failed with EPERM. The kernel has not checked a capability then.
	Failed *FailedExecve
}

// FailedExecve has the intersections of the bounding sets and of the inheritable sets of all processes whose execution
// of a file failed with EPERM.
type FailedExecve struct {
	Bounding, Inheritable capability.Set
}

// FileBase is an inode that the kernel used when it made the check. The zero value means that the inode is unknown.
type FileBase struct {
	File FileID
	// Path is the path in the mount namespace of the process. Cut is true if the beginning of the path is missing.
	Path string
	Cut  bool
	// Owner, Group and Mode are the values at the time of the first check. Mode includes the type of the file. Ids are
	// in the initial user namespace. If a mount maps ids, they are the ids in the file system.
	Owner, Group, Mode uint32
}

// Known reports whether the inode is known.
func (b FileBase) Known() bool { return b != FileBase{} }

// Naming says how a system call names a file.
type Naming uint8

// The ways in which a system call can name a file.
const (
	// Unnamed means that the call does not name the file, or that the programs could not read the name.
	Unnamed Naming = Naming(bpf.CapmonNamingNAMING_NONE)
	// ByPath means a path that begins at the root directory of the process, at its working directory, or at an open
	// directory.
	ByPath Naming = Naming(bpf.CapmonNamingNAMING_PATH)
	// ByDescriptor means a file descriptor of the process.
	ByDescriptor Naming = Naming(bpf.CapmonNamingNAMING_DESCRIPTOR)
)

// fileArguments has the indexes of the arguments that name the files of a system call.
type fileArguments struct {
	path, base           int // base is the directory, or the file if there is no path
	otherPath, otherBase int
	address              bool // path is the path in the address of a socket
	follow               followFlag
}

// followFlag describes the flag with which a system call decides whether it follows a link at the end of its path.
// flags is the index of the argument with the flags. The call does not follow the link if the bits in mask have the
// value noFollow. The zero value means that the call has no such flag.
type followFlag struct {
	flags          int
	mask, noFollow uint32
}

const noArgument = -1

func byPath(path int) fileArguments {
	return fileArguments{path: path, base: noArgument, otherPath: noArgument, otherBase: noArgument}
}

func byDescriptor(fd int) fileArguments {
	return fileArguments{path: noArgument, base: fd, otherPath: noArgument, otherBase: noArgument}
}

func belowDirectory(fd int) fileArguments {
	return fileArguments{path: fd + 1, base: fd, otherPath: noArgument, otherBase: noArgument}
}

// withFlags returns belowDirectory(0) for calls with the flag AT_SYMLINK_NOFOLLOW. flags is the index of the argument
// with the flags.
func withFlags(flags int) fileArguments {
	return belowDirectory(0).followUnless(flags, unix.AT_SYMLINK_NOFOLLOW)
}

func bySocket(address int) fileArguments {
	return fileArguments{path: address, base: noArgument, otherPath: noArgument, otherBase: noArgument, address: true}
}

func fromTo(from, to int) fileArguments {
	return fileArguments{path: from, base: noArgument, otherPath: to, otherBase: noArgument}
}

// fromToBelow is for calls where each path follows the descriptor of its directory.
func fromToBelow(from, to int) fileArguments {
	return fileArguments{path: from + 1, base: from, otherPath: to + 1, otherBase: to}
}

// followUnless says that the call follows a link unless the flag is set.
func (a fileArguments) followUnless(flags int, flag uint32) fileArguments {
	a.follow = followFlag{flags, flag, flag}
	return a
}

// followIf says that the call follows a link only if the flag is set.
func (a fileArguments) followIf(flags int, flag uint32) fileArguments {
	a.follow = followFlag{flags, flag, 0}
	return a
}

// fileCalls are the system calls that name files. Calls of 32-bit programs with wider ids, sizes or times have the same
// names with a suffix (nameSuffixes).
var fileCalls = map[string]fileArguments{
	"access": byPath(0), "acct": byPath(0), "chdir": byPath(0), "chmod": byPath(0), "chown": byPath(0),
	"chroot": byPath(0), "creat": byPath(0), "execve": byPath(0), "getxattr": byPath(0), "lchown": byPath(0),
	"lgetxattr": byPath(0), "listxattr": byPath(0), "llistxattr": byPath(0), "lremovexattr": byPath(0),
	"lsetxattr": byPath(0), "lstat": byPath(0), "mkdir": byPath(0), "mknod": byPath(0),
	"open": byPath(0).followUnless(1, unix.O_NOFOLLOW), "readlink": byPath(0), "removexattr": byPath(0), "rmdir": byPath(0),
	"setxattr": byPath(0), "stat": byPath(0), "statfs": byPath(0), "swapoff": byPath(0), "swapon": byPath(0),
	"truncate": byPath(0), "umount": byPath(0), "umount2": byPath(0).followUnless(1, unix.UMOUNT_NOFOLLOW), "unlink": byPath(0),
	"uselib": byPath(0), "utime": byPath(0), "utimes": byPath(0),

	"inotify_add_watch": byPath(1).followUnless(2, unix.IN_DONT_FOLLOW), "mount": byPath(1), "symlink": byPath(1),

	"faccessat": belowDirectory(0), "fchmodat": belowDirectory(0), "futimesat": belowDirectory(0),
	"mkdirat": belowDirectory(0), "mknodat": belowDirectory(0), "openat2": belowDirectory(0),
	"readlinkat": belowDirectory(0), "unlinkat": belowDirectory(0), "symlinkat": belowDirectory(1),

	"execveat": withFlags(4), "faccessat2": withFlags(3), "fchmodat2": withFlags(3), "fchownat": withFlags(4),
	"file_getattr": withFlags(4), "file_setattr": withFlags(4), "fstatat": withFlags(3), "getxattrat": withFlags(2),
	"listxattrat": withFlags(2), "mount_setattr": withFlags(2), "newfstatat": withFlags(3), "open_tree": withFlags(2),
	"removexattrat": withFlags(2), "setxattrat": withFlags(2), "statx": withFlags(2), "utimensat": withFlags(3),

	"fspick":            belowDirectory(0).followUnless(2, unix.FSPICK_SYMLINK_NOFOLLOW),
	"name_to_handle_at": belowDirectory(0).followIf(4, unix.AT_SYMLINK_FOLLOW),
	"openat":            belowDirectory(0).followUnless(2, unix.O_NOFOLLOW),

	"fallocate": byDescriptor(0), "fchdir": byDescriptor(0), "fchmod": byDescriptor(0), "fchown": byDescriptor(0), "fcntl": byDescriptor(0),
	"fgetxattr": byDescriptor(0), "flistxattr": byDescriptor(0), "fremovexattr": byDescriptor(0), "fsetxattr": byDescriptor(0),
	"fstat": byDescriptor(0), "ftruncate": byDescriptor(0), "getdents": byDescriptor(0), "ioctl": byDescriptor(0), "pwrite64": byDescriptor(0),
	"pwritev": byDescriptor(0), "pwritev2": byDescriptor(0), "sendfile": byDescriptor(0), "write": byDescriptor(0), "writev": byDescriptor(0),
	"copy_file_range": byDescriptor(2), "splice": byDescriptor(2),

	"bind": bySocket(1), "connect": bySocket(1), "sendto": bySocket(4),

	"link": fromTo(0, 1), "rename": fromTo(0, 1),
	"linkat": fromToBelow(0, 2).followIf(4, unix.AT_SYMLINK_FOLLOW), "renameat": fromToBelow(0, 2), "renameat2": fromToBelow(0, 2),
	"move_mount": fromToBelow(0, 2).followIf(4, unix.MOVE_MOUNT_F_SYMLINKS),
}

// neverFollow are the system calls that never follow a link at the end of a path.
var neverFollow = []string{"bind", "lchown", "lchown32", "lgetxattr", "link", "llistxattr", "lremovexattr", "lsetxattr", "lstat", "lstat64",
	"mkdir", "mkdirat", "mknod", "mknodat", "readlink", "readlinkat", "rename", "renameat", "renameat2", "rmdir", "symlink", "symlinkat",
	"unlink", "unlinkat"}

// nameSuffixes are the suffixes of system calls with wider ids, sizes or times.
var nameSuffixes = []string{"32", "64", "_time64"}

// fileTable returns the rules by system call number for an architecture.
func fileTable(arch syscalls.Arch) [maxCalls]bpf.CapmonFileRule {
	var table [maxCalls]bpf.CapmonFileRule
	for nr := range table {
		table[nr] = fileRule(arch.SyscallName(nr))
	}
	return table
}

func fileRule(name string) bpf.CapmonFileRule {
	arguments, ok := fileCalls[name]
	for _, ending := range nameSuffixes {
		if !ok {
			arguments, ok = fileCalls[strings.TrimSuffix(name, ending)]
		}
	}
	if !ok {
		return bpf.CapmonFileRule{}
	}
	rule := bpf.CapmonFileRule{
		PathArg: uint8(1 + arguments.path), BaseArg: uint8(1 + arguments.base),
		OtherPathArg: uint8(1 + arguments.otherPath), OtherBaseArg: uint8(1 + arguments.otherBase),
	}
	if arguments.address {
		rule.IsSockaddr = 1
	}
	if link := arguments.follow; link != (followFlag{}) {
		rule.FlagsArg, rule.NofollowMask, rule.NofollowFlags = uint8(1+link.flags), link.mask, link.noFollow
	}
	return rule
}

func (m *Monitor) readFiles(symbols *kernel.Symbols) (map[uint64][]FileUse, error) {
	files := make(map[uint64][]FileUse)
	err := m.forEachFile(func(key *bpf.CapmonFileKey, value *bpf.CapmonFileValue) {
		files[key.Container] = append(files[key.Container], m.newFileUse(symbols, key, value))
	})
	return files, err
}

// parseFileEvent reads an event about a file.
func (m *Monitor) parseFileEvent(sample []byte) (*FileUse, error) {
	var raw bpf.CapmonFileEvent
	if err := binary.Read(bytes.NewReader(sample), binary.NativeEndian, &raw); err != nil {
		return nil, fmt.Errorf("reading the event of a file: %w", err)
	}
	use := m.newFileUse(nil, &raw.Key, &raw.Value)
	return &use, nil
}

func (m *Monitor) newFileUse(symbols *kernel.Symbols, key *bpf.CapmonFileKey, value *bpf.CapmonFileValue) FileUse {
	use := FileUse{
		Capability: capability.Capability(key.Capability),
		Granted:    key.Granted != 0,
		Call:       m.archOf(key.Compat).SyscallName(int(key.Syscall)),
		Program:    cString(key.Comm[:]),
		PID:        value.Pid,
		UID:        value.Uid,
		GID:        value.Gid,
		Naming:     Naming(key.Naming),
		Path:       cString(key.Path[:]),
		Cut:        key.Truncated != 0,
		WhichOfTwo: key.WhichOfTwo,
		Count:      value.Count,
		First:      m.clock.Time(value.FirstNs),
		Last:       m.clock.Time(value.LastNs),
	}
	if key.Capability == uint8(bpf.CapmonSpecialValueFAILED_EXECVE) {
		use.Failed = &FailedExecve{capability.Set(value.Bounding), capability.Set(value.Inheritable)}
	}
	use.NoFollow = key.Nofollow != 0 || use.WhichOfTwo == 2 || slices.Contains(neverFollow, use.Call)
	if symbols != nil {
		use.Stack = symbols.Frames(key.Site[:])
	}
	if key.Inode != 0 {
		base, cut := joinPath(value.Base[:])
		use.Base = FileBase{
			File: FileID{key.Device, key.Inode},
			Path: path.Clean(base), Cut: cut || value.BaseComplete == 0,
			Owner: value.Owner, Group: value.Group, Mode: value.Mode,
		}
	}
	return use
}

// unlistedCounts returns the number of checks, and of failed executions, of a container whose files did not fit in the
// map.
func unlistedCounts(value *bpf.CapmonContainer) (checks, executions uint64) {
	last := len(value.Unlisted) - 1
	for _, n := range value.Unlisted[:last] {
		checks += n
	}
	return checks, value.Unlisted[last]
}
