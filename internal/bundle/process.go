package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/capability"
)

// deleted is at the end of the path of a program that was replaced, for example by an upgrade.
const deleted = " (deleted)"

// maxArguments is the maximum size of the arguments of a process that are read. conmon has 3 kB.
const maxArguments = 64 << 10

// process is a process outside of all containers.
type process struct {
	inProc     string // its directory in /proc
	executable string // the path of its program
	directory  string // its working directory
	arguments  []string
	// rootDirectory is nil if the process runs no program of a monitor or a shim.
	rootDirectory *os.File
}

func (p process) close() { _ = p.rootDirectory.Close() } // nil has no effect

func directoryOf(pid int) string { return path.Join("/proc", strconv.Itoa(pid)) }

// parentOf returns the parent of a process.
func parentOf(pid int) (int, error) {
	fields, err := statOf(pid)
	if err != nil {
		return 0, err
	}
	if len(fields) < 2 {
		return 0, fmt.Errorf("reading the parent of process %d: the line is too short", pid)
	}
	return strconv.Atoi(string(fields[1]))
}

// statOf returns the fields in /proc/PID/stat after the name of the program.
func statOf(pid int) ([][]byte, error) {
	stat, err := os.ReadFile(path.Join(directoryOf(pid), "stat"))
	if err != nil {
		return nil, err
	}
	// The name of the program is in parentheses. It may have parentheses and spaces itself.
	return bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:]), nil
}

// openProcess reads what a process tells about itself, if it runs the program of a monitor or a shim. The caller must
// close the result, also if there is an error.
func openProcess(pid int) (p process, err error) {
	p.inProc = directoryOf(pid)
	if p.executable, err = os.Readlink(path.Join(p.inProc, "exe")); err != nil {
		if errors.Is(err, os.ErrNotExist) { // a kernel thread, or it has ended
			return p, nil
		}
		return p, err
	}
	p.executable = strings.TrimSuffix(p.executable, deleted)
	if kindOf(p.executable) == notCaller {
		return p, nil
	}
	// The directory in /proc is of this process only, also if another one gets its PID.
	directory, err := os.Open(p.inProc)
	if err != nil {
		return p, err
	}
	defer directory.Close()
	// Other users can make their processes so that reading their arguments never ends.
	if !p.isHostRoot() {
		return p, fmt.Errorf("process %d is named as a monitor or shim, but does not run as root on the host", pid)
	}
	if p.directory, err = os.Readlink(path.Join(p.inProc, "cwd")); err != nil {
		return p, err
	}
	if p.arguments, err = p.readArguments(); err != nil {
		return p, err
	}
	executable, err := os.Readlink(path.Join(p.inProc, "exe"))
	if err != nil {
		return p, err
	}
	root, err := unix.Open(path.Join(p.inProc, "root"), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return p, err
	}
	p.rootDirectory = os.NewFile(uintptr(root), "root")
	if strings.TrimSuffix(executable, deleted) != p.executable || !p.isHostRoot() {
		return p, fmt.Errorf("process %d has started another program", pid)
	}
	_, err = directory.Readdirnames(1) // fails if the process has ended
	return p, err
}

func (p process) readArguments() ([]string, error) {
	file, err := os.Open(path.Join(p.inProc, "cmdline"))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	arguments, err := io.ReadAll(io.LimitReader(file, maxArguments))
	return strings.Split(strings.TrimSuffix(string(arguments), "\x00"), "\x00"), err
}

// root returns the directory that shows files as the process sees them. It exists until close.
func (p process) root() string {
	if p.rootDirectory == nil {
		return ""
	}
	return fmt.Sprintf("/proc/self/fd/%d", p.rootDirectory.Fd())
}

// argument returns the value of the first of these options that the arguments have.
func (p process) argument(options ...string) string {
	for i, argument := range p.arguments {
		if slices.Contains(options, argument) && i+1 < len(p.arguments) {
			return p.arguments[i+1]
		}
		if name, value, ok := strings.Cut(argument, "="); ok && slices.Contains(options, name) {
			return value
		}
	}
	return ""
}

// has reports whether the arguments have one of these options.
func (p process) has(options ...string) bool {
	return slices.ContainsFunc(p.arguments, func(argument string) bool { return slices.Contains(options, argument) })
}

// The links of the initial namespaces in /proc/PID/ns (include/linux/proc_ns.h).
const (
	initialPIDs  = "pid:[4026531836]"
	initialUsers = "user:[4026531837]"
)

// isHostRoot reports whether the process runs as root in the initial pid and user namespaces, and can start containers.
func (p process) isHostRoot() bool {
	status, err := os.ReadFile(path.Join(p.inProc, "status"))
	if err != nil {
		return false
	}
	return isRoot(string(status)) && p.namespace("pid") == initialPIDs && p.namespace("user") == initialUsers
}

// isRoot reports whether all user IDs of a process are 0, and whether it has CAP_SYS_ADMIN. A container can be in the
// pid namespace of the host, and its cgroup can have any name. Without the capability, its processes cannot start
// containers. With it, they are root on the host.
func isRoot(status string) bool {
	var root, admin bool
	for line := range strings.Lines(status) {
		if ids, ok := strings.CutPrefix(line, "Uid:"); ok {
			root = !slices.ContainsFunc(strings.Fields(ids), func(id string) bool { return id != "0" })
		}
		if text, ok := strings.CutPrefix(line, "CapEff:"); ok {
			effective, err := strconv.ParseUint(strings.TrimSpace(text), 16, 64)
			admin = err == nil && capability.Set(effective).Has(capability.SysAdmin)
		}
	}
	return root && admin
}

func (p process) namespace(kind string) string {
	link, err := os.Readlink(path.Join(p.inProc, "ns", kind))
	if err != nil {
		return ""
	}
	return link
}
