package classify

import (
	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/monitor"
)

// irrelevant has the call sites where the workload cannot observe the answer.
var irrelevant = []Row{
	{
		Functions:    []string{"security_vm_enough_memory_mm", "cap_vm_enough_memory", "__vm_enough_memory"},
		Capabilities: caps{capability.SysAdmin},
		Class:        Irrelevant,
		Reason:       "checked on every change of memory size; the answer matters only if vm.overcommit_memory is 2, for the last vm.admin_reserve_kbytes of memory",
		Source:       "cap_vm_enough_memory, security/commoncap.c; __vm_enough_memory, mm/util.c",
	},
	{
		Functions:    []string{"bpf_int_jit_compile", "do_jit", "emit_spectre_bhb_barrier", "bpf_jit_blind_constants"},
		Capabilities: caps{capability.SysAdmin, capability.BPF},
		Class:        Irrelevant,
		Reason:       "decides only whether the kernel omits hardening in a compiled filter",
		Source:       "arch/x86/net/bpf_jit_comp.c, arch/arm64/net/bpf_jit_comp.c (also in stable series since 2025); bpf_jit_blinding_enabled, include/linux/filter.h",
	},
	{
		Functions:    []string{"array_map_alloc"},
		Capabilities: caps{capability.Perfmon, capability.SysAdmin},
		Class:        Irrelevant,
		Reason:       "decides only whether the kernel pads an array against speculation",
		Source:       "bpf_bypass_spec_v1, include/linux/bpf.h; array_map_alloc, kernel/bpf/arraymap.c",
	},
	{
		Functions:    []string{"net_ctl_permissions"},
		Capabilities: caps{capability.NetAdmin},
		When:         func(c monitor.Check) bool { return c.HostRoot },
		Class:        Irrelevant,
		Reason:       "decides only whether users other than the host's root have root's rights to a network sysctl",
		Source:       "net_ctl_permissions, net/sysctl_net.c; test_perm, fs/proc/proc_sysctl.c",
	},
	{
		Functions:    []string{"net_ctl_permissions"},
		Capabilities: caps{capability.NetAdmin},
		When:         func(c monitor.Check) bool { return !c.Answer.Granted() && opensForReading(c) },
		Class:        Irrelevant,
		Reason:       "checked whenever a network sysctl is read; all users may read them, except for a few secrets",
		Source:       "net_ctl_permissions, net/sysctl_net.c; test_perm, fs/proc/proc_sysctl.c",
	},
	{
		Functions:    []string{"pid_table_root_permissions"},
		Capabilities: caps{capability.SysAdmin},
		When:         func(c monitor.Check) bool { return c.HostRoot || opensForReading(c) },
		Class:        Irrelevant,
		Reason:       "decides only whether other users have root's rights to kernel.pid_max, which all users may read",
		Source:       "pid_table_root_permissions, kernel/pid.c since 6.14; test_perm, fs/proc/proc_sysctl.c",
	},
	{
		Functions:    []string{"xfs_setattr_nonsize", "xfs_ioctl_setattr_get_trans", "xfs_fileattr_set"},
		Capabilities: caps{capability.Fowner},
		Class:        Irrelevant,
		Reason:       "checked on every change of mode, owner or times; decides only whether the change may exceed the new owner's quota on XFS",
		Source:       "xfs_setattr_nonsize, fs/xfs/xfs_iops.c; xfs_ioctl_setattr_get_trans, fs/xfs/xfs_ioctl.c; xfs_trans_dqresv, fs/xfs/xfs_trans_dquot.c",
	},
	{
		Functions:    []string{"ovl_open_realfile", "ovl_path_open"},
		Capabilities: caps{capability.Fowner},
		Class:        Irrelevant,
		Reason:       "decides only whether an overlay leaves the access time of the lower file unchanged",
		Source:       "ovl_open_realfile, fs/overlayfs/file.c; ovl_path_open, fs/overlayfs/util.c",
	},
	{
		Functions:    []string{"set_permissions"},
		Capabilities: caps{capability.SysResource},
		When:         opensForReading,
		Class:        Irrelevant,
		Reason:       "decides only whether a sysctl below /proc/sys/user may be written, and the workload read it",
		Source:       "set_permissions, kernel/ucount.c",
	},
	{
		Functions:    []string{"ipc_permissions"},
		Capabilities: caps{capability.CheckpointRestore, capability.SysAdmin},
		When:         opensForReading,
		Class:        Irrelevant,
		Reason:       "decides only whether a *_next_id sysctl may be written, and the workload read it",
		Source:       "ipc_permissions, ipc/ipc_sysctl.c",
	},
	{
		Functions:    []string{"simple_xattr_list", "ovl_can_list", "ovl_listxattr"},
		Capabilities: caps{capability.SysAdmin},
		Class:        Irrelevant,
		Reason:       "decides only whether names of trusted.* attributes are listed, which cannot be read without the capability either",
		Source:       "simple_xattr_list, fs/xattr.c; ovl_can_list, fs/overlayfs/xattrs.c",
	},
	{
		Functions:    []string{"has_capability_noaudit"},
		Capabilities: caps{capability.SysResource},
		When:         func(c monitor.Check) bool { return stackContains(c, "__set_oom_adj", "oom_score_adj_write") },
		Class:        Irrelevant,
		Reason:       "sets the lowest oom_score_adj that a process without the capability may set; the kernel makes another check when a process lowers oom_score_adj",
		Source:       "__set_oom_adj, fs/proc/base.c",
	},
	{
		Functions:    []string{"dev_load", "dev_ioctl"},
		Capabilities: caps{capability.NetAdmin, capability.SysModule},
		When:         readsInterface,
		Class:        Irrelevant,
		Reason:       "the network interface does not exist, and the call needs no capability: the kernel checks only whether it may load a module of that name",
		Source:       "dev_load and dev_ioctl, net/core/dev_ioctl.c; devinet_ioctl, net/ipv4/devinet.c",
	},
	{
		Functions: []string{"ima_match_rules", "ima_match_policy"},
		Class:     Irrelevant,
		Reason:    "integrity measurement (IMA) compares the credential with its rules",
		Source:    "ima_match_rules, security/integrity/ima/ima_policy.c",
	},
	{
		Functions:    []string{"selinux_inode_getsecurity"},
		Capabilities: caps{capability.MacAdmin},
		Class:        Irrelevant,
		Reason:       "decides only whether an invalid label is shown as it is stored",
		Source:       "selinux_inode_getsecurity, security/selinux/hooks.c",
	},
	{
		Functions:    []string{"__sys_bpf"},
		Capabilities: caps{capability.BPF, capability.SysAdmin},
		When:         usesObject,
		Class:        Irrelevant,
		Reason:       "checked on every call of bpf, but needed only to create maps and programs",
		Source:       "__sys_bpf, kernel/bpf/syscall.c from 5.19 to 6.4",
	},
}

// bpfChecksOnlyCreation is the first version in which kernel.unprivileged_bpf_disabled denies only the commands of bpf
// that make maps and programs. Earlier versions deny all commands.
var bpfChecksOnlyCreation = monitor.KernelVersion{Major: 5, Minor: 19}

// usesObject reports whether the call is a command of bpf that uses a map or pins an object. For these commands the
// kernel makes no other check for CAP_BPF.
func usesObject(check monitor.Check) bool {
	if check.Kernel.Before(bpfChecksOnlyCreation) {
		return false
	}
	if !siteIs("__sys_bpf")(check) || check.Call.Name() != "bpf" || !check.Call.HasArgs {
		return false
	}
	switch check.Call.Args[0] {
	case unix.BPF_MAP_LOOKUP_ELEM, unix.BPF_MAP_UPDATE_ELEM, unix.BPF_MAP_DELETE_ELEM, unix.BPF_MAP_GET_NEXT_KEY,
		unix.BPF_OBJ_PIN, unix.BPF_OBJ_GET:
		return true
	}
	return false
}

// readsInterface reports whether the call is an ioctl that reads a property of a network interface. None of these calls
// needs a capability. dev_load checks two capabilities if the interface does not exist. In some kernels it is inlined
// into dev_ioctl.
func readsInterface(check monitor.Check) bool {
	if check.Call.Name() != "ioctl" || !check.Call.HasArgs {
		return false
	}
	switch check.Call.Args[1] {
	case unix.SIOCGIFFLAGS, unix.SIOCGIFMETRIC, unix.SIOCGIFMTU, unix.SIOCGIFSLAVE, unix.SIOCGIFMAP, unix.SIOCGIFINDEX,
		unix.SIOCGIFTXQLEN, unix.SIOCGIFHWADDR, unix.SIOCGIFADDR, unix.SIOCGIFDSTADDR, unix.SIOCGIFBRDADDR,
		unix.SIOCGIFNETMASK, unix.SIOCGIFPFLAGS:
		return true
	}
	return false
}
