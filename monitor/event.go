package monitor

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"

	"github.com/capmon/capmon/bpf"
	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/container"
)

// Event tells that something was seen for the first time.
type Event struct {
	// Container and Cgroup as in type Container. The ID is empty if the container
	// found no room in the map.
	ID     string
	Cgroup uint64
	Time   time.Time
	PID    uint32
	// Check is nil but for the first sight of a kind of check, Execution but for the
	// first execution of a file, File but for the first check of one.
	Check     *FirstCheck
	Execution *Execution
	File      *FileUse
}

// FirstCheck tells of a kind of check that was made for the first time.
type FirstCheck struct {
	Capability capability.Capability
	Answer     Answer
	Phase      Phase

	raw *bpf.CapmonCheckEvent // nil if no more was told
}

// WholeCheck is a check as it was when it was made for the first time, so that its Count is 1
// and nothing is known of how its system call ended.
type CheckDetails struct {
	Check
	// Executable is the file that the process executes.
	Executable FileID
	// InnerPID is the process's number in its own pid namespace.
	InnerPID uint32
	// Parents are the processes of the container that it descends from, the nearest first;
	// MoreParents if there may be others.
	Parents     []Parent
	MoreParents bool
}

// Parent is a process at the moment of a check.
type Parent struct {
	// PID and Program as in Check.
	PID     uint32
	Program string
}

// ErrClosed is returned by Next after Close.
var ErrClosed = os.ErrClosed

// ErrFlushed is returned by Next, once, after Flush and the events that it speaks of.
var ErrFlushed = ringbuf.ErrFlushed

// Flush has Next return all events that there are now, and then ErrFlushed.
func (m *Monitor) FlushEvents() error { return m.events.Flush() }

// Next waits for the next event. Events may be left out when they come faster
// than they are read; what they announce is in the Snapshot all the same.
func (m *Monitor) Next() (Event, error) {
	record, err := m.events.Read()
	if err != nil {
		return Event{}, err
	}
	var raw bpf.CapmonEvent
	if err := binary.Read(bytes.NewReader(record.RawSample), binary.NativeEndian, &raw); err != nil {
		return Event{}, fmt.Errorf("reading an event: %w", err)
	}
	kind := bpf.CapmonEventKind(raw.Kind)
	m.countNew(kind)
	event := Event{Cgroup: raw.Container, Time: m.clock.Time(raw.TimeNs), PID: raw.Pid}
	if event.ID, err = m.lookUpID(raw.Container); err != nil {
		return Event{}, err
	}
	switch kind {
	case bpf.CapmonEventKindEVENT_CHECK:
		event.Check, err = parseFirstCheck(&raw, record.RawSample)
	case bpf.CapmonEventKindEVENT_EXECUTION:
		event.Execution, err = m.lookUpExecution(raw.Execution)
	case bpf.CapmonEventKindEVENT_FILE:
		event.File, err = m.parseFileEvent(record.RawSample)
	}
	return event, err
}

// firstCheck reads what was told of a kind of check: an event, and what it begins.
func parseFirstCheck(head *bpf.CapmonEvent, sample []byte) (*FirstCheck, error) {
	first := &FirstCheck{
		Capability: capability.Capability(head.Capability), Answer: Answer(head.Answer), Phase: Phase(head.Phase),
	}
	var raw bpf.CapmonCheckEvent
	if len(sample) < binary.Size(raw) {
		return first, nil
	}
	if err := binary.Read(bytes.NewReader(sample), binary.NativeEndian, &raw); err != nil {
		return nil, fmt.Errorf("reading an event of a check: %w", err)
	}
	first.raw = &raw
	return first, nil
}

// Whole is the check that an event told of, and who made it; nil for those of the set-up, and
// for those that are asked because memory changes its size (security_vm_enough_memory_mm), of
// which there are many.
func (m *Monitor) Details(first *FirstCheck) (*CheckDetails, error) {
	raw := first.raw
	if raw == nil {
		return nil, nil
	}
	symbols, err := m.currentSymbols()
	if err != nil {
		return nil, err
	}
	whole := &CheckDetails{
		Check: m.newCheck(symbols, &raw.Key, &bpf.CapmonCheckValue{
			Count: 1, FirstNs: raw.Event.TimeNs, LastNs: raw.Event.TimeNs, Pid: raw.Event.Pid, Uid: raw.Uid,
		}),
		Executable:  FileID{raw.Device, raw.Inode},
		InnerPID:    raw.InnerPid,
		MoreParents: raw.Parents[len(raw.Parents)-1].Pid != 0,
	}
	for _, parent := range raw.Parents {
		if parent.Pid != 0 {
			whole.Parents = append(whole.Parents, Parent{parent.Pid, cString(parent.Comm[:])})
		}
	}
	return whole, nil
}

// Later is what is known by now of a check that Whole tells of: how its system calls ended, if
// that is recorded (Options.Outcomes). Its Count may lack the latest ones. It is false if
// there is no more to know, since the container ended long ago.
func (m *Monitor) CurrentCheck(first *FirstCheck) (Check, bool, error) {
	if first.raw == nil {
		return Check{}, false, nil
	}
	symbols, err := m.currentSymbols()
	if err != nil {
		return Check{}, false, err
	}
	m.mu.Lock() // as in idOf
	defer m.mu.Unlock()
	if m.closed {
		return Check{}, false, ErrClosed
	}
	var value bpf.CapmonCheckValue
	err = m.attached.maps.Checks.Lookup(&first.raw.Key, &value)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return Check{}, false, nil
	}
	if err != nil {
		return Check{}, false, fmt.Errorf("looking a check up: %w", err)
	}
	value.Count = max(value.Count, value.Overruled+value.Succeeded+value.Forbidden+value.Failed)
	return m.newCheck(symbols, &first.raw.Key, &value), true, nil
}

// Untold counts the events that were left out since user space read them too slowly. It never
// shrinks; while there are any that Next has not returned yet, pending is true.
func (m *Monitor) DroppedEvents() (events uint64, pending bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return 0, false, ErrClosed
	}
	counters, err := m.counters()
	return counters[bpf.CapmonCounterCOUNTER_EVENTS], m.events.AvailableBytes() > 0, err
}

// Losses counts what could not be recorded up to now.
func (m *Monitor) Losses() (Losses, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return Losses{}, ErrClosed
	}
	return m.losses()
}

func (m *Monitor) lookUpID(cgroup uint64) (string, error) {
	// Close may come between an event and the look at its container.
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return "", ErrClosed
	}
	value, err := m.findEntry(cgroup)
	if err != nil || value == nil {
		return "", err
	}
	return entryID(value), nil
}

// recorded is the entry of a container, nil if there is none. The caller holds mu.
func (m *Monitor) findEntry(cgroup uint64) (*bpf.CapmonContainer, error) {
	for _, those := range []map[uint64]*endedContainer{m.collected, m.unreported} {
		if harvest := those[cgroup]; harvest != nil {
			return &harvest.value, nil
		}
	}
	var value bpf.CapmonContainer
	err := m.lookUpContainer(cgroup, &value)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking a container up: %w", err)
	}
	return &value, nil
}

// idOf is the ID that a container's cgroup is named by: the kernel side took it by the same
// rule. It is empty if the entry stands for several (Place.Folded), or if somebody has renamed
// the cgroup.
func entryID(value *bpf.CapmonContainer) string {
	id, _ := container.IDFromCgroup(cString(value.Name[:]))
	return id
}
