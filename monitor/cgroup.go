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
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/kernel"
)

// Place tells who can have made a container's cgroup. Its name alone says nothing.
type CgroupInfo struct {
	// Name of the cgroup's directory.
	Name string
	// Rooted: only root can have made it, since all cgroups above it are root's. An engine that
	// runs as root makes its containers in such places.
	RootOnly bool
	// Folded: this is not a container but stands for all cgroups below the cgroup Name that are
	// named like containers and for which there was no room, or that are nested too deep to
	// read their names.
	Folded bool
	// Seen as in Container.
	Seen time.Time
}

func (m *Monitor) cgroupInfo(value *bpf.CapmonContainer) CgroupInfo {
	return CgroupInfo{
		Name: cString(value.Name[:]), RootOnly: value.Delegated == 0, Folded: value.Folded > 0,
		Seen: m.clock.Time(value.FirstNs),
	}
}

// Place is that of a container, known by its cgroup; false if nothing is recorded of it, or no
// more.
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

// CgroupOf finds the container's cgroup that a process is in: its kernfs id and its path. The
// error is ErrNotInContainer if the process is in no cgroup that is named by the ID, or in one
// that is part of another container.
func (m *Monitor) CgroupOf(pid int, id string) (cgroup uint64, where string, err error) {
	all, err := m.cgroups.Path(pid)
	if errors.Is(err, unix.ENAMETOOLONG) {
		return m.searchCgroupOf(pid, id)
	}
	if err != nil {
		return 0, "", err
	}
	where = topmostContainer(all)
	if found, ok := container.IDFromCgroup(where); !ok || found != id {
		return 0, "", fmt.Errorf("process %d: %w", pid, ErrNotInContainer)
	}
	cgroup, err = m.cgroups.ID(where)
	return cgroup, where, err
}

// listedCgroupOf is CgroupOf for a process whose path is too long for the kernel to print.
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
	if found, ok := container.IDFromCgroup(path.Base(where)); !ok || found != id {
		return 0, "", fmt.Errorf("process %d: %w", pid, ErrNotInContainer)
	}
	cgroup, err = m.cgroups.ID(where)
	return cgroup, where, err
}

// ErrNotInContainer is returned by CgroupOf.
var ErrNotInContainer = errors.New("it is not in a cgroup of that container")

// topmost is the part of a cgroup's path that ends in the topmost container, "" if it leads
// through none.
func topmostContainer(all string) (where string) {
	for part := all; len(part) > 1; part = path.Dir(part) {
		if _, ok := container.IDFromCgroup(path.Base(part)); ok {
			where = part
		}
	}
	return where
}

// PathOf is the path of a container's cgroup, if a process is in it, or in one below.
func (m *Monitor) CgroupPath(cgroup uint64, pid int) (string, bool) {
	return m.cgroups.PathOf(cgroup, pid)
}

// Paths finds the cgroups with these ids that are still there. Long paths are shortened.
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

// Trust has the kernel take all containers that are made beside this one, as far as there is room:
// an engine makes its containers there. It does nothing where only root may make any.
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
	err = m.attached.maps.Slots.Put(bpf.CapmonSlotKey{Delegated: delegated, Index: slotFree}, uint64(0))
	if errors.Is(err, unix.E2BIG) {
		return nil // there is no room below any
	}
	return err
}

const (
	slotsEach = uint32(bpf.CapmonSlotLimitSLOTS_EACH)
	slotFree  = uint32(bpf.CapmonSlotLimitSLOT_FREE)
)

// takeSlot is take_slot of bpf/cgroup.h.
func takeSlot(slots *ebpf.Map, delegated, id uint64) (bool, error) {
	if delegated == 0 {
		return true, nil
	}
	for index := range slotsEach {
		err := slots.Update(bpf.CapmonSlotKey{Delegated: delegated, Index: index}, id, ebpf.UpdateNoExist)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, unix.E2BIG):
			return false, nil
		case !errors.Is(err, ebpf.ErrKeyExist):
			return false, fmt.Errorf("making room for a container: %w", err)
		}
	}
	return false, nil
}

// freeSlots gives those slots back whose containers are no more in the map of containers. One
// that is taken at this moment may go with them: then there is room for one more.
func (m *Monitor) freeSlots() error {
	var free []bpf.CapmonSlotKey
	err := forEachEntry(m.attached.maps.Slots, "slots", func(key *bpf.CapmonSlotKey, cgroup *uint64) {
		var value bpf.CapmonContainer
		if key.Index != slotFree && errors.Is(m.attached.maps.Containers.Lookup(cgroup, &value), ebpf.ErrKeyNotExist) {
			free = append(free, *key)
		}
	})
	if err != nil {
		return err
	}
	return removeEntries(m.attached.maps.Slots, free, "slots")
}
