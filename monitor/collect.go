package monitor

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"unique"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/bpf"
	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/kernel"
)

// share of a map's room: when so much has been recorded anew it is time for a harvest.
const highWaterShare = 8

// ErrNotAllCgroups: which containers have ended cannot be told, since the cgroups are
// seen from inside a cgroup namespace.
var ErrNotAllCgroups = errors.New("the cgroups of the whole machine cannot be seen, only those of a cgroup namespace")

// harvested is what was recorded of a container that has ended.
type endedContainer struct {
	value      bpf.CapmonContainer
	checks     []endedCheck
	executions map[bpf.CapmonExecutionKey]Execution
	calls      containerCalls
	files      []endedFile
}

// harvestedFile is an entry of the files map.
type endedFile struct {
	key   bpf.CapmonFileKey
	value bpf.CapmonFileValue
}

// harvestedCheck is an entry of the checks map. Short containers do the same over and
// over: of the kinds, which are the larger part, there is one copy for all.
type endedCheck struct {
	kind  unique.Handle[bpf.CapmonCheckKey] // of no container
	value bpf.CapmonCheckValue
}

// Harvest moves what was recorded of containers that have ended from the kernel's maps
// to the memory of this process, so that there is room for others. Snapshot has all of it
// afterwards as before.
//
// A container has ended when its cgroup is gone: a cgroup with tasks cannot be removed, and
// no other gets its id, so nothing more is recorded of it.
func (m *Monitor) CollectEnded() error {
	return m.collect(func(uint64, string) bool { return true }, func(gone map[uint64]*endedContainer) error {
		m.mu.Lock()
		defer m.mu.Unlock()
		maps.Copy(m.collected, gone)
		return nil
	})
}

// HandOver is like Harvest for those of the containers that are wanted, by their cgroups and the
// IDs that these are named by, but hands what was recorded of them to keep, and later Snapshots have it no more. It stays
// in the kernel if keep fails, and may be handed over again if this process ends before
// HandOver returns. keep must not call what reads or changes the record, as Snapshot, Harvest, NoteTold
// and Tallies do: that waits until HandOver returns.
func (m *Monitor) FlushEnded(wanted func(cgroup uint64, id string) bool, keep func(Snapshot) error) error {
	return m.collect(wanted, func(gone map[uint64]*endedContainer) error {
		ended := Snapshot{Hook: m.Hook(), Time: m.Now()}
		symbols, err := m.currentSymbols()
		if err != nil {
			return err
		}
		if ended.Losses, err = m.losses(); err != nil {
			return err
		}
		for cgroup, harvest := range gone {
			ended.Containers = append(ended.Containers, m.newEndedContainer(symbols, cgroup, harvest))
		}
		if err := keep(ended); err != nil {
			return err
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.hasDeltaReader {
			maps.Copy(m.unreported, gone)
		}
		return nil
	})
}

// harvest takes the wanted containers that have ended out of the maps when keep has them.
func (m *Monitor) collect(wanted func(cgroup uint64, id string) bool, keep func(map[uint64]*endedContainer) error) error {
	m.reading.Lock()
	defer m.reading.Unlock()
	if m.ended() {
		return nil
	}
	if err := canWaitForPrograms(); err != nil {
		return err
	}
	gone, err := m.findEnded(wanted)
	if err != nil || len(gone) == 0 {
		return err
	}
	for cgroup := range gone {
		if len(gone) <= maxFlushed {
			break
		}
		delete(gone, cgroup) // the next time
	}
	checks, exact, err := m.collectChecks(gone)
	if err != nil || !exact { // some counts are just moving: another time
		return err
	}
	executions, err := m.collectExecutions(gone)
	if err != nil {
		return err
	}
	calls, err := m.collectCalls(gone)
	if err != nil {
		return err
	}
	files, err := m.collectFiles(gone)
	if err != nil {
		return err
	}
	if err := keep(gone); err != nil {
		return err
	}
	if err := m.markAndRemove(gone); err != nil {
		return err
	}
	// Who still counts from memory for one of them began before it was removed.
	if err := waitForPrograms(); err != nil {
		return err
	}
	return errors.Join(
		removeEntries(m.attached.maps.Checks, checks, "checks"),
		removeEntries(m.attached.maps.Executions, executions, "executions"),
		removeEntries(m.attached.maps.Calls, calls, "calls"),
		removeEntries(m.attached.maps.Files, files, "files"),
		m.updateRemoved())
}

// leave removes containers from the map of containers. From when it has begun a process that
// takes the recording up does so, too: what is kept elsewhere is never there twice or in part.
func (m *Monitor) markAndRemove(gone map[uint64]*endedContainer) error {
	cgroups := slices.Collect(maps.Keys(gone))
	if m.attached.flushed != nil {
		for some := range slices.Chunk(cgroups, batchSize) {
			if _, err := m.attached.flushed.BatchUpdate(some, make([]uint8, len(some)), nil); err != nil {
				return fmt.Errorf("noting which containers have been handed over: %w", err)
			}
		}
	}
	return m.removeContainers(cgroups)
}

// removeContainers removes those from the map that have been handed over, and what was
// inherited of them.
func (m *Monitor) removeContainers(cgroups []uint64) error {
	set := make(map[uint64]bool)
	for _, cgroup := range cgroups {
		set[cgroup] = true
	}
	err := errors.Join(removeEntries(m.attached.maps.Containers, cgroups, "containers"), removeEntries(m.attached.maps.Grants, cgroups, "grants"))
	if err == nil {
		err = m.freeSlots()
	}
	if err == nil && m.pins != nil {
		err = m.carriedOver.removeFrozen(set, m.pins.removeRecording)
	}
	if err == nil {
		m.mu.Lock()
		m.carriedOver.dropFromMemory(func(cgroup uint64) bool { return set[cgroup] })
		m.mu.Unlock()
	}
	if err == nil && m.attached.flushed != nil {
		err = removeEntries(m.attached.flushed, cgroups, "containers that have been handed over")
	}
	return err
}

// finishHandOver removes what a process had handed over that ended before it could remove it.
func (m *Monitor) finishFlush() error {
	var cgroups []uint64
	err := forEachEntry(m.attached.flushed, "containers that have been handed over", func(cgroup *uint64, _ *uint8) { cgroups = append(cgroups, *cgroup) })
	if err == nil {
		err = m.removeContainers(cgroups)
	}
	if err == nil {
		err = m.removeOrphans()
	}
	if err == nil {
		err = m.updateRemoved()
	}
	return err
}

// harvestedContainer is what Snapshot tells of one.
func (m *Monitor) newEndedContainer(symbols *kernel.Symbols, cgroup uint64, harvest *endedContainer) Container {
	var checks []Check
	for i := range harvest.checks {
		key := harvest.checks[i].kind.Value()
		checks = append(checks, m.newCheck(symbols, &key, &harvest.checks[i].value))
	}
	c := m.newContainer(cgroup, &harvest.value, checks)
	c.Executions = slices.Collect(maps.Values(harvest.executions))
	c.Calls, c.Lifted, c.Unchecked = harvest.calls.selected, harvest.calls.lifted, harvest.calls.unchecked
	for i := range harvest.files {
		c.Files = append(c.Files, m.newFileUse(symbols, &harvest.files[i].key, &harvest.files[i].value))
	}
	c.Ended = true
	c.Kept = capability.Set(harvest.value.Kept)
	return c
}

// Crowded tells, by a value each time, that much has been recorded since the last time and
// a Harvest might make room. It takes somebody who calls Next.
func (m *Monitor) HighWater() <-chan struct{} { return m.highWater }

// grown counts what an event tells to be new in a map.
func (m *Monitor) countNew(kind bpf.CapmonEventKind) {
	var grown *ebpf.Map
	switch kind {
	case bpf.CapmonEventKindEVENT_CONTAINER:
		grown = m.attached.maps.Containers
	case bpf.CapmonEventKindEVENT_CHECK:
		grown = m.attached.maps.Checks
	case bpf.CapmonEventKindEVENT_EXECUTION:
		grown = m.attached.maps.Executions
	case bpf.CapmonEventKindEVENT_FILE:
		grown = m.attached.maps.Files
	default:
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.newEntries[kind]++
	if m.newEntries[kind] < max(1, grown.MaxEntries()/highWaterShare) {
		return
	}
	clear(m.newEntries)
	select {
	case m.highWater <- struct{}{}:
	default: // told already
	}
}

// gone finds the wanted containers whose cgroups are no more.
func (m *Monitor) findEnded(wanted func(cgroup uint64, id string) bool) (map[uint64]*endedContainer, error) {
	if root, err := m.cgroups.ID("/"); err != nil || root != 1 { // kernfs_create_root, fs/kernfs/dir.c
		return nil, errors.Join(err, ErrNotAllCgroups)
	}
	gone := make(map[uint64]*endedContainer)
	err := m.forEachContainer(func(cgroup *uint64, value *bpf.CapmonContainer) {
		if !wanted(*cgroup, entryID(value)) {
			return
		}
		gone[*cgroup] = &endedContainer{executions: make(map[bpf.CapmonExecutionKey]Execution)}
	})
	if err != nil {
		return nil, err
	}
	err = m.walkCgroups(func(cgroup kernel.CgroupDir) error {
		id, err := cgroup.ID()
		delete(gone, id)
		return err
	})
	if err != nil {
		return nil, err
	}
	// Only now is what was recorded of them final: some have ended during the walk.
	for id, harvest := range gone {
		if err := m.lookUpContainer(id, &harvest.value); err != nil {
			return nil, fmt.Errorf("looking a container up that has ended: %w", err)
		}
	}
	return gone, nil
}

// harvestChecks notes their checks and returns the keys; exact as that of countedChecks.
func (m *Monitor) collectChecks(gone map[uint64]*endedContainer) (keys []bpf.CapmonCheckKey, exact bool, err error) {
	counted, exact, err := m.countChecks(func(cgroup uint64) bool { return gone[cgroup] != nil })
	for key, value := range counted {
		keys = append(keys, key)
		kind := key
		kind.Container = 0
		from := gone[key.Container]
		from.checks = append(from.checks, endedCheck{unique.Make(kind), value})
	}
	return keys, exact, err
}

func (m *Monitor) collectExecutions(gone map[uint64]*endedContainer) (keys []bpf.CapmonExecutionKey, err error) {
	err = m.forEachExecution(func(key *bpf.CapmonExecutionKey, value *bpf.CapmonExecutionValue) {
		if from := gone[key.Container]; from != nil {
			keys = append(keys, *key)
			from.executions[*key] = m.newExecution(key, value)
		}
	})
	return keys, err
}

func (m *Monitor) collectCalls(gone map[uint64]*endedContainer) (keys []bpf.CapmonCallKey, err error) {
	err = m.forEachCall(func(key *bpf.CapmonCallKey, value *bpf.CapmonCallValue) {
		if from := gone[key.Container]; from != nil {
			keys = append(keys, *key)
			from.calls.add(m, key, value)
		}
	})
	return keys, err
}

func (m *Monitor) collectFiles(gone map[uint64]*endedContainer) (keys []bpf.CapmonFileKey, err error) {
	err = m.forEachFile(func(key *bpf.CapmonFileKey, value *bpf.CapmonFileValue) {
		if from := gone[key.Container]; from != nil {
			keys = append(keys, *key)
			from.files = append(from.files, endedFile{*key, *value})
		}
	})
	return keys, err
}

// remove takes entries out of a map, those that are there.
func removeEntries[K any](m *ebpf.Map, keys []K, what string) error {
	for len(keys) > 0 {
		some := keys[:min(batchSize, len(keys))]
		n, err := m.BatchDelete(some, nil)
		if errors.Is(err, ebpf.ErrKeyNotExist) { // as of what was inherited
			n++
		} else if err != nil {
			return fmt.Errorf("making room in the map of %s: %w", what, err)
		}
		keys = keys[n:]
	}
	return nil
}

// Commands of membarrier (include/uapi/linux/membarrier.h).
const (
	membarrierQuery  = 0
	membarrierGlobal = 1 << 0
)

// canWaitForPrograms fails on machines with processors that are spared the timer
// (nohz_full), for which waitForPrograms would have to wait too long.
func canWaitForPrograms() error {
	can, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, membarrierQuery, 0, 0)
	if errno == 0 && can&membarrierGlobal == 0 {
		errno = unix.ENOTSUP
	}
	if errno != 0 {
		return fmt.Errorf("it cannot be waited until no program runs that began before (membarrier): %w", errno)
	}
	return nil
}

// waitForPrograms returns when every eBPF program has ended that was running: they run in
// RCU read-side critical sections, and this waits for a grace period (membarrier(2) in
// kernel/sched/membarrier.c, 5.15 to 7.3). On a machine with one CPU it does nothing, and
// nothing is needed: programs that count from memory are not preempted there (turn.h).
func waitForPrograms() error {
	if _, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, membarrierGlobal, 0, 0); errno != 0 {
		return fmt.Errorf("waiting until no program runs that began before (membarrier): %w", errno)
	}
	return nil
}

// Filled is the part of the fullest share of a map that is taken, from 0 to 1.
func (m *Monitor) Utilization() (filled float64, err error) {
	m.reading.Lock()
	defer m.reading.Unlock()
	if m.ended() {
		return 0, nil
	}
	present, err := m.countEntries()
	if err != nil {
		return 0, err
	}
	for share, room := range m.attached.shareSizes() {
		filled = max(filled, float64(present[share])/float64(max(room, 1)))
	}
	containers := 0
	err = forEachEntry(m.attached.maps.Containers, "containers", func(*uint64, *bpf.CapmonContainer) { containers++ })
	filled = max(filled, float64(containers)/float64(m.attached.maps.Containers.MaxEntries()))
	return filled, err
}

// removeOrphans removes what a harvest has left that did not come to its end: entries of
// containers that are no more in the map of containers, whose records have been handed on.
// A container is entered there before anything is recorded of it.
func (m *Monitor) removeOrphans() error {
	var checks []bpf.CapmonCheckKey
	var executions []bpf.CapmonExecutionKey
	var calls []bpf.CapmonCallKey
	var files []bpf.CapmonFileKey
	known := make(map[uint64]bool)
	err := errors.Join(
		forEachEntry(m.attached.maps.Checks, "checks", func(key *bpf.CapmonCheckKey, _ *bpf.CapmonCheckValue) { checks = append(checks, *key) }),
		forEachEntry(m.attached.maps.Executions, "executions", func(key *bpf.CapmonExecutionKey, _ *bpf.CapmonExecutionValue) {
			executions = append(executions, *key)
		}),
		forEachEntry(m.attached.maps.Calls, "calls", func(key *bpf.CapmonCallKey, _ *bpf.CapmonCallValue) { calls = append(calls, *key) }),
		forEachEntry(m.attached.maps.Files, "files", func(key *bpf.CapmonFileKey, _ *bpf.CapmonFileValue) { files = append(files, *key) }),
		forEachEntry(m.attached.maps.Containers, "containers", func(cgroup *uint64, _ *bpf.CapmonContainer) { known[*cgroup] = true }))
	if err != nil {
		return err
	}
	return errors.Join(
		removeEntries(m.attached.maps.Checks, slices.DeleteFunc(checks, func(key bpf.CapmonCheckKey) bool { return known[key.Container] }), "checks"),
		removeEntries(m.attached.maps.Executions, slices.DeleteFunc(executions, func(key bpf.CapmonExecutionKey) bool { return known[key.Container] }), "executions"),
		removeEntries(m.attached.maps.Calls, slices.DeleteFunc(calls, func(key bpf.CapmonCallKey) bool { return known[key.Container] }), "calls"),
		removeEntries(m.attached.maps.Files, slices.DeleteFunc(files, func(key bpf.CapmonFileKey) bool { return known[key.Container] }), "files"))
}
