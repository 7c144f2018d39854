package monitor

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/capmon/capmon/bpf"
)

// FollowCommand makes the programs record which containers a process and its descendants make
// ([ContainerRecord.OfCommand]). Descendants are all processes that the process or a descendant forks from now on,
// whatever their parents are later. The workloads of containers have no descendants in this sense, so a container
// cannot make others belong to the command.
//
// FollowCommand requires [Options.FollowsCommand]. It returns [ErrClosed] after Close.
func (m *Monitor) FollowCommand(pid int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return ErrClosed
	}
	err := withPidfd(pid, func(process int32) error { return m.attached.maps.CommandTasks.Put(process, uint32(1)) })
	if err != nil {
		return fmt.Errorf("storing that process %d is the command: %w", pid, err)
	}
	return nil
}

func parseMonitorEvent(sample []byte) (*StartedMonitor, error) {
	var raw bpf.CapmonMonitorEvent
	if err := binary.Read(bytes.NewReader(sample), binary.NativeEndian, &raw); err != nil {
		return nil, fmt.Errorf("reading the event of a monitor: %w", err)
	}
	arguments := string(raw.Arguments[:min(int(raw.Size), len(raw.Arguments))])
	return &StartedMonitor{strings.Split(strings.TrimSuffix(arguments, "\x00"), "\x00"), raw.Uid}, nil
}
