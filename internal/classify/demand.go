package classify

import (
	"fmt"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/monitor"
)

// Demand is a need for capabilities that no check asked about.
type Demand struct {
	Capabilities capability.Set
	Verdict
}

// Demands are what a call demanded in which a check was made: capset and the map of
// a user namespace ask for one capability and read others from the credential.
func Demands(check monitor.Check) []Demand {
	demands := demandsOf(check)
	for i := range demands {
		demands[i].notePhase(check)
	}
	return demands
}

// demandsOf is Demands as of a workload.
func demandsOf(check monitor.Check) []Demand {
	if check.Phase == monitor.Setup || check.Subject != monitor.Own || check.Beyond || check.Folding != monitor.Whole {
		return nil
	}
	switch {
	case check.Call.Name() == "capset" && check.Call.HasArgs && check.Capability == capability.Setpcap && !check.Nested:
		return capsetDemands(check)
	case check.Capability == capability.SysAdmin && asked(check, mapWrites...):
		return mapDemands(check)
	}
	return narrowDemands(check)
}

// MissesDemands reports whether a check may have demanded capabilities that are not known, because
// its arguments were not recorded. Only patterns beyond the quota of a container can.
func MissesDemands(check monitor.Check) bool {
	if check.Folding == monitor.Whole || check.Phase == monitor.Setup || check.Subject != monitor.Own || check.Beyond {
		return false
	}
	call := check.Call.Name()
	switch check.Capability {
	case capability.Setpcap:
		return !check.Nested && (call == "capset" || check.Folding == monitor.Coarse)
	case capability.SysAdmin:
		return asked(check, mapWrites...)
	}
	return false
}

// KeptAll is the reason why a check is redundant that a capset made which is one of keepsAll.
const KeptAll = "capset kept all that was permitted"

// setsOf are what a capset makes permitted, what becomes inheritable and effective by it, and what
// was permitted before.
func setsOf(check monitor.Check) (permitted, inheritable, raised, had capability.Set) {
	args := check.Call.Args
	return capability.Set(args[0]), capability.Set(args[1]), capability.Set(args[3]), capability.Set(args[2])
}

// keepsAll reports whether a capset keeps all that is permitted and raises nothing or all of it,
// where that is at least Docker's default. A program that keeps so much has most likely read it
// with capget. But it may insist on one of these capabilities, which is not seen here.
func keepsAll(check monitor.Check) bool {
	if check.Call.Name() != "capset" || !check.Call.HasArgs {
		return false
	}
	permitted, inheritable, raised, had := setsOf(check)
	return permitted == had && inheritable.Empty() && (raised.Empty() || raised == had) && capability.DockerDefault().Minus(had).Empty()
}

// capsetDemands: what capset makes permitted, effective or inheritable has to be permitted
// (cap_capset, security/commoncap.c). The sets may be fixed in the program or made from those that
// it has, which is not seen here: so what is only kept or raised is unsure. Of a capset that failed,
// nothing was needed but what it lacked.
func capsetDemands(check monitor.Check) []Demand {
	permitted, inheritable, raised, had := setsOf(check)

	var demands []Demand
	add := func(set capability.Set, class Class, reason, unsure string) {
		if !set.Empty() {
			demands = append(demands, Demand{set, Verdict{Class: class, Reason: reason, Unsure: unsure, Site: "cap_capset"}})
		}
	}
	add(permitted.Minus(had), Denied, "capset was to make it permitted, which it is not", "")
	add(raised.Minus(had).Minus(permitted), Denied, "capset was to make it effective, but it is not permitted", "")
	lacksSetpcap := !check.Answer.Granted() && check.Condition == monitor.Matters
	// With CAP_SETPCAP it did not matter only if the call failed: see keep_lacking in bpf/confirm.h.
	if lacksSetpcap || check.Answer.Granted() && check.Condition == monitor.Moot {
		add(inheritable.Minus(had), Denied, "capset was to make it inheritable, but it is not permitted", "")
	}
	if failed := lacksSetpcap || len(demands) > 0; failed {
		return demands
	}
	add(inheritable.Intersect(had), Implicit, "capset makes it inheritable, which fails unless it is permitted", "")
	if check.Condition == monitor.Matters && check.Answer.Granted() { // CAP_SETPCAP was needed for it
		add(inheritable.Minus(had), Implicit, "capset makes it inheritable, which fails unless it is in the bounding set", "")
	}
	if keepsAll(check) {
		return demands
	}
	raised = raised.Intersect(had).Minus(inheritable)
	add(raised, Implicit, "capset makes it effective, which fails unless it is permitted", "a program that raises only what it has does without")
	if permitted != had || !capability.DockerDefault().Minus(had).Empty() {
		add(permitted.Intersect(had).Minus(inheritable).Minus(raised), Implicit, "capset keeps it permitted, and fails if it is not",
			"a program that keeps what it has of a set does without")
	}
	return demands
}

// mapWrites are the functions that write the maps of a user namespace. One that is not in the
// stack may have been left for another (a tail call).
var mapWrites = []string{"map_write", "proc_uid_map_write"}

// mapDemands: see keep_map in bpf/demand.h.
func mapDemands(check monitor.Check) []Demand {
	if asked(check, "proc_gid_map_write") {
		return nil
	}
	could, wrote := check.Call.Args[0] != 0, check.Call.Args[1]
	verdict := Verdict{Class: Implicit, Reason: "maps the container's root into a user namespace, which fails without", Site: "verify_root_map"}
	if !could {
		verdict.Class, verdict.Reason = Denied, "was to map the container's root into a user namespace"
	}
	switch wrote {
	case monitor.RootMapped:
	case monitor.RootMapUnknown:
		verdict.Unsure = "what was written is not known"
	default:
		return nil
	}
	return []Demand{{capability.Of(capability.Setfcap), verdict}}
}

// ExecveSite is the kernel function that refuses to execute a file with capabilities.
const ExecveSite = "bprm_caps_from_vfs_caps"

// FileDemands are what an execution demanded because of the capabilities that the
// file carries or that are in the ambient set.
//
// execve fails if a file has the effective flag and one of its permitted
// capabilities cannot be given (bprm_caps_from_vfs_caps, security/commoncap.c); not
// on a mount with nosuid. An ambient capability was permitted and inheritable. In a user namespace
// that the workload made it needs none of the container's for either.
func FileDemands(execution monitor.Execution, file kernel.FileCapabilities) []Demand {
	if execution.Nested {
		return nil
	}
	var demands []Demand
	add := func(set capability.Set, reason, site string) {
		if !set.Empty() {
			demands = append(demands, Demand{set, Verdict{Class: Implicit, Reason: reason, Site: site}})
		}
	}
	if file.Effective && !execution.NoSuid {
		add(file.Permitted, "a file capability with the effective flag: the program cannot be executed without", ExecveSite)
	}
	add(execution.Ambient, "in the ambient set, which takes that it is permitted and inheritable", "cap_task_prctl")
	return demands
}

// ExecveDemands are what the program of a failed execve demanded of processes that did not have it.
// name is the path that was to be executed. The kernel gives what a file permits if it is in the
// bounding set, or in the process's and the file's inheritable set, and fails if it cannot give all
// of it to a file with the effective flag (bprm_caps_from_vfs_caps, security/commoncap.c).
func ExecveDemands(name string, failed monitor.FailedExecve, program kernel.Program) []Demand {
	given := failed.Bounding.Union(failed.Inheritable.Intersect(program.Inheritable))
	lacking := program.Permitted.Minus(given)
	if !program.Effective || program.NoSuid || lacking.Empty() {
		return nil
	}
	owner := "its file capabilities"
	if program.Path != name {
		owner = "the file capabilities of " + program.Path
	}
	reason := fmt.Sprintf("execve of %s failed with EPERM: %s require %s", name, owner, lacking.Text())
	return []Demand{{lacking, Verdict{Class: Denied, Reason: reason, Site: ExecveSite}}}
}

// Unlocked is the verdict on a system call that the container's seccomp profile allows
// only with a capability. It is decided when the container is made, before the kernel
// proper is asked anything.
var Unlocked = Verdict{Class: Implicit, Reason: "the seccomp profile allows this system call only with it", Site: "seccomp"}

// UnlockedChroot is the verdict on a chroot that the seccomp profile allows only with a capability.
// ok is false if the check was not made by a chroot of the workload that the kernel allowed. chroot
// asks for CAP_SYS_CHROOT in the process's own user namespace (chroot, fs/open.c). In one that the
// workload made, it needs nothing else of the container.
func UnlockedChroot(check monitor.Check) (verdict Verdict, ok bool) {
	if check.Phase == monitor.Setup || check.Subject != monitor.Own || check.Beyond || !check.Answer.Granted() || !chroots(check) {
		return Verdict{}, false
	}
	verdict = Unlocked
	verdict.Unsure = doubt(check)
	verdict.notePhase(check)
	return verdict, true
}

// chroots reports whether chroot made a check. The only other call that asks for CAP_SYS_CHROOT is
// setns (mntns_install, fs/namespace.c). Coarse patterns do not have the call.
func chroots(check monitor.Check) bool {
	if check.Capability != capability.SysChroot {
		return false
	}
	if check.Folding == monitor.Coarse {
		return !asked(check, "mntns_install")
	}
	return check.Call.Name() == "chroot"
}

// Inspection is what a container needs, beyond the needed set, to look into a process of another
// container or to change the scheduling of such a process. The kernel allows both for a process of the
// same user that is permitted no more than the caller (cap_ptrace_access_check and cap_safe_nice,
// security/commoncap.c). Otherwise the kernel asks for SYS_PTRACE or SYS_NICE, which may give much more:
// access to all processes in the pid namespace. So the demand is that capability only if the container was
// granted it. The zero value is no demand.
func Inspection(call monitor.UnaskedCall, granted, needed capability.Set) Demand {
	instead, site, does := capability.SysPtrace, "cap_ptrace_access_check", "looks into a process (/proc/PID, ptrace)"
	if call.Unasked == monitor.Scheduled {
		instead, site, does = capability.SysNice, "cap_safe_nice", "changes the scheduling of a process"
	}
	sets := call.Sets.Intersect(granted)
	lacking := sets.Minus(needed)
	if needed.Has(instead) || lacking.Empty() {
		return Demand{}
	}
	verdict := Verdict{Class: Implicit, Site: site}
	if granted.Has(instead) {
		verdict.Reason = fmt.Sprintf("the container %s of another container or of the host that is permitted %s, which this list lacks", does, lacking.Text())
		verdict.Unsure = verdict.Reason + ". If that process gets a shorter list, this container may need less"
		return Demand{capability.Of(instead), verdict}
	}
	verdict.Reason = fmt.Sprintf("the container %s of another container or of the host that is permitted this capability, and the kernel compares the sets", does)
	verdict.Unsure = fmt.Sprintf("%s. If that process gets a shorter list, this container may need less. %s would do instead, but may give access to more processes",
		verdict.Reason, instead)
	return Demand{sets, verdict}
}

// PressureTrigger is the demand of opening or writing a file of pressure stalls with CAP_SYS_RESOURCE.
// A program makes a trigger by writing to such a file; unwritten says that capmon did not see all these
// writes. granted is the grant of the container: CAP_SYS_RESOURCE in a user namespace of the workload's own
// does not count. The zero value is no demand.
func PressureTrigger(call monitor.UnaskedCall, granted capability.Set, unwritten bool) Demand {
	verdict := Verdict{Class: Implicit, Reason: "a trigger for pressure stalls fails without this capability, unless its window is a multiple of two seconds", Site: "psi_trigger_create"}
	switch {
	case !granted.Has(capability.SysResource):
		return Demand{}
	case call.Pressure == monitor.WindowRestricted:
	case call.Pressure == monitor.WindowUnknown && unwritten:
		verdict.Unsure = "capmon does not know the window of the trigger: a multiple of two seconds does not need this capability"
	default:
		return Demand{}
	}
	return Demand{capability.Of(capability.SysResource), verdict}
}
