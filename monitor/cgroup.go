package monitor

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/bpf"
	"github.com/capmon/capmon/internal/containerid"
	"github.com/capmon/capmon/internal/kernel"
)

// CgroupInfo describes a container's cgroup, and who can have made it. The name of a cgroup proves nothing.
type CgroupInfo struct {
	// Name is the name of the cgroup's directory.
	Name string
	// OnlyRootCanCreate means that only root can have made the cgroup, because root owns all cgroups above it. An
	// engine that runs as root makes its containers in such cgroups.
	OnlyRootCanCreate bool
	// Folded means that this entry is not one container. It stands for cgroups below the cgroup Name. They have the
	// name of a container and did not fit in the map, or they are nested too deeply for capmon to read their names.
	Folded bool
	// FirstSeen is as in [ContainerRecord].
	FirstSeen time.Time
}

func (m *Monitor) cgroupInfo(value *bpf.CapmonContainer) CgroupInfo {
	return CgroupInfo{
		Name: cString(value.Name[:]), OnlyRootCanCreate: value.Delegated == 0, Folded: value.Folded > 0,
		FirstSeen: m.clock.Time(value.FirstNs),
	}
}

// CgroupInfo returns the cgroup of a container. The second result is false if nothing is recorded about the container,
// or if its data has been removed. CgroupInfo returns [ErrClosed] after Close.
func (m *Monitor) CgroupInfo(cgroup uint64) (CgroupInfo, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return CgroupInfo{}, false, ErrClosed
	}
	value, err := m.findEntry(cgroup)
	if err != nil || value == nil {
		return CgroupInfo{}, false, err
	}
	return m.cgroupInfo(value), true, nil
}

// CgroupOf returns the container cgroup of a process: its kernfs id and its path. The error wraps [ErrNotInContainer]
// if the process is not in a cgroup that is named after the ID, or if that cgroup is part of another container.
func (m *Monitor) CgroupOf(pid int, id string) (cgroup uint64, where string, err error) {
	all, err := m.cgroups.Path(pid)
	if errors.Is(err, unix.ENAMETOOLONG) {
		return m.searchCgroupOf(pid, id)
	}
	if err != nil {
		return 0, "", err
	}
	where, found, ok := containerid.Topmost(all)
	if !ok || found != id {
		return 0, "", fmt.Errorf("process %d: %w", pid, ErrNotInContainer)
	}
	cgroup, err = m.cgroups.ID(where)
	return cgroup, where, err
}

// searchCgroupOf is CgroupOf for a process whose cgroup path is too long for the kernel to print.
func (m *Monitor) searchCgroupOf(pid int, id string) (cgroup uint64, where string, err error) {
	err = m.forEachContainerCgroup(func(one string) error {
		pids, err := processesBelow(m.cgroups, one)
		if err != nil || !slices.Contains(pids, pid) {
			return err
		}
		where = one
		return fs.SkipAll
	})
	if err != nil {
		return 0, "", err
	}
	if found, ok := containerid.FromCgroup(path.Base(where)); !ok || found != id {
		return 0, "", fmt.Errorf("process %d: %w", pid, ErrNotInContainer)
	}
	cgroup, err = m.cgroups.ID(where)
	return cgroup, where, err
}

// ErrNotInContainer is an error of [Monitor.CgroupOf].
var ErrNotInContainer = errors.New("the process is not in a cgroup of that container")

// CgroupPath returns the path of a container's cgroup if the process is in it or in a cgroup below it. Otherwise, the
// second result is false. Paths of cgroups are below the root of the cgroup hierarchy, as in /proc/PID/cgroup.
func (m *Monitor) CgroupPath(cgroup uint64, pid int) (string, bool) {
	return m.cgroups.PathOf(cgroup, pid)
}

// CgroupPaths returns the paths of the cgroups with these ids that still exist. It shortens long paths.
func (m *Monitor) CgroupPaths(cgroups map[uint64]bool) (map[uint64]string, error) {
	paths := make(map[uint64]string)
	err := m.walkCgroups(func(cgroup kernel.CgroupDir) error {
		if id, err := cgroup.ID(); err == nil && cgroups[id] {
			paths[id] = kernel.ShortPath(cgroup.Path())
		}
		if len(paths) == len(cgroups) {
			return fs.SkipAll
		}
		return nil
	})
	return paths, err
}

// TrustSiblings makes the programs record each container next to this one separately, as far as the maps have room.
// Call it for the cgroup of a container that an engine made. It has no effect on cgroups that only root can make: the
// programs always record their containers separately. TrustSiblings returns [ErrClosed] after Close.
func (m *Monitor) TrustSiblings(cgroup string) error {
	delegated, err := m.cgroups.Delegated(path.Dir(cgroup))
	if err != nil || delegated == 0 {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return ErrClosed
	}
	err = m.attached.maps.ContainerSlots.Put(bpf.CapmonContainerSlotKey{Delegated: delegated, Index: slotFree}, uint64(0))
	if errors.Is(err, unix.E2BIG) {
		return nil // the map of slots is full
	}
	return err
}

const (
	slotsEach = uint32(bpf.CapmonSlotLimitSLOTS_PER_DELEGATION)
	slotFree  = uint32(bpf.CapmonSlotLimitSLOT_UNLIMITED)
)

// takeSlot has the same rule as take_container_slot in bpf/cgroup.h for limited slots. Only Start needs it, when
// [Monitor.TrustSiblings] has not made any slots unlimited yet.
func takeSlot(slots *ebpf.Map, delegated, id uint64) (bool, error) {
	if delegated == 0 {
		return true, nil
	}
	for index := range slotsEach {
		err := slots.Update(bpf.CapmonContainerSlotKey{Delegated: delegated, Index: index}, id, ebpf.UpdateNoExist)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, unix.E2BIG):
			return false, nil
		case !errors.Is(err, ebpf.ErrKeyExist):
			return false, fmt.Errorf("taking a slot for a container: %w", err)
		}
	}
	return false, nil
}

// freeSlots frees the slots whose containers are not in the map of containers. It may also free a slot that a program
// has just taken, before the program adds the container. Then one more container than the limit gets a slot.
func (m *Monitor) freeSlots() error {
	var free []bpf.CapmonContainerSlotKey
	err := forEachEntry(m.attached.maps.ContainerSlots, "slots", func(key *bpf.CapmonContainerSlotKey, cgroup *uint64) {
		var value bpf.CapmonContainer
		if key.Index != slotFree && errors.Is(m.attached.maps.Containers.Lookup(cgroup, &value), ebpf.ErrKeyNotExist) {
			free = append(free, *key)
		}
	})
	if err != nil {
		return err
	}
	return removeEntries(m.attached.maps.ContainerSlots, free, "slots")
}
