package classify

import (
	"fmt"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/monitor"
)

// ImplicitNeed is a need for capabilities without a check: the kernel reads them directly from a credential, or a
// seccomp profile requires them.
type ImplicitNeed struct {
	Capabilities capability.Set
	Verdict
}

// ImplicitNeeds returns the implicit needs of the system call that made a check. capset, and a write to the map of a
// user namespace, check one capability and read others from the credential.
func ImplicitNeeds(check monitor.Check) []ImplicitNeed {
	needs := workloadNeeds(check)
	for i := range needs {
		needs[i].applyPhase(check)
	}
	return needs
}

// workloadNeeds returns the implicit needs with the classes that they have in the phase Workload.
func workloadNeeds(check monitor.Check) []ImplicitNeed {
	if check.Phase == monitor.Setup || check.Credential != monitor.OwnCredential || check.ExceedsGrant || check.Folding != monitor.Unfolded {
		return nil
	}
	switch {
	case check.Call.Name() == "capset" && check.Call.HasArgs && check.Capability == capability.Setpcap && !check.Nested:
		return capsetNeeds(check)
	case check.Capability == capability.SysAdmin && stackContains(check, mapWrites...):
		return rootMapNeeds(check)
	}
	return narrowNeeds(check)
}

// MayMissImplicitNeeds reports whether a check may have implicit needs that capmon does not know, because the arguments
// of the system call were not recorded. This is possible only for patterns beyond the quota of a container.
func MayMissImplicitNeeds(check monitor.Check) bool {
	if check.Folding == monitor.Unfolded || check.Phase == monitor.Setup || check.Credential != monitor.OwnCredential || check.ExceedsGrant {
		return false
	}
	call := check.Call.Name()
	switch check.Capability {
	case capability.Setpcap:
		return !check.Nested && (call == "capset" || check.Folding == monitor.Coarse)
	case capability.SysAdmin:
		return stackContains(check, mapWrites...)
	}
	return false
}

// CapsetKeptAll is the reason why a check by a capset is redundant, if keepsAll is true for the capset.
const CapsetKeptAll = "capset kept all that was permitted"

// setsOf returns the sets of a capset: the capabilities that become permitted, inheritable and effective (raised), and
// those that were permitted before (had).
func setsOf(check monitor.Check) (permitted, inheritable, raised, had capability.Set) {
	args := check.Call.Args
	return capability.Set(args[0]), capability.Set(args[1]), capability.Set(args[3]), capability.Set(args[2])
}

// keepsAll reports whether a capset keeps the permitted set unchanged, raises none or all of its capabilities, and the
// set contains at least Docker's default. Most likely such a program has read the set with capget. However, it may
// require one of these capabilities, which capmon cannot see here.
func keepsAll(check monitor.Check) bool {
	if check.Call.Name() != "capset" || !check.Call.HasArgs {
		return false
	}
	permitted, inheritable, raised, had := setsOf(check)
	return permitted == had && inheritable.Empty() && (raised.Empty() || raised == had) && capability.DockerDefault().Minus(had).Empty()
}

// capsetNeeds returns the implicit needs of a capset. The capabilities that it makes permitted, effective or
// inheritable must be permitted (cap_capset, security/commoncap.c). A program may have constant sets, or compute them
// from the sets that it has, which capmon cannot see here. So needs for capabilities that are only kept or raised are
// unsure. If a capset failed, only the capabilities that it lacked are returned.
func capsetNeeds(check monitor.Check) []ImplicitNeed {
	permitted, inheritable, raised, had := setsOf(check)

	var needs []ImplicitNeed
	add := func(set capability.Set, class Class, reason, unsure string) {
		if !set.Empty() {
			needs = append(needs, ImplicitNeed{set, Verdict{Class: class, Reason: reason, Unsure: unsure, Site: "cap_capset"}})
		}
	}
	add(permitted.Minus(had), Denied, "capset failed to make it permitted, because it was not permitted before", "")
	add(raised.Minus(had).Minus(permitted), Denied, "capset failed to make it effective, because it is not permitted", "")
	lacksSetpcap := !check.Answer.Granted() && check.Condition == monitor.Matters
	// If the check for CAP_SETPCAP was granted, it had no effect only if the call failed: see store_lacking in
	// bpf/confirm_values.h.
	if lacksSetpcap || check.Answer.Granted() && check.Condition == monitor.NoEffect {
		add(inheritable.Minus(had), Denied, "capset failed to make it inheritable, because it is not permitted", "")
	}
	if failed := lacksSetpcap || len(needs) > 0; failed {
		return needs
	}
	add(inheritable.Intersect(had), Implicit, "capset makes it inheritable, which fails unless it is permitted", "")
	if check.Condition == monitor.Matters && check.Answer.Granted() { // this needed CAP_SETPCAP
		add(inheritable.Minus(had), Implicit, "capset makes it inheritable, which fails unless it is in the bounding set", "")
	}
	if keepsAll(check) {
		return needs
	}
	raised = raised.Intersect(had).Minus(inheritable)
	add(raised, Implicit, "capset makes it effective, which fails unless it is permitted", "a program that raises only capabilities that it has does not need it")
	if permitted != had || !capability.DockerDefault().Minus(had).Empty() {
		add(permitted.Intersect(had).Minus(inheritable).Minus(raised), Implicit, "capset keeps it permitted, which requires that it was permitted before",
			"a program that keeps only capabilities that it has does not need it")
	}
	return needs
}

// mapWrites are the functions that write the maps of a user namespace. After a tail call, a function is not in the
// stack.
var mapWrites = []string{"map_write", "proc_uid_map_write"}

// rootMapNeeds returns the need for CAP_SETFCAP of a write to the map of a user namespace (see store_userns_map in
// bpf/capset_and_userns_needs.h).
func rootMapNeeds(check monitor.Check) []ImplicitNeed {
	if stackContains(check, "proc_gid_map_write") {
		return nil
	}
	could, wrote := check.Call.Args[0] != 0, check.Call.Args[1]
	verdict := Verdict{Class: Implicit, Reason: "maps the container's root into a user namespace, which fails without it", Site: "verify_root_map"}
	if !could {
		verdict.Class, verdict.Reason = Denied, "the process tried to map the container's root into a user namespace"
	}
	switch wrote {
	case monitor.RootMapped:
	case monitor.RootMapUnknown:
		verdict.Unsure = "capmon does not know the written map"
	default:
		return nil
	}
	return []ImplicitNeed{{capability.Of(capability.Setfcap), verdict}}
}

// ExecveSite is the kernel function that makes execve fail for a file with capabilities.
const ExecveSite = "bprm_caps_from_vfs_caps"

// ExecutionNeeds returns the implicit needs of an execution, from the capabilities of the file and from the ambient
// set.
//
// execve fails if a file has the effective flag and the kernel cannot give one of its permitted capabilities to the
// process (bprm_caps_from_vfs_caps, security/commoncap.c), unless the mount has nosuid. An ambient capability was
// permitted and inheritable. In a user namespace that the workload made, neither needs a capability of the container.
func ExecutionNeeds(execution monitor.Execution, file kernel.FileCapabilities) []ImplicitNeed {
	if execution.Nested {
		return nil
	}
	var needs []ImplicitNeed
	add := func(set capability.Set, reason, site string) {
		if !set.Empty() {
			needs = append(needs, ImplicitNeed{set, Verdict{Class: Implicit, Reason: reason, Site: site}})
		}
	}
	if file.Effective && !execution.NoSuid {
		add(file.Permitted, "a file capability with the effective flag: without it, the program cannot be executed", ExecveSite)
	}
	add(execution.Ambient, "in the ambient set, which requires that it is permitted and inheritable", "cap_task_prctl")
	return needs
}

// FailedExecveNeeds returns the capabilities that the program of a failed execve required and the process lacked. name
// is the path that was to be executed. The kernel gives the process a permitted capability of the file if it is in the
// bounding set, or in the inheritable sets of both the process and the file. If the file has the effective flag and the
// kernel cannot give all of them, execve fails (bprm_caps_from_vfs_caps, security/commoncap.c).
func FailedExecveNeeds(name string, failed monitor.FailedExecve, program kernel.Program) []ImplicitNeed {
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
	return []ImplicitNeed{{lacking, Verdict{Class: Denied, Reason: reason, Site: ExecveSite}}}
}

// Unlocked is the verdict on a system call that the container's seccomp profile allows only with a capability. The
// engine chooses the allowed calls when it creates the container. The kernel makes no check for the capability.
var Unlocked = Verdict{Class: Implicit, Reason: "the seccomp profile allows this system call only with it", Site: "seccomp"}

// UnlockedChroot returns the verdict on a chroot that the seccomp profile allows only with a capability. ok is false
// unless the check was made by a chroot of the workload and granted. chroot checks CAP_SYS_CHROOT in the process's own
// user namespace (chroot, fs/open.c). If the workload made that namespace, chroot has no other need of the container.
func UnlockedChroot(check monitor.Check) (verdict Verdict, ok bool) {
	if check.Phase == monitor.Setup || check.Credential != monitor.OwnCredential || check.ExceedsGrant || !check.Answer.Granted() || !chroots(check) {
		return Verdict{}, false
	}
	verdict = Unlocked
	verdict.Unsure = unsureReason(check)
	verdict.applyPhase(check)
	return verdict, true
}

// chroots reports whether a chroot made the check. The only other system call that checks CAP_SYS_CHROOT is setns
// (mntns_install, fs/namespace.c). Coarse patterns do not have the system call.
func chroots(check monitor.Check) bool {
	if check.Capability != capability.SysChroot {
		return false
	}
	if check.Folding == monitor.Coarse {
		return !stackContains(check, "mntns_install")
	}
	return check.Call.Name() == "chroot"
}

// InspectionNeed returns the capabilities that a container needs, in addition to the needed set, to inspect a process
// of another container or to change its scheduling. The kernel allows both for a process of the same user whose
// permitted set is not larger than the caller's (cap_ptrace_access_check and cap_safe_nice, security/commoncap.c).
// Otherwise the kernel checks SYS_PTRACE or SYS_NICE, which may allow much more: access to all processes in the PID
// namespace. So InspectionNeed returns SYS_PTRACE or SYS_NICE only if the container was granted it. The zero value
// means no need.
func InspectionNeed(call monitor.UncheckedCall, granted, needed capability.Set) ImplicitNeed {
	wider, site, does := capability.SysPtrace, "cap_ptrace_access_check", "inspects a process (/proc/PID, ptrace)"
	if call.Kind == monitor.ScheduledProcess {
		wider, site, does = capability.SysNice, "cap_safe_nice", "changes the scheduling of a process"
	}
	sets := call.Sets.Intersect(granted)
	lacking := sets.Minus(needed)
	if needed.Has(wider) || lacking.Empty() {
		return ImplicitNeed{}
	}
	verdict := Verdict{Class: Implicit, Site: site}
	if granted.Has(wider) {
		verdict.Reason = fmt.Sprintf("the container %s of another container or of the host, and that process has %s in its permitted set, which this list lacks", does, lacking.Text())
		verdict.Unsure = verdict.Reason + ". If that process gets a shorter list, this container may need less"
		return ImplicitNeed{capability.Of(wider), verdict}
	}
	verdict.Reason = fmt.Sprintf("the container %s of another container or of the host, and that process has this capability in its permitted set. The kernel compares the sets", does)
	verdict.Unsure = fmt.Sprintf("%s. If that process gets a shorter list, this container may need less. %s would be enough instead, but may give access to more processes",
		verdict.Reason, wider)
	return ImplicitNeed{sets, verdict}
}

// PressureTriggerNeed returns the need of a process with CAP_SYS_RESOURCE that opens or writes a file of pressure stall
// information. A program creates a trigger by writing to such a file. unwritten means that capmon did not see all these
// writes. granted are the grants of the container: CAP_SYS_RESOURCE in a user namespace that the workload created does
// not count. The zero value means no need.
func PressureTriggerNeed(call monitor.UncheckedCall, granted capability.Set, unwritten bool) ImplicitNeed {
	verdict := Verdict{Class: Implicit, Reason: "a trigger for pressure stalls fails without this capability, unless its window is a multiple of two seconds", Site: "psi_trigger_create"}
	switch {
	case !granted.Has(capability.SysResource):
		return ImplicitNeed{}
	case call.Pressure == monitor.WindowNeedsSysResource:
	case call.Pressure == monitor.WindowUnknown && unwritten:
		verdict.Unsure = "capmon does not know the window of the trigger: with a multiple of two seconds, this capability is not needed"
	default:
		return ImplicitNeed{}
	}
	return ImplicitNeed{capability.Of(capability.SysResource), verdict}
}
