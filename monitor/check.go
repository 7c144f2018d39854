package monitor

import (
	"bytes"
	"time"

	"github.com/capmon/capmon/bpf"
	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/kernel"
)

// Answer tells how cap_capable came to its result (security/commoncap.c).
type Answer uint8

// The kernel's walk through the user namespaces ends in one of four ways.
const (
	// Held: granted, the capability was in the credential's effective set.
	Held = Answer(bpf.CapmonAnswerANSWER_HELD)
	// Owner: granted because the credential's user owns the namespace asked
	// about; no capability was looked at.
	OwnsUserns = Answer(bpf.CapmonAnswerANSWER_OWNER)
	// Missing: refused, the capability was not in the effective set.
	NotHeld = Answer(bpf.CapmonAnswerANSWER_MISSING)
	// Beyond: refused although held, because the namespace asked about is not
	// the credential's nor below it. No --cap-add can help.
	OutsideUserns = Answer(bpf.CapmonAnswerANSWER_BEYOND)
)

// Granted reports whether the kernel said yes.
func (a Answer) Granted() bool { return a == Held || a == OwnsUserns }

// Subject tells whose credential was asked.
type CredentialSource uint8

const (
	// Own: the task's credential, or a copy derived from it as access(2) makes.
	OwnCredential = CredentialSource(bpf.CapmonSubjectSUBJECT_OWN)
	// Overridden: one that the kernel put on for a moment, as overlayfs does.
	OverriddenCredential = CredentialSource(bpf.CapmonSubjectSUBJECT_BORROWED)
	// Other: that of another task, or of whoever opened a file.
	OtherCredential = CredentialSource(bpf.CapmonSubjectSUBJECT_OTHER)
	// Uncertain: the container's or that of the host's mounter of a file system. The credential
	// holds no more than a container that was granted everything, or one whose grant is not
	// known, but has other groups and another session keyring.
	UncertainCredential = CredentialSource(bpf.CapmonSubjectSUBJECT_UNCERTAIN)
)

// Phase tells the container runtime's work from the workload's.
type Phase uint8

const (
	// Setup: the runtime preparing the container or an exec into it.
	Setup = Phase(bpf.CapmonPhasePHASE_SETUP)
	// Workload: from the first instruction of the container's own program on,
	// with the checks of the execve that started it.
	Workload = Phase(bpf.CapmonPhasePHASE_WORKLOAD)
	// LongSetup: as Setup, but of a task that has been preparing for longer than SetupTime. It
	// may be a workload that hides as the runtime.
	LongSetup = Phase(bpf.CapmonPhasePHASE_LONG_SETUP)
)

// SetupTime is how long a container runtime takes at most to prepare a process.
const SetupTime = time.Duration(bpf.CapmonLimitsSETUP_SECONDS) * time.Second

// Condition tells, for kernel functions that ask for the capability first and
// look at ids, sets or modes after a refusal, what a refusal would have meant.
type Condition uint8

const (
	// Untested: the system call has no such condition that is known.
	Untested = Condition(bpf.CapmonConditionCONDITION_UNTESTED)
	// Matters: the refusal would have been an error.
	Matters = Condition(bpf.CapmonConditionCONDITION_MATTERS)
	// Moot: the result would have been the same.
	NoEffect = Condition(bpf.CapmonConditionCONDITION_MOOT)
	// Silent: no error, but another result.
	ChangesResult = Condition(bpf.CapmonConditionCONDITION_SILENT)
	// Unreadable: there is a condition and it could not be evaluated.
	Unreadable = Condition(bpf.CapmonConditionCONDITION_UNREADABLE)
	// Optional: a refusal would have been an error, although the call would have changed nothing
	// or the kernel allows the same in another way.
	Optional = Condition(bpf.CapmonConditionCONDITION_OPTIONAL)
)

// Choice tells, where the kernel would accept another capability in place of the one that it asks
// for, whether the credential holds that one.
type Choice uint8

const (
	// ChoiceUnknown: there is no such capability, or an earlier version recorded the check.
	ChoiceUnknown = Choice(bpf.CapmonChoiceCHOICE_UNKNOWN)
	// ChoiceNone: it does not, and it holds less than the container was granted.
	ChoiceNone = Choice(bpf.CapmonChoiceCHOICE_NONE)
	// ChoiceOther: it does. For SYS_ADMIN, for which several stand, this is SYS_NICE.
	ChoiceOther = Choice(bpf.CapmonChoiceCHOICE_OTHER)
	// ChoiceAll: it holds all that the container was granted.
	ChoiceAll = Choice(bpf.CapmonChoiceCHOICE_ALL)
)

// What a check made by a write to the map of a user namespace says of it, in Call.Args[1].
const (
	// RootMapped: the parent's user 0 is in it.
	RootMapped = uint64(bpf.CapmonRootMapROOT_MAP_ROOT)
	// RootMapUnknown: what was written is not known, or the kernel has refused it.
	RootMapUnknown = uint64(bpf.CapmonRootMapROOT_MAP_UNKNOWN)
)

// Check is one kind of capability check of one container: all checks that agree
// in everything that can matter, with their number.
type Check struct {
	Capability capability.Capability
	Answer     Answer
	Credential CredentialSource
	// Nested: the credential's user namespace is not the container's base one,
	// so the container's own capability set was not used.
	Nested bool
	// Beyond: the task's bounding set has more than the container was granted, as that of
	// docker exec --privileged.
	ExceedsGrant bool
	// MayBeBeyond: the task's bounding set has more than that of any process when capmon began
	// to watch a container that ran already, and the engine has not said what it was granted.
	MayExceedGrant bool
	// Root: the credential's effective user is the host's user 0.
	HostRoot  bool
	Phase     Phase
	Condition Condition
	Choice    Choice
	// RefusedFirst is the capability that the same piece of kernel code asked for
	// just before and was refused; HasRefusedFirst tells whether there is one.
	DeniedFirst    capability.Capability
	HasDeniedFirst bool
	// Entry: made inside an execve of the set-up. In phase Workload it is the one
	// that started the workload.
	Entry bool
	// Stack holds kernel functions from cap_capable's caller outwards.
	Stack []string
	Call  kernel.Call
	// Program is the name (comm) of the process, as the process chose it: bytes
	// that an attacker controls.
	Program string
	// Folding tells what was left out because the container had used up its quota.
	Folding Folding
	// Kernel is the version of the kernel that asked, zero if it is not known.
	Kernel kernel.Version
	// Opts is cap_capable's argument of that name, -1 where the hook lacks it.
	Opts int

	Count uint64
	// Overruled are the refusals after which the kernel asked for another capability and
	// was content. Of others it is told how the system call ended in which they were made:
	// without an error, with EPERM or EACCES, with another error. Of the rest nothing is
	// known.
	Overruled, Succeeded, Forbidden, Failed uint64
	First, Last                             time.Time
	// PID of the process that was first, in the initial pid namespace, and its
	// effective user there.
	PID, UID uint32
}

func (m *Monitor) newCheck(symbols *kernel.Symbols, key *bpf.CapmonCheckKey, value *bpf.CapmonCheckValue) Check {
	check := Check{
		Capability:   capability.Capability(key.Capability),
		Answer:       Answer(key.Answer),
		Credential:   CredentialSource(key.Subject),
		Nested:       key.Namespace == uint8(bpf.CapmonNamespaceKindNAMESPACE_NESTED),
		ExceedsGrant: key.Beyond == uint8(bpf.CapmonExcessEXCESS_CERTAIN),
		HostRoot:     key.Root != 0,
		Phase:        Phase(key.Phase),
		Condition:    Condition(key.Condition),
		Choice:       Choice(key.Choice),
		Entry:        key.NestedEntry != 0,
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
	check.MayExceedGrant = key.Beyond == uint8(bpf.CapmonExcessEXCESS_POSSIBLE)
	if key.RefusedFirst != 0 {
		check.DeniedFirst, check.HasDeniedFirst = capability.Capability(key.RefusedFirst-1), true
	}
	if key.Opts != optsUnknown {
		check.Opts = int(key.Opts)
	}
	return check
}

// optsUnknown is OPTS_UNKNOWN of capmon.bpf.c.
const optsUnknown = 0xff

func cString(b []byte) string {
	if end := bytes.IndexByte(b, 0); end >= 0 {
		b = b[:end]
	}
	return string(b)
}
