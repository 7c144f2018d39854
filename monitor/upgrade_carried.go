package monitor

import (
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/cilium/ebpf"

	"github.com/capmon/capmon/bpf"
)

// Takeover from the recording of another version of capmon: if the new programs differ from the programs of the pinned
// recording, capmon attaches the new ones as well, and switchRecording switches counting over (enabled in
// bpf/maps.h). The counts of the old programs stay in the pinned maps of the old recording. The old recording is then
// frozen: nothing counts in it. It remains until its containers have ended and their data is saved. The counts of a
// container are the sum of both recordings.

const (
	enabledMap = ".data.recording" // as in the object file
	enabledPin = "enabled"         // the BPF file system does not allow dots
	// Prefixes of the directories of recordings that no longer count: "retiring-" while capmon removes their programs,
	// "frozen-" afterwards.
	retiringPrefix = "retiring-"
	frozenPrefix   = "frozen-"
	// deferredCheckTime is the time that the old programs get to record the deferred checks of an execve that a runtime
	// began before the switch.
	deferredCheckTime = 100 * time.Millisecond
)

// carriedOver has the counts of earlier recordings that belong to this one. The zero value has none. A goroutine that
// changes it after Start holds Monitor.reading and mu; a goroutine that reads it holds one of them.
type carriedOver struct {
	containers map[uint64]bpf.CapmonContainer
	checks     checkCounts
	executions map[bpf.CapmonExecutionKey]bpf.CapmonExecutionValue
	calls      map[bpf.CapmonCallKey]bpf.CapmonCallValue
	files      map[bpf.CapmonFileKey]bpf.CapmonFileValue
	counters   [bpf.CapmonCounterCOUNTER_MAX]uint64
	skipped    uint64
	// frozenContainers has the frozen directories, with their maps of containers.
	frozenContainers map[string]*ebpf.Map
}

func newCarriedOver() carriedOver {
	return carriedOver{
		containers: make(map[uint64]bpf.CapmonContainer), checks: make(checkCounts),
		executions:       make(map[bpf.CapmonExecutionKey]bpf.CapmonExecutionValue),
		calls:            make(map[bpf.CapmonCallKey]bpf.CapmonCallValue),
		files:            make(map[bpf.CapmonFileKey]bpf.CapmonFileValue),
		frozenContainers: make(map[string]*ebpf.Map),
	}
}

func addContainer(value, more *bpf.CapmonContainer) {
	value.LastNs = max(value.LastNs, more.LastNs)
	value.Processes += more.Processes
	value.Lost += more.Lost
	value.UnrecordedExecutions += more.UnrecordedExecutions
	value.UnrecordedCalls += more.UnrecordedCalls
	value.SetfcapUses += more.SetfcapUses
	value.Used |= more.Used
	value.Kept |= more.Kept
	value.Delegated = more.Delegated
	value.Folded += more.Folded
	value.Pidns = max(value.Pidns, more.Pidns)
	for i := range value.Files {
		value.Files[i] += more.Files[i]
		value.Unlisted[i] += more.Unlisted[i]
	}
	if value.WorkloadNs == 0 {
		value.WorkloadNs, value.Existed, value.BaseUserns, value.Keyring = more.WorkloadNs, more.Existed, more.BaseUserns, more.Keyring
		value.Bounding, value.Permitted, value.Uid = more.Bounding, more.Permitted, more.Uid
	}
}

func addCheck(value, more *bpf.CapmonCheckValue) {
	value.Count += more.Count
	value.Overruled += more.Overruled
	value.Succeeded += more.Succeeded
	value.Forbidden += more.Forbidden
	value.Failed += more.Failed
	value.LastNs = max(value.LastNs, more.LastNs)
}

func addExecution(value, more *bpf.CapmonExecutionValue) {
	value.Count += more.Count
	value.LastNs = max(value.LastNs, more.LastNs)
}

func addCall(value, more *bpf.CapmonCallValue) {
	value.Count += more.Count
	value.Sets |= more.Sets
	value.LastNs = max(value.LastNs, more.LastNs)
}

func addFile(value, more *bpf.CapmonFileValue) {
	value.Bounding &= more.Bounding
	value.Inheritable &= more.Inheritable
	value.Count += more.Count
	value.LastNs = max(value.LastNs, more.LastNs)
}

// forEachCombined calls use for every entry of a map, with the carried-over counts added. Then it calls use for the
// carried-over entries that are not in the map.
func forEachCombined[K comparable, V any](m *ebpf.Map, mapName string, earlier map[K]V, add func(value, more *V), use func(*K, *V)) error {
	if len(earlier) == 0 {
		return forEachEntry(m, mapName, use)
	}
	both := make(map[K]bool)
	err := forEachEntry(m, mapName, func(key *K, value *V) {
		if old, ok := earlier[*key]; ok {
			both[*key] = true
			add(&old, value)
			value = &old
		}
		use(key, value)
	})
	for key, value := range earlier {
		if !both[key] {
			use(&key, &value)
		}
	}
	return err
}

func (m *Monitor) forEachContainer(use func(*uint64, *bpf.CapmonContainer)) error {
	return forEachCombined(m.attached.maps.Containers, "containers", m.carriedOver.containers, addContainer, use)
}

func (m *Monitor) forEachExecution(use func(*bpf.CapmonExecutionKey, *bpf.CapmonExecutionValue)) error {
	return forEachCombined(m.attached.maps.Executions, "executions", m.carriedOver.executions, addExecution, use)
}

func (m *Monitor) forEachCall(use func(*bpf.CapmonCallKey, *bpf.CapmonCallValue)) error {
	return forEachCombined(m.attached.maps.Calls, "system calls", m.carriedOver.calls, addCall, use)
}

func (m *Monitor) forEachFile(use func(*bpf.CapmonFileKey, *bpf.CapmonFileValue)) error {
	return forEachCombined(m.attached.maps.Files, "files", m.carriedOver.files, addFile, use)
}

// addChecksTo adds the carried-over checks of the wanted containers.
func (c *carriedOver) addChecksTo(counted checkCounts, wanted func(cgroup uint64) bool) {
	for key, value := range c.checks {
		if !wanted(key.Container) {
			continue
		}
		if more, ok := counted[key]; ok {
			addCheck(&value, &more)
		}
		counted[key] = value
	}
}

// lookUpContainer sets value to the entry of a container, with the carried-over counts added.
func (m *Monitor) lookUpContainer(cgroup uint64, value *bpf.CapmonContainer) error {
	old, known := m.carriedOver.containers[cgroup]
	err := m.attached.maps.Containers.Lookup(cgroup, value)
	switch {
	case known && errors.Is(err, ebpf.ErrKeyNotExist):
		*value, err = old, nil
	case known && err == nil:
		addContainer(&old, value)
		*value = old
	}
	return err
}

// removeFrozen permanently removes containers from the frozen recordings. It calls discard for the recordings that have
// no containers then.
func (c *carriedOver) removeFrozen(cgroups map[uint64]bool, discard func(directory string) error) error {
	for directory, containers := range c.frozenContainers {
		for cgroup := range cgroups {
			if err := containers.Delete(cgroup); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
				return fmt.Errorf("removing a container from an old recording: %w", err)
			}
		}
		empty, err := isEmpty(containers)
		if empty {
			err = errors.Join(discard(directory), containers.Close())
			delete(c.frozenContainers, directory)
		}
		if err != nil {
			return fmt.Errorf("removing an old recording: %w", err)
		}
	}
	return nil
}

// dropFromMemory removes containers from memory. The frozen recordings stay as they are.
func (c *carriedOver) dropFromMemory(ended func(cgroup uint64) bool) {
	maps.DeleteFunc(c.containers, func(cgroup uint64, _ bpf.CapmonContainer) bool { return ended(cgroup) })
	maps.DeleteFunc(c.checks, func(key bpf.CapmonCheckKey, _ bpf.CapmonCheckValue) bool { return ended(key.Container) })
	maps.DeleteFunc(c.executions, func(key bpf.CapmonExecutionKey, _ bpf.CapmonExecutionValue) bool { return ended(key.Container) })
	maps.DeleteFunc(c.calls, func(key bpf.CapmonCallKey, _ bpf.CapmonCallValue) bool { return ended(key.Container) })
	maps.DeleteFunc(c.files, func(key bpf.CapmonFileKey, _ bpf.CapmonFileValue) bool { return ended(key.Container) })
}

func isEmpty(m *ebpf.Map) (bool, error) {
	var key []byte
	err := m.NextKey(nil, &key)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return true, nil
	}
	return false, err
}

func (c *carriedOver) close() error {
	var errs []error
	for _, containers := range c.frozenContainers {
		errs = append(errs, containers.Close())
	}
	return errors.Join(errs...)
}
