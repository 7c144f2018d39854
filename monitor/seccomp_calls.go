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
	"github.com/capmon/capmon/internal/kernel"
)

// WatchedCall is a system call to record, of native and of 32-bit programs.
type CallSelector struct {
	Name string
	// Masks tell which bits of each argument are recorded.
	Masks [6]uint64
}

// Call is one kind of watched system call that a container's workload made. A call
// that did not return is not seen.
type SelectedCall struct {
	Call kernel.Call
	// Error that it ended with, 0 if none.
	Error unix.Errno
	// Program, Folding, PID and UID as in Check; beyond the quota only the name is left out.
	Program     string
	Folding     Folding
	Count       uint64
	First, Last time.Time
	PID, UID    uint32
}

// ErrNoCalls: this kernel does not tell when system calls return.
var ErrNoSyscallTracepoint = errors.New("the kernel has no tracepoint for system calls: it was built without CONFIG_FTRACE_SYSCALLS")

// WatchCalls records these system calls of all workloads from now on, and no others.
// While there are any, every system call of the machine costs some 0.15 µs.
//
// What was watched before and is in calls is recorded without a gap. The masks of
// calls must not shrink, or what was recorded would be told apart no longer.
func (m *Monitor) SelectCalls(calls []CallSelector) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed || m.stopped() {
		return ErrClosed
	}
	if len(calls) > 0 && m.attached.programs.Returned == nil {
		return ErrNoSyscallTracepoint
	}
	table := m.selectorTable(calls)
	for index, watch := range table {
		if watch == m.selectors[index] {
			continue
		}
		if err := m.attached.maps.CallWatches.Update(uint32(index), &watch, ebpf.UpdateExist); err != nil {
			return fmt.Errorf("telling the kernel which system calls to record: %w", err)
		}
		m.selectors[index] = watch
	}
	return m.attached.traceReturns(len(calls) > 0)
}

// WatchedCalls are those that are recorded.
func (m *Monitor) SelectedCalls() []CallSelector {
	m.mu.Lock()
	defer m.mu.Unlock()
	named := make(map[string]CallSelector)
	for nr := range maxCalls {
		for index, name := range map[int]string{nr: m.arch.SyscallName(nr), maxCalls + nr: m.arch.Compat().SyscallName(nr)} {
			// clone3 is watched as clone.
			if watch := m.selectors[index]; watch != (bpf.CapmonCallWatch{}) && name != "clone3" {
				named[name] = CallSelector{name, watch.Masks}
			}
		}
	}
	return slices.Collect(maps.Values(named))
}

// watchTable lays the calls out by number, those of 32-bit programs behind the others.
func (m *Monitor) selectorTable(calls []CallSelector) (table [2 * maxCalls]bpf.CapmonCallWatch) {
	named := make(map[string]bpf.CapmonCallWatch)
	for _, call := range calls {
		if call.Name == "clone3" {
			continue // watched as clone, which its callers take if it is refused
		}
		watch := bpf.CapmonCallWatch{Masks: call.Masks, Kind: uint64(bpf.CapmonWatchKindWATCH_CALL)}
		for i := range watch.Masks {
			if callRule(call.Name).Args&(1<<i) != 0 {
				watch.Masks[i] |= 0xffffffff // shown to the reader
			}
		}
		if call.Name == "clone" {
			three := watch
			three.Kind = uint64(bpf.CapmonWatchKindWATCH_CLONE3)
			three.Masks[0] |= unix.CLONE_INTO_CGROUP // which clone cannot
			named["clone3"] = three
			watch.Kind = uint64(bpf.CapmonWatchKindWATCH_CLONE)
		}
		named[call.Name] = watch
	}
	for nr := range maxCalls {
		table[nr] = named[m.arch.SyscallName(nr)]
		table[maxCalls+nr] = named[m.arch.Compat().SyscallName(nr)]
	}
	return table
}

// containerCalls are the system calls of one container that were recorded beside its checks.
type containerCalls struct {
	selected  []SelectedCall
	lifted    []LiftedCall
	unchecked []UncheckedCall
}

func (c *containerCalls) add(m *Monitor, key *bpf.CapmonCallKey, value *bpf.CapmonCallValue) {
	switch {
	case key.Unasked != 0:
		c.unchecked = append(c.unchecked, m.newUncheckedCall(key, value))
	case key.Lifted != 0:
		c.lifted = append(c.lifted, m.newLiftedCall(key, value))
	default:
		c.selected = append(c.selected, m.newSelectedCall(key, value))
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

func (m *Monitor) newSelectedCall(key *bpf.CapmonCallKey, value *bpf.CapmonCallValue) SelectedCall {
	return SelectedCall{
		Call: kernel.Call{
			Arch:    m.archOf(key.Compat),
			Nr:      int(key.Syscall),
			Args:    key.Args,
			HasArgs: key.Args != [6]uint64{},
		},
		Error:   unix.Errno(key.Error),
		Program: cString(key.Comm[:]),
		Folding: foldingOf(&key.Comm),
		Count:   value.Count,
		First:   m.clock.Time(value.FirstNs),
		Last:    m.clock.Time(value.LastNs),
		PID:     value.Pid,
		UID:     value.Uid,
	}
}

func (m *Monitor) archOf(compat uint8) kernel.Arch {
	if compat != 0 {
		return m.arch.Compat()
	}
	return m.arch
}
