package monitor

import (
	"maps"
	"time"

	"github.com/capmon/capmon/bpf"
	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/kernel"
)

// underWay is how long after a refusal its system call may still go on. Then it counts as
// one whose end is not known.
const pendingCallTime = 100 * time.Millisecond

// Tally follows how often kinds of check are made, by looking at the counts now and then: it
// costs those who make them nothing. Make one with NewTally; it is for one goroutine.
//
// It holds as much memory as there are kinds of check of containers that live.
type DeltaReader struct {
	m        *Monitor
	reported checkCounts
	done     map[uint64]bool // the cgroups of containers of which all has been told
}

// Change is a kind of check of a workload that has been made since the last look.
type Delta struct {
	// ID and Cgroup as in Container.
	ID     string
	Cgroup uint64
	// Before is as it was told the last time, with a Count of 0 if it was not; Now has all
	// up to this look. The counts of Now may be the same, if it is known by now how a system
	// call has ended.
	Before, Now Check
}

// NewTally makes one that has told nothing yet: its first Changes are of all that has been
// recorded.
func (m *Monitor) NewDeltaReader() *DeltaReader {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hasDeltaReader = true
	return m.newDeltaReader()
}

func (m *Monitor) newDeltaReader() *DeltaReader {
	return &DeltaReader{m: m, reported: make(checkCounts), done: make(map[uint64]bool)}
}

// Recorded is all that has been recorded, as the first Changes of a Tally tell it, without one: what
// is handed over is kept until a Tally has told of it. Call it before NewTally.
func (m *Monitor) AllDeltas() ([]Delta, error) { return m.newDeltaReader().Read() }

// Changes tells what has been made since the last time, also by containers that have ended.
// No check is told twice; one that is made meanwhile may be told the next time. So is a
// refusal whose system call may still be under way, if its end is to be known
// (Options.Outcomes). What is asked because memory changes its size is left out. After Stop,
// all is told.
func (t *DeltaReader) Read() ([]Delta, error) {
	t.m.reading.Lock() // so that no container is harvested meanwhile
	defer t.m.reading.Unlock()
	symbols, err := t.m.currentSymbols()
	if err != nil {
		return nil, err
	}
	t.m.mu.Lock()
	closed, stopped := t.m.closed, t.m.stopped()
	ended := make(map[uint64]*endedContainer)
	for _, those := range []map[uint64]*endedContainer{t.m.collected, t.m.unreported} {
		for cgroup, harvest := range those {
			if !t.done[cgroup] {
				ended[cgroup] = harvest
			}
		}
	}
	t.m.mu.Unlock()
	if closed {
		return nil, ErrClosed
	}
	counted, _, err := t.m.countChecks(func(cgroup uint64) bool { return !t.done[cgroup] && ended[cgroup] == nil })
	if err != nil {
		return nil, err
	}
	for key, value := range counted {
		if !stopped {
			value.Count = min(value.Count, t.m.finalCount(&key, &value))
			counted[key] = value
		}
	}
	for cgroup, harvest := range ended {
		for i := range harvest.checks {
			key := harvest.checks[i].kind.Value()
			key.Container = cgroup
			counted[key] = harvest.checks[i].value
		}
	}
	changes, err := t.diff(symbols, counted)
	if err != nil {
		return nil, err
	}
	t.m.mu.Lock()
	for cgroup := range ended {
		t.done[cgroup] = t.m.unreported[cgroup] == nil // what has left does not come again
		delete(t.m.unreported, cgroup)
	}
	t.m.mu.Unlock()
	gone := func(cgroup uint64) bool { return ended[cgroup] != nil || t.done[cgroup] }
	maps.DeleteFunc(t.reported, func(key bpf.CapmonCheckKey, _ bpf.CapmonCheckValue) bool { return gone(key.Container) })
	return changes, nil
}

// compare tells what differs from what was told, which it then is.
func (t *DeltaReader) diff(symbols *kernel.Symbols, counted checkCounts) (changes []Delta, err error) {
	ids := make(map[uint64]string)
	maps.DeleteFunc(counted, func(key bpf.CapmonCheckKey, value bpf.CapmonCheckValue) bool {
		before := t.reported[key]
		return Phase(key.Phase) == Setup || t.m.isMemoryCheck(&key) || value.Count < before.Count || sameCounts(&value, &before)
	})
	for key, value := range counted {
		id, known := ids[key.Container]
		if !known {
			if id, err = t.m.lookUpID(key.Container); err != nil {
				return nil, err
			}
			ids[key.Container] = id
		}
		before := t.reported[key]
		changes = append(changes, Delta{
			ID: id, Cgroup: key.Container, Before: t.m.newCheck(symbols, &key, &before), Now: t.m.newCheck(symbols, &key, &value),
		})
	}
	maps.Copy(t.reported, counted)
	return changes, nil
}

// certain is how many checks of a kind need not wait for the ends of their system calls.
func (m *Monitor) finalCount(key *bpf.CapmonCheckKey, value *bpf.CapmonCheckValue) uint64 {
	refused := !Answer(key.Answer).Granted()
	if !m.outcomes || !refused || m.Now().Sub(m.clock.Time(value.LastNs)) > pendingCallTime {
		return value.Count
	}
	return value.Overruled + value.Succeeded + value.Forbidden + value.Failed
}

func sameCounts(one, other *bpf.CapmonCheckValue) bool {
	return one.Count == other.Count && one.Overruled == other.Overruled && one.Succeeded == other.Succeeded &&
		one.Forbidden == other.Forbidden && one.Failed == other.Failed
}

// ofMemory is is_of_memory of bpf/news.h.
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
