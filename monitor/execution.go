package monitor

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"

	"github.com/capmon/capmon/bpf"
	"github.com/capmon/capmon/internal/capability"
)

// FileID tells files apart: the file system, as the kernel encodes devices, and the
// number of the inode. Two file systems with stacked layers may give the same.
type FileID struct {
	Device uint32
	Inode  uint64
}

// FileVersion tells a file from another that has its FileID later, and from itself before and
// after a change of its capabilities. The zero value is not known.
type FileVersion struct {
	Generation uint32
	// Changed is the ctime, in nanoseconds: no process can set it.
	Changed int64
}

// Execution is one program file that a container's workload executed. What
// capabilities it carries the kernel side cannot see.
type Execution struct {
	File    FileID
	Version FileVersion
	// Path of the file below the root of its file system, links resolved; Cut if its
	// beginning is missing.
	Path string
	Cut  bool
	// Overlay: it lies on an overlay, as the root file system of most containers is;
	// its path is then that below each of the layers.
	Overlay bool
	// NoSuid: it lies on a mount where file capabilities count for nothing.
	NoSuid bool
	// Nested: the process was in a user namespace that the workload made.
	Nested bool
	// Folded: these are all executions beyond the container's quota of programs that are alike in
	// NoSuid, Nested and Ambient. Which files they were of was left out.
	Folded bool
	// Ambient is the ambient set of the process afterwards.
	Ambient     capability.Set
	Count       uint64
	First, Last time.Time
	// PID and UID as in Check.
	PID, UID uint32
}

// twoTicks is as long as a ctime may stand for a moment that is over: the longest of the kernel's
// ticks (CONFIG_HZ=100), twice.
const twoTicks = 20 * time.Millisecond

// IsOfItsChange reports whether the file may have been changed again after the execution without
// another Version: both were at almost the same time.
func (e Execution) VersionUncertain() bool {
	return e.First.Sub(time.Unix(0, e.Version.Changed)).Abs() < twoTicks
}

func (m *Monitor) readExecutions() (map[uint64][]Execution, error) {
	executions := make(map[uint64][]Execution)
	err := m.forEachExecution(func(key *bpf.CapmonExecutionKey, value *bpf.CapmonExecutionValue) {
		executions[key.Container] = append(executions[key.Container], m.newExecution(key, value))
	})
	return executions, err
}

// execution looks one up that was told of.
func (m *Monitor) lookUpExecution(key bpf.CapmonExecutionKey) (*Execution, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, ErrClosed
	}
	if harvest := m.collected[key.Container]; harvest != nil {
		execution := harvest.executions[key]
		return &execution, nil
	}
	var value bpf.CapmonExecutionValue
	err := m.attached.maps.Executions.Lookup(&key, &value)
	if errors.Is(err, ebpf.ErrKeyNotExist) { // it has been handed over
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking an execution up: %w", err)
	}
	execution := m.newExecution(&key, &value)
	return &execution, nil
}

func (m *Monitor) newExecution(key *bpf.CapmonExecutionKey, value *bpf.CapmonExecutionValue) Execution {
	path, cut := joinPath(value.Path[:])
	return Execution{
		File:    FileID{key.Device, key.Inode},
		Version: FileVersion{key.Generation, key.Changed},
		Path:    path,
		Cut:     cut,
		Overlay: key.Overlay != 0,
		NoSuid:  key.Nosuid != 0,
		Nested:  key.Nested != 0,
		Folded:  key.Folded != 0,
		Ambient: capability.Set(key.Ambient),
		Count:   value.Count,
		First:   m.clock.Time(value.FirstNs),
		Last:    m.clock.Time(value.LastNs),
		PID:     value.Pid,
		UID:     value.Uid,
	}
}

// executionPath turns the names, from the file upwards, into a path. It is cut if
// the last one does not end.
func joinPath(raw []byte) (path string, cut bool) {
	var names []string
	for {
		name, rest, ended := bytes.Cut(raw, []byte{0})
		if !ended {
			cut = true
			break
		}
		if len(name) == 0 {
			break
		}
		names = append(names, string(name))
		raw = rest
	}
	slices.Reverse(names)
	return "/" + strings.Join(names, "/"), cut
}
