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

// maxArguments is the maximum size of the arguments of a process that are read. conmon has 3 kB.
const maxArguments = 64 << 10

// process is a process outside of all containers.
type process struct {
	proc, directoryInProc string
	executable            string // the path of its program
	directory             string // its working directory
	arguments             []string
}

func (r *Reader) directoryOf(pid int) string { return path.Join(r.proc, strconv.Itoa(pid)) }

// parent returns the parent of a process.
func (r *Reader) parent(pid int) (int, error) {
	stat, err := os.ReadFile(path.Join(r.directoryOf(pid), "stat"))
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
func (r *Reader) openProcess(pid int) (process, error) {
	p := process{proc: r.proc, directoryInProc: r.directoryOf(pid)}
	var err error
	if p.executable, err = os.Readlink(path.Join(p.directoryInProc, "exe")); err != nil {
		if errors.Is(err, os.ErrNotExist) { // a kernel thread, or it has ended
			return p, nil
		}
		return p, err
	}
	p.executable = strings.TrimSuffix(p.executable, " (deleted)") // by an upgrade
	if p.directory, err = os.Readlink(path.Join(p.directoryInProc, "cwd")); err != nil {
		return p, err
	}
	file, err := os.Open(path.Join(p.directoryInProc, "cmdline"))
	if err != nil {
		return p, err
	}
	defer file.Close()
	arguments, err := io.ReadAll(io.LimitReader(file, maxArguments))
	p.arguments = strings.Split(strings.TrimSuffix(string(arguments), "\x00"), "\x00")
	return p, err
}

// root returns the directory that shows files as the process sees them.
func (p process) root() string { return path.Join(p.directoryInProc, "root") }

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

// isHostRoot reports whether the process runs as root, in the pid and user namespaces of the first process: of the
// host, or of the machine that capmon sees.
func (p process) isHostRoot() bool {
	status, err := os.ReadFile(path.Join(p.directoryInProc, "status"))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(status)) {
		if ids, ok := strings.CutPrefix(line, "Uid:"); ok {
			if slices.ContainsFunc(strings.Fields(ids), func(id string) bool { return id != "0" }) {
				return false
			}
			return p.sharesWithFirst("pid") && p.sharesWithFirst("user")
		}
	}
	return false
}

func (p process) sharesWithFirst(namespace string) bool {
	own, err := os.Readlink(path.Join(p.directoryInProc, "ns", namespace))
	if err != nil {
		return false
	}
	first, err := os.Readlink(path.Join(p.proc, "1", "ns", namespace))
	return err == nil && own == first
}
