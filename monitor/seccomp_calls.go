package monitor

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/bpf"
	"github.com/capmon/capmon/syscalls"
)

// SeccompCallSelector selects a system call to record, for native and 32-bit programs. [Monitor.SelectSeccompCalls]
// uses it for the system calls that a seccomp profile allows only with a capability.
type SeccompCallSelector struct {
	// Name is the name of the system call, such as "mount".
	Name string
	// Masks has the bits of each argument that are recorded.
	Masks [6]uint64
}

// SeccompCall is one kind of selected system call that a container's workload made. capmon does not see calls that do
// not return.
type SeccompCall struct {
	Call syscalls.Call
	// Error is the error of the call, or 0.
	Error unix.Errno
	// CallRecord: if the call is folded, only Program is empty.
	CallRecord
}

// CallRecord has who made the recorded system calls of one kind, how often and when. It is a part of [SeccompCall],
// [LiftedCall] and [UncheckedCall].
type CallRecord struct {
	// Program and Folding are as in [Check].
	Program string
	Folding Folding
	// Count is the number of calls. First and Last are the times of the first and of the last call.
	Count       uint64
	First, Last time.Time
	// PID is the process of the first call, in the initial pid namespace. UID is its effective user in the initial
	// user namespace.
	PID, UID uint32
}

// ErrNoSyscallTracepoint means that the kernel has no tracepoint for the end of system calls.
var ErrNoSyscallTracepoint = errors.New("the kernel has no tracepoint for system calls: it was built without CONFIG_FTRACE_SYSCALLS")

// SelectSeccompCalls makes the programs record these system calls of all workloads from now on, and no others. While
// any are selected, every system call on the host takes about 0.15 µs longer.
//
// The recording of calls that were selected before has no gap. Masks of selected calls must not lose bits, because
// recorded calls could no longer be distinguished. The error is [ErrNoSyscallTracepoint] if the kernel cannot record
// system calls, and [ErrClosed] after Stop or Close.
func (m *Monitor) SelectSeccompCalls(calls []SeccompCallSelector) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed || m.stopped() {
		return ErrClosed
	}
	if len(calls) > 0 && m.attached.programs.CapmonSysExit == nil {
		return ErrNoSyscallTracepoint
	}
	table := m.seccompSelectorTable(calls)
	for index, selector := range table {
		if selector == m.seccompSelectors[index] {
			continue
		}
		if err := m.attached.maps.SeccompCalls.Update(uint32(index), &selector, ebpf.UpdateExist); err != nil {
			return fmt.Errorf("selecting the system calls to record: %w", err)
		}
		m.seccompSelectors[index] = selector
	}
	return m.attached.traceSyscallExits(len(calls) > 0)
}

// SelectedSeccompCalls returns the system calls that the programs record.
func (m *Monitor) SelectedSeccompCalls() []SeccompCallSelector {
	m.mu.Lock()
	defer m.mu.Unlock()
	named := make(map[string]SeccompCallSelector)
	for nr := range maxCalls {
		for index, name := range map[int]string{nr: m.arch.SyscallName(nr), maxCalls + nr: m.arch.Compat().SyscallName(nr)} {
			// clone3 has the selector of clone.
			if selector := m.seccompSelectors[index]; selector != (bpf.CapmonSeccompCall{}) && name != "clone3" {
				named[name] = SeccompCallSelector{name, selector.Masks}
			}
		}
	}
	return slices.Collect(maps.Values(named))
}

// seccompSelectorTable returns the selectors by system call number, first for native programs and then for 32-bit
// programs.
func (m *Monitor) seccompSelectorTable(calls []SeccompCallSelector) (table [2 * maxCalls]bpf.CapmonSeccompCall) {
	named := make(map[string]bpf.CapmonSeccompCall)
	for _, call := range calls {
		if call.Name == "clone3" {
			continue // recorded with the selector of clone, which callers use if seccomp denies clone3
		}
		selector := bpf.CapmonSeccompCall{Masks: call.Masks, Kind: uint64(bpf.CapmonSeccompCallKindSECCOMP_CALL_PLAIN)}
		for i := range selector.Masks {
			if callRule(call.Name).Args&(1<<i) != 0 {
				selector.Masks[i] |= 0xffffffff // the reports show this argument
			}
		}
		if call.Name == "clone" {
			clone3 := selector
			clone3.Kind = uint64(bpf.CapmonSeccompCallKindSECCOMP_CALL_CLONE3)
			clone3.Masks[0] |= unix.CLONE_INTO_CGROUP // only clone3 has this flag
			named["clone3"] = clone3
			selector.Kind = uint64(bpf.CapmonSeccompCallKindSECCOMP_CALL_CLONE)
		}
		named[call.Name] = selector
	}
	for nr := range maxCalls {
		table[nr] = named[m.arch.SyscallName(nr)]
		table[maxCalls+nr] = named[m.arch.Compat().SyscallName(nr)]
	}
	return table
}

// containerCalls has the recorded system calls of one container.
type containerCalls struct {
	seccomp   []SeccompCall
	lifted    []LiftedCall
	unchecked []UncheckedCall
}

func (c *containerCalls) add(m *Monitor, key *bpf.CapmonCallKey, value *bpf.CapmonCallValue) {
	switch {
	case key.UncheckedUse != 0:
		c.unchecked = append(c.unchecked, m.newUncheckedCall(key, value))
	case key.Lifted != 0:
		c.lifted = append(c.lifted, m.newLiftedCall(key, value))
	default:
		c.seccomp = append(c.seccomp, m.newSeccompCall(key, value))
	}
}

func (m *Monitor) readCalls() (map[uint64]*containerCalls, error) {
	calls := make(map[uint64]*containerCalls)
	err := m.forEachCall(func(key *bpf.CapmonCallKey, value *bpf.CapmonCallValue) {
		if calls[key.Container] == nil {
			calls[key.Container] = new(containerCalls)
		}
		calls[key.Container].add(m, key, value)
	})
	return calls, err
}

func (m *Monitor) newSeccompCall(key *bpf.CapmonCallKey, value *bpf.CapmonCallValue) SeccompCall {
	return SeccompCall{
		Call: syscalls.Call{
			Arch:    m.archOf(key.Compat),
			Nr:      int(key.Syscall),
			Args:    key.Args,
			HasArgs: key.Args != [6]uint64{},
		},
		Error:      unix.Errno(key.Error),
		CallRecord: m.newCallRecord(key, value),
	}
}

func (m *Monitor) newCallRecord(key *bpf.CapmonCallKey, value *bpf.CapmonCallValue) CallRecord {
	return CallRecord{
		Program: cString(key.Comm[:]),
		Folding: foldingOf(&key.Comm),
		Count:   value.Count,
		First:   m.clock.Time(value.FirstNs),
		Last:    m.clock.Time(value.LastNs),
		PID:     value.Pid,
		UID:     value.Uid,
	}
}

func (m *Monitor) archOf(compat uint8) syscalls.Arch {
	if compat != 0 {
		return m.arch.Compat()
	}
	return m.arch
}
