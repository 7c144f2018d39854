package classify

import (
	"slices"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/monitor"
)

// Row says what a check at certain places in the kernel means. Class Required
// marks a place where the kernel looks at something else after a refusal that
// capmon does not evaluate: Reason then says what, and the verdict is unsure.
type Row struct {
	// Functions are kernel functions, one of which is among those that asked. Which
	// of them survives inlining differs by compiler, hence more than one.
	Functions []string
	// Capabilities asked for; none means any.
	Capabilities []capability.Capability
	// When narrows the row down by the rest of the check; nil means always.
	When   func(monitor.Check) bool
	Class  Class
	Reason string
	// Source is where in the kernel it can be read.
	Source string
}

// Rows lists every place whose checks are not simply required. The first row
// that matches decides; a place in none counts as required, since one capability
// too many is better than one too few.
func Rows() []Row { return rows }

func find(check monitor.Check) (Row, bool) {
	for _, row := range rows {
		if row.matches(check) {
			return row, true
		}
	}
	return Row{}, false
}

func (r Row) matches(check monitor.Check) bool {
	if len(r.Capabilities) > 0 && !slices.Contains(r.Capabilities, check.Capability) {
		return false
	}
	if len(r.Functions) > 0 && !slices.ContainsFunc(check.Stack, func(f string) bool { return slices.Contains(r.Functions, f) }) {
		return false
	}
	return r.When == nil || r.When(check)
}

type caps = []capability.Capability

var rows = []Row{
	// What nobody can observe.
	{
		Functions:    []string{"security_vm_enough_memory_mm", "cap_vm_enough_memory", "__vm_enough_memory"},
		Capabilities: caps{capability.SysAdmin},
		Class:        Irrelevant,
		Reason:       "asked on every change of memory size; read only where overcommit_memory is 2, for a small reserve",
		Source:       "cap_vm_enough_memory, security/commoncap.c; __vm_enough_memory, mm/util.c",
	},
	{
		Functions:    []string{"bpf_int_jit_compile", "do_jit", "emit_spectre_bhb_barrier"},
		Capabilities: caps{capability.SysAdmin},
		Class:        Irrelevant,
		Reason:       "decides whether a hardening sequence is left out of a compiled filter",
		Source:       "arch/x86/net/bpf_jit_comp.c, arch/arm64/net/bpf_jit_comp.c (also in stable series since 2025)",
	},
	{
		Functions:    []string{"net_ctl_permissions"},
		Capabilities: caps{capability.NetAdmin},
		When:         func(c monitor.Check) bool { return c.Root },
		Class:        Irrelevant,
		Reason:       "only gives others the rights of the host's root to a network sysctl",
		Source:       "net_ctl_permissions, net/sysctl_net.c; test_perm, fs/proc/proc_sysctl.c",
	},
	{
		Functions:    []string{"set_permissions"},
		Capabilities: caps{capability.SysResource},
		When:         opensForReading,
		Class:        Irrelevant,
		Reason:       "decides whether a sysctl below /proc/sys/user may be written; it was read",
		Source:       "set_permissions, kernel/ucount.c",
	},
	{
		Functions:    []string{"ipc_permissions"},
		Capabilities: caps{capability.CheckpointRestore, capability.SysAdmin},
		When:         opensForReading,
		Class:        Irrelevant,
		Reason:       "decides whether a *_next_id sysctl may be written; it was read",
		Source:       "ipc_permissions, ipc/ipc_sysctl.c",
	},
	{
		Functions:    []string{"simple_xattr_list", "ovl_can_list", "ovl_listxattr"},
		Capabilities: caps{capability.SysAdmin},
		Class:        Irrelevant,
		Reason:       "hides names of trusted.* attributes, which cannot be read without the capability either",
		Source:       "simple_xattr_list, fs/xattr.c; ovl_can_list, fs/overlayfs/xattrs.c",
	},
	{
		Functions:    []string{"has_capability_noaudit"},
		Capabilities: caps{capability.SysResource},
		When:         func(c monitor.Check) bool { return asked(c, "__set_oom_adj", "oom_score_adj_write") },
		Class:        Irrelevant,
		Reason:       "resets the lowest oom_score_adj that others may set; lowering one's own is asked for apart",
		Source:       "__set_oom_adj, fs/proc/base.c",
	},
	{
		Functions:    []string{"dev_load", "tcp_ca_find_autoload", "__tcp_ulp_find_autoload"},
		Capabilities: caps{capability.NetAdmin, capability.SysModule},
		Class:        Irrelevant,
		Reason:       "decides only whether the kernel tries to load a module",
		Source:       "dev_load, net/core/dev_ioctl.c; tcp_ca_find_autoload, net/ipv4/tcp_cong.c; net/ipv4/tcp_ulp.c",
	},
	{
		Functions: []string{"ima_match_rules", "ima_match_policy"},
		Class:     Irrelevant,
		Reason:    "integrity measurement compares the credential with its rules",
		Source:    "ima_match_rules, security/integrity/ima/ima_policy.c",
	},
	{
		Functions:    []string{"selinux_inode_getsecurity"},
		Capabilities: caps{capability.MacAdmin},
		Class:        Irrelevant,
		Reason:       "decides whether an invalid label is shown raw",
		Source:       "selinux_inode_getsecurity, security/selinux/hooks.c",
	},

	// What changes a result without an error.
	{
		Capabilities: caps{capability.Fsetid},
		Class:        Soft,
		Reason:       "without it set-user-ID and set-group-ID bits would be cleared",
		Source:       "setattr_prepare and setattr_should_drop_suidgid, fs/attr.c; mode_strip_sgid, fs/inode.c",
	},
	{
		Functions:    []string{"do_task_stat"},
		Capabilities: caps{capability.SysPtrace},
		Class:        Soft,
		Reason:       "without it some fields of /proc/PID/stat of others' processes read as 0",
		Source:       "do_task_stat, fs/proc/array.c",
	},
	{
		Functions:    []string{"kallsyms_show_value"},
		Capabilities: caps{capability.Syslog},
		Class:        Soft,
		Reason:       "without it kernel addresses read as 0",
		Source:       "kallsyms_show_value, kernel/ksyms_common.c",
	},
	{
		Functions:    []string{"io_uring_create", "io_uring_setup"},
		Capabilities: caps{capability.IPCLock},
		Class:        Soft,
		Reason:       "without it the ring's memory counts towards RLIMIT_MEMLOCK",
		Source:       "io_uring_create, io_uring/io_uring.c",
	},
	{
		Functions:    []string{"__vsock_create", "vsock_create"},
		Capabilities: caps{capability.NetAdmin},
		Class:        Soft,
		Reason:       "without it the socket is not marked as trusted",
		Source:       "__vsock_create, net/vmw_vsock/af_vsock.c",
	},
	{
		Functions: []string{"inet_diag_dump_icsk", "inet_diag_dump_one_icsk", "inet_sk_diag_fill", "inet_diag_handler_cmd",
			"udp_dump", "udp_dump_one", "raw_diag_dump", "raw_diag_dump_one", "inet_csk_diag_dump", "sk_diag_fill"},
		Capabilities: caps{capability.NetAdmin},
		Class:        Soft,
		Reason:       "without it socket listings leave out marks and cgroups",
		Source:       "net/ipv4/inet_diag.c, net/ipv4/udp_diag.c, net/ipv4/raw_diag.c",
	},
	{
		Functions:    []string{"ext4_has_free_clusters", "ext4_claim_free_clusters", "ext2_has_free_blocks", "ignore_hardlimit", "dquot_add_space", "dquot_add_inodes"},
		Capabilities: caps{capability.SysResource},
		Class:        Soft,
		Reason:       "without it reserved blocks and quotas bind; asked only near the limit",
		Source:       "ext4_has_free_clusters, fs/ext4/balloc.c; ignore_hardlimit, fs/quota/dquot.c",
	},
	{
		Functions:    []string{"net_ctl_permissions"},
		Capabilities: caps{capability.NetAdmin},
		When:         opensForReading,
		Class:        Soft,
		Reason:       "gives a non-owner the owner's rights to a network sysctl",
		Source:       "net_ctl_permissions, net/sysctl_net.c",
	},

	{
		Functions:    []string{"would_dump"},
		Capabilities: caps{capability.DACReadSearch, capability.DACOverride},
		Class:        Soft,
		Reason:       "without it a program that its user may run but not read leaves no core dump and hides its /proc/PID",
		Source:       "would_dump, fs/exec.c",
	},

	// Where something else is looked at after a refusal, not evaluated here.
	{
		Functions:    []string{"do_mmap", "mlock_future_ok", "mm_account_pinned_pages", "__account_locked_vm", "ksys_shmctl", "shmctl_do_lock"},
		Capabilities: caps{capability.IPCLock},
		Class:        Required,
		Reason:       "needed only beyond RLIMIT_MEMLOCK, which the kernel looks at afterwards",
		Source:       "mlock_future_ok, mm/mmap.c; mm_account_pinned_pages, net/core/skbuff.c; ipc/shm.c",
	},
	{
		Functions:    []string{"mqueue_get_inode"},
		Capabilities: caps{capability.SysResource},
		Class:        Required,
		Reason:       "needed only for queues larger than fs.mqueue's limits, which the kernel looks at afterwards",
		Source:       "mqueue_get_inode, ipc/mqueue.c",
	},
}

func asked(check monitor.Check, functions ...string) bool {
	return slices.ContainsFunc(check.Stack, func(f string) bool { return slices.Contains(functions, f) })
}

// opensForReading reports whether the check was made by an open that asks for no
// more than reading, or by a call that opens nothing (stat and the like).
func opensForReading(check monitor.Check) bool {
	var flags uint64
	switch check.Call.Name() {
	case "open":
		flags = check.Call.Args[1]
	case "openat":
		flags = check.Call.Args[2]
	case "openat2", "creat", "io_uring_enter", "access", "faccessat", "faccessat2", "truncate", "truncate64", "":
		return false // may ask for writing, which is not recorded
	default:
		return true
	}
	// Arguments of 32-bit calls are not recorded. O_TRUNC asks for writing whatever
	// the access mode (build_open_flags, fs/open.c).
	return check.Call.HasArgs && flags&(unix.O_ACCMODE|unix.O_TRUNC) == unix.O_RDONLY
}
