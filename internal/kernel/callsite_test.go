package kernel

import (
	"slices"
	"strings"
	"testing"
)

// The stacks are from Linux 6.18, as the tracepoint's stacktrace option showed them, and a few from other kernels.
func TestCallSite(t *testing.T) {
	for _, test := range []struct{ about, stack, want string }{
		{"chown", "security_capable capable_wrt_inode_uidgid setattr_prepare ext4_setattr notify_change chown_common", "setattr_prepare"},
		{"chmod", "security_capable ns_capable setattr_prepare ext4_setattr notify_change chmod_common", "setattr_prepare"},
		{"chmod with set-group-ID", "security_capable capable_wrt_inode_uidgid setattr_copy ext4_setattr notify_change", "setattr_copy"},
		{"chmod on XFS in 7.3", "security_capable capable_noaudit xfs_setattr_nonsize xfs_vn_setattr", "xfs_setattr_nonsize"},
		{"setuid", "security_capable ns_capable_setid __sys_setuid do_syscall_64", "__sys_setuid"},
		{"setgroups", "security_capable ns_capable_setid __do_sys_setgroups do_syscall_64", "__do_sys_setgroups"},
		{"capset", "cap_capset security_capset __do_sys_capset do_syscall_64", "cap_capset"},
		{"capset, not inlined", "cap_inh_is_capped cap_capset security_capset __do_sys_capset", "cap_capset"},
		{"PR_CAPBSET_DROP", "security_capable ns_capable cap_task_prctl security_task_prctl __do_sys_prctl", "cap_task_prctl"},
		{"mmap", "security_vm_enough_memory_mm __mmap_region do_mmap vm_mmap_pgoff", "security_vm_enough_memory_mm"},
		{"mmap, older kernel", "cap_vm_enough_memory security_vm_enough_memory_mm mmap_region", "security_vm_enough_memory_mm"},
		{"raw socket", "security_capable ns_capable inet_create __sock_create __sys_socket __x64_sys_socket", "inet_create"},
		{"packet socket", "security_capable ns_capable packet_create __sock_create __sys_socket", "packet_create"},
		{"low port", "security_capable ns_capable __inet_bind inet_bind_sk __sys_bind", "__inet_bind"},
		{"SO_MARK", "security_capable ns_capable sk_setsockopt do_sock_setsockopt __sys_setsockopt", "sk_setsockopt"},
		{"SO_MARK, with frame", "security_capable ns_capable sockopt_ns_capable sk_setsockopt do_sock_setsockopt", "sk_setsockopt"},
		{"netlink", "security_capable file_ns_capable sk_ns_capable __netlink_ns_capable netlink_net_capable rtnetlink_rcv_msg", "rtnetlink_rcv_msg"},
		{"interface up", "security_capable ns_capable devinet_ioctl inet_ioctl sock_do_ioctl", "devinet_ioctl"},
		{"mount", "security_capable ns_capable path_mount __x64_sys_mount", "path_mount"},
		{"mount, not inlined", "security_capable ns_capable may_mount path_mount __x64_sys_mount", "path_mount"},
		{"unshare", "security_capable ns_capable unshare_nsproxy_namespaces ksys_unshare", "unshare_nsproxy_namespaces"},
		{"kill", "security_capable ns_capable check_kill_permission kill_pid_info_type kill_something_info", "check_kill_permission"},
		{"walk", "security_capable capable_wrt_inode_uidgid generic_permission inode_permission link_path_walk path_openat", "link_path_walk"},
		{"open", "security_capable capable_wrt_inode_uidgid generic_permission inode_permission may_open path_openat", "may_open"},
		{"access", "security_capable capable_wrt_inode_uidgid generic_permission inode_permission do_faccessat", "do_faccessat"},
		{"walk on overlayfs", "security_capable capable_wrt_inode_uidgid generic_permission ovl_permission inode_permission link_path_walk", "link_path_walk"},
		{"load a BPF program", "security_capable ns_capable bpf_token_capable bpf_prog_load __sys_bpf", "bpf_prog_load"},
		{"attach one", "security_capable ns_capable bpf_token_capable bpf_prog_attach_check_attach_type bpf_prog_attach", "bpf_prog_attach_check_attach_type"},
		{"from a program at the hook", "bpf_prog_6deef7357e7b4530_check_tracepoint bpf_trace_run5 __bpf_trace_cap_capable __traceiter_cap_capable cap_capable security_capable capable do_prlimit", "do_prlimit"},
		{"from an fexit program", "bpf_prog_6deef7357e7b4530 bpf_trampoline_6442518592 cap_capable security_capable capable do_prlimit", "do_prlimit"},
		{"traced by another tool", "? security_capable ? capable ftrace_trampoline do_prlimit", "do_prlimit"},
		{"only an unknown caller", "security_capable capable ?", "?"},
		{"only wrappers", "security_capable capable", "capable"},
		{"one", "security_capable", "security_capable"},
		{"nothing", "", ""},
	} {
		frames := strings.Fields(test.stack)
		site, inner := CallSite(frames)
		if site != test.want {
			t.Errorf("%s: %q, want %q", test.about, site, test.want)
		}
		if !slices.Equal(inner, frames[:len(inner)]) || len(frames) > 0 && frames[len(inner)] != site {
			t.Errorf("%s: inner functions %q", test.about, inner)
		}
	}
}

// Without this test, a misspelled wrapper or one that no kernel has any more would remain unnoticed. These functions
// are global, so the compiler does not remove them.
func TestWrappersExist(t *testing.T) {
	symbols := thisKernel(t)
	for _, name := range []string{
		"cap_capable", "security_capable", "capable", "ns_capable", "ns_capable_noaudit", "ns_capable_setid",
		"file_ns_capable", "ptracer_capable", "capable_wrt_inode_uidgid",
		"sk_ns_capable", "sk_capable", "sk_net_capable", "netlink_capable", "netlink_net_capable",
		"netlink_ns_capable", "__netlink_ns_capable", "mount_capable",
		"inode_owner_or_capable", "generic_permission", "inode_permission",
	} {
		if _, _, ok := symbols.Range(name); !ok {
			t.Errorf("this kernel has no %s", name)
		}
		if !isWrapper(name) {
			t.Errorf("%s is not a wrapper", name)
		}
	}
}
