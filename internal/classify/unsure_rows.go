package classify

import (
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/monitor"
	"github.com/capmon/capmon/syscalls"
)

// unsure has the call sites whose checks are required and marked unsure: the kernel compares something after a denial
// that capmon cannot see, a function makes checks for several reasons, or a denial is not an error of the system call.
var unsure = []Row{
	{
		Functions:    []string{"audit_receive_msg", "audit_receive"},
		Capabilities: caps{capability.AuditWrite},
		Class:        Required,
		Reason:       "the kernel reports a denial in a message, and programs react differently: PAM mostly continues without an audit record, but a login on a terminal ends",
		Source:       "audit_netlink_ok, kernel/audit.c",
	},
	{
		Capabilities: caps{capability.DACOverride, capability.DACReadSearch},
		When: func(c monitor.Check) bool {
			return slices.Contains([]string{"access", "faccessat", "faccessat2"}, c.Call.Name())
		},
		Class:  Required,
		Reason: "access(2) only reports whether the file may be used; many programs continue if it may not",
		Source: "do_faccessat, fs/open.c",
	},
	{
		Functions:    []string{"mem_open"},
		Capabilities: caps{capability.SysPtrace},
		Class:        Required,
		Reason:       "a debugger that may not open /proc/PID/mem reads the memory with ptrace instead",
		Source:       "mem_open, fs/proc/base.c",
	},
	{
		Functions:    []string{"ksys_shmctl", "shmctl_do_lock"},
		Capabilities: caps{capability.IPCLock},
		Class:        Required,
		Reason:       "not needed by the segment's owner while RLIMIT_MEMLOCK is not 0; the kernel tests that after the check",
		Source:       "shmctl_do_lock, ipc/shm.c",
	},
	{
		Functions:    []string{"hugetlb_file_setup", "can_do_hugetlb_shm"},
		Capabilities: caps{capability.IPCLock},
		Class:        Required,
		Reason:       "not needed by members of the group vm.hugetlb_shm_group; the kernel tests that after the check",
		Source:       "can_do_hugetlb_shm, fs/hugetlbfs/inode.c",
	},
	{
		Functions:    []string{"__account_locked_vm", "vfio_lock_acct", "vfio_iommu_type1_ioctl"},
		Capabilities: caps{capability.IPCLock},
		Class:        Required,
		Reason:       "needed only beyond RLIMIT_MEMLOCK; the kernel tests that after the check",
		Source:       "__account_locked_vm, mm/util.c; vfio_dma_do_map, drivers/vfio/vfio_iommu_type1.c",
	},
	{
		Functions:    []string{"do_tcp_setsockopt", "mptcp_setsockopt"},
		Capabilities: caps{capability.NetAdmin},
		When:         setsCongestionControl,
		Class:        Required,
		Reason:       "needed only for an algorithm that is not in net.ipv4.tcp_allowed_congestion_control; the kernel tests that after the check",
		Source:       "do_tcp_setsockopt, net/ipv4/tcp.c; tcp_set_congestion_control, net/ipv4/tcp_cong.c",
	},
	{
		Functions: []string{"tcp_ca_find_autoload", "tcp_set_congestion_control", "tcp_set_default_congestion_control",
			"tcp_ca_get_key_by_name", "__tcp_ulp_find_autoload", "tcp_set_ulp"},
		Capabilities: caps{capability.NetAdmin},
		Class:        Required,
		Reason:       "needed only to load a module, if the host has not loaded it yet",
		Source:       "tcp_ca_find_autoload, net/ipv4/tcp_cong.c; __tcp_ulp_find_autoload, net/ipv4/tcp_ulp.c",
	},
	{
		Functions:    []string{"sk_setsockopt", "sock_setsockopt"},
		Capabilities: caps{capability.NetAdmin},
		When:         forcesBuffer,
		Class:        Required,
		Reason:       "many programs use SO_RCVBUF or SO_SNDBUF instead if they may not exceed the limit",
		Source:       "sk_setsockopt, net/core/sock.c",
	},
	{
		Functions:    opening,
		Capabilities: caps{capability.Fowner},
		When:         siteIs(opening...),
		Class:        Required,
		Reason:       "checked for O_NOATIME and F_SET_RW_HINT; most programs continue without them",
		Source:       "may_open, fs/namei.c; setfl and fcntl_set_rw_hint, fs/fcntl.c",
	},
	{
		Functions:    []string{"cap_task_prctl", "security_task_prctl"},
		Capabilities: caps{capability.Setpcap},
		When:         dropsFromBoundingSet,
		Class:        Required,
		Reason:       "a program does not have to drop capabilities that were not granted; some programs try to and fail",
		Source:       "cap_prctl_drop, security/commoncap.c",
	},
	{
		Functions:    []string{"vfs_getxattr"},
		Capabilities: caps{capability.SysAdmin},
		Class:        Required,
		Reason:       "not needed if the file has no trusted.* attribute of this name: the result is the same without it",
		Source:       "xattr_permission, fs/xattr.c",
	},
	{
		Functions:    []string{"userfaultfd_syscall_allowed", "__x64_sys_userfaultfd", "__arm64_sys_userfaultfd", "__do_sys_userfaultfd"},
		Capabilities: caps{capability.SysPtrace},
		Class:        Required,
		Reason:       "not needed while vm.unprivileged_userfaultfd is 1; the kernel tests that after the check",
		Source:       "userfaultfd_syscall_allowed, fs/userfaultfd.c",
	},
	{
		Functions:    []string{"io_uring_allowed", "__x64_sys_io_uring_setup", "__arm64_sys_io_uring_setup", "__do_sys_io_uring_setup", "io_uring_setup"},
		Capabilities: caps{capability.SysAdmin},
		Class:        Required,
		Reason:       "not needed by members of the group kernel.io_uring_group; the kernel tests that after the check",
		Source:       "io_uring_allowed, io_uring/io_uring.c",
	},
	{
		Functions:    []string{"__x64_sys_fanotify_init", "__arm64_sys_fanotify_init", "__do_sys_fanotify_init"},
		Capabilities: caps{capability.SysAdmin},
		Class:        Required,
		Reason:       "not needed for groups that report files only by handle; without it their limits are lower",
		Source:       "fanotify_init, fs/notify/fanotify/fanotify_user.c",
	},
	{
		Functions:    []string{"do_fanotify_mark", "__x64_sys_fanotify_mark", "__arm64_sys_fanotify_mark"},
		Capabilities: caps{capability.SysAdmin},
		Class:        Required,
		Reason:       "checked for every mark, but needed only for marks on mounts and file systems",
		Source:       "do_fanotify_mark, fs/notify/fanotify/fanotify_user.c",
	},
	{
		Functions:    []string{"may_dedupe_file", "vfs_dedupe_file_range_one", "vfs_dedupe_file_range"},
		Capabilities: caps{capability.SysAdmin},
		Class:        Required,
		Reason:       "not needed for files that the user owns or may write; the kernel tests that after the check",
		Source:       "may_dedupe_file, fs/remap_range.c",
	},
	{
		Functions:    []string{"perf_check_permission", "__do_sys_perf_event_open", "__x64_sys_perf_event_open", "__arm64_sys_perf_event_open"},
		Capabilities: caps{capability.Perfmon, capability.SysAdmin},
		When:         func(c monitor.Check) bool { return !stackContains(c, "perf_allow_kernel", "perf_allow_cpu") },
		Class:        Required,
		Reason:       "not needed for tasks that the process may trace, if kernel events are excluded",
		Source:       "perf_check_permission, kernel/events/core.c",
	},
	{
		Functions:    []string{"bpf_check"},
		Capabilities: caps{capability.Perfmon, capability.SysAdmin},
		Class:        Required,
		Reason:       "relaxes the verifier's rules for pointers and speculation; not every program needs that",
		Source:       "bpf_allow_ptr_leaks and others, include/linux/bpf.h; bpf_check, kernel/bpf/verifier.c",
	},
	{
		Functions:    []string{"kernel_migrate_pages"},
		Capabilities: caps{capability.SysNice},
		Class:        Required,
		Reason:       "needed only for nodes that the process may not use, and for pages that other processes have mapped as well",
		Source:       "kernel_migrate_pages, mm/mempolicy.c",
	},
	{
		Functions:    []string{"proc_sched_autogroup_set_nice"},
		Capabilities: caps{capability.SysAdmin},
		Class:        Required,
		Reason:       "needed only for more than ten changes per second",
		Source:       "proc_sched_autogroup_set_nice, kernel/sched/autogroup.c",
	},
	{
		Functions:    []string{"tty_ldisc_get"},
		Capabilities: caps{capability.SysModule},
		Class:        Required,
		Reason:       "checked if the module of a line discipline is not loaded; not needed while dev.tty.ldisc_autoload is 1",
		Source:       "tty_ldisc_get, drivers/tty/tty_ldisc.c",
	},
	{
		Functions:    []string{"dev_load", "dev_ioctl"},
		Capabilities: caps{capability.NetAdmin, capability.SysModule},
		When: func(c monitor.Check) bool {
			return c.Capability == capability.SysModule || stackContains(c, "dev_load")
		},
		Class:  Required,
		Reason: "needed only to load the module of a network interface that does not exist yet",
		Source: "dev_load, net/core/dev_ioctl.c",
	},
	{
		Functions:    []string{"scsi_cmd_allowed", "scsi_ioctl"},
		Capabilities: caps{capability.SysRawio},
		Class:        Required,
		Reason:       "not needed for commands that all users who may open the device may send",
		Source:       "scsi_cmd_allowed, drivers/scsi/scsi_ioctl.c",
	},
	// These rows apply only if no earlier row for the same functions matches.
	{
		Functions:    []string{"may_setgroups", "__x64_sys_setgroups", "__arm64_sys_setgroups", "__ia32_sys_setgroups", "__do_sys_setgroups"},
		Capabilities: caps{capability.Setgid},
		Class:        Required,
		Optional:     "the process already had these groups; a program that continues without the call does not need it",
		Source:       "setgroups, kernel/groups.c",
	},
	{
		Functions:    []string{"inet_create", "inet6_create"},
		Capabilities: caps{capability.NetRaw},
		Class:        Required,
		When:         func(c monitor.Check) bool { return IsPingTool(c.Program) },
		Optional:     UnsurePing,
		Source:       "inet_create, net/ipv4/af_inet.c; ping_init_sock, net/ipv4/ping.c",
	},
	{
		Functions:    []string{"setattr_prepare"},
		Capabilities: caps{capability.Chown},
		Class:        Required,
		Optional:     "the file already had this owner and group; a program that continues without the call does not need it",
		Source:       "chown_ok and chgrp_ok, fs/attr.c",
	},
	{
		Functions:    []string{"setattr_prepare"},
		Capabilities: caps{capability.Fowner},
		Class:        Required,
		Optional:     "the file already had this mode; a program that continues without the call does not need it",
		Source:       "setattr_prepare, fs/attr.c",
	},
}

// UnsurePing is the reason why a program may not need a raw ICMP socket.
const UnsurePing = "the kernel also gives this process datagram sockets for ICMP (net.ipv4.ping_group_range); if a raw socket is denied, ping of iputils uses one, ping of busybox does not"

// IsPingTool reports whether a program, according to its name, sends mostly ICMP echo requests. Other programs, for
// example routing daemons, send messages that require a raw socket.
func IsPingTool(program string) bool {
	return strings.Contains(program, "ping") || strings.Contains(program, "traceroute")
}

// setsCongestionControl reports whether the option is TCP_CONGESTION. do_tcp_setsockopt also makes checks for others.
func setsCongestionControl(check monitor.Check) bool {
	return setsOption(check.Call, unix.SOL_TCP, unix.TCP_CONGESTION)
}

// forcesBuffer reports whether the option sets a buffer size beyond the limit. sk_setsockopt also makes checks for
// other options.
func forcesBuffer(check monitor.Check) bool {
	return setsOption(check.Call, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, unix.SO_SNDBUFFORCE)
}

// opening are the functions that check whether the kernel may leave a file's access time unchanged. They call other
// functions that make further checks, for example functions of overlayfs.
var opening = []string{"may_open", "do_open", "path_openat", "setfl", "do_fcntl", "fcntl_set_rw_hint"}

func dropsFromBoundingSet(check monitor.Check) bool {
	return check.Call.Name() == "prctl" && check.Call.HasArgs && check.Call.Args[0] == unix.PR_CAPBSET_DROP
}

// setsOption reports whether the call is setsockopt with the level and one of the options.
func setsOption(call syscalls.Call, level uint64, options ...uint64) bool {
	if call.Name() != "setsockopt" || !call.HasArgs || call.Args[1] != level {
		return false
	}
	for _, option := range options {
		if call.Args[2] == option {
			return true
		}
	}
	return false
}
