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
	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/kernel"
)

// collectionDueFraction decides when a collection is due: when the number of new entries of a map since the last one
// reaches 1/collectionDueFraction of the map's capacity.
const collectionDueFraction = 8

// ErrNotAllCgroups means that capmon runs in a cgroup namespace and cannot see the cgroups of the whole host, so it
// cannot find out which containers have ended.
var ErrNotAllCgroups = errors.New("capmon sees only the cgroups of its cgroup namespace, not all cgroups of the host")

// endedContainer is the final data of a container that has ended.
type endedContainer struct {
	value      bpf.CapmonContainer
	checks     []endedCheck
	executions map[bpf.CapmonExecutionKey]Execution
	calls      containerCalls
	files      []endedFile
}

// endedFile is an entry of the files map.
type endedFile struct {
	key   bpf.CapmonFileKey
	value bpf.CapmonFileValue
}

// endedCheck is an entry of the checks map. Short-lived containers make the same kinds of check again and again. So all
// entries of one kind share a copy of the key, which is the larger part.
type endedCheck struct {
	kind  unique.Handle[bpf.CapmonCheckKey] // with Container 0
	value bpf.CapmonCheckValue
}

// CollectEnded moves the data of containers that have ended from the kernel's maps to the memory of this process, so
// that the maps have room for others. [Monitor.Snapshot] still returns it. The error is [ErrNotAllCgroups] in a cgroup
// namespace.
//
// A container has ended when its cgroup is gone. A cgroup with tasks cannot be removed, and its id is not used again,
// so the data is final. CollectEnded leaves commands and units whose processes have moved to other cgroups.
func (m *Monitor) CollectEnded() error {
	return m.collect(func(uint64, string) bool { return true }, func(ended map[uint64]*endedContainer) error {
		m.mu.Lock()
		defer m.mu.Unlock()
		maps.Copy(m.collected, ended)
		return nil
	})
}

// SaveEnded passes the data of containers that have ended to save, and then removes it from the kernel's maps. It is
// like CollectEnded, but later Snapshots do not contain the data. wanted selects the containers, by their cgroup and by
// the ID in its name.
//
// If save fails, the data stays in the maps. If this process is killed before SaveEnded returns, the next process may
// pass the same data to save again. save must not call methods that read or change the data, such as Snapshot,
// CollectEnded, SetReportedUntil and DeltaReader.Read: they block until SaveEnded returns.
func (m *Monitor) SaveEnded(wanted func(cgroup uint64, id string) bool, save func(Snapshot) error) error {
	return m.collect(wanted, func(ended map[uint64]*endedContainer) error {
		snapshot := Snapshot{Hook: m.Hook(), Time: m.Now()}
		symbols, err := m.currentSymbols()
		if err != nil {
			return err
		}
		if snapshot.Losses, err = m.losses(); err != nil {
			return err
		}
		for cgroup, data := range ended {
			snapshot.Containers = append(snapshot.Containers, m.newEndedContainer(symbols, cgroup, data))
		}
		if err := save(snapshot); err != nil {
			return err
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.hasDeltaReader {
			maps.Copy(m.awaitingDeltaReader, ended)
		}
		return nil
	})
}

// collect removes the wanted containers that have ended from the maps, after keep has returned nil.
func (m *Monitor) collect(wanted func(cgroup uint64, id string) bool, keep func(map[uint64]*endedContainer) error) error {
	m.reading.Lock()
	defer m.reading.Unlock()
	if m.ended() {
		return nil
	}
	if err := canWaitForPrograms(); err != nil {
		return err
	}
	ended, err := m.findEnded(wanted)
	if err != nil || len(ended) == 0 {
		return err
	}
	for cgroup := range ended {
		if len(ended) <= maxCollected {
			break
		}
		delete(ended, cgroup) // left for the next call
	}
	checks, exact, err := m.collectChecks(ended)
	if err != nil || !exact { // a CPU is moving counts from its cache to the map: left for the next call
		return err
	}
	executions, err := m.collectExecutions(ended)
	if err != nil {
		return err
	}
	calls, err := m.collectCalls(ended)
	if err != nil {
		return err
	}
	files, err := m.collectFiles(ended)
	if err != nil {
		return err
	}
	if err := keep(ended); err != nil {
		return err
	}
	if err := m.markAndRemove(ended); err != nil {
		return err
	}
	// A program that began before this removal may still add the count of a cached check to the checks map
	// (move_cached_count in bpf/check_cache.h). Later programs do not, because the containers are no longer in their
	// map.
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

// markAndRemove removes containers whose data is saved from the map of containers. Before that, it marks them in a
// pinned map. If this process is killed after the mark, the next process completes the removal (finishRemoval). So it
// does not return the saved data, or a part of it, again.
func (m *Monitor) markAndRemove(ended map[uint64]*endedContainer) error {
	cgroups := slices.Collect(maps.Keys(ended))
	if m.attached.saved != nil {
		for some := range slices.Chunk(cgroups, batchSize) {
			if _, err := m.attached.saved.BatchUpdate(some, make([]uint8, len(some)), nil); err != nil {
				return fmt.Errorf("marking the containers that have been saved: %w", err)
			}
		}
	}
	return m.removeContainers(cgroups)
}

// removeContainers removes saved containers from the map of containers, with their grants, their slots, and their data
// from recordings of other versions. At the end, it removes their marks.
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
	if err == nil && m.attached.saved != nil {
		err = removeEntries(m.attached.saved, cgroups, "saved containers")
	}
	return err
}

// finishRemoval completes the removal of containers that an earlier process had marked.
func (m *Monitor) finishRemoval() error {
	var cgroups []uint64
	err := forEachEntry(m.attached.saved, "saved containers", func(cgroup *uint64, _ *uint8) { cgroups = append(cgroups, *cgroup) })
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

// newEndedContainer returns the Container that a Snapshot has for a collected container.
func (m *Monitor) newEndedContainer(symbols *kernel.Symbols, cgroup uint64, data *endedContainer) ContainerRecord {
	var checks []Check
	for i := range data.checks {
		key := data.checks[i].kind.Value()
		checks = append(checks, m.newCheck(symbols, &key, &data.checks[i].value))
	}
	c := m.newContainer(cgroup, &data.value, checks)
	c.Executions = slices.Collect(maps.Values(data.executions))
	c.SeccompCalls, c.Lifted, c.Unchecked = data.calls.seccomp, data.calls.lifted, data.calls.unchecked
	for i := range data.files {
		c.Files = append(c.Files, m.newFileUse(symbols, &data.files[i].key, &data.files[i].value))
	}
	c.Ended = true
	c.Kept = capability.Set(data.value.Kept)
	return c
}

// CollectionDue returns a channel that receives a value when a map has gained many entries since the last value. Then
// call CollectEnded or SaveEnded. [Monitor.Next] counts the new entries, so call it continuously. The channel is never
// closed.
func (m *Monitor) CollectionDue() <-chan struct{} { return m.collectionDue }

// countNew counts a new map entry that an event announces, for CollectionDue.
func (m *Monitor) countNew(kind bpf.CapmonEventKind) {
	var filled *ebpf.Map
	switch kind {
	case bpf.CapmonEventKindEVENT_CONTAINER:
		filled = m.attached.maps.Containers
	case bpf.CapmonEventKindEVENT_CHECK:
		filled = m.attached.maps.Checks
	case bpf.CapmonEventKindEVENT_EXECUTION:
		filled = m.attached.maps.Executions
	case bpf.CapmonEventKindEVENT_FILE:
		filled = m.attached.maps.Files
	default:
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.newEntries[kind]++
	if m.newEntries[kind] < max(1, filled.MaxEntries()/collectionDueFraction) {
		return
	}
	clear(m.newEntries)
	select {
	case m.collectionDue <- struct{}{}:
	default: // the last value has not been received yet
	}
}

// findEnded returns the wanted containers whose cgroups are gone.
func (m *Monitor) findEnded(wanted func(cgroup uint64, id string) bool) (map[uint64]*endedContainer, error) {
	if root, err := m.cgroups.ID("/"); err != nil || root != 1 { // kernfs_create_root, fs/kernfs/dir.c
		return nil, errors.Join(err, ErrNotAllCgroups)
	}
	ended := make(map[uint64]*endedContainer)
	err := m.forEachContainer(func(cgroup *uint64, value *bpf.CapmonContainer) {
		if !wanted(*cgroup, entryID(value)) {
			return
		}
		ended[*cgroup] = &endedContainer{executions: make(map[bpf.CapmonExecutionKey]Execution)}
	})
	if err != nil {
		return nil, err
	}
	err = m.walkCgroups(func(cgroup kernel.CgroupDir) error {
		id, err := cgroup.ID()
		delete(ended, id)
		return err
	})
	if err != nil {
		return nil, err
	}
	for id := range m.descendants() {
		delete(ended, id) // its cgroup is gone, but its processes are in other cgroups
	}
	// The values are final only now: some containers have ended during the walk.
	for id, data := range ended {
		if err := m.lookUpContainer(id, &data.value); err != nil {
			return nil, fmt.Errorf("looking up a container that has ended: %w", err)
		}
		if data.value.Moved != 0 {
			delete(ended, id) // a process may have started a child while descendants listed the processes
		}
	}
	return ended, nil
}

// collectChecks adds the checks to their containers and returns the keys. exact is as in countChecks.
func (m *Monitor) collectChecks(ended map[uint64]*endedContainer) (keys []bpf.CapmonCheckKey, exact bool, err error) {
	counted, exact, err := m.countChecks(func(cgroup uint64) bool { return ended[cgroup] != nil })
	for key, value := range counted {
		keys = append(keys, key)
		kind := key
		kind.Container = 0
		from := ended[key.Container]
		from.checks = append(from.checks, endedCheck{unique.Make(kind), value})
	}
	return keys, exact, err
}

func (m *Monitor) collectExecutions(ended map[uint64]*endedContainer) (keys []bpf.CapmonExecutionKey, err error) {
	err = m.forEachExecution(func(key *bpf.CapmonExecutionKey, value *bpf.CapmonExecutionValue) {
		if from := ended[key.Container]; from != nil {
			keys = append(keys, *key)
			from.executions[*key] = m.newExecution(key, value)
		}
	})
	return keys, err
}

func (m *Monitor) collectCalls(ended map[uint64]*endedContainer) (keys []bpf.CapmonCallKey, err error) {
	err = m.forEachCall(func(key *bpf.CapmonCallKey, value *bpf.CapmonCallValue) {
		if from := ended[key.Container]; from != nil {
			keys = append(keys, *key)
			from.calls.add(m, key, value)
		}
	})
	return keys, err
}

func (m *Monitor) collectFiles(ended map[uint64]*endedContainer) (keys []bpf.CapmonFileKey, err error) {
	err = m.forEachFile(func(key *bpf.CapmonFileKey, value *bpf.CapmonFileValue) {
		if from := ended[key.Container]; from != nil {
			keys = append(keys, *key)
			from.files = append(from.files, endedFile{*key, *value})
		}
	})
	return keys, err
}

// removeEntries removes entries of a map. Keys that are not in the map are allowed.
func removeEntries[K any](m *ebpf.Map, keys []K, mapName string) error {
	for len(keys) > 0 {
		some := keys[:min(batchSize, len(keys))]
		n, err := m.BatchDelete(some, nil)
		if errors.Is(err, ebpf.ErrKeyNotExist) { // keys[n], of a carried-over entry, is not in the map: skip it
			n++
		} else if err != nil {
			return fmt.Errorf("removing entries from the map of %s: %w", mapName, err)
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

// canWaitForPrograms fails on hosts with CPUs without a timer tick (nohz_full), where waitForPrograms is not available.
func canWaitForPrograms() error {
	can, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, membarrierQuery, 0, 0)
	if errno == 0 && can&membarrierGlobal == 0 {
		errno = unix.ENOTSUP
	}
	if errno != 0 {
		return fmt.Errorf("waiting for running BPF programs (membarrier): %w", errno)
	}
	return nil
}

// waitForPrograms returns when every BPF program that was running has ended. Programs run in RCU read-side critical
// sections, and the function waits for a grace period (membarrier(2) in kernel/sched/membarrier.c, 5.15 to 7.3). On a
// host with one CPU, membarrier does not wait. That is enough: programs that use cached checks are not preempted there
// (bpf/preempt.h), so none is running while this process runs.
func waitForPrograms() error {
	if _, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, membarrierGlobal, 0, 0); errno != 0 {
		return fmt.Errorf("waiting for running BPF programs (membarrier): %w", errno)
	}
	return nil
}

// Utilization returns the used part of the fullest map, or of the fullest share of a map (see bpf/quota.h), from 0 to
// 1. It returns 0 after Stop and Close.
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
	for share, size := range m.attached.shareSizes() {
		filled = max(filled, float64(present[share])/float64(max(size, 1)))
	}
	containers := 0
	err = forEachEntry(m.attached.maps.Containers, "containers", func(*uint64, *bpf.CapmonContainer) { containers++ })
	filled = max(filled, float64(containers)/float64(m.attached.maps.Containers.MaxEntries()))
	return filled, err
}

// removeOrphans removes the entries that an interrupted collection has left: their containers are not in the map of
// containers, so their data has been saved. There are no other such entries, because the programs enter a container
// there before they record anything about it.
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
