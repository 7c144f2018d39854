package monitor

import (
	"maps"
	"time"

	"github.com/capmon/capmon/bpf"
	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/kernel"
)

// pendingCallTime is the time after a denial in which Read waits for the end of the system call. After that, Read
// returns the denial with an unknown result.
const pendingCallTime = 100 * time.Millisecond

// DeltaReader returns the growth of the counts of checks since its last Read. It reads the maps, so it does not slow
// workloads down. Create one with [Monitor.NewDeltaReader]. It is not safe for concurrent use.
//
// It uses memory in proportion to the number of kinds of check of running containers.
type DeltaReader struct {
	m        *Monitor
	reported checkCounts
	done     map[uint64]bool // cgroups of containers that are completely reported
}

// Delta is the growth of one kind of check of a workload.
type Delta struct {
	// ID and Cgroup are as in [ContainerRecord].
	ID     string
	Cgroup uint64
	// Before has the counts that an earlier Read returned last, or a Count of 0. Now has the current counts. If only
	// the result of a system call has become known, both have the same Count.
	Before, Now Check
}

// NewDeltaReader returns a DeltaReader whose first Read returns everything that has been recorded.
func (m *Monitor) NewDeltaReader() *DeltaReader {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hasDeltaReader = true
	return m.newDeltaReader()
}

func (m *Monitor) newDeltaReader() *DeltaReader {
	return &DeltaReader{m: m, reported: make(checkCounts), done: make(map[uint64]bool)}
}

// AllDeltas returns everything that has been recorded, like the first [DeltaReader.Read]. It does not create a
// DeltaReader, so SaveEnded keeps no data in memory for it. Call it before NewDeltaReader: a later call can take away
// data that the DeltaReader has not returned yet.
func (m *Monitor) AllDeltas() ([]Delta, error) { return m.newDeltaReader().Read() }

// Read returns the growth since the last call, also of containers that have ended in between. It returns each check
// once. Checks made during the call may be left for the next call. If [Options.Outcomes] is set, Read also leaves
// denials for later if their system calls may not have ended yet. It leaves out checks for memory growth. After
// [Monitor.Stop], Read returns everything. After Close, it returns [ErrClosed].
func (r *DeltaReader) Read() ([]Delta, error) {
	r.m.reading.Lock() // so that no container is collected during the call
	defer r.m.reading.Unlock()
	symbols, err := r.m.currentSymbols()
	if err != nil {
		return nil, err
	}
	r.m.mu.Lock()
	closed, stopped := r.m.closed, r.m.stopped()
	ended := make(map[uint64]*endedContainer)
	for _, containers := range []map[uint64]*endedContainer{r.m.collected, r.m.awaitingDeltaReader} {
		for cgroup, data := range containers {
			if !r.done[cgroup] {
				ended[cgroup] = data
			}
		}
	}
	r.m.mu.Unlock()
	if closed {
		return nil, ErrClosed
	}
	counted, _, err := r.m.countChecks(func(cgroup uint64) bool { return !r.done[cgroup] && ended[cgroup] == nil })
	if err != nil {
		return nil, err
	}
	for key, value := range counted {
		if !stopped {
			value.Count = min(value.Count, r.m.finalCount(&key, &value))
			counted[key] = value
		}
	}
	for cgroup, data := range ended {
		for i := range data.checks {
			key := data.checks[i].kind.Value()
			key.Container = cgroup
			counted[key] = data.checks[i].value
		}
	}
	deltas, err := r.diff(symbols, counted)
	if err != nil {
		return nil, err
	}
	r.m.mu.Lock()
	for cgroup := range ended {
		r.done[cgroup] = r.m.awaitingDeltaReader[cgroup] == nil // saved containers do not appear again
		delete(r.m.awaitingDeltaReader, cgroup)
	}
	r.m.mu.Unlock()
	done := func(cgroup uint64) bool { return ended[cgroup] != nil || r.done[cgroup] }
	maps.DeleteFunc(r.reported, func(key bpf.CapmonCheckKey, _ bpf.CapmonCheckValue) bool { return done(key.Container) })
	return deltas, nil
}

// diff returns the differences to the reported counts, and then marks them as reported.
func (r *DeltaReader) diff(symbols *kernel.Symbols, counted checkCounts) (deltas []Delta, err error) {
	ids := make(map[uint64]string)
	maps.DeleteFunc(counted, func(key bpf.CapmonCheckKey, value bpf.CapmonCheckValue) bool {
		before := r.reported[key]
		return Phase(key.Phase) == Setup || r.m.isMemoryCheck(&key) || value.Count < before.Count || sameCounts(&value, &before)
	})
	for key, value := range counted {
		id, known := ids[key.Container]
		if !known {
			if id, err = r.m.lookUpID(key.Container); err != nil {
				return nil, err
			}
			ids[key.Container] = id
		}
		before := r.reported[key]
		deltas = append(deltas, Delta{
			ID: id, Cgroup: key.Container, Before: r.m.newCheck(symbols, &key, &before), Now: r.m.newCheck(symbols, &key, &value),
		})
	}
	maps.Copy(r.reported, counted)
	return deltas, nil
}

// finalCount returns the number of checks of a kind whose results are known or are not awaited.
func (m *Monitor) finalCount(key *bpf.CapmonCheckKey, value *bpf.CapmonCheckValue) uint64 {
	denied := !Answer(key.Answer).Granted()
	if !m.outcomes || !denied || m.Now().Sub(m.clock.Time(value.LastNs)) > pendingCallTime {
		return value.Count
	}
	return value.Overruled + value.Succeeded + value.Forbidden + value.Failed
}

func sameCounts(one, other *bpf.CapmonCheckValue) bool {
	return one.Count == other.Count && one.Overruled == other.Overruled && one.Succeeded == other.Succeeded &&
		one.Forbidden == other.Forbidden && one.Failed == other.Failed
}

// isMemoryCheck has the same rule as is_memory_size_check in bpf/events.h.
func (m *Monitor) isMemoryCheck(key *bpf.CapmonCheckKey) bool {
	if capability.Capability(key.Capability) != capability.SysAdmin {
		return false
	}
	for _, address := range key.Site[:3] {
		if address > m.memoryStart && address <= m.memoryEnd {
			return true
		}
	}
	return false
}
