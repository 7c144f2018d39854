package bundle

import (
	"errors"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/kernel"
)

// maxMachine is the maximum size of the description of a machine. Ordinary ones have 300 bytes.
const maxMachine = 64 << 10

// ReadMachine reads the description of a container of systemd-nspawn that systemd-machined has written. The grants are
// those that the kernel reports, because the description does not have them: Bounding is nil until the container's
// program has started. The error matches [os.ErrNotExist] if the container is not ready yet.
func ReadMachine(cgroups kernel.Cgroups, file string) (State, error) {
	data, err := readTrusted("/", file, maxMachine)
	if err != nil {
		return State{}, err
	}
	values := make(map[string]string)
	for line := range strings.Lines(string(data)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			values[key] = value
		}
	}
	if values["CLASS"] != "container" || values["SERVICE"] != "systemd-nspawn" {
		return State{}, errors.New("the machine is not a container of systemd-nspawn")
	}
	leader, err := strconv.Atoi(values["LEADER"])
	if err != nil || leader <= 1 {
		return State{}, errors.New("the description of the machine has no leader")
	}
	own, err := cgroups.Path(leader)
	if err != nil {
		return State{}, err
	}
	s := State{Pid: leader, Bundle: Bundle{Engine: Nspawn, ID: file, Name: path.Base(file), Seccomp: true}}
	if s.Cgroup = payloadIn(own, values["SCOPE"]); s.Cgroup == "" {
		return State{}, os.ErrNotExist // nspawn makes it after the registration
	}
	s.Bounding, err = boundingOf(leader)
	return s, err
}

// payloadIn returns the cgroup of a container of systemd-nspawn, among the cgroup of a process and those above it: the
// cgroup payload of a unit. It returns "" if there is none.
func payloadIn(own, unit string) string {
	payload := "" // the topmost one
	for cgroup := path.Clean(own); unit != "" && cgroup != "/" && cgroup != "."; cgroup = path.Dir(cgroup) {
		if path.Base(cgroup) == "payload" && path.Base(path.Dir(cgroup)) == unit {
			payload = cgroup
		}
	}
	return payload
}

// boundingOf returns the bounding set of a process, or nil if it has not executed a program since it was forked.
func boundingOf(pid int) (*capability.Set, error) {
	fields, err := statOf(pid)
	const flagsField, forkNoExec = 6, 0x40 // PF_FORKNOEXEC, include/linux/sched.h
	if err != nil || len(fields) <= flagsField {
		return nil, os.ErrNotExist
	}
	if flags, err := strconv.ParseUint(string(fields[flagsField]), 10, 64); err != nil || flags&forkNoExec != 0 {
		return nil, err
	}
	status, err := os.ReadFile(path.Join(directoryOf(pid), "status"))
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(status)) {
		if text, ok := strings.CutPrefix(line, "CapBnd:"); ok {
			bounding, err := strconv.ParseUint(strings.TrimSpace(text), 16, 64)
			set := capability.Set(bounding)
			return &set, err
		}
	}
	return nil, os.ErrNotExist
}
