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
}

func directoryOf(pid int) string { return path.Join("/proc", strconv.Itoa(pid)) }

// parentOf returns the parent of a process.
func parentOf(pid int) (int, error) {
	stat, err := os.ReadFile(path.Join(directoryOf(pid), "stat"))
	if err != nil {
		return 0, err
	}
	// The name of the program is in parentheses. It may have parentheses and spaces itself.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 2 {
		return 0, fmt.Errorf("reading the parent of process %d: the line is too short", pid)
	}
	return strconv.Atoi(string(fields[1]))
}

// openProcess reads what a process tells about itself.
func openProcess(pid int) (process, error) {
	p := process{inProc: directoryOf(pid)}
	var err error
	if p.executable, err = os.Readlink(path.Join(p.inProc, "exe")); err != nil {
		if errors.Is(err, os.ErrNotExist) { // a kernel thread, or it has ended
			return p, nil
		}
		return p, err
	}
	p.executable = strings.TrimSuffix(p.executable, deleted)
	if p.directory, err = os.Readlink(path.Join(p.inProc, "cwd")); err != nil {
		return p, err
	}
	file, err := os.Open(path.Join(p.inProc, "cmdline"))
	if err != nil {
		return p, err
	}
	defer file.Close()
	arguments, err := io.ReadAll(io.LimitReader(file, maxArguments))
	p.arguments = strings.Split(strings.TrimSuffix(string(arguments), "\x00"), "\x00")
	return p, err
}

// root returns the directory that shows files as the process sees them.
func (p process) root() string { return path.Join(p.inProc, "root") }

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

// isHostRoot reports whether the process runs as root in the initial pid and user namespaces.
func (p process) isHostRoot() bool {
	status, err := os.ReadFile(path.Join(p.inProc, "status"))
	if err != nil {
		return false
	}
	return isRoot(string(status)) && p.namespace("pid") == initialPIDs && p.namespace("user") == initialUsers
}

// isRoot reports whether all user IDs of a process are 0.
func isRoot(status string) bool {
	for line := range strings.Lines(status) {
		if ids, ok := strings.CutPrefix(line, "Uid:"); ok {
			return !slices.ContainsFunc(strings.Fields(ids), func(id string) bool { return id != "0" })
		}
	}
	return false
}

func (p process) namespace(kind string) string {
	link, err := os.Readlink(path.Join(p.inProc, "ns", kind))
	if err != nil {
		return ""
	}
	return link
}
