package monitor

import (
	"time"

	"github.com/capmon/capmon/bpf"
	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/kernel"
)

// Unasked is what a system call did if the kernel decided it by reading capability sets, without a check.
type UncheckedKind uint8

const (
	// Traced: the caller looked into a process of another container or of the host that was permitted no more
	// than the caller. If such a process is permitted more, the kernel asks for CAP_SYS_PTRACE
	// (cap_ptrace_access_check, security/commoncap.c).
	InspectedProcess = UncheckedKind(bpf.CapmonUnaskedUNASKED_TRACE)
	// Scheduled: the caller changed the scheduling of such a process. If the process is permitted more, the
	// kernel asks for CAP_SYS_NICE (cap_safe_nice).
	ScheduledProcess = UncheckedKind(bpf.CapmonUnaskedUNASKED_SCHEDULE)
	// Pressured: the caller opened for writing, or wrote, a file of pressure stalls, with CAP_SYS_RESOURCE
	// (psi_trigger_create, kernel/sched/psi.c).
	WrotePressureFile = UncheckedKind(bpf.CapmonUnaskedUNASKED_PRESSURE)
	// ReadOwn: the caller read the capabilities of its own process (capget), or whether one of the 32 lowest
	// capabilities is in its bounding set (PR_CAPBSET_READ). Reads of higher ones do not count: libcap makes
	// some at the start of every program that is linked with libcap.
	ReadOwnCapabilities = UncheckedKind(bpf.CapmonUnaskedUNASKED_OWN)
)

// Pressure is what capmon knows about the window of the trigger of a Pressured call.
type Pressure uint8

const (
	// WindowUnknown is for calls that opened the file: the trigger did not exist yet.
	WindowUnknown = Pressure(bpf.CapmonPressurePRESSURE_OPENED)
	// WindowRestricted requires CAP_SYS_RESOURCE, WindowFree does not.
	WindowRestricted = Pressure(bpf.CapmonPressurePRESSURE_NEEDED)
	WindowFree       = Pressure(bpf.CapmonPressurePRESSURE_MOOT)
)

// UnaskedCall is a group of system calls with the same Unasked that a container's workload made. capmon does
// not see operations of io_uring.
type UncheckedCall struct {
	Kind UncheckedKind
	Call kernel.Call
	// Sets is the union of the capabilities that the other processes were permitted, for Traced and
	// Scheduled; CAP_SYS_RESOURCE for Pressured.
	Sets capability.Set
	// Pressure is valid for Pressured only.
	Pressure Pressure
	// Program, Folding, PID and UID as in Check. Beyond the quota the program's name is
	// missing, and Pressure is WindowUnknown.
	Program     string
	Folding     Folding
	Count       uint64
	First, Last time.Time
	PID, UID    uint32
}

func (m *Monitor) newUncheckedCall(key *bpf.CapmonCallKey, value *bpf.CapmonCallValue) UncheckedCall {
	return UncheckedCall{
		Kind:     UncheckedKind(key.Unasked),
		Call:     kernel.Call{Arch: m.archOf(key.Compat), Nr: int(key.Syscall)},
		Sets:     capability.Set(value.Sets),
		Pressure: Pressure(key.Args[0]),
		Program:  cString(key.Comm[:]),
		Folding:  foldingOf(&key.Comm),
		Count:    value.Count,
		First:    m.clock.Time(value.FirstNs),
		Last:     m.clock.Time(value.LastNs),
		PID:      value.Pid,
		UID:      value.Uid,
	}
}
