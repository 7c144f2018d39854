package monitor

import (
	"errors"
	"fmt"
	"os"
	"strconv"

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
// the workload. The error wraps [os.ErrNotExist] if there are none.
func (m *Monitor) AddUnit(where, id string) (cgroup uint64, err error) {
	cgroup, err = m.addWithoutRuntime(where, id, func(cgroup uint64) (bpf.CapmonContainer, error) {
		first, err := m.runningProcesses(where)
		if err != nil {
			return bpf.CapmonContainer{}, err
		}
		return m.newEntry(cgroup, first), nil
	})
	if err != nil {
		return cgroup, err
	}
	return cgroup, m.setWorkload(where, cgroup)
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
	m.noRuntime.Store(cgroup, struct{}{})
	if err := m.storeAdded(where, cgroup, id, value); err != nil {
		return 0, err
	}
	known, err := m.isAdded(cgroup, id)
	if err == nil && !known {
		err = errors.New("the kernel's map of containers is full: raise --max-containers")
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

// Descendants returns the processes that descend from a workload that AddCommand or AddUnit has added, in any cgroup,
// and that still run. It works after Stop, but then without the processes that have started since. After Close, it
// returns none.
func (m *Monitor) Descendants(cgroup uint64) []int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil
	}
	return m.descendants(cgroup)
}

func (m *Monitor) descendants(cgroup uint64) (pids []int) {
	processes, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, entry := range processes {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		var state bpf.CapmonTaskState
		err = withPidfd(pid, func(process int32) error { return m.attached.maps.TaskStates.Lookup(process, &state) })
		if err == nil && state.Container == cgroup && state.Phase == uint32(bpf.CapmonPhasePHASE_WORKLOAD) {
			pids = append(pids, pid)
		}
	}
	return pids
}
