package monitor

import (
	"bytes"
	"time"

	"github.com/capmon/capmon/bpf"
	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/syscalls"
)

// Answer is the result of cap_capable and its reason (security/commoncap.c).
type Answer uint8

// The kernel's walk through the user namespaces ends in one of four results.
const (
	// Held means granted: the capability was in the credential's effective set.
	Held Answer = Answer(bpf.CapmonAnswerANSWER_HELD)
	// OwnsUserns means granted because the credential's user owns the user namespace that the check is for. The kernel
	// did not read a capability set.
	OwnsUserns Answer = Answer(bpf.CapmonAnswerANSWER_OWNS_USERNS)
	// NotHeld means denied: the capability was not in the effective set.
	NotHeld Answer = Answer(bpf.CapmonAnswerANSWER_NOT_HELD)
	// OutsideUserns means denied, although the credential may hold the capability: the check is for a user namespace
	// that is neither the credential's nor below it. No --cap-add option can change that.
	OutsideUserns Answer = Answer(bpf.CapmonAnswerANSWER_OUTSIDE_USERNS)
)

// Granted reports whether the kernel granted the check.
func (a Answer) Granted() bool { return a == Held || a == OwnsUserns }

// CredentialSource is the owner of the credential that the kernel checked.
type CredentialSource uint8

const (
	// OwnCredential is the task's own credential, or a copy of it, such as access(2) makes.
	OwnCredential CredentialSource = CredentialSource(bpf.CapmonSubjectSUBJECT_OWN)
	// OverriddenCredential is a credential that the kernel uses temporarily (override_creds), as overlayfs does.
	OverriddenCredential CredentialSource = CredentialSource(bpf.CapmonSubjectSUBJECT_OVERRIDDEN)
	// OtherCredential is the credential of another task, or of the process that opened a file.
	OtherCredential CredentialSource = CredentialSource(bpf.CapmonSubjectSUBJECT_OTHER)
	// UncertainCredential belongs either to the container, or to the process on the host that mounted a file system;
	// the call site decides. Both are possible, because the container was granted every capability or its grant is
	// unknown. The credential has other groups and another session keyring than the task.
	UncertainCredential CredentialSource = CredentialSource(bpf.CapmonSubjectSUBJECT_UNCERTAIN)
)

// Phase separates runtime setup from the workload.
type Phase uint8

const (
	// Setup is the work of the container runtime: it prepares the container, or a process that exec starts in it.
	Setup Phase = Phase(bpf.CapmonPhasePHASE_SETUP)
	// Workload begins with the execve that starts the container's own program, including the checks of that execve.
	Workload Phase = Phase(bpf.CapmonPhasePHASE_WORKLOAD)
	// LongSetup is like Setup, for a task that has been in runtime setup for longer than [SetupTime]. The task may be a
	// workload that pretends to be the runtime.
	LongSetup Phase = Phase(bpf.CapmonPhasePHASE_LONG_SETUP)
)

// SetupTime is the longest time that a container runtime needs to prepare a process.
const SetupTime = time.Duration(bpf.CapmonLimitsSETUP_SECONDS) * time.Second

// Condition says what a denial would have changed. It applies to kernel functions that check the capability first, and
// test ids, sets or modes only after a denial.
type Condition uint8

const (
	// Untested means that capmon knows no such condition for the system call.
	Untested Condition = Condition(bpf.CapmonConditionCONDITION_UNTESTED)
	// Matters means that a denial would have caused an error.
	Matters Condition = Condition(bpf.CapmonConditionCONDITION_CAUSES_ERROR)
	// NoEffect means that a denial would not have changed the result.
	NoEffect Condition = Condition(bpf.CapmonConditionCONDITION_NO_EFFECT)
	// ChangesResult means that a denial would have changed the result without an error.
	ChangesResult Condition = Condition(bpf.CapmonConditionCONDITION_CHANGES_RESULT)
	// Unreadable means that there is a condition, but the programs could not evaluate it.
	Unreadable Condition = Condition(bpf.CapmonConditionCONDITION_UNREADABLE)
	// Optional means that a denial would have caused an error, but the system call would have changed nothing, or the
	// kernel allows the same in another way.
	Optional Condition = Condition(bpf.CapmonConditionCONDITION_CALL_UNNECESSARY)
)

// Alternative says whether the checked credential also holds another capability that the kernel would accept instead.
type Alternative uint8

const (
	// AlternativeUnknown means that the kernel accepts no other capability, or that an earlier version recorded the
	// check.
	AlternativeUnknown Alternative = Alternative(bpf.CapmonAlternativeALTERNATIVE_UNKNOWN)
	// AlternativeNotHeld means that the credential does not hold the other capability, and holds less than the
	// container was granted.
	AlternativeNotHeld Alternative = Alternative(bpf.CapmonAlternativeALTERNATIVE_NOT_HELD)
	// AlternativeHeld means that the credential holds the other capability. For SYS_ADMIN, which several capabilities
	// can replace, this is SYS_NICE.
	AlternativeHeld Alternative = Alternative(bpf.CapmonAlternativeALTERNATIVE_HELD)
	// AlternativeWholeGrant means that the credential holds all capabilities that the container was granted. So it
	// would also hold the other capability, if the container were granted that.
	AlternativeWholeGrant Alternative = Alternative(bpf.CapmonAlternativeALTERNATIVE_WHOLE_GRANT)
)

// Values of Call.Args[1] of a check for a write to the map of a user namespace.
const (
	// RootMapped means that the map contains user 0 of the parent namespace.
	RootMapped = uint64(bpf.CapmonRootMapROOT_MAP_ROOT)
	// RootMapUnknown means that the written value is unknown, or that the kernel rejected it.
	RootMapUnknown = uint64(bpf.CapmonRootMapROOT_MAP_UNKNOWN)
)

// Check is one kind of check of one container. It stands for all checks that agree in everything that can affect the
// class. Count is their number.
type Check struct {
	// Capability is the checked capability, Answer the kernel's answer, and Credential the source of the credential.
	Capability capability.Capability
	Answer     Answer
	Credential CredentialSource
	// Nested means that the credential's user namespace is not the container's own, so the kernel did not use the
	// container's capability sets.
	Nested bool
	// ExceedsGrant means that the task's bounding set has more capabilities than the container was granted, as with
	// docker exec --privileged.
	ExceedsGrant bool
	// MayExceedGrant means that the task may have more capabilities than the container was granted, but the grant is
	// unknown (see [Monitor.SetGrant]). The container ran before capmon began to record it, and the task's bounding set
	// has more capabilities than any of its processes had then.
	MayExceedGrant bool
	// HostRoot means that the credential's effective user is user 0 of the host.
	HostRoot bool
	// Phase is the phase of the task when it made the check.
	Phase Phase
	// Condition and Alternative say whether a denial would have mattered.
	Condition   Condition
	Alternative Alternative
	// DeniedFirst is the capability that the same kernel code checked just before, and that was denied. It is valid if
	// HasDeniedFirst is true.
	DeniedFirst    capability.Capability
	HasDeniedFirst bool
	// Entry means that the check was made during an execve of the container runtime. In phase Workload, this is the
	// execve that started the workload.
	Entry bool
	// Stack has the kernel functions of the call stack, beginning with the caller of cap_capable.
	Stack []string
	// Call is the system call that led to the check. Its arguments are only recorded if they explain the need.
	Call syscalls.Call
	// Program is the name (comm) of the process. The process can choose any bytes: they are untrusted.
	Program string
	// Folding says what capmon left out because the container had used up its quota of kinds of check.
	Folding Folding
	// Kernel is the version of the kernel that made the check; zero if it is unknown.
	Kernel KernelVersion
	// Opts is the argument of cap_capable with this name; -1 if the hook does not provide it.
	Opts int

	// Count is the number of checks.
	Count uint64
	// Overruled counts denials after which the kernel checked another capability and granted it. For other denials,
	// capmon counts how the system call ended: without an error, with EPERM or EACCES, or with another error. The
	// result of the remaining checks in Count is unknown.
	Overruled, Succeeded, Forbidden, Failed uint64
	// First and Last are the times of the first and of the last check.
	First, Last time.Time
	// PID is the process of the first check, in the initial pid namespace. UID is its effective user in the initial
	// user namespace.
	PID, UID uint32
}

func (m *Monitor) newCheck(symbols *kernel.Symbols, key *bpf.CapmonCheckKey, value *bpf.CapmonCheckValue) Check {
	check := Check{
		Capability:   capability.Capability(key.Capability),
		Answer:       Answer(key.Answer),
		Credential:   CredentialSource(key.Subject),
		Nested:       key.Namespace == uint8(bpf.CapmonNamespaceKindNAMESPACE_NESTED),
		ExceedsGrant: key.Excess == uint8(bpf.CapmonExcessEXCESS_CERTAIN),
		HostRoot:     key.HostRoot != 0,
		Phase:        Phase(key.Phase),
		Condition:    Condition(key.Condition),
		Alternative:  Alternative(key.Alternative),
		Entry:        key.SetupExecve != 0,
		Stack:        symbols.Frames(key.Site[:]),
		Call:         m.newCall(key),
		Program:      cString(key.Comm[:]),
		Folding:      foldingOf(&key.Comm),
		Kernel:       m.version,
		Opts:         -1,
		Count:        value.Count,
		Overruled:    value.Overruled,
		Succeeded:    value.Succeeded,
		Forbidden:    value.Forbidden,
		Failed:       value.Failed,
		First:        m.clock.Time(value.FirstNs),
		Last:         m.clock.Time(value.LastNs),
		PID:          value.Pid,
		UID:          value.Uid,
	}
	check.MayExceedGrant = key.Excess == uint8(bpf.CapmonExcessEXCESS_POSSIBLE)
	if key.DeniedFirst != 0 {
		check.DeniedFirst, check.HasDeniedFirst = capability.Capability(key.DeniedFirst-1), true
	}
	if key.CapOpts != uint8(bpf.CapmonSpecialValueCAP_OPTS_UNKNOWN) {
		check.Opts = int(key.CapOpts)
	}
	return check
}

func cString(b []byte) string {
	if end := bytes.IndexByte(b, 0); end >= 0 {
		b = b[:end]
	}
	return string(b)
}
