package classify

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/internal/kernelimage"
	"github.com/capmon/capmon/monitor"
	"github.com/capmon/capmon/syscalls"
)

// unaudited is a kernel function that checks a capability without an audit record, or for set*id. An audited check
// without a row is required. For an unaudited check, the kernel's authors consider a denial normal. So each such
// function must be in unauditedCallers, with the class that capmon gives its checks.
type unaudited struct {
	function     string
	capabilities caps
	// classes are the classes of granted checks, by root and other users, for reading and writing.
	classes []Class
	without string // the effect of a missing capability
	proof   string // "workload NAME", the name of a test, or "row NAME" for a row of TestRowsMatchTheirChecks
	// callers are functions that call this one, or into which compilers inline it.
	callers   []string
	otherTask bool // the check uses the credential of another task
}

var unauditedCallers = []unaudited{
	{
		function: "cap_vm_enough_memory", callers: []string{"security_vm_enough_memory_mm", "__vm_enough_memory"},
		capabilities: caps{capability.SysAdmin}, classes: []Class{Irrelevant}, proof: "workload forks",
		without: "with vm.overcommit_memory=2, the last vm.admin_reserve_kbytes of memory are not available; otherwise nothing",
	},
	{
		function: "seccomp_prepare_filter", callers: []string{"do_seccomp", "seccomp_set_mode_filter"},
		capabilities: caps{capability.SysAdmin}, classes: []Class{Required}, proof: "workload seccomp-filter",
		without: "the kernel denies a seccomp filter (EACCES); checked only if no_new_privs is not set",
	},
	{
		function: "sys_landlock_restrict_self", callers: []string{"__do_sys_landlock_restrict_self", "__x64_sys_landlock_restrict_self", "__ia32_sys_landlock_restrict_self"},
		capabilities: caps{capability.SysAdmin}, classes: []Class{Required},
		without: "the kernel denies a Landlock domain (EPERM); checked only if no_new_privs is not set",
	},
	{
		function: "io_register_restrictions_task", callers: []string{"io_uring_register_blind"},
		capabilities: caps{capability.SysAdmin}, classes: []Class{Required},
		without: "the kernel denies io_uring restrictions of the task (EACCES); checked only if no_new_privs is not set",
	},
	{
		function: "io_register_bpf_filter_task", callers: []string{"io_uring_register_blind"},
		capabilities: caps{capability.SysAdmin}, classes: []Class{Required},
		without: "the kernel denies an io_uring filter of the task (EACCES); checked only if no_new_privs is not set",
	},
	{
		function: "io_uring_create", callers: []string{"io_uring_setup"},
		capabilities: caps{capability.IPCLock}, classes: []Class{Soft}, proof: "workload io-uring",
		without: "registered buffers count towards RLIMIT_MEMLOCK; `redundant` if that is unlimited",
	},
	{
		function:     "do_task_stat",
		capabilities: caps{capability.SysPtrace}, classes: []Class{Soft}, proof: "row ps",
		without: "some fields of /proc/PID/stat of other users' processes read as 0",
	},
	{
		function: "ptrace_has_cap", callers: []string{"__ptrace_may_access"},
		capabilities: caps{capability.SysPtrace}, classes: []Class{Required}, proof: "row strace",
		without: "the kernel denies access to another process (EPERM or EACCES). No error only for do_task_stat, above",
	},
	{
		function: "ptrace_access_vm", callers: []string{"generic_ptrace_peekdata", "generic_ptrace_pokedata", "ptracer_access_allowed", "access_remote_tags"},
		capabilities: caps{capability.SysPtrace}, classes: []Class{Required},
		without: "PTRACE_PEEKDATA and similar requests fail on a process that is not dumpable (EIO)",
	},
	{
		function: "ptracer_access_allowed", callers: []string{"ptrace_access_vm"},
		capabilities: caps{capability.SysPtrace}, classes: []Class{Required},
		without: "as ptrace_access_vm, in 7.3",
	},
	{
		function:     "access_remote_tags",
		capabilities: caps{capability.SysPtrace}, classes: []Class{Required},
		without: "PTRACE_PEEKMTETAGS fails on a process that is not dumpable (arm64)",
	},
	{
		function:     "do_statmount",
		callers:      []string{"__do_sys_statmount"},
		capabilities: caps{capability.SysAdmin}, classes: []Class{Required},
		without: "statmount of a mount that cannot be reached from the root directory fails (EPERM)",
	},
	{
		function:     "sys_statmount",
		callers:      []string{"__do_sys_statmount"},
		capabilities: caps{capability.SysAdmin}, classes: []Class{Required},
		without: "statmount in another mount namespace fails (EPERM)",
	},
	{
		function:     "do_listmount",
		callers:      []string{"__do_sys_listmount"},
		capabilities: caps{capability.SysAdmin}, classes: []Class{Required},
		without: "listmount of a mount that cannot be reached from the root directory fails (EPERM)",
	},
	{
		function:     "sys_listmount",
		callers:      []string{"__do_sys_listmount"},
		capabilities: caps{capability.SysAdmin}, classes: []Class{Required},
		without: "listmount in another mount namespace fails (ENOENT or EPERM)",
	},
	{
		function: "get_sequential_mnt_ns", callers: []string{"__lookup_next_mnt_ns"},
		capabilities: caps{capability.SysAdmin}, classes: []Class{Soft}, proof: "row the next mount namespace",
		without: "NS_MNT_GET_NEXT skips other users' mount namespaces",
	},
	{
		function:     "__lookup_next_mnt_ns",
		capabilities: caps{capability.SysAdmin}, classes: []Class{Soft}, proof: "row the next mount namespace",
		without: "as get_sequential_mnt_ns, in 6.12",
	},
	{
		function: "may_see_all_namespaces", callers: []string{"ns_ioctl"},
		capabilities: caps{capability.SysAdmin}, classes: []Class{Required},
		without: "NS_MNT_GET_NEXT, NS_MNT_GET_PREV and handles of other users' namespaces fail (EPERM), and listns omits these namespaces; " +
			"checked only in the host's PID namespace",
	},
	{
		function:     "set_permissions",
		capabilities: caps{capability.SysResource}, classes: []Class{Irrelevant, Required}, proof: "row reading a user limit",
		without: "/proc/sys/user/* cannot be written; reading them never fails",
	},
	{
		function:     "net_ctl_permissions",
		capabilities: caps{capability.NetAdmin}, classes: []Class{Irrelevant, Required, Soft}, proof: "workload network-sysctl",
		without: "users other than the host's root cannot write /proc/sys/net/*; reading fails only for a few secrets",
	},
	{
		function:     "pid_table_root_permissions",
		capabilities: caps{capability.SysAdmin}, classes: []Class{Irrelevant, Required}, proof: "workload read-pid-max",
		without: "users other than root cannot write kernel.pid_max; all users may read it",
	},
	{
		function:     "ipc_permissions",
		capabilities: caps{capability.CheckpointRestore, capability.SysAdmin}, classes: []Class{Irrelevant, Required}, proof: "row writing msg_next_id",
		without: "/proc/sys/kernel/*_next_id cannot be written; reading them never fails",
	},
	{
		function:     "__set_oom_adj",
		capabilities: caps{capability.SysResource}, classes: []Class{Irrelevant}, proof: "row oom_score_adj, the mark",
		without: "the lowest oom_score_adj that a process without the capability may set stays the same. Lowering oom_score_adj itself is an audited check",
	},
	{
		function:     "simple_xattr_list",
		capabilities: caps{capability.SysAdmin}, classes: []Class{Irrelevant}, proof: "workload listxattr",
		without: "names of trusted.* attributes are hidden on tmpfs, sysfs and cgroupfs",
	},
	{
		function: "ovl_can_list", callers: []string{"ovl_listxattr"},
		capabilities: caps{capability.SysAdmin}, classes: []Class{Irrelevant}, proof: "row ls -l on overlayfs",
		without: "names of trusted.* attributes are hidden on overlayfs",
	},
	{
		function:     "__vsock_create",
		capabilities: caps{capability.NetAdmin}, classes: []Class{Soft}, proof: "row vsock",
		without: "the socket is not marked as trusted",
	},
	{
		function:     "kallsyms_show_value",
		capabilities: caps{capability.Syslog}, classes: []Class{Soft}, proof: "row /proc/kallsyms",
		without: "kernel addresses read as 0",
	},
	{
		function:     "restricted_pointer",
		capabilities: caps{capability.Syslog}, classes: []Class{Soft},
		without: "kernel addresses read as 0",
	},
	{
		function:     "xfs_setattr_nonsize",
		capabilities: caps{capability.Fowner}, classes: []Class{Irrelevant}, proof: "TestXFSAddsNoNeeds",
		without: "the new owner's quotas on XFS apply",
	},
	{
		function: "xfs_ioctl_setattr_get_trans", callers: []string{"xfs_fileattr_set"},
		capabilities: caps{capability.Fowner}, classes: []Class{Irrelevant}, proof: "row chattr on XFS",
		without: "the new project's quotas on XFS apply",
	},
	{
		function:     "xfs_getfsmap",
		capabilities: caps{capability.SysAdmin}, classes: []Class{Soft}, proof: "row where files are on XFS",
		without: "GETFSMAP reports less",
	},
	{
		function: "ignore_hardlimit", callers: []string{"dquot_add_space", "dquot_add_inodes"},
		capabilities: caps{capability.SysResource}, classes: []Class{Soft}, proof: "row a quota",
		without: "quotas apply; checked only near the limit, without an audit record in 7.3",
	},
	{
		function: "sys_fanotify_init", callers: []string{"__do_sys_fanotify_init"},
		capabilities: caps{capability.SysAdmin}, classes: []Class{Required}, proof: "row fanotify",
		without: "groups that report files only by handle have lower limits and no marks on mounts; other groups fail (EPERM)",
	},
	{
		function: "af_alg_capable", callers: []string{"af_alg_check_restriction"},
		capabilities: caps{capability.NetAdmin}, classes: []Class{Required}, proof: "TestTheWideCapabilityIsAnAlternative",
		without: "if SYS_ADMIN is also missing, some algorithms of AF_ALG sockets are not found (ENOENT), in 7.3",
	},
	{
		function: "build_bhb_mitigation", callers: []string{"do_jit", "emit_spectre_bhb_barrier", "bpf_int_jit_compile"},
		capabilities: caps{capability.SysAdmin}, classes: []Class{Irrelevant}, proof: "row compiling a filter",
		without: "a compiled filter is hardened; x86 makes the check in do_jit",
	},
	{
		function: "ima_match_rules", callers: []string{"ima_match_policy"},
		capabilities: caps{capability.Setuid, capability.Setgid}, classes: []Class{Irrelevant}, proof: "row IMA",
		without: "other rules of the integrity policy match",
	},
	{
		function: "has_cap_mac_admin", callers: []string{"selinux_inode_getsecurity", "selinux_inode_setxattr"},
		capabilities: caps{capability.MacAdmin}, classes: []Class{Irrelevant, Required}, proof: "row SELinux",
		without: "a label that SELinux's policy does not know reads as unlabeled (`irrelevant`) and cannot be set (`required`, audited)",
	},
	{
		function: "aa_change_profile", callers: []string{"priv_restricted_transition"},
		capabilities: caps{capability.MacOverride}, classes: []Class{Soft}, proof: "row another AppArmor profile",
		without: "a change from the unconfined AppArmor profile stacks the new profile on it, if " +
			"kernel.apparmor_restrict_unprivileged_unconfined is 1",
	},
	{
		function: "is_profile_priv_restricted_to_stack", callers: []string{"priv_restricted_transition"},
		capabilities: caps{capability.MacOverride}, classes: []Class{Soft},
		without: "as aa_change_profile, in 7.3",
	},
	{
		function:     "cap_bprm_creds_from_file",
		capabilities: caps{capability.SysPtrace}, classes: []Class{OtherCredential},
		otherTask: true, without: "the check uses the tracer's credential: without the capability, a set-user-ID program that it traces runs as its caller",
	},
	{
		function:     "__sys_setuid",
		capabilities: caps{capability.Setuid}, classes: []Class{Required}, proof: "workload setuid-0",
		without: "the call fails (EPERM); `redundant` or `soft` by the condition above",
	},
	{
		function:     "__sys_setgid",
		capabilities: caps{capability.Setgid}, classes: []Class{Required}, proof: "workload setgid-0",
		without: "the call fails (EPERM); `redundant` or `soft` by the condition above",
	},
	{
		function:     "__sys_setreuid",
		capabilities: caps{capability.Setuid}, classes: []Class{Required}, proof: "row setreuid",
		without: "the call fails (EPERM); checked only after the present IDs were compared",
	},
	{
		function:     "__sys_setresuid",
		capabilities: caps{capability.Setuid}, classes: []Class{Required},
		without: "the call fails (EPERM); checked only after the present IDs were compared",
	},
	{
		function:     "__sys_setregid",
		capabilities: caps{capability.Setgid}, classes: []Class{Required},
		without: "the call fails (EPERM); checked only after the present IDs were compared",
	},
	{
		function:     "__sys_setresgid",
		capabilities: caps{capability.Setgid}, classes: []Class{Required},
		without: "the call fails (EPERM); checked only after the present IDs were compared",
	},
	{
		function:     "__sys_setfsuid",
		capabilities: caps{capability.Setuid}, classes: []Class{Soft}, proof: "workload setfsuid-other",
		without: "the file system user ID keeps its old value",
	},
	{
		function:     "__sys_setfsgid",
		capabilities: caps{capability.Setgid}, classes: []Class{Soft}, proof: "row setfsgid",
		without: "the file system group ID keeps its old value",
	},
	{
		function: "may_setgroups", callers: []string{"__do_sys_setgroups"},
		capabilities: caps{capability.Setgid}, classes: []Class{Required}, proof: "workload setgroups",
		without: "setgroups fails (EPERM)",
	},
}

// policyOnly are functions that check the policy of a security module without an audit record. They read no credential,
// so the capabilities that a container is granted do not matter.
var policyOnly = map[string]string{
	"aa_task_setrlimit":          "AppArmor's profile",
	"selinux_vm_enough_memory":   "SELinux's policy",
	"safesetid_security_capable": "SafeSetID's policy",
}

// samples returns granted checks that the function makes: by root and other users, for reading and writing.
func (u unaudited) samples(t *testing.T) []monitor.Check {
	var checks []monitor.Check
	callers := u.callers
	if len(callers) == 0 {
		callers = []string{"its caller"}
	}
	for _, caller := range callers {
		for _, c := range u.capabilities {
			for _, root := range []bool{true, false} {
				for _, flags := range []uint64{unix.O_RDONLY, unix.O_WRONLY} {
					check := granted(c, "security_capable", "has_capability_noaudit", u.function, caller)
					check.HostRoot = root
					check.Call = call(t, syscalls.NativeArch(), "openat")
					check.Call.HasArgs, check.Call.Args[2] = true, flags
					if u.otherTask {
						check.Credential = monitor.OtherCredential
					}
					checks = append(checks, check)
				}
			}
		}
	}
	return checks
}

func TestUnauditedCallersHaveTheirClasses(t *testing.T) {
	for _, u := range unauditedCallers {
		classes := make(map[Class]bool)
		for _, check := range u.samples(t) {
			classes[Classify(check).Class] = true
		}
		if got := slices.Sorted(maps.Keys(classes)); !slices.Equal(got, u.classes) {
			t.Errorf("%s: got %v, want %v", u.function, got, u.classes)
		}
	}
}

// The sources of the kernels have more functions than their binaries: functions of other architectures and
// configurations, and functions that compilers inline into others.
func TestTableHasAllUnauditedFunctionsOfTheSources(t *testing.T) {
	paths, err := filepath.Glob("testdata/unaudited-*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no functions of the sources: %v", err)
	}
	unauditedChecks, reads := make(map[string]bool), make(map[string]bool)
	for _, path := range paths {
		for line := range strings.Lines(string(read(t, path))) {
			fields := strings.Fields(line)
			functions := map[string]map[string]bool{"checks": unauditedChecks, "reads": reads}[fields[0]]
			functions[fields[2]] = true
		}
	}
	listed := make(map[string]bool)
	for _, u := range unauditedCallers {
		listed[u.function] = true
	}
	for function := range policyOnly {
		listed[function] = true
	}
	compareKeys(t, "checks", unauditedChecks, listed)
	listed = make(map[string]bool)
	for _, r := range setReaders {
		listed[r.function] = true
	}
	compareKeys(t, "reads", reads, listed)
}

func compareKeys(t *testing.T, what string, got, want map[string]bool) {
	t.Helper()
	for function := range got {
		if !want[function] {
			t.Errorf("%s %s in a kernel's source, but the table lacks it", function, what)
		}
	}
	for function := range want {
		if !got[function] {
			t.Errorf("%s %s in no kernel's source: scripts/unaudited.sh did not print it", function, what)
		}
	}
}

// checkFunctions are the functions that check a capability, with the index of the argument that is the capability.
// ptraceMode are the functions whose second argument determines whether the check is audited.
var (
	checkFunctions = map[string]int{
		"has_capability_noaudit": 1, "has_ns_capability_noaudit": 2, "ns_capable_noaudit": 1, "capable_noaudit": 0,
		"ns_capable_setid": 1, "security_capable": 2, "cap_capable": 2,
	}
	ofPtrace   = []string{"ptracer_capable", "ptrace_has_cap"}
	ptraceMode = []string{"ptrace_may_access", "__ptrace_may_access", "mm_access", "proc_mem_open"}
)

// A new kernel version may have new unaudited checks. This test does not see calls through pointers, functions that
// read a set of a credential, and modes of ptrace_may_access that are not constant.
func TestTableHasAllUnauditedFunctionsOfTheKernels(t *testing.T) {
	callees := slices.Concat(slices.Collect(maps.Keys(checkFunctions)), ofPtrace, ptraceMode)
	for _, guest := range kernelGuests(t) {
		t.Run(guest, func(t *testing.T) {
			t.Parallel()
			calls, err := kernelimage.Calls(vm(t, "kernel", guest), callees)
			if err != nil {
				t.Fatal(err)
			}
			expectKnownCalls(t, calls)
			for _, call := range calls {
				if c, ok := unauditedCheck(call); ok && !inTable(call.Caller, c) {
					t.Errorf("%s %s calls %s for capability %d, but the table lacks it", call.Module, call.Caller, call.Callee, c)
				}
			}
		})
	}
}

// expectKnownCalls fails unless calls contains two that all kernels have: one in the kernel image and one in a module.
func expectKnownCalls(t *testing.T, calls []kernelimage.Call) {
	t.Helper()
	for _, known := range []struct {
		caller, module string
		capability     capability.Capability
	}{
		{"net_ctl_permissions", "", capability.NetAdmin},
		{"xfs_setattr_nonsize", "xfs", capability.Fowner},
	} {
		if !slices.ContainsFunc(calls, func(call kernelimage.Call) bool {
			c, ok := unauditedCheck(call)
			return ok && call.Caller == known.caller && call.Module == known.module && c == int(known.capability)
		}) {
			t.Errorf("the unaudited check in %s was not found", known.caller)
		}
	}
}

// unauditedCheck reports whether a call checks a capability without an audit record or for set*id. It also returns the
// capability, or kernelimage.Unknown if that is not a constant.
func unauditedCheck(call kernelimage.Call) (int, bool) {
	if site, _ := kernel.CallSite([]string{call.Caller, "its caller"}); site != call.Caller {
		return 0, false // its callers make the check
	}
	const noAudit = 0x04 // PTRACE_MODE_NOAUDIT, include/linux/ptrace.h
	switch {
	case slices.Contains(ofPtrace, call.Callee):
		return int(capability.SysPtrace), true
	case slices.Contains(ptraceMode, call.Callee):
		mode := call.Args[1]
		return int(capability.SysPtrace), mode != kernelimage.Unknown && mode&noAudit != 0
	case (call.Callee == "security_capable" || call.Callee == "cap_capable") && call.Args[3] == 0:
		return 0, false // audited
	}
	return call.Args[checkFunctions[call.Callee]], true
}

func inTable(caller string, c int) bool {
	return slices.ContainsFunc(unauditedCallers, func(u unaudited) bool {
		return (u.function == caller || slices.Contains(u.callers, caller)) &&
			(c == kernelimage.Unknown || slices.Contains(u.capabilities, capability.Capability(c)))
	})
}

// kernelGuests returns the guests with different x86-64 kernels of versions that capmon supports.
func kernelGuests(t *testing.T) []string {
	t.Helper()
	var guests []string
	for _, guest := range strings.Fields(vm(t, "guests")) {
		if !strings.Contains(guest, "-") && guest != "5.10" {
			guests = append(guests, guest)
		}
	}
	if len(guests) < 4 {
		t.Errorf("only the guests %v have kernels", guests)
	}
	return guests
}

// vm runs vm.sh, which downloads the files that it needs.
func vm(t *testing.T, args ...string) string {
	t.Helper()
	var stderr strings.Builder
	command := exec.Command("../../scripts/vm.sh", args...)
	command.Stderr = &stderr
	output, err := command.Output()
	if err != nil {
		t.Fatalf("vm.sh %v: %v\n%s", args, err, stderr.String())
	}
	return strings.TrimSpace(string(output))
}

var update = flag.Bool("update", false, "write the table of docs/classification.md")

// TestDocsHaveTheTable compares the table with the one in the docs. With -update, it writes the table to the docs.
func TestDocsHaveTheTable(t *testing.T) {
	const path, begin, end = "../../docs/classification.md", "<!-- table of internal/classify -->\n", "<!-- end of the table -->\n"
	text := string(read(t, path))
	before, rest, ok := strings.Cut(text, begin)
	_, after, ended := strings.Cut(rest, end)
	if !ok || !ended {
		t.Fatalf("%s has no markers for the table", path)
	}
	want := before + begin + table() + end + after
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if text != want {
		t.Errorf("%s has another table: run go test ./internal/classify -run TestDocs -update", path)
	}
}

func table() string {
	var b strings.Builder
	b.WriteString("\n| kernel function | capability | class | effect if the capability is missing | shown by |\n| --- | --- | --- | --- | --- |\n")
	for _, u := range unauditedCallers {
		var names, classes []string
		for _, c := range u.capabilities {
			names = append(names, c.String())
		}
		for _, class := range u.classes {
			classes = append(classes, fmt.Sprintf("`%s`", class))
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", u.function, strings.Join(names, ", "), strings.Join(classes, ", "), u.without, shown(u.proof))
	}
	for _, r := range setReaders {
		class := "not listed"
		if r.class != "" {
			class = fmt.Sprintf("`%s`", r.class)
		}
		fmt.Fprintf(&b, "| `%s` | reads the sets | %s | %s | %s |\n", r.function, class, r.without, shown(r.proof))
	}
	b.WriteString("\n")
	return b.String()
}

func shown(proof string) string {
	if proof == "" {
		return "source"
	}
	return proof
}

// TestProofsExist fails if the table names a test that does not exist.
func TestProofsExist(t *testing.T) {
	workloads, rows := string(read(t, "../../test/e2e/workload_test.go")), string(read(t, "table_test.go"))
	var functions strings.Builder
	for _, pattern := range []string{"*_test.go", "../../test/e2e/*_test.go"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			functions.Write(read(t, path))
		}
	}
	var proofs []string
	for _, u := range unauditedCallers {
		proofs = append(proofs, u.proof)
	}
	for _, r := range setReaders {
		proofs = append(proofs, r.proof)
	}
	for _, proof := range proofs {
		kind, name, _ := strings.Cut(proof, " ")
		exists := proof == "" || strings.Contains(functions.String(), "func "+kind+"(")
		switch kind {
		case "workload":
			exists = strings.Contains(workloads, fmt.Sprintf("name: %q", name))
		case "row":
			exists = strings.Contains(rows, fmt.Sprintf("{%q, capability.", name))
		}
		if !exists {
			t.Errorf("there is no %s", proof)
		}
	}
}
