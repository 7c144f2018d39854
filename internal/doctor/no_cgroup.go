package doctor

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/internal/printable"
)

// containersWithoutCgroup returns a warning if containers run that have no cgroup of their own: capmon cannot tell them
// from other processes. Examples are containers of podman run --cgroups=disabled and, with cgroup v1, containers of a
// Podman without root and of systemd-nspawn. It returns no finding if there are none.
func containersWithoutCgroup() []Finding {
	cgroups, err := kernel.DetectCgroups()
	if err != nil {
		return nil
	}
	var names []string
	pids, _ := kernel.Processes()
	for _, pid := range pids {
		executable, err := os.Readlink(path.Join("/proc", strconv.Itoa(pid), "exe"))
		if program := path.Base(executable); err == nil && slices.Contains(monitorPrograms, program) && sharesCgroup(cgroups, pid) {
			names = append(names, fmt.Sprintf("%s (process %d)", program, pid))
		}
	}
	if len(names) == 0 {
		return nil
	}
	return []Finding{{
		"containers without a cgroup", Warning,
		"capmon does not record the containers of " + printable.Text(strings.Join(names[:min(len(names), maxShown)], ", ")) + more(len(names)) + ": they are in the cgroups of these processes",
		"run Podman as root or use cgroup v2, do not use --cgroups=disabled, and start systemd-nspawn on a host with cgroup v2",
	}}
}

// maxShown is the number of processes that a finding names.
const maxShown = 3

func more(all int) string {
	if all <= maxShown {
		return ""
	}
	return fmt.Sprintf(" and %d others", all-maxShown)
}

// monitorPrograms are the programs whose children are the first processes of containers.
var monitorPrograms = []string{"conmon", "systemd-nspawn"}

// sharesCgroup reports whether a process has a child in another pid namespace, but in the same cgroup.
func sharesCgroup(cgroups kernel.Cgroups, pid int) bool {
	own, err := cgroups.Path(pid)
	if err != nil {
		return false
	}
	directory := path.Join("/proc", strconv.Itoa(pid))
	namespace, err := os.Readlink(path.Join(directory, "ns/pid"))
	if err != nil {
		return false
	}
	children, err := os.ReadFile(path.Join(directory, "task", strconv.Itoa(pid), "children"))
	if err != nil {
		return false
	}
	return slices.ContainsFunc(strings.Fields(string(children)), func(child string) bool {
		childPID, err := strconv.Atoi(child)
		if err != nil {
			return false
		}
		cgroup, err := cgroups.Path(childPID)
		inside, linkErr := os.Readlink(path.Join("/proc", child, "ns/pid"))
		return err == nil && linkErr == nil && cgroup == own && inside != namespace
	})
}
