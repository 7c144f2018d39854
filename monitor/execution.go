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
	"github.com/capmon/capmon/capability"
)

// FileID identifies a file by its file system and the number of its inode. On file systems with stacked layers,
// different files may have the same FileID.
type FileID struct {
	Device uint32 // in the kernel's encoding
	Inode  uint64
}

// FileVersion distinguishes a file from a later file with the same [FileID], and from itself before and after a change
// of its capabilities. The zero value means that the version is unknown.
type FileVersion struct {
	Generation uint32
	// Changed is the ctime in nanoseconds since 1970. No process can set it.
	Changed int64
}

// Execution is a program file that a container's workload executed. The programs cannot read the capabilities of the
// file.
type Execution struct {
	File    FileID
	Version FileVersion
	// Path is the path of the file below the root of its file system, with links resolved. Cut is true if the beginning
	// of the path is missing.
	Path string
	Cut  bool
	// Overlay means that the file is on overlayfs, like the root file system of most containers. Path is then also the
	// path in each layer.
	Overlay bool
	// NoSuid means that the mount ignores file capabilities.
	NoSuid bool
	// Nested means that the process was in a user namespace that the workload made.
	Nested bool
	// Folded means that this is the sum of all executions beyond the container's quota of programs that have the same
	// NoSuid, Nested and Ambient. The files are unknown.
	Folded bool
	// Ambient is the ambient set of the process after the execution.
	Ambient     capability.Set
	Count       uint64
	First, Last time.Time
	// PID and UID are as in [Check].
	PID, UID uint32
}

// ctimePrecision is two of the kernel's longest ticks (CONFIG_HZ=100). A ctime can be up to one tick older than the
// change.
const ctimePrecision = 20 * time.Millisecond

// MayHaveChanged reports whether the file may have changed after the execution without a new [FileVersion], because the
// execution and the last change happened at almost the same time.
func (e Execution) MayHaveChanged() bool {
	return e.First.Sub(time.Unix(0, e.Version.Changed)).Abs() < ctimePrecision
}

func (m *Monitor) readExecutions() (map[uint64][]Execution, error) {
	executions := make(map[uint64][]Execution)
	err := m.forEachExecution(func(key *bpf.CapmonExecutionKey, value *bpf.CapmonExecutionValue) {
		executions[key.Container] = append(executions[key.Container], m.newExecution(key, value))
	})
	return executions, err
}

// lookUpExecution returns the execution that an event announced, or nil if SaveEnded has removed it.
func (m *Monitor) lookUpExecution(key bpf.CapmonExecutionKey) (*Execution, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, ErrClosed
	}
	if data := m.collected[key.Container]; data != nil {
		execution := data.executions[key]
		return &execution, nil
	}
	var value bpf.CapmonExecutionValue
	err := m.attached.maps.Executions.Lookup(&key, &value)
	if errors.Is(err, ebpf.ErrKeyNotExist) { // SaveEnded has removed it
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking up an execution: %w", err)
	}
	execution := m.newExecution(&key, &value)
	return &execution, nil
}

func (m *Monitor) newExecution(key *bpf.CapmonExecutionKey, value *bpf.CapmonExecutionValue) Execution {
	path, cut := joinPath(value.Path[:])
	return Execution{
		File:    FileID{key.Device, key.Inode},
		Version: FileVersion{key.Generation, key.CtimeNs},
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

// joinPath joins names to a path. The names begin at the file and go up to the root; each ends with a NUL. cut is true
// if the last name has no NUL: then the beginning of the path is missing.
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
