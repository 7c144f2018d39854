package classify

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/quick"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/monitor"
	"github.com/capmon/capmon/syscalls"
)

// granted returns a granted check that the workload made with its own credential.
func granted(c capability.Capability, stack ...string) monitor.Check {
	return monitor.Check{
		Capability: c,
		Answer:     monitor.Held,
		Credential: monitor.OwnCredential,
		Phase:      monitor.Workload,
		Condition:  monitor.Untested,
		HostRoot:   true,
		Stack:      stack,
		Call:       outside(),
		Opts:       -1,
	}
}

func outside() syscalls.Call { return syscalls.Call{Arch: syscalls.NativeArch(), Nr: -1} }

// call returns the system call with a name.
func call(t *testing.T, arch syscalls.Arch, name string) syscalls.Call {
	t.Helper()
	for nr := range 1000 {
		if arch.SyscallName(nr) == name {
			return syscalls.Call{Arch: arch, Nr: nr}
		}
	}
	t.Fatalf("%s has no system call %s", arch, name)
	return syscalls.Call{}
}

// known is the stack of a check for a raw socket, which no row matches.
var known = []string{"security_capable", "ns_capable", "inet_create", "__sock_create"}

func TestOrderOfDecisions(t *testing.T) {
	// The check begins with all properties that can decide. Each step removes the property that decided the previous
	// step.
	check := granted(capability.SysAdmin, "security_vm_enough_memory_mm", "__mmap_region")
	check.Phase, check.Credential, check.Nested = monitor.Setup, monitor.OverriddenCredential, true
	check.Answer, check.Condition = monitor.OwnsUserns, monitor.NoEffect
	for _, step := range []struct {
		name string
		undo func()
		want Class
	}{
		{"runtime setup", func() {}, Setup},
		{"overridden credentials", func() { check.Phase = monitor.Workload }, OtherCredential},
		{"another task's credentials", func() { check.Credential = monitor.OtherCredential }, OtherCredential},
		{"nested user namespace", func() { check.Credential = monitor.OwnCredential }, NestedUserns},
		{"owner of a namespace", func() { check.Nested = false }, NestedUserns},
		{"irrelevant", func() { check.Answer = monitor.NotHeld }, Irrelevant},
		{"no effect", func() {
			check.Capability, check.Stack = capability.Setuid, []string{"ns_capable_setid", "__sys_setuid"}
		}, Redundant},
		{"denied", func() { check.Condition = monitor.ChangesResult }, Denied},
		{"soft by its condition", func() { check.Answer = monitor.Held }, Soft},
		{"soft by its call site", func() {
			check.Condition, check.Capability, check.Stack = monitor.Unreadable, capability.Syslog, []string{"kallsyms_show_value"}
		}, Soft},
		{"required", func() { check.Stack = known }, Required},
	} {
		step.undo()
		if got := Classify(check); got.Class != step.want {
			t.Errorf("%s: got %v, want %s", step.name, got, step.want)
		}
	}
}

func TestConditions(t *testing.T) {
	sites := map[capability.Capability]string{
		capability.Setuid: "__sys_setuid", capability.Setgid: "__sys_setgid", capability.Setpcap: "cap_capset",
		capability.Fsetid: "setattr_prepare", capability.IPCLock: "do_mmap", capability.SysResource: "mqueue_get_inode",
		capability.NetRaw: "inet_create", capability.SysTime: "cap_settime",
	}
	for _, test := range []struct {
		name       string
		capability capability.Capability
		condition  monitor.Condition
		answer     monitor.Answer
		want       Verdict
	}{
		{
			"nothing known", capability.NetRaw, monitor.Untested, monitor.Held,
			Verdict{Class: Required},
		},
		{
			"a denial would have been an error", capability.Setuid, monitor.Matters, monitor.Held,
			Verdict{Class: Required},
		},
		{
			"the same user", capability.Setuid, monitor.NoEffect, monitor.Held,
			Verdict{Class: Redundant, Reason: "the user ID was already the requested one"},
		},
		{
			"the same group", capability.Setgid, monitor.NoEffect, monitor.Held,
			Verdict{Class: Redundant, Reason: "the group ID was already the requested one"},
		},
		{
			"unchanged sets", capability.Setpcap, monitor.NoEffect, monitor.Held,
			Verdict{Class: Redundant, Reason: "no capability became inheritable that was not held before"},
		},
		{
			"no bit to lose", capability.Fsetid, monitor.NoEffect, monitor.Held,
			Verdict{Class: Redundant, Reason: "the mode had no set-group-ID bit to lose"},
		},
		{
			"within the limit", capability.IPCLock, monitor.NoEffect, monitor.Held,
			Verdict{Class: Redundant, Reason: "the locked memory was within RLIMIT_MEMLOCK"},
		},
		{
			"beyond the limit", capability.IPCLock, monitor.Matters, monitor.Held,
			Verdict{Class: Required},
		},
		{
			"a small queue", capability.SysResource, monitor.NoEffect, monitor.Held,
			Verdict{Class: Redundant, Reason: "the queue was within the limits in fs.mqueue"},
		},
		{
			"the condition of another function", capability.NetRaw, monitor.NoEffect, monitor.Held,
			Verdict{Class: Required},
		},
		{
			"denied, without effect", capability.Setuid, monitor.NoEffect, monitor.NotHeld,
			Verdict{Class: Redundant, Reason: "the user ID was already the requested one"},
		},
		{
			"the saved user", capability.Setuid, monitor.ChangesResult, monitor.Held,
			Verdict{Class: Soft, Reason: "without it the saved user ID would keep its old value"},
		},
		{
			"the saved group", capability.Setgid, monitor.ChangesResult, monitor.Held,
			Verdict{Class: Soft, Reason: "without it the saved group ID would keep its old value"},
		},
		{
			"the set-group-ID bit", capability.Fsetid, monitor.ChangesResult, monitor.Held,
			Verdict{Class: Soft, Reason: "without it the set-group-ID bit would be lost"},
		},
		{
			"denied, with another result", capability.Setuid, monitor.ChangesResult, monitor.NotHeld,
			Verdict{Class: Denied, Reason: "without it the saved user ID would keep its old value"},
		},
		{
			"not evaluated", capability.Setuid, monitor.Unreadable, monitor.Held,
			Verdict{Class: Required, Unsure: "needed unless the real and the saved user ID are already the requested one, which capmon could not determine"},
		},
		{
			"denied, not evaluated", capability.Setuid, monitor.Unreadable, monitor.NotHeld,
			Verdict{Class: Denied},
		},
		{
			"held, but denied", capability.SysTime, monitor.Untested, monitor.OutsideUserns,
			Verdict{Class: Denied, Reason: "the process has it, but it was checked in the host's user namespace: no --cap-add can help"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			check := granted(test.capability, "ns_capable", sites[test.capability])
			check.Condition, check.Answer = test.condition, test.answer
			test.want.Site = sites[test.capability]
			if diff := cmp.Diff(test.want, Classify(check)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestUnknownCallSitesAreRequired(t *testing.T) {
	for _, test := range []struct {
		name  string
		stack []string
		want  Verdict
	}{
		{"in no row", known, Verdict{Class: Required, Site: "inet_create"}},
		{"an unknown function", []string{"ns_capable", "frobnicate"}, Verdict{Class: Required, Site: "frobnicate"}},
		{"no stack", nil, Verdict{Class: Required, Unsure: "the call site is not known"}},
	} {
		if diff := cmp.Diff(test.want, Classify(granted(capability.NetRaw, test.stack...))); diff != "" {
			t.Errorf("%s: %s", test.name, diff)
		}
	}
}

func TestIrrelevantChecksAreIrrelevantWithAnyAnswer(t *testing.T) {
	check := granted(capability.SysAdmin, "security_vm_enough_memory_mm", "__mmap_region")
	for _, answer := range []monitor.Answer{monitor.Held, monitor.NotHeld, monitor.OutsideUserns} {
		check.Answer = answer
		if got := Classify(check); got.Class != Irrelevant {
			t.Errorf("answer %d: got %v", answer, got)
		}
	}
}

func TestDenialsAreDeniedWhereGrantsAreNeeds(t *testing.T) {
	for _, row := range Rows() {
		if row.Class == Irrelevant {
			continue
		}
		check := granted(anyOf(row), row.Functions...)
		check.Answer, check.HostRoot = monitor.NotHeld, false
		if got := Classify(check); got.Class != Denied {
			t.Errorf("%v: got %v", row.Functions, got)
		}
	}
}

func TestAlternatives(t *testing.T) {
	type pair struct{ narrow, wide capability.Capability }
	alternatives := map[pair]string{
		{capability.DACReadSearch, capability.DACOverride}:  "generic_permission",
		{capability.NetRaw, capability.NetAdmin}:            "sk_setsockopt, SO_MARK",
		{capability.BPF, capability.SysAdmin}:               "bpf_capable",
		{capability.Perfmon, capability.SysAdmin}:           "perfmon_capable",
		{capability.CheckpointRestore, capability.SysAdmin}: "checkpoint_restore_ns_capable",
		{capability.Syslog, capability.SysAdmin}:            "check_syslog_permissions",
		{capability.NetAdmin, capability.SysAdmin}:          "bpf_net_capable",
		{capability.SysResource, capability.SysAdmin}:       "copy_process",
		{capability.SysNice, capability.SysAdmin}:           "ioprio_check_cap",
	}
	last := capability.CheckpointRestore
	for narrow := range last + 1 {
		for wide := range last + 1 {
			check := granted(wide, known...)
			check.DeniedFirst, check.HasDeniedFirst = narrow, true
			got := Classify(check)
			where, want := alternatives[pair{narrow, wide}]
			if slices.Contains([]capability.Capability{capability.BPF, capability.Perfmon, capability.CheckpointRestore}, wide) {
				// The kernel accepts SYS_ADMIN instead of these, independently of earlier checks.
				if got.Alternative == nil || *got.Alternative != capability.SysAdmin {
					t.Errorf("%v granted: got %+v, want the alternative SYS_ADMIN", wide, got)
				}
			} else if has := got.Alternative != nil; has != want || has && *got.Alternative != narrow {
				t.Errorf("%v denied, %v granted %s: got %+v, want an alternative: %v", narrow, wide, where, got, want)
			}
			if Narrower(narrow, wide) != want {
				t.Errorf("Narrower(%v, %v) is %v", narrow, wide, !want)
			}
		}
	}
}

func TestOnlyNeedsHaveAlternatives(t *testing.T) {
	need := granted(capability.DACOverride, "capable_wrt_inode_uidgid", "generic_permission", "inode_permission", "may_open")
	need.DeniedFirst, need.HasDeniedFirst = capability.DACReadSearch, true
	if got := Classify(need); got.Alternative == nil {
		t.Errorf("got %+v, want an alternative", got)
	}
	// No check was denied before: zero is CHOWN.
	alone := granted(capability.DACOverride, need.Stack...)
	alone.DeniedFirst = capability.DACReadSearch
	denied, setup, overridden := need, need, need
	denied.Answer = monitor.NotHeld
	setup.Phase = monitor.Setup
	overridden.Credential = monitor.OverriddenCredential
	lessened, both := need, need
	lessened.Alternative = monitor.AlternativeNotHeld
	both.Alternative = monitor.AlternativeHeld // but the first check was denied
	narrow := granted(capability.DACReadSearch, need.Stack...)
	narrow.Alternative = monitor.AlternativeNotHeld
	for name, check := range map[string]monitor.Check{
		"alone": alone, "denied": denied, "setup": setup, "other-credential": overridden,
		"less than the container": lessened, "another capability": both, "only the narrow capability": narrow,
	} {
		if got := Classify(check); got.Alternative != nil {
			t.Errorf("%s: got %+v, want no alternative", name, got)
		}
	}
}

// If the credential holds the narrow one of two capabilities, the kernel does not check the wide one.
func TestTheWideCapabilityIsAnAlternative(t *testing.T) {
	read := granted(capability.DACReadSearch, "capable_wrt_inode_uidgid", "generic_permission", "inode_permission", "may_open")
	if got := Classify(read).Alternative; got == nil || *got != capability.DACOverride {
		t.Errorf("got %v", got)
	}
	option := func(level, name uint64) monitor.Check {
		check := granted(capability.NetRaw, "security_capable", "ns_capable", "sk_setsockopt")
		check.Call = call(t, syscalls.NativeArch(), "setsockopt")
		check.Call.HasArgs, check.Call.Args = true, [6]uint64{0, level, name}
		return check
	}
	for _, test := range []struct {
		name  string
		check monitor.Check
		want  string // "" for none
	}{
		{"SO_MARK", option(unix.SOL_SOCKET, unix.SO_MARK), "NET_ADMIN"},
		{"SO_PRIORITY", option(unix.SOL_SOCKET, unix.SO_PRIORITY), "NET_ADMIN"},
		{"IP_TRANSPARENT", option(unix.SOL_IP, unix.IP_TRANSPARENT), "NET_ADMIN"},
		{"IPV6_TRANSPARENT", option(unix.SOL_IPV6, unix.IPV6_TRANSPARENT), "NET_ADMIN"},
		{"SO_BINDTODEVICE", option(unix.SOL_SOCKET, unix.SO_BINDTODEVICE), ""},
		{"a mark with a message", granted(capability.NetRaw, "ns_capable", "__sock_cmsg_send"), "NET_ADMIN"},
		{"a program", granted(capability.BPF, "ns_capable", "bpf_token_capable", "bpf_prog_load"), "SYS_ADMIN"},
		{"a token", granted(capability.BPF, "ns_capable", "bpf_token_create"), ""},
		{"a counter", granted(capability.Perfmon, "capable", "perf_allow_kernel"), "SYS_ADMIN"},
		{"ns_last_pid", granted(capability.CheckpointRestore, "ns_capable", "pid_ns_ctl_handler"), "SYS_ADMIN"},
		{"a network program", granted(capability.NetAdmin, "ns_capable", "bpf_token_capable", "bpf_prog_load"), "SYS_ADMIN"},
		{"an algorithm of AF_ALG", granted(capability.NetAdmin, "ns_capable_noaudit", "af_alg_check_restriction"), "SYS_ADMIN"},
		{"an interface", granted(capability.NetAdmin, "ns_capable", "rtnetlink_rcv_msg"), ""},
		{"many processes", granted(capability.SysResource, "capable", "copy_process"), "SYS_ADMIN"},
		{"a higher limit", granted(capability.SysResource, "capable", "do_prlimit"), ""},
		{"realtime I/O", granted(capability.SysAdmin, "capable", "ioprio_check_cap"), "SYS_NICE"},
		{"a mount", granted(capability.SysAdmin, "ns_capable", "path_mount"), ""},
	} {
		got := ""
		if alternative := Classify(test.check).Alternative; alternative != nil {
			got = alternative.String()
		}
		if got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
	link := granted(capability.DACReadSearch, "do_linkat")
	if got := Classify(link).Alternative; got != nil {
		t.Errorf("linkat accepts no other capability: got %v", *got)
	}
}

// Every possible check has a class, and its reason and doubt match the class.
func TestEveryCheckHasOneClassAndItsReason(t *testing.T) {
	classes := make(map[Class]bool)
	for _, class := range Classes() {
		classes[class] = true
	}
	if len(classes) != len(Classes()) {
		t.Fatalf("a class occurs twice: %v", Classes())
	}
	var functions []string
	for _, row := range Rows() {
		functions = append(functions, row.Functions...)
	}
	holds := func(number, answer, subject, phase, condition uint8, nested bool, nr int16, compat, args bool, frames []uint16) bool {
		check := monitor.Check{
			Capability: capability.Capability(number % 64),
			Answer:     monitor.Answer(answer % 6), // including an invalid value
			Credential: monitor.CredentialSource(subject % 5),
			Phase:      monitor.Phase(phase % 4),
			Condition:  monitor.Condition(condition % 7),
			Nested:     nested,
			Call:       syscalls.Call{Arch: syscalls.NativeArch(), Nr: int(nr), HasArgs: args},
		}
		if compat {
			check.Call.Arch = check.Call.Arch.Compat()
		}
		for _, frame := range frames {
			check.Stack = append(check.Stack, functions[int(frame)%len(functions)])
		}
		verdict := Classify(check)
		switch verdict.Class {
		case Soft:
			doubtful := check.Credential == monitor.UncertainCredential || SharedLimit(verdict.Site) != NotShared
			return verdict.Reason != "" && (verdict.Unsure != "") == doubtful
		case Redundant, Irrelevant, NestedUserns, OtherCredential, Setup:
			return classes[verdict.Class] && verdict.Reason != "" && verdict.Unsure == ""
		case LongSetup:
			return check.Answer.Granted() && check.Phase == monitor.LongSetup && verdict.Unsure != ""
		case Required:
			return check.Answer.Granted() && verdict.Reason == ""
		case Denied:
			return !check.Answer.Granted() && verdict.Unsure == ""
		}
		return false
	}
	if err := quick.Check(holds, &quick.Config{MaxCount: 20_000}); err != nil {
		t.Error(err)
	}
}

// In a long setup, needs have the class LongSetup. Other checks keep their class.
func TestNeedsOfALongSetupHaveTheirOwnClass(t *testing.T) {
	search := capability.DACReadSearch
	for name, test := range map[string]struct {
		check monitor.Check
		want  Class
	}{
		"required":     {granted(capability.NetRaw, known...), LongSetup},
		"soft":         {granted(capability.Syslog, "kallsyms_show_value"), LongSetup},
		"unsure":       {granted(capability.NetRaw), LongSetup},
		"irrelevant":   {granted(capability.SysAdmin, "security_vm_enough_memory_mm", "__mmap_region"), Irrelevant},
		"another task": {changed(granted(capability.NetRaw, known...), func(c *monitor.Check) { c.Credential = monitor.OtherCredential }), OtherCredential},
		"nested":       {changed(granted(capability.NetRaw, known...), func(c *monitor.Check) { c.Nested = true }), NestedUserns},
		"denied":       {changed(granted(capability.NetRaw, known...), func(c *monitor.Check) { c.Answer = monitor.NotHeld }), Denied},
		"one of two":   {granted(capability.DACReadSearch, "generic_permission"), LongSetup},
	} {
		test.check.Phase = monitor.LongSetup
		got := Classify(test.check)
		if got.Class != test.want || (got.Unsure == longSetup) != (test.want == LongSetup) {
			t.Errorf("%s: got %v, want %s", name, got, test.want)
		}
		if has := got.Alternative != nil; has != (test.check.Capability == search) {
			t.Errorf("%s: got the alternative %v", name, got.Alternative)
		}
	}
}

func changed(check monitor.Check, change func(*monitor.Check)) monitor.Check {
	change(&check)
	return check
}

func TestOnlySomeClassesAreNeeds(t *testing.T) {
	for _, class := range Classes() {
		if got, want := class.Need(), class == Required || class == Implicit || class == Soft || class == LongSetup; got != want {
			t.Errorf("%s: a need: %v", class, got)
		}
	}
}

func TestVerdictString(t *testing.T) {
	for _, test := range []struct {
		verdict Verdict
		want    string
	}{
		{Verdict{Class: Denied}, "denied"},
		{Verdict{Class: Required, Site: "inet_create"}, "required in inet_create"},
		{Verdict{Class: Soft, Site: "setattr_copy", Reason: "why"}, "soft in setattr_copy: why"},
		{Verdict{Class: Required, Site: "do_mmap", Unsure: "why"}, "required in do_mmap (unsure: why)"},
	} {
		if got := fmt.Sprint(test.verdict); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
		if strings.Contains(test.verdict.String(), "\n") {
			t.Errorf("%q has several lines", test.verdict)
		}
	}
}

// With vm.overcommit_memory=2, the answer decides whether the process may use the last part of the memory. The kernel
// makes the check with any amount of free memory, so neither answer shows a need. The reason has to name the exception.
func TestMemoryChecksAreIrrelevant(t *testing.T) {
	for _, answer := range []monitor.Answer{monitor.Held, monitor.NotHeld} {
		check := granted(capability.SysAdmin, "security_vm_enough_memory_mm", "__mmap_region")
		check.Answer = answer
		verdict := Classify(check)
		if verdict.Class != Irrelevant || !strings.Contains(verdict.Reason, "vm.overcommit_memory is 2, for the last vm.admin_reserve_kbytes") {
			t.Errorf("%v: %v", answer, verdict)
		}
	}
}
