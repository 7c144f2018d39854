package monitor

import (
	"github.com/capmon/capmon/bpf"
	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/syscalls"
)

// UncheckedKind is what a system call did for which the kernel read capability sets, but made no check.
type UncheckedKind uint8

const (
	// InspectedProcess means that the caller inspected a process of another container or of the host that was permitted
	// no more than the caller. If such a process is permitted more, the kernel checks CAP_SYS_PTRACE
	// (cap_ptrace_access_check, security/commoncap.c).
	InspectedProcess UncheckedKind = UncheckedKind(bpf.CapmonUncheckedUseUNCHECKED_INSPECT)
	// ScheduledProcess means that the caller changed the scheduling of such a process. If the process is permitted
	// more, the kernel checks CAP_SYS_NICE (cap_safe_nice).
	ScheduledProcess UncheckedKind = UncheckedKind(bpf.CapmonUncheckedUseUNCHECKED_SCHEDULE)
	// WrotePressureFile means that the caller wrote a file with pressure stall information (PSI), or opened it for
	// writing, with CAP_SYS_RESOURCE (psi_trigger_create, kernel/sched/psi.c).
	WrotePressureFile UncheckedKind = UncheckedKind(bpf.CapmonUncheckedUseUNCHECKED_PRESSURE)
	// ReadOwnCapabilities means that the caller read the capabilities of its own process (capget), or whether one of
	// the capabilities 1 to 31 is in its bounding set (PR_CAPBSET_READ). Other reads do not count: every program that
	// is linked with libcap reads some higher capabilities when it starts, and every program with libcap-ng reads 0.
	ReadOwnCapabilities UncheckedKind = UncheckedKind(bpf.CapmonUncheckedUseUNCHECKED_READ_OWN_SETS)
)

// Pressure is what capmon knows about the window of the trigger of a [WrotePressureFile] call.
type Pressure uint8

const (
	// WindowUnknown is for calls that opened the file: the trigger did not exist yet.
	WindowUnknown Pressure = Pressure(bpf.CapmonPressurePRESSURE_OPENED)
	// WindowNeedsSysResource requires CAP_SYS_RESOURCE, WindowNeedsNothing does not.
	WindowNeedsSysResource Pressure = Pressure(bpf.CapmonPressurePRESSURE_NEEDED)
	WindowNeedsNothing     Pressure = Pressure(bpf.CapmonPressurePRESSURE_NO_EFFECT)
)

// UncheckedCall is one kind of system call of a container's workload for which the kernel decided without a check.
// capmon does not see operations of io_uring.
type UncheckedCall struct {
	Kind UncheckedKind
	Call syscalls.Call
	// Sets is the union of the capabilities that the other processes were permitted, for InspectedProcess and
	// ScheduledProcess. It is CAP_SYS_RESOURCE for WrotePressureFile.
	Sets capability.Set
	// Pressure is valid for WrotePressureFile only.
	Pressure Pressure
	// CallRecord: if the call is folded, Program is empty and Pressure is WindowUnknown.
	CallRecord
}

func (m *Monitor) newUncheckedCall(key *bpf.CapmonCallKey, value *bpf.CapmonCallValue) UncheckedCall {
	return UncheckedCall{
		Kind:       UncheckedKind(key.UncheckedUse),
		Call:       syscalls.Call{Arch: m.archOf(key.Compat), Nr: int(key.Syscall)},
		Sets:       capability.Set(value.Sets),
		Pressure:   Pressure(key.Args[0]),
		CallRecord: m.newCallRecord(key, value),
	}
}
