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
	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/containerid"
)

// Event announces a new container, a new kind of check, a new executed file, or a new file that a check was about. It
// also announces a monitor of Podman that the command has started.
type Event struct {
	// ID and Cgroup are as in [ContainerRecord]. ID is empty if the container did not fit in the map.
	ID     string
	Cgroup uint64
	// Time is the time of the check or of the execution, or the time when the programs first saw the container. PID is
	// the process, in the initial pid namespace.
	Time time.Time
	PID  uint32
	// Check is set for the first check of a kind, Execution for the first execution of a file, and File for the first
	// check about a file. Started is set if a descendant of the command ([Monitor.FollowCommand]) starts a monitor of
	// Podman: then ID and Cgroup are empty. All four are nil if the container is new.
	Check     *FirstCheck
	Execution *Execution
	File      *FileUse
	Started   *StartedMonitor
}

// FirstCheck is the first check of a kind. [Monitor.Details] returns its other properties.
type FirstCheck struct {
	// The fields are as in [Check].
	Capability capability.Capability
	Answer     Answer
	Phase      Phase

	raw *bpf.CapmonCheckEvent // nil if the event has no details
}

// StartedMonitor is the process with which Podman watches a container (conmon).
type StartedMonitor struct {
	// Arguments begin with the name of the program. The kernel records 1023 bytes. Of more arguments, the last ones are
	// missing, and the last one that is not may be truncated.
	Arguments []string
	// UID is the effective user in the initial user namespace.
	UID uint32
}

// CheckDetails is the first check of a kind, at the time when it was made. Its Count is 1, and the result of its system
// call is unknown.
type CheckDetails struct {
	Check
	// Executable is the file that the process executes.
	Executable FileID
	// InnerPID is the number of the process in its own pid namespace.
	InnerPID uint32
	// Parents are the ancestors of the process in the container, the nearest first. MoreParents is true if there may be
	// others.
	Parents     []Parent
	MoreParents bool
}

// Parent is an ancestor of a process at the time of a check.
type Parent struct {
	// PID and Program are as in [Check].
	PID     uint32
	Program string
}

// ErrClosed is the error of [Monitor.Next] and other methods after [Monitor.Close].
var ErrClosed = os.ErrClosed

// ErrFlushed is the error that [Monitor.Next] returns once after [Monitor.FlushEvents].
var ErrFlushed = ringbuf.ErrFlushed

// FlushEvents makes [Monitor.Next] return all events that exist now, and then [ErrFlushed].
func (m *Monitor) FlushEvents() error { return m.events.Flush() }

// Next waits for the next event and returns it. The kernel drops events if they arrive faster than Next is called
// ([Monitor.DroppedEvents]); a [Snapshot] contains what they announce. The error is [ErrClosed] after Close, and
// [ErrFlushed] once after FlushEvents.
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
	case bpf.CapmonEventKindEVENT_MONITOR:
		event.Started, err = parseMonitorEvent(record.RawSample)
	}
	return event, err
}

// parseFirstCheck reads the event of a check. head is the decoded beginning of the sample.
func parseFirstCheck(head *bpf.CapmonEvent, sample []byte) (*FirstCheck, error) {
	first := &FirstCheck{
		Capability: capability.Capability(head.Capability), Answer: Answer(head.Answer), Phase: Phase(head.Phase),
	}
	var raw bpf.CapmonCheckEvent
	if len(sample) < binary.Size(raw) {
		return first, nil
	}
	if err := binary.Read(bytes.NewReader(sample), binary.NativeEndian, &raw); err != nil {
		return nil, fmt.Errorf("reading the event of a check: %w", err)
	}
	first.raw = &raw
	return first, nil
}

// Details returns the check of an event and the process that made it. It returns nil for runtime setup, and for checks
// that the kernel makes when memory grows (security_vm_enough_memory_mm), because there are many of them. It reads no
// map, so it also works for containers that have ended.
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

// CurrentCheck returns the current counts of a check, including the results of its system calls if [Options.Outcomes]
// is set. Its Count may lack the latest checks. The second result is false if [Monitor.Details] returns nil for the
// check, or if the check is no longer in the map because its container ended. CurrentCheck returns [ErrClosed] after
// Close.
func (m *Monitor) CurrentCheck(first *FirstCheck) (Check, bool, error) {
	if first.raw == nil {
		return Check{}, false, nil
	}
	symbols, err := m.currentSymbols()
	if err != nil {
		return Check{}, false, err
	}
	m.mu.Lock() // as in lookUpID
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
		return Check{}, false, fmt.Errorf("looking up a check: %w", err)
	}
	value.Count = max(value.Count, value.Overruled+value.Succeeded+value.Forbidden+value.Failed)
	return m.newCheck(symbols, &first.raw.Key, &value), true, nil
}

// DroppedEvents counts the events that the kernel dropped because Next was called too seldom. The number never shrinks.
// pending is true if there are events that Next has not returned yet. It returns [ErrClosed] after Close.
func (m *Monitor) DroppedEvents() (events uint64, pending bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return 0, false, ErrClosed
	}
	counters, err := m.counters()
	return counters[bpf.CapmonCounterCOUNTER_EVENTS_NOT_SENT], m.events.AvailableBytes() > 0, err
}

// Losses counts what could not be recorded so far, for the whole host. It returns [ErrClosed] after Close.
func (m *Monitor) Losses() (Losses, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return Losses{}, ErrClosed
	}
	return m.losses()
}

func (m *Monitor) lookUpID(cgroup uint64) (string, error) {
	// Close may run between an event and the lookup of its container.
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

// findEntry returns the map entry of a container, or nil if there is none. The caller holds mu.
func (m *Monitor) findEntry(cgroup uint64) (*bpf.CapmonContainer, error) {
	for _, containers := range []map[uint64]*endedContainer{m.collected, m.awaitingDeltaReader} {
		if data := containers[cgroup]; data != nil {
			return &data.value, nil
		}
	}
	var value bpf.CapmonContainer
	err := m.lookUpContainer(cgroup, &value)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking up a container: %w", err)
	}
	return &value, nil
}

// entryID returns the container ID in the name of a container's cgroup. The programs recognize such names by the same
// rule (is_container_name in bpf/cgroup.h). The ID is empty if the entry stands for several cgroups
// (CgroupInfo.Folded), or if the cgroup was renamed. The entries of [Monitor.AddContainer] and
// [Monitor.ExpectContainer] have the ID itself as name.
func entryID(value *bpf.CapmonContainer) string {
	name := cString(value.Name[:])
	if containerid.IsQualified(name) || value.NoRuntime != 0 {
		return name
	}
	id, _ := containerid.FromCgroup(name)
	return id
}
