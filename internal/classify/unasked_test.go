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

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/internal/kernelimage"
	"github.com/capmon/capmon/monitor"
)

// unaudited is a kernel function that checks a capability without an audit record, or for set*id.
// An audited check in no row is required. Of an unaudited one the kernel's authors say that a
// refusal is normal: so each has to be here, with the class that capmon gives it.
type unaudited struct {
	function     string
	capabilities caps
	// classes of a granted check, for root and others, reading and writing.
	classes []Class
	without string // what an absent capability changes
	proof   string // "workload NAME" or a test of a command, "row NAME" of TestEachRowMatchesWhatItIsAbout
	// in are functions that compilers build this one into, or that call it.
	in        []string
	ofAnother bool // the credential asked is another task's
}

var unauditedCallers = []unaudited{
	{
		function: "cap_vm_enough_memory", in: []string{"security_vm_enough_memory_mm", "__vm_enough_memory"},
		capabilities: caps{capability.SysAdmin}, classes: []Class{Irrelevant}, proof: "workload forks",
		without: "with vm.overcommit_memory=2 the last admin_reserve_kbytes are not available; nothing otherwise",
	},
	{
		function: "seccomp_prepare_filter", in: []string{"do_seccomp", "seccomp_set_mode_filter"},
		capabilities: caps{capability.SysAdmin}, classes: []Class{Required}, proof: "workload seccomp-filter",
		without: "a seccomp filter is refused (EACCES); asked only if no_new_privs is not set",
	},
	{
		function: "sys_landlock_restrict_self", in: []string{"__do_sys_landlock_restrict_self", "__x64_sys_landlock_restrict_self", "__ia32_sys_landlock_restrict_self"},
		capabilities: caps{capability.SysAdmin}, classes: []Class{Required},
		without: "a Landlock domain is refused (EPERM); asked only if no_new_privs is not set",
	},
	{
		function: "io_register_restrictions_task", in: []string{"io_uring_register_blind"},
		capabilities: caps{capability.SysAdmin}, classes: []Class{Required},
		without: "io_uring restrictions of the task are refused (EACCES); asked only if no_new_privs is not set",
	},
	{
		function: "io_register_bpf_filter_task", in: []string{"io_uring_register_blind"},
		capabilities: caps{capability.SysAdmin}, classes: []Class{Required},
		without: "an io_uring filter of the task is refused (EACCES); asked only if no_new_privs is not set",
	},
	{
		function: "io_uring_create", in: []string{"io_uring_setup"},
		capabilities: caps{capability.IPCLock}, classes: []Class{Soft}, proof: "workload io-uring",
		without: "registered buffers count towards RLIMIT_MEMLOCK; `redundant` if that is unlimited",
	},
	{
		function:     "do_task_stat",
		capabilities: caps{capability.SysPtrace}, classes: []Class{Soft}, proof: "row ps",
		without: "some fields of /proc/PID/stat of other users' processes read as 0",
	},
	{
		function: "ptrace_has_cap", in: []string{"__ptrace_may_access"},
		capabilities: caps{capability.SysPtrace}, classes: []Class{Required}, proof: "row strace",
		without: "access to another process is refused (EPERM or EACCES). Silent only for do_task_stat, above",
	},
	{
		function: "ptrace_access_vm", in: []string{"generic_ptrace_peekdata", "generic_ptrace_pokedata", "ptracer_access_allowed", "access_remote_tags"},
		capabilities: caps{capability.SysPtrace}, classes: []Class{Required},
		without: "PTRACE_PEEKDATA and the like fail on a process that is not dumpable (EIO)",
	},
	{
		function: "ptracer_access_allowed", in: []string{"ptrace_access_vm"},
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
		in:           []string{"__do_sys_statmount"},
		capabilities: caps{capability.SysAdmin}, classes: []Class{Required},
		without: "statmount of a mount that cannot be reached from the root directory is refused (EPERM)",
	},
	{
		function:     "sys_statmount",
		in:           []string{"__do_sys_statmount"},
		capabilities: caps{capability.SysAdmin}, classes: []Class{Required},
		without: "statmount in another mount namespace is refused (EPERM)",
	},
	{
		function:     "do_listmount",
		in:           []string{"__do_sys_listmount"},
		capabilities: caps{capability.SysAdmin}, classes: []Class{Required},
		without: "listmount of a mount that cannot be reached from the root directory is refused (EPERM)",
	},
	{
		function:     "sys_listmount",
		in:           []string{"__do_sys_listmount"},
		capabilities: caps{capability.SysAdmin}, classes: []Class{Required},
		without: "listmount in another mount namespace is refused (ENOENT or EPERM)",
	},
	{
		function: "get_sequential_mnt_ns", in: []string{"__lookup_next_mnt_ns"},
		capabilities: caps{capability.SysAdmin}, classes: []Class{Soft}, proof: "row the next mount namespace",
		without: "NS_MNT_GET_NEXT passes over the mount namespaces of others",
	},
	{
		function:     "__lookup_next_mnt_ns",
		capabilities: caps{capability.SysAdmin}, classes: []Class{Soft}, proof: "row the next mount namespace",
		without: "as get_sequential_mnt_ns, in 6.12",
	},
	{
		function: "may_see_all_namespaces", in: []string{"ns_ioctl"},
		capabilities: caps{capability.SysAdmin}, classes: []Class{Required},
		without: "NS_MNT_GET_NEXT, NS_MNT_GET_PREV and handles of others' namespaces are refused (EPERM), listns leaves others' out; " +
			"asked only in the host's PID namespace",
	},
	{
		function:     "set_permissions",
		capabilities: caps{capability.SysResource}, classes: []Class{Irrelevant, Required}, proof: "row reading a user limit",
		without: "/proc/sys/user/* cannot be written; reading them never fails",
	},
	{
		function:     "net_ctl_permissions",
		capabilities: caps{capability.NetAdmin}, classes: []Class{Irrelevant, Required, Soft}, proof: "workload network-sysctl",
		without: "others than the host's root cannot write /proc/sys/net/*; reading fails for a few secrets only",
	},
	{
		function:     "pid_table_root_permissions",
		capabilities: caps{capability.SysAdmin}, classes: []Class{Irrelevant, Required}, proof: "workload read-pid-max",
		without: "others than root cannot write kernel.pid_max; all may read it",
	},
	{
		function:     "ipc_permissions",
		capabilities: caps{capability.CheckpointRestore, capability.SysAdmin}, classes: []Class{Irrelevant, Required}, proof: "row writing msg_next_id",
		without: "/proc/sys/kernel/*_next_id cannot be written; reading them never fails",
	},
	{
		function:     "__set_oom_adj",
		capabilities: caps{capability.SysResource}, classes: []Class{Irrelevant}, proof: "row oom_score_adj, the mark",
		without: "the lowest oom_score_adj that others may set stays. Whether one may lower one's own is an audited check",
	},
	{
		function:     "simple_xattr_list",
		capabilities: caps{capability.SysAdmin}, classes: []Class{Irrelevant}, proof: "workload listxattr",
		without: "names of trusted.* attributes are hidden on tmpfs, sysfs and cgroupfs",
	},
	{
		function: "ovl_can_list", in: []string{"ovl_listxattr"},
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
		capabilities: caps{capability.Fowner}, classes: []Class{Irrelevant}, proof: "TestChangesOnXFSNeedWhatTheyNeedElsewhere",
		without: "quotas of XFS bind the new owner",
	},
	{
		function: "xfs_ioctl_setattr_get_trans", in: []string{"xfs_fileattr_set"},
		capabilities: caps{capability.Fowner}, classes: []Class{Irrelevant}, proof: "row chattr on XFS",
		without: "quotas of XFS bind the new project",
	},
	{
		function:     "xfs_getfsmap",
		capabilities: caps{capability.SysAdmin}, classes: []Class{Soft}, proof: "row where files are on XFS",
		without: "GETFSMAP reports less",
	},
	{
		function: "ignore_hardlimit", in: []string{"dquot_add_space", "dquot_add_inodes"},
		capabilities: caps{capability.SysResource}, classes: []Class{Soft}, proof: "row a quota",
		without: "quotas bind; asked only near the limit, without an audit record in 7.3",
	},
	{
		function: "sys_fanotify_init", in: []string{"__do_sys_fanotify_init"},
		capabilities: caps{capability.SysAdmin}, classes: []Class{Required}, proof: "row fanotify",
		without: "groups that report files by handle only have lower limits and no marks on mounts; others are refused (EPERM)",
	},
	{
		function: "af_alg_capable", in: []string{"af_alg_check_restriction"},
		capabilities: caps{capability.NetAdmin}, classes: []Class{Required}, proof: "TestTheWiderOfTwoIsAnAlternative",
		without: "without SYS_ADMIN, too, some algorithms of AF_ALG sockets are not found (ENOENT), in 7.3",
	},
	{
		function: "build_bhb_mitigation", in: []string{"do_jit", "emit_spectre_bhb_barrier", "bpf_int_jit_compile"},
		capabilities: caps{capability.SysAdmin}, classes: []Class{Irrelevant}, proof: "row compiling a filter",
		without: "a compiled filter is hardened; x86 asks in do_jit",
	},
	{
		function: "ima_match_rules", in: []string{"ima_match_policy"},
		capabilities: caps{capability.Setuid, capability.Setgid}, classes: []Class{Irrelevant}, proof: "row IMA",
		without: "other rules of the integrity policy match",
	},
	{
		function: "has_cap_mac_admin", in: []string{"selinux_inode_getsecurity", "selinux_inode_setxattr"},
		capabilities: caps{capability.MacAdmin}, classes: []Class{Irrelevant, Required}, proof: "row SELinux",
		without: "a label that SELinux' policy does not know reads as unlabeled (`irrelevant`) and cannot be set (`required`, audited)",
	},
	{
		function: "aa_change_profile", in: []string{"priv_restricted_transition"},
		capabilities: caps{capability.MacOverride}, classes: []Class{Soft}, proof: "row another AppArmor profile",
		without: "a change from the unconfined AppArmor profile stacks the new one on it, where " +
			"kernel.apparmor_restrict_unprivileged_unconfined is 1",
	},
	{
		function: "is_profile_priv_restricted_to_stack", in: []string{"priv_restricted_transition"},
		capabilities: caps{capability.MacOverride}, classes: []Class{Soft},
		without: "as aa_change_profile, in 7.3",
	},
	{
		function:     "cap_bprm_creds_from_file",
		capabilities: caps{capability.SysPtrace}, classes: []Class{OtherCredential},
		ofAnother: true, without: "the tracer is asked: without it a set-user-ID program that it traces runs as its caller",
	},
	{
		function:     "__sys_setuid",
		capabilities: caps{capability.Setuid}, classes: []Class{Required}, proof: "workload setuid-0",
		without: "refused (EPERM); `redundant` or `soft` by the condition above",
	},
	{
		function:     "__sys_setgid",
		capabilities: caps{capability.Setgid}, classes: []Class{Required}, proof: "workload setgid-0",
		without: "refused (EPERM); `redundant` or `soft` by the condition above",
	},
	{
		function:     "__sys_setreuid",
		capabilities: caps{capability.Setuid}, classes: []Class{Required}, proof: "row setreuid",
		without: "refused (EPERM); asked only after the present ids",
	},
	{
		function:     "__sys_setresuid",
		capabilities: caps{capability.Setuid}, classes: []Class{Required},
		without: "refused (EPERM); asked only after the present ids",
	},
	{
		function:     "__sys_setregid",
		capabilities: caps{capability.Setgid}, classes: []Class{Required},
		without: "refused (EPERM); asked only after the present ids",
	},
	{
		function:     "__sys_setresgid",
		capabilities: caps{capability.Setgid}, classes: []Class{Required},
		without: "refused (EPERM); asked only after the present ids",
	},
	{
		function:     "__sys_setfsuid",
		capabilities: caps{capability.Setuid}, classes: []Class{Soft}, proof: "workload setfsuid-other",
		without: "the file system user id stays what it is",
	},
	{
		function:     "__sys_setfsgid",
		capabilities: caps{capability.Setgid}, classes: []Class{Soft}, proof: "row setfsgid",
		without: "the file system group id stays what it is",
	},
	{
		function: "may_setgroups", in: []string{"__do_sys_setgroups"},
		capabilities: caps{capability.Setgid}, classes: []Class{Required}, proof: "workload setgroups",
		without: "setgroups is refused (EPERM)",
	},
}

// policyOnly are functions that ask a security module's policy without an audit record, but no
// credential: nothing that is granted to a container matters to them.
var policyOnly = map[string]string{
	"aa_task_setrlimit":          "AppArmor's profile",
	"selinux_vm_enough_memory":   "SELinux' policy",
	"safesetid_security_capable": "SafeSetID's policy",
}

// samples are granted checks that the function makes: of root and others, reading and writing.
func (u unaudited) samples(t *testing.T) []monitor.Check {
	var checks []monitor.Check
	callers := u.in
	if len(callers) == 0 {
		callers = []string{"its caller"}
	}
	for _, caller := range callers {
		for _, c := range u.capabilities {
			for _, root := range []bool{true, false} {
				for _, flags := range []uint64{unix.O_RDONLY, unix.O_WRONLY} {
					check := granted(c, "security_capable", "has_capability_noaudit", u.function, caller)
					check.Root = root
					check.Call = call(t, kernel.NativeArch(), "openat")
					check.Call.HasArgs, check.Call.Args[2] = true, flags
					if u.ofAnother {
						check.Subject = monitor.Other
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

// The sources of the kernels have more functions than any of their binaries: other architectures,
// other configurations, and those that compilers build into others.
func TestSourcesCheckNothingSilentlyThatTheTableLacks(t *testing.T) {
	paths, err := filepath.Glob("testdata/unasked-*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no functions of the sources: %v", err)
	}
	asks, reads := make(map[string]bool), make(map[string]bool)
	for _, path := range paths {
		for line := range strings.Lines(string(read(t, path))) {
			fields := strings.Fields(line)
			what := map[string]map[string]bool{"asks": asks, "reads": reads}[fields[0]]
			what[fields[2]] = true
		}
	}
	listed := make(map[string]bool)
	for _, u := range unauditedCallers {
		listed[u.function] = true
	}
	for function := range policyOnly {
		listed[function] = true
	}
	compareKeys(t, "asks", asks, listed)
	listed = make(map[string]bool)
	for _, r := range readers {
		listed[r.function] = true
	}
	compareKeys(t, "reads", reads, listed)
}

func compareKeys(t *testing.T, what string, got, want map[string]bool) {
	t.Helper()
	for function := range got {
		if !want[function] {
			t.Errorf("%s %s in a kernel's sources, but the table lacks it", function, what)
		}
	}
	for function := range want {
		if !got[function] {
			t.Errorf("%s %s in no kernel's sources: scripts/unasked.sh did not print it", function, what)
		}
	}
}

// checks are the functions that check a capability, and the index of the argument that says
// which; ptraceMode are those whose second argument says whether it is audited.
var (
	checks = map[string]int{
		"has_capability_noaudit": 1, "has_ns_capability_noaudit": 2, "ns_capable_noaudit": 1, "capable_noaudit": 0,
		"ns_capable_setid": 1, "security_capable": 2, "cap_capable": 2,
	}
	ofPtrace   = []string{"ptracer_capable", "ptrace_has_cap"}
	ptraceMode = []string{"ptrace_may_access", "__ptrace_may_access", "mm_access", "proc_mem_open"}
)

// A new kernel, or a new version of one, may check silently where none did before. What this test
// does not see: calls through pointers, functions that read a set of a credential, and modes of
// ptrace_may_access that are not constant.
func TestKernelsCheckNothingSilentlyThatTheTableLacks(t *testing.T) {
	callees := slices.Concat(slices.Collect(maps.Keys(checks)), ofPtrace, ptraceMode)
	for _, guest := range kernelGuests(t) {
		t.Run(guest, func(t *testing.T) {
			t.Parallel()
			calls, err := kernelimage.Calls(vm(t, "kernel", guest), callees)
			if err != nil {
				t.Fatal(err)
			}
			expectKnownCalls(t, calls)
			for _, call := range calls {
				if c, ok := silently(call); ok && !inTable(call.Caller, c) {
					t.Errorf("%s %s calls %s for capability %d, but the table lacks it", call.Module, call.Caller, call.Callee, c)
				}
			}
		})
	}
}

// expectKnownCalls fails if calls are not found that all kernels have: one in the kernel proper and
// one in a module.
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
			c, ok := silently(call)
			return ok && call.Caller == known.caller && call.Module == known.module && c == int(known.capability)
		}) {
			t.Errorf("the call of %s was not found", known.caller)
		}
	}
}

// silently tells whether a call checks a capability without an audit record or for set*id, and which:
// kernelimage.Unknown if that is no constant.
func silently(call kernelimage.Call) (int, bool) {
	if site, _ := kernel.CallSite([]string{call.Caller, "its caller"}); site != call.Caller {
		return 0, false // its callers count
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
	return call.Args[checks[call.Callee]], true
}

func inTable(caller string, c int) bool {
	return slices.ContainsFunc(unauditedCallers, func(u unaudited) bool {
		return (u.function == caller || slices.Contains(u.in, caller)) &&
			(c == kernelimage.Unknown || slices.Contains(u.capabilities, capability.Capability(c)))
	})
}

// kernelGuests are the guests that differ in their x86-64 kernels, of versions that capmon supports.
func kernelGuests(t *testing.T) []string {
	t.Helper()
	var guests []string
	for _, guest := range strings.Fields(vm(t, "guests")) {
		if !strings.Contains(guest, "-") && guest != "5.10" {
			guests = append(guests, guest)
		}
	}
	if len(guests) < 4 {
		t.Errorf("only the guests %v have kernels to read", guests)
	}
	return guests
}

// vm runs vm.sh, which fetches what it needs and does not have.
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

var update = flag.Bool("update", false, "write the table of docs/classification.md anew")

// TestDocsHaveTheTable compares the table with the one in the docs; go test -update writes it.
func TestDocsHaveTheTable(t *testing.T) {
	const path, begin, end = "../../docs/classification.md", "<!-- table of internal/classify -->\n", "<!-- end of the table -->\n"
	text := string(read(t, path))
	before, rest, ok := strings.Cut(text, begin)
	_, after, ended := strings.Cut(rest, end)
	if !ok || !ended {
		t.Fatalf("%s has no place for the table", path)
	}
	want := before + begin + table() + end + after
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if text != want {
		t.Errorf("%s has another table: go test ./internal/classify -run TestDocs -update writes it", path)
	}
}

func table() string {
	var b strings.Builder
	b.WriteString("\n| kernel function | capability | class | what an absent capability changes | shown by |\n| --- | --- | --- | --- | --- |\n")
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
	for _, r := range readers {
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

// TestProofsExist: a table that names tests which are gone would be worth nothing.
func TestProofsExist(t *testing.T) {
	workloads, rows := string(read(t, "../../cmd/capmon/workload_test.go")), string(read(t, "table_test.go"))
	var functions strings.Builder
	for _, pattern := range []string{"*_test.go", "../../cmd/capmon/*_test.go"} {
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
	for _, r := range readers {
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
