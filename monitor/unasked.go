package monitor

import (
	"time"

	"github.com/capmon/capmon/bpf"
	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/kernel"
)

// Unasked is what a system call did that the kernel decides by reading capability sets, without a check.
type Unasked uint8

const (
	// Traced: it looked into a process of another container or of the host that held no more than
	// its own. Otherwise the kernel asks for CAP_SYS_PTRACE (cap_ptrace_access_check, security/commoncap.c).
	Traced = Unasked(bpf.CapmonUnaskedUNASKED_TRACE)
	// Scheduled: it changed the scheduling of such a process. Otherwise the kernel asks for
	// CAP_SYS_NICE (cap_safe_nice).
	Scheduled = Unasked(bpf.CapmonUnaskedUNASKED_SCHEDULE)
	// Pressured: it opened or wrote a file by which a program asks to be told of stalls, with
	// CAP_SYS_RESOURCE (psi_trigger_create, kernel/sched/psi.c).
	Pressured = Unasked(bpf.CapmonUnaskedUNASKED_PRESSURE)
	// ReadOwn: it read the capabilities of its own process (capget), or what is in its bounding set
	// (PR_CAPBSET_READ) of the 32 lowest ones. libcap asks for some of the others at the start of
	// every program that it is part of.
	ReadOwn = Unasked(bpf.CapmonUnaskedUNASKED_OWN)
)

// Pressure says what is known of the window of a Pressured call's trigger.
type Pressure uint8

const (
	// WindowUnknown: the call opened the file.
	WindowUnknown = Pressure(bpf.CapmonPressurePRESSURE_OPENED)
	// WindowRestricted takes CAP_SYS_RESOURCE, WindowFree does not.
	WindowRestricted = Pressure(bpf.CapmonPressurePRESSURE_NEEDED)
	WindowFree       = Pressure(bpf.CapmonPressurePRESSURE_MOOT)
)

// UnaskedCall is one kind of such a system call that a container's workload made. One that io_uring
// makes is not seen.
type UnaskedCall struct {
	Unasked Unasked
	Call    kernel.Call
	// Sets are the capabilities that all the other processes together were permitted, of Traced and
	// Scheduled.
	Sets capability.Set
	// Pressure is of Pressured.
	Pressure Pressure
	// Program, Folding, PID and UID as in Check; beyond the quota only the name is left out.
	Program     string
	Folding     Folding
	Count       uint64
	First, Last time.Time
	PID, UID    uint32
}

func (m *Monitor) unaskedCall(key *bpf.CapmonCallKey, value *bpf.CapmonCallValue) UnaskedCall {
	return UnaskedCall{
		Unasked:  Unasked(key.Unasked),
		Call:     kernel.Call{Arch: m.archOf(key.Compat), Nr: int(key.Syscall)},
		Sets:     capability.Set(value.Sets),
		Pressure: Pressure(key.Args[0]),
		Program:  text(key.Comm[:]),
		Folding:  foldingOf(&key.Comm),
		Count:    value.Count,
		First:    m.clock.Time(value.FirstNs),
		Last:     m.clock.Time(value.LastNs),
		PID:      value.Pid,
		UID:      value.Uid,
	}
}
