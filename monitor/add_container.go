package monitor

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/bpf"
	"github.com/capmon/capmon/internal/containerid"
	"github.com/capmon/capmon/internal/kernel"
)

// maxAssignedID is the length of the longest ID that fits in the programs' entry of a container.
const maxAssignedID = len(bpf.CapmonContainer{}.Name) - 1

// addTime is how long AddContainer usually takes at most.
const addTime = 100 * time.Millisecond

// AddContainer makes the programs record the container with an ID in the cgroup where, and returns the id of the
// cgroup. It is for containers whose cgroups the programs do not recognize by their names. pid is the first process of
// the container. If that process has not executed the container's program yet, the programs see the start of the
// container.
//
// The error wraps [ErrNotInContainer] if the process is not in the cgroup, or if the cgroup is part of another
// container. AddContainer also rejects cgroups that have other processes or other containers. It returns [ErrClosed]
// after Close.
func (m *Monitor) AddContainer(where, id string, pid int) (cgroup uint64, err error) {
	if len(id) > maxAssignedID {
		return 0, fmt.Errorf("the ID %.20q… of a container is too long: it has %d bytes, and the limit is %d", id, len(id), maxAssignedID)
	}
	if err := m.checkCgroup(where, pid); err != nil {
		return 0, err
	}
	if cgroup, err = m.cgroups.ID(where); err != nil {
		return 0, err
	}
	m.adding.Lock()
	defer m.adding.Unlock()
	known, err := m.isAdded(cgroup, id)
	if known || err != nil {
		return cgroup, err
	}
	return cgroup, m.addContainer(where, cgroup, id, func() bool { return waitsForStart(pid) })
}

// checkCgroup returns an error if a cgroup cannot be that of one container with the first process pid.
func (m *Monitor) checkCgroup(where string, pid int) error {
	own, err := m.cgroups.Path(pid)
	if err != nil {
		return err
	}
	if path.Clean(where) != where || where == "/" || !isInside(own, where) {
		return fmt.Errorf("process %d is in the cgroup %s, not in %s: %w", pid, kernel.ShortPath(own), kernel.ShortPath(where), ErrNotInContainer)
	}
	_, parent, err := readStat(processDirectory(pid))
	if err != nil {
		return err
	}
	for _, outside := range []int{1, os.Getpid(), parent} {
		if other, err := m.cgroups.Path(outside); err == nil && isInside(other, where) {
			return fmt.Errorf("the cgroup %s also has the process %d, which is outside of the container: %w", kernel.ShortPath(where), outside, ErrNotInContainer)
		}
	}
	if outer, err := m.containerAbove(where); err != nil || outer != "" {
		return errors.Join(err, fmt.Errorf("the cgroup %s is part of the container in %s: %w", kernel.ShortPath(where), kernel.ShortPath(outer), ErrNotInContainer))
	}
	return m.checkBelow(where, pid)
}

func isInside(cgroup, where string) bool {
	return cgroup == where || strings.HasPrefix(cgroup, where+"/")
}

// containerAbove returns the topmost container's cgroup above a cgroup, or "".
func (m *Monitor) containerAbove(where string) (string, error) {
	above := path.Dir(where)
	if outer, _, ok := containerid.Topmost(above); ok {
		return outer, nil
	}
	for outer := above; outer != "/"; outer = path.Dir(outer) {
		id, err := m.cgroups.ID(outer)
		if err != nil {
			return "", err
		}
		if m.isRecorded(id) {
			return outer, nil
		}
	}
	return "", nil
}

// checkBelow returns an error if containers below a cgroup were not made inside of the container with the first process
// pid.
func (m *Monitor) checkBelow(where string, pid int) error {
	return m.cgroups.WalkDirs(where, func(below kernel.CgroupDir) error {
		if below.Path() == where {
			return nil
		}
		if _, named := containerid.FromCgroup(below.Name()); !named {
			return nil
		}
		pids, err := below.Procs()
		if err != nil {
			return nil // it has vanished, or the container restricts access
		}
		for _, inner := range pids {
			if !descends(inner, pid) {
				return fmt.Errorf("the cgroup %s has another container: %w", kernel.ShortPath(where), ErrNotInContainer)
			}
		}
		return nil
	})
}

// descends reports whether a process is a descendant of another one, or has ended.
func descends(pid, ancestor int) bool {
	for pid > 1 {
		if pid == ancestor {
			return true
		}
		_, parent, err := readStat(processDirectory(pid))
		if err != nil {
			return true
		}
		pid = parent
	}
	return false
}

// isAdded reports whether a cgroup is in the map with this ID. The error is about another ID.
func (m *Monitor) isAdded(cgroup uint64, id string) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return false, ErrClosed
	}
	var known bpf.CapmonContainer
	err := m.attached.maps.Containers.Lookup(&cgroup, &known)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking up a container: %w", err)
	}
	if found := entryID(&known); found != id {
		return false, fmt.Errorf("the cgroup belongs to the container %.80q: %w", found, ErrNotInContainer)
	}
	return true, nil
}

// addContainer adds an entry to the map of containers. waitsForStart reports whether no process of the container has
// executed its program yet. The caller holds adding.
func (m *Monitor) addContainer(where string, cgroup uint64, id string, waitsForStart func() bool) error {
	waits := waitsForStart()
	value := bpf.CapmonContainer{FirstNs: m.clock.Now()}
	var err error
	if value.Delegated, err = m.cgroups.Delegated(path.Dir(where)); err != nil {
		return err
	}
	if !waits {
		if value, err = m.runningEntry(where, cgroup, addTime); err != nil {
			return err
		}
	}
	if err := m.storeAdded(where, cgroup, id, value); err != nil {
		return err
	}
	if late := m.clock.Now(); !waits && late > value.FirstNs {
		value.FirstNs = late
		return m.storeAdded(where, cgroup, id, value)
	}
	if !waits || waitsForStart() {
		return nil
	}
	// The program may have started before the programs knew the container.
	var now bpf.CapmonContainer
	if err := m.attached.maps.Containers.Lookup(&cgroup, &now); err != nil || now.WorkloadNs != 0 {
		return err
	}
	if value, err = m.runningEntry(where, cgroup, addTime); err != nil {
		return err
	}
	m.forgetPhases(where)
	return m.storeAdded(where, cgroup, id, value)
}

// runningEntry returns the entry for a container whose program has started. Within the time from now, the programs
// judge processes of the container that they do not know by their root directories.
func (m *Monitor) runningEntry(where string, cgroup uint64, within time.Duration) (bpf.CapmonContainer, error) {
	value, ok, err := m.readRunningContainer(where, cgroup, ^uint64(0))
	if err == nil && !ok {
		err = fmt.Errorf("the cgroup %s has no process of a workload: %w", kernel.ShortPath(where), os.ErrNotExist)
	}
	value.FirstNs = m.clock.Now() + uint64(within)
	return value, err
}

// storeAdded stores the entry of a container, and corrects what the programs have cached about its cgroups. A program
// that runs while storeAdded does so may cache what it read before. So storeAdded corrects the caches again when these
// programs have ended.
func (m *Monitor) storeAdded(where string, cgroup uint64, id string, value bpf.CapmonContainer) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return ErrClosed
	}
	if err := storeContainerEntry(m.attached.maps, cgroup, value, id); err != nil {
		return err
	}
	if err := m.correctCaches(where, cgroup); err != nil {
		return err
	}
	if err := waitForPrograms(); err != nil {
		time.Sleep(addTime / 10) // a program takes microseconds
	}
	return m.correctCaches(where, cgroup)
}

// correctCaches stores in the programs' caches that a cgroup and those below it belong to a container.
func (m *Monitor) correctCaches(where string, container uint64) error {
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return err
	}
	err = m.cgroups.WalkDirs(where, func(below kernel.CgroupDir) error {
		id, err := below.ID()
		if err != nil {
			return nil
		}
		return m.attached.maps.CgroupCache.Put(&id, &container)
	})
	var unread *kernel.UnreadError
	if err != nil && !errors.As(err, &unread) && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("correcting the programs' cache of cgroups: %w", err)
	}
	if err := m.attached.maps.LastCgroup.Put(uint32(0), make([]bpf.CapmonLastCgroup, cpus)); err != nil {
		return fmt.Errorf("correcting the programs' cache of cgroups: %w", err)
	}
	return nil
}

// forgetPhases makes the programs judge the processes of a container again.
func (m *Monitor) forgetPhases(where string) {
	pids, _ := processesBelow(m.cgroups, where)
	for _, pid := range pids {
		process, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue // it has ended
		}
		_ = m.attached.maps.TaskStates.Delete(int32(process)) // it may have no state
		unix.Close(process)
	}
}

// forkNoExec is set while a process has not executed a program since it was forked (PF_FORKNOEXEC,
// include/linux/sched.h). The last process of runc and crun waits in this state for the start of the container.
const forkNoExec = 0x40

// waitsForStart reports whether the first process of a container has not executed the container's program yet.
func waitsForStart(pid int) bool {
	stat, err := os.ReadFile(processDirectory(pid) + "/stat")
	if err != nil {
		return false
	}
	const flagsField = 6 // after the name of the program
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) <= flagsField {
		return false
	}
	flags, err := strconv.ParseUint(fields[flagsField], 10, 64)
	return err == nil && flags&forkNoExec != 0
}
