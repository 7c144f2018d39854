package monitor

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf"

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

// FirstCheck is the head of a kind of check that was made for the first time.
type FirstCheck struct {
	Capability capability.Capability
	Answer     Answer
	Phase      Phase
}

// ErrClosed is returned by Next after Close.
var ErrClosed = os.ErrClosed

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
	m.grown(kind)
	event := Event{Cgroup: raw.Container, Time: m.clock.Time(raw.TimeNs), PID: raw.Pid}
	if event.ID, err = m.idOf(raw.Container); err != nil {
		return Event{}, err
	}
	switch kind {
	case bpf.CapmonEventKindEVENT_CHECK:
		event.Check = &FirstCheck{capability.Capability(raw.Capability), Answer(raw.Answer), Phase(raw.Phase)}
	case bpf.CapmonEventKindEVENT_EXECUTION:
		event.Execution, err = m.execution(raw.Execution)
	case bpf.CapmonEventKindEVENT_FILE:
		event.File, err = m.fileEvent(record.RawSample)
	}
	return event, err
}

func (m *Monitor) idOf(cgroup uint64) (string, error) {
	// Close may come between an event and the look at its container.
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return "", ErrClosed
	}
	if harvest := m.harvested[cgroup]; harvest != nil {
		return idOf(&harvest.value), nil
	}
	var value bpf.CapmonContainer
	err := m.attached.maps.Containers.Lookup(cgroup, &value)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("looking a container up: %w", err)
	}
	return idOf(&value), nil
}

// idOf is the engine's ID of a container. The kernel side named it by the same rule, so
// it parses.
func idOf(value *bpf.CapmonContainer) string {
	id, _ := container.IDFromCgroup(text(value.Name[:]))
	return id
}
