package monitor

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/bpf"
	"github.com/capmon/capmon/internal/kernel"
)

// AddCommand makes the programs record the command with an ID in the cgroup where, and returns the id of the cgroup. No
// container runtime starts a command: the workload begins with the first execve in the cgroup. Call AddCommand before
// that execve. The record contains all descendants of the workload, even if they move to other cgroups.
//
// AddCommand requires [Options.NoRuntime]. The error wraps [ErrNotInContainer] if the cgroup is part of a container. It
// returns [ErrClosed] after Close.
func (m *Monitor) AddCommand(where, id string) (cgroup uint64, err error) {
	return m.addWithoutRuntime(where, id, func(uint64) (bpf.CapmonContainer, error) {
		return bpf.CapmonContainer{FirstNs: m.clock.Now()}, nil
	})
}

// AddUnit is like [Monitor.AddCommand] for a unit of systemd that runs already. All processes in its cgroup belong to
// the workload. If systemd starts the unit again, the programs record it from its start on, in the new cgroup with the
// same path. A new cgroup has another id. The error wraps [os.ErrNotExist] if the unit does not run. AddUnit
// rejects a unit with init or this process.
//
// A monitor records one unit. Further calls are for the same unit. They have an effect if the unit runs in a cgroup
// that the programs did not recognize, because systemd has made the cgroup above it again. Then the start was not seen.
func (m *Monitor) AddUnit(where, id string) (cgroup uint64, err error) {
	for outside, name := range map[int]string{1: "init", os.Getpid(): "capmon"} {
		if other, err := m.cgroups.Path(outside); err == nil && isInside(other, where) {
			return 0, fmt.Errorf("%s itself runs in the cgroup %s: record another unit", name, kernel.ShortPath(where))
		}
	}
	if err := m.awaitUnit(where, id); err != nil {
		return 0, err
	}
	return m.addWithoutRuntime(where, id, func(cgroup uint64) (bpf.CapmonContainer, error) {
		first, err := m.runningProcesses(where)
		if err != nil {
			return bpf.CapmonContainer{}, err
		}
		return m.newEntry(cgroup, first), nil
	})
}

// awaitUnit makes the programs recognize new cgroups of a unit.
func (m *Monitor) awaitUnit(where, id string) error {
	parent, err := m.cgroups.ID(path.Dir(where))
	if err != nil {
		return err
	}
	unit := bpf.CapmonUnit{Parent: parent}
	name := path.Base(where)
	if len(name) >= len(unit.Cgroup) || len(id) > maxAssignedID {
		return fmt.Errorf("the name of the unit %.20q… is too long: it has %d bytes, and the limit is %d", name, len(name), maxAssignedID)
	}
	copy(unit.Cgroup[:], name)
	copy(unit.Id[:], id)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return ErrClosed
	}
	if err := m.attached.maps.RecordedUnit.Put(uint32(0), &unit); err != nil {
		return fmt.Errorf("storing the cgroup of the unit: %w", err)
	}
	return nil
}

// addWithoutRuntime adds a workload without a container runtime, with the entry that newEntry returns.
func (m *Monitor) addWithoutRuntime(where, id string, newEntry func(cgroup uint64) (bpf.CapmonContainer, error)) (cgroup uint64, err error) {
	if len(id) > maxAssignedID {
		return 0, fmt.Errorf("the ID %.20q… is too long: it has %d bytes, and the limit is %d", id, len(id), maxAssignedID)
	}
	if outer, err := m.containerAbove(where); err != nil || outer != "" {
		return 0, errors.Join(err, fmt.Errorf("the cgroup %s is part of the container in %s: %w", kernel.ShortPath(where), kernel.ShortPath(outer), ErrNotInContainer))
	}
	if cgroup, err = m.cgroups.ID(where); err != nil {
		return 0, err
	}
	m.adding.Lock()
	defer m.adding.Unlock()
	if known, err := m.isAdded(cgroup, id); known || err != nil {
		return cgroup, err
	}
	value, err := newEntry(cgroup)
	if err != nil {
		return 0, err
	}
	value.NoRuntime = 1
	if err := m.storeAdded(where, cgroup, id, value); err != nil {
		return 0, err
	}
	known, err := m.isAdded(cgroup, id)
	if err == nil && !known {
		err = errors.New("the kernel's map of containers is full: raise --max-containers")
	}
	if err == nil && value.Existed != 0 {
		err = m.setWorkload(where, cgroup)
	}
	return cgroup, err
}

// runningProcesses returns the oldest process in a cgroup, with the sets and the number of all its processes.
func (m *Monitor) runningProcesses(where string) (first processInfo, err error) {
	pids, err := processesBelow(m.cgroups, where)
	if err != nil {
		return first, err
	}
	var count uint32
	for _, pid := range pids {
		var one processInfo
		dir := processDirectory(pid)
		if one.start, _, err = readStat(dir); err != nil {
			continue // it has ended
		}
		if one.userNamespace, err = baseUserNamespace(dir); err != nil {
			continue
		}
		if err := one.readStatus(dir); err != nil {
			continue
		}
		if count++; count == 1 || one.start < first.start {
			first = one
		}
	}
	if count == 0 {
		return first, fmt.Errorf("the cgroup %s has no process: %w", kernel.ShortPath(where), os.ErrNotExist)
	}
	sets := unionOfSets(pids)
	first.bounding, first.permitted, first.processes = first.bounding|sets.bounding, first.permitted|sets.permitted, count
	return first, nil
}

// setWorkload makes the programs know the processes in a cgroup as its workload. They would otherwise learn that only
// at the next check of the process, which may have moved to another cgroup by then.
func (m *Monitor) setWorkload(where string, cgroup uint64) error {
	pids, err := processesBelow(m.cgroups, where)
	if err != nil {
		return err
	}
	state := bpf.CapmonTaskState{Container: cgroup, Phase: uint32(bpf.CapmonPhasePHASE_WORKLOAD)}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return ErrClosed
	}
	for _, pid := range pids {
		err := withPidfd(pid, func(process int32) error { return m.attached.maps.TaskStates.Put(process, &state) })
		if err != nil && !errors.Is(err, unix.ESRCH) && !errors.Is(err, unix.EINVAL) { // it has ended
			return fmt.Errorf("storing that process %d belongs to a workload: %w", pid, err)
		}
	}
	return nil
}

func withPidfd(pid int, use func(process int32) error) error {
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	defer unix.Close(process)
	return use(int32(process))
}

// Descendants returns the processes that descend from the workload with a cgroup that AddCommand or AddUnit has added.
// They may be in any cgroup. Processes that start after Stop are missing. Descendants returns none after Close.
func (m *Monitor) Descendants(cgroup uint64) []int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil
	}
	return m.descendants()[cgroup]
}

// descendants returns the processes of all workloads without a runtime, by cgroup.
func (m *Monitor) descendants() map[uint64][]int {
	if !m.noRuntime {
		return nil
	}
	all := make(map[uint64][]int)
	pids, _ := kernel.Processes()
	for _, pid := range pids {
		var state bpf.CapmonTaskState
		err := withPidfd(pid, func(process int32) error { return m.attached.maps.TaskStates.Lookup(process, &state) })
		if err == nil && state.Phase == uint32(bpf.CapmonPhasePHASE_WORKLOAD) {
			all[state.Container] = append(all[state.Container], pid)
		}
	}
	maps.DeleteFunc(all, func(cgroup uint64, _ []int) bool {
		var value bpf.CapmonContainer
		return m.attached.maps.Containers.Lookup(&cgroup, &value) != nil || value.NoRuntime == 0
	})
	return all
}

// executor returns the file with which systemd 255 and later prepare the processes of units, as the programs identify
// it. The inode number is 0 if there is no such file.
func executor() (inode uint64, device uint32) {
	for _, name := range []string{"/usr/lib/systemd/systemd-executor", "/lib/systemd/systemd-executor"} {
		var stat unix.Stat_t
		if unix.Stat("/proc/1/root"+name, &stat) == nil {
			return stat.Ino, unix.Major(stat.Dev)<<minorBits | unix.Minor(stat.Dev)
		}
	}
	return 0, 0
}

// minorBits is the number of bits of a minor device number in the kernel (include/linux/kdev_t.h).
const minorBits = 20
