package classify

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/monitor"
	"github.com/capmon/capmon/syscalls"
)

// anyOf returns a capability that the row matches.
func anyOf(row Row) capability.Capability {
	if len(row.Capabilities) > 0 {
		return row.Capabilities[0]
	}
	return capability.SysAdmin
}

// The stacks are from Linux 6.18, innermost function first. Each comes with a part of the reason of the row that
// matches.
func TestRowsMatchTheirChecks(t *testing.T) {
	reading := func(c *monitor.Check) {
		c.Call = call(t, syscalls.NativeArch(), "openat")
		c.Call.HasArgs, c.Call.Args[2] = true, unix.O_RDONLY|unix.O_CLOEXEC
	}
	writing := func(c *monitor.Check) {
		reading(c)
		c.Call.Args[2] = unix.O_WRONLY | unix.O_TRUNC
	}
	unchanged := func(c *monitor.Check) { c.Condition = monitor.Optional }
	pinging := func(c *monitor.Check) { c.Condition, c.Program = monitor.Optional, "ping" }
	accessing := func(c *monitor.Check) { c.Call = call(t, syscalls.NativeArch(), "faccessat") }
	readingAsUser := func(c *monitor.Check) { reading(c); c.HostRoot = false }

	readingWithout := func(c *monitor.Check) { readingAsUser(c); c.Answer = monitor.NotHeld }
	writingAsUser := func(c *monitor.Check) { writing(c); c.HostRoot = false }

	option := func(level, name uint64) func(*monitor.Check) {
		return func(c *monitor.Check) {
			c.Call = call(t, syscalls.NativeArch(), "setsockopt")
			c.Call.HasArgs, c.Call.Args[1], c.Call.Args[2] = true, level, name
		}
	}

	command := func(number uint64) func(*monitor.Check) {
		return func(c *monitor.Check) {
			c.Call = call(t, syscalls.NativeArch(), "bpf")
			c.Call.HasArgs, c.Call.Args[0] = true, number
			c.Kernel = monitor.KernelVersion{Major: 6, Minor: 1}
		}
	}
	earlyCommand := func(number uint64) func(*monitor.Check) {
		return func(c *monitor.Check) {
			command(number)(c)
			c.Kernel = monitor.KernelVersion{Major: 5, Minor: 18}
		}
	}
	ioctl := func(number uint64) func(*monitor.Check) {
		return func(c *monitor.Check) {
			c.Call = call(t, syscalls.NativeArch(), "ioctl")
			c.Call.HasArgs, c.Call.Args[1] = true, number
		}
	}
	control := func(option uint64) func(*monitor.Check) {
		return func(c *monitor.Check) {
			c.Call = call(t, syscalls.NativeArch(), "prctl")
			c.Call.HasArgs, c.Call.Args[0] = true, option
		}
	}
	matched := make(map[int]bool)
	for _, test := range []struct {
		name       string
		capability capability.Capability
		stack      string
		change     func(*monitor.Check)
		want       Class
		reason     string // a part of the reason; "" if no row matches
	}{
		{"mmap", capability.SysAdmin, "cap_capable cap_vm_enough_memory security_vm_enough_memory_mm __mmap_region do_mmap", nil, Irrelevant, "overcommit_memory"},
		{"brk, inlined", capability.SysAdmin, "security_vm_enough_memory_mm do_brk_flags", nil, Irrelevant, "overcommit_memory"},
		{"mlock in an mmap", capability.IPCLock, "security_capable capable do_mmap vm_mmap_pgoff", nil, Required, "RLIMIT_MEMLOCK"},
		{"setuid", capability.Setuid, "security_capable ns_capable_setid __sys_setuid", nil, Required, "real and the saved"},
		{"setgid", capability.Setgid, "security_capable ns_capable_setid __sys_setgid", nil, Required, "real and the saved"},
		{"setreuid", capability.Setuid, "security_capable ns_capable_setid __sys_setreuid", nil, Required, ""},
		{"setfsuid", capability.Setuid, "security_capable ns_capable_setid __sys_setfsuid", nil, Soft, "no errors"},
		{"setfsgid", capability.Setgid, "security_capable ns_capable_setid __sys_setfsgid", nil, Soft, "no errors"},
		{"capset", capability.Setpcap, "cap_capset security_capset __do_sys_capset", nil, Required, "make a capability inheritable"},
		{"PR_CAPBSET_DROP", capability.Setpcap, "security_capable ns_capable cap_task_prctl security_task_prctl", control(unix.PR_CAPBSET_DROP), Required, "does not have to drop"},
		{"PR_SET_SECUREBITS", capability.Setpcap, "cap_capable cap_task_prctl security_task_prctl", control(unix.PR_SET_SECUREBITS), Required, ""},
		{"a set-user-ID program that is traced", capability.Setuid, "security_capable ns_capable cap_bprm_creds_from_file", nil, Soft, "traced"},
		{"reading a program", capability.DACReadSearch, "security_capable capable_wrt_inode_uidgid generic_permission ovl_permission inode_permission would_dump begin_new_exec load_elf_binary", nil, Soft, "core dump"},
		{"executing a program", capability.DACOverride, "security_capable capable_wrt_inode_uidgid generic_permission ovl_permission inode_permission may_open path_openat do_filp_open", nil, Required, ""},
		{"mount", capability.SysAdmin, "security_capable ns_capable path_mount", nil, Required, ""},
		{"a seccomp filter", capability.SysAdmin, "security_capable ns_capable_noaudit seccomp_set_mode_filter", nil, Required, ""},

		{"an audit message", capability.AuditWrite, "security_capable ns_capable netlink_capable audit_receive_msg audit_receive netlink_unicast", nil, Required, "PAM"},
		{"compiling a filter", capability.SysAdmin, "security_capable ns_capable_noaudit capable do_jit bpf_int_jit_compile", nil, Irrelevant, "hardening"},
		{"loading a program", capability.BPF, "security_capable ns_capable bpf_token_capable bpf_prog_load", nil, Required, ""},

		{"root reads a network sysctl", capability.NetAdmin, "security_capable ns_capable_noaudit net_ctl_permissions proc_sys_permission", reading, Irrelevant, "the host's root"},
		{"a user reads a network sysctl", capability.NetAdmin, "security_capable ns_capable_noaudit net_ctl_permissions proc_sys_permission", readingAsUser, Soft, "owner's rights"},
		{"a user without it reads a network sysctl", capability.NetAdmin, "security_capable ns_capable_noaudit net_ctl_permissions proc_sys_permission", readingWithout, Irrelevant, "all users may read"},
		{"root writes a network sysctl", capability.NetAdmin, "security_capable ns_capable_noaudit net_ctl_permissions proc_sys_permission", writing, Irrelevant, "the host's root"},
		{"a user writes a network sysctl", capability.NetAdmin, "security_capable ns_capable_noaudit net_ctl_permissions proc_sys_permission", writingAsUser, Required, ""},
		{"reading a user limit", capability.SysResource, "security_capable ns_capable set_permissions proc_sys_permission", reading, Irrelevant, "/proc/sys/user"},
		{"writing a user limit", capability.SysResource, "security_capable ns_capable set_permissions proc_sys_permission", writing, Required, ""},
		{"reading msg_next_id", capability.CheckpointRestore, "security_capable ns_capable checkpoint_restore_ns_capable ipc_permissions", reading, Irrelevant, "next_id"},
		{"reading msg_next_id, the second check", capability.SysAdmin, "security_capable ns_capable ipc_permissions", reading, Irrelevant, "next_id"},
		{"writing msg_next_id", capability.CheckpointRestore, "security_capable ns_capable ipc_permissions", writing, Required, ""},

		{"root reads kernel.pid_max", capability.SysAdmin, "security_capable ns_capable pid_table_root_permissions proc_sys_permission", reading, Irrelevant, "pid_max"},
		{"root writes kernel.pid_max", capability.SysAdmin, "security_capable ns_capable pid_table_root_permissions proc_sys_permission", writing, Irrelevant, "pid_max"},
		{"a user reads kernel.pid_max", capability.SysAdmin, "security_capable ns_capable pid_table_root_permissions proc_sys_permission", readingAsUser, Irrelevant, "pid_max"},
		{"a user writes kernel.pid_max", capability.SysAdmin, "security_capable ns_capable pid_table_root_permissions proc_sys_permission", writingAsUser, Required, ""},

		{"chmod on XFS", capability.Fowner, "security_capable has_capability_noaudit xfs_setattr_nonsize xfs_vn_setattr notify_change", nil, Irrelevant, "quota"},
		{"chmod of another's file on XFS", capability.Fowner, "security_capable capable_wrt_inode_uidgid inode_owner_or_capable setattr_prepare xfs_vn_setattr notify_change", nil, Required, ""},
		{"chattr on XFS", capability.Fowner, "security_capable ns_capable_noaudit xfs_fileattr_set vfs_fileattr_set", nil, Irrelevant, "quota"},
		{"where files are on XFS", capability.SysAdmin, "security_capable has_capability_noaudit xfs_getfsmap xfs_ioc_getfsmap", nil, Soft, "GETFSMAP"},

		{"ls -l on tmpfs", capability.SysAdmin, "security_capable ns_capable_noaudit simple_xattr_list shmem_listxattr", nil, Irrelevant, "trusted.*"},
		{"ls -l on overlayfs", capability.SysAdmin, "security_capable ns_capable_noaudit ovl_can_list ovl_listxattr", nil, Irrelevant, "trusted.*"},
		{"reading trusted.*", capability.SysAdmin, "security_capable capable xattr_permission vfs_getxattr do_getxattr", nil, Required, "attribute of this name"},
		{"setting trusted.*", capability.SysAdmin, "security_capable capable xattr_permission", nil, Required, ""},

		{"oom_score_adj, the mark", capability.SysResource, "security_capable has_capability_noaudit __set_oom_adj oom_score_adj_write", nil, Irrelevant, "oom_score_adj"},
		{"oom_score_adj, the permission", capability.SysResource, "security_capable capable __set_oom_adj oom_score_adj_write", nil, Required, ""},
		{"another's resources", capability.SysResource, "security_capable has_capability_noaudit somewhere_else", nil, Required, ""},

		{"reading an interface that is not there", capability.NetAdmin, "security_capable capable dev_load devinet_ioctl", ioctl(unix.SIOCGIFADDR), Irrelevant, "does not exist"},
		{"the same, the second check", capability.SysModule, "security_capable capable dev_load dev_ioctl", ioctl(unix.SIOCGIFFLAGS), Irrelevant, "does not exist"},
		{"the same, inlined", capability.NetAdmin, "security_capable capable dev_ioctl sock_do_ioctl", ioctl(unix.SIOCGIFFLAGS), Irrelevant, "does not exist"},
		{"configuring an interface that is not there", capability.NetAdmin, "security_capable capable dev_load dev_ioctl", ioctl(unix.SIOCSIFFLAGS), Required, "load the module"},
		{"the same, the second check, inlined", capability.SysModule, "security_capable capable dev_ioctl sock_do_ioctl", ioctl(unix.SIOCSIFFLAGS), Required, "load the module"},
		{"configuring an interface", capability.NetAdmin, "security_capable ns_capable dev_ioctl sock_do_ioctl", ioctl(unix.SIOCSIFFLAGS), Required, ""},
		{"TCP_CONGESTION", capability.NetAdmin, "security_capable capable tcp_ca_find_autoload tcp_set_congestion_control", nil, Required, "has not loaded"},
		{"TCP_ULP", capability.NetAdmin, "security_capable capable tcp_set_ulp do_tcp_setsockopt", nil, Required, "has not loaded"},
		{"the default congestion control", capability.NetAdmin, "security_capable capable tcp_set_default_congestion_control proc_tcp_congestion_control", nil, Required, "has not loaded"},
		{"using a map", capability.BPF, "security_capable capable __sys_bpf __x64_sys_bpf", command(unix.BPF_MAP_LOOKUP_ELEM), Irrelevant, "maps and programs"},
		{"using a map of an early kernel", capability.BPF, "security_capable capable __sys_bpf __x64_sys_bpf", earlyCommand(unix.BPF_MAP_LOOKUP_ELEM), Required, ""},
		{"making a map", capability.BPF, "security_capable capable __sys_bpf __x64_sys_bpf", command(unix.BPF_MAP_CREATE), Required, ""},
		{"a program's symbol", capability.BPF, "security_capable ns_capable bpf_token_capable bpf_prog_kallsyms_add bpf_prog_load", nil, Soft, "symbols"},
		{"padding an array", capability.Perfmon, "security_capable ns_capable bpf_token_capable array_map_alloc", nil, Irrelevant, "pads"},
		{"insmod", capability.SysModule, "security_capable capable may_init_module __do_sys_finit_module", nil, Required, ""},
		{"IMA", capability.SysAdmin, "security_capable capable ima_match_rules ima_match_policy", nil, Irrelevant, "integrity"},
		{"SELinux", capability.MacAdmin, "cap_capable selinux_inode_getsecurity vfs_getxattr", nil, Irrelevant, "label"},

		{"chown of a set-group-ID file", capability.Fsetid, "security_capable capable_wrt_inode_uidgid setattr_prepare", nil, Required, "could not determine"},
		{"setfacl", capability.Fsetid, "security_capable capable_wrt_inode_uidgid posix_acl_update_mode simple_set_acl", nil, Required, "could not determine"},
		{"writing to FUSE", capability.Fsetid, "security_capable capable fuse_direct_io", nil, Required, "on every write"},
		{"writing to it", capability.Fsetid, "security_capable capable_wrt_inode_uidgid setattr_should_drop_sgid file_remove_privs_flags", nil, Soft, "cleared"},
		{"ps", capability.SysPtrace, "security_capable ns_capable_noaudit ptrace_has_cap __ptrace_may_access ptrace_may_access do_task_stat", nil, Soft, "/proc/PID/stat"},
		{"strace", capability.SysPtrace, "security_capable ns_capable ptrace_has_cap __ptrace_may_access ptrace_attach", nil, Required, ""},
		{"/proc/kallsyms", capability.Syslog, "security_capable has_capability_noaudit kallsyms_show_value kallsyms_open", nil, Soft, "addresses"},
		{"dmesg", capability.Syslog, "security_capable capable check_syslog_permissions do_syslog", nil, Required, ""},
		{"io_uring", capability.IPCLock, "security_capable capable io_uring_create io_uring_setup", nil, Soft, "RLIMIT_MEMLOCK"},
		{"vsock", capability.NetAdmin, "security_capable ns_capable_noaudit __vsock_create vsock_create", nil, Soft, "trusted"},
		{"ss", capability.NetAdmin, "security_capable netlink_net_capable inet_diag_dump_icsk tcp_diag_dump", nil, Soft, "listings"},
		{"ss -u", capability.NetAdmin, "security_capable netlink_net_capable udp_dump udp_diag_dump", nil, Soft, "listings"},
		{"ip link set", capability.NetAdmin, "security_capable netlink_net_capable rtnetlink_rcv_msg", nil, Required, ""},
		{"wchan", capability.SysPtrace, "security_capable ns_capable __ptrace_may_access ptrace_may_access proc_pid_wchan", nil, Soft, "wchan"},
		{"hidepid", capability.SysPtrace, "security_capable ns_capable __ptrace_may_access ptrace_may_access proc_pid_readdir", nil, Soft, "hides them"},
		{"another AppArmor profile", capability.MacOverride, "cap_capable aa_change_profile apparmor_setprocattr", nil, Soft, "stacked"},
		{"/proc/iomem", capability.SysAdmin, "security_capable file_ns_capable r_show seq_read_iter", nil, Soft, "iomem"},
		{"pagemap", capability.SysAdmin, "security_capable file_ns_capable pagemap_read", nil, Soft, "pagemap"},
		{"EPOLLWAKEUP", capability.BlockSuspend, "security_capable capable do_epoll_ctl", nil, Soft, "EPOLLWAKEUP"},
		{"many pipes", capability.SysResource, "security_capable capable pipe_is_unprivileged_user alloc_pipe_info", nil, Soft, "pipe-user-pages-soft"},
		{"a larger pipe", capability.SysResource, "security_capable capable pipe_set_size pipe_fcntl", nil, Required, ""},
		{"trusted.* on ext4", capability.SysAdmin, "security_capable capable ext4_xattr_trusted_list ext4_listxattr", nil, Soft, "trusted.*"},
		{"the next mount namespace", capability.SysAdmin, "security_capable ns_capable_noaudit __lookup_next_mnt_ns ns_ioctl", nil, Soft, "skipped"},
		{"times of a copy", capability.Fowner, "security_capable ns_capable setattr_prepare shmem_setattr notify_change ovl_set_timestamps ovl_set_attr ovl_copy_up_metadata", nil, Soft, "new times"},
		{"mounting an overlay", capability.DACReadSearch, "security_capable capable ovl_can_decode_fh ovl_fill_super", nil, Soft, "fewer features"},
		{"a FUSE server", capability.SysAdmin, "security_capable capable process_init_reply fuse_dev_do_write", nil, Soft, "FUSE server"},
		{"a graphics card", capability.SysAdmin, "security_capable capable drm_file_alloc drm_open_helper", nil, Soft, "render nodes"},
		{"its authentication", capability.SysAdmin, "security_capable capable drm_master_check_perm drm_setmaster_ioctl", nil, Required, ""},
		{"a full disk", capability.SysResource, "security_capable capable ext4_has_free_clusters ext4_claim_free_clusters", nil, Soft, "reserved blocks"},
		{"a quota", capability.SysResource, "security_capable capable ignore_hardlimit dquot_add_space", nil, Soft, "quotas"},
		{"setrlimit", capability.SysResource, "security_capable capable do_prlimit", nil, Required, ""},

		{"setgroups of other groups", capability.Setgid, "security_capable ns_capable_setid may_setgroups __x64_sys_setgroups", nil, Required, ""},
		{"setgroups of the present ones", capability.Setgid, "security_capable ns_capable_setid may_setgroups __x64_sys_setgroups", unchanged, Required, "already had these groups"},
		{"fchown to the present owner", capability.Chown, "security_capable capable_wrt_inode_uidgid setattr_prepare ext4_setattr", unchanged, Required, "already had this owner and group"},
		{"fchmod to the present mode", capability.Fowner, "security_capable capable_wrt_inode_uidgid setattr_prepare ext4_setattr", unchanged, Required, "already had this mode"},
		{"a raw socket of ping", capability.NetRaw, "security_capable ns_capable inet_create __sock_create", pinging, Required, "ping_group_range"},
		{"a raw socket of a routing daemon", capability.NetRaw, "security_capable ns_capable inet6_create __sock_create", unchanged, Required, ""},
		{"access", capability.DACOverride, "security_capable capable_wrt_inode_uidgid generic_permission inode_permission do_faccessat", accessing, Required, "only reports"},
		{"opening the memory of another", capability.SysPtrace, "security_capable ns_capable __ptrace_may_access ptrace_may_access mm_access proc_mem_open mem_open", nil, Required, "with ptrace"},
		{"mlock", capability.IPCLock, "security_capable capable mlock_future_ok", nil, Required, "RLIMIT_MEMLOCK"},
		{"zero copy", capability.IPCLock, "security_capable capable mm_account_pinned_pages msg_zerocopy_realloc", nil, Required, "RLIMIT_MEMLOCK"},
		{"huge pages", capability.IPCLock, "security_capable capable can_do_hugetlb_shm hugetlb_file_setup", nil, Required, "hugetlb_shm_group"},
		{"mq_open", capability.SysResource, "security_capable capable mqueue_get_inode mqueue_create_attr", nil, Required, "fs.mqueue"},
		{"one queue too many", capability.SysResource, "security_capable capable mqueue_create_attr mqueue_create", nil, Required, ""},
		{"SHM_LOCK", capability.IPCLock, "security_capable ns_capable shmctl_do_lock ksys_shmctl", nil, Required, "segment's owner"},
		{"a device for a virtual machine", capability.IPCLock, "security_capable capable vfio_iommu_type1_ioctl", nil, Required, "RLIMIT_MEMLOCK"},
		{"a congestion control", capability.NetAdmin, "security_capable ns_capable sockopt_ns_capable do_tcp_setsockopt", option(unix.SOL_TCP, unix.TCP_CONGESTION), Required, "allowed_congestion_control"},
		{"SO_RCVBUFFORCE", capability.NetAdmin, "security_capable ns_capable sockopt_ns_capable sk_setsockopt", option(unix.SOL_SOCKET, unix.SO_RCVBUFFORCE), Required, "SO_RCVBUF"},
		{"SO_MARK", capability.NetAdmin, "security_capable ns_capable sockopt_ns_capable sk_setsockopt", option(unix.SOL_SOCKET, unix.SO_MARK), Required, ""},
		{"O_NOATIME", capability.Fowner, "security_capable capable_wrt_inode_uidgid inode_owner_or_capable may_open path_openat do_filp_open", nil, Required, "O_NOATIME"},
		{"fcntl of O_NOATIME", capability.Fowner, "security_capable capable_wrt_inode_uidgid inode_owner_or_capable do_fcntl __do_sys_fcntl", nil, Required, "O_NOATIME"},
		{"opening a file for an overlay", capability.Fowner, "security_capable capable_wrt_inode_uidgid inode_owner_or_capable ovl_open_realfile ovl_open do_dentry_open vfs_open path_openat", nil, Irrelevant, "access time"},
		{"copying it up", capability.Fowner, "security_capable capable_wrt_inode_uidgid inode_owner_or_capable setattr_prepare notify_change ovl_set_attr ovl_copy_up_flags ovl_open do_dentry_open vfs_open path_openat", nil, Required, ""},
		{"TCP_REPAIR", capability.NetAdmin, "security_capable ns_capable sockopt_ns_capable do_tcp_setsockopt", option(unix.SOL_TCP, unix.TCP_REPAIR), Required, ""},
		{"userfaultfd", capability.SysPtrace, "security_capable capable __x64_sys_userfaultfd", nil, Required, "unprivileged_userfaultfd"},
		{"io_uring for a group", capability.SysAdmin, "security_capable capable __x64_sys_io_uring_setup", nil, Required, "io_uring_group"},
		{"fanotify", capability.SysAdmin, "security_capable capable __do_sys_fanotify_init", nil, Required, "by handle"},
		{"fanotify's marks", capability.SysAdmin, "security_capable capable do_fanotify_mark", nil, Required, "mounts"},
		{"deduplication", capability.SysAdmin, "security_capable capable vfs_dedupe_file_range_one", nil, Required, "may write"},
		{"another's counters", capability.Perfmon, "security_capable capable perf_check_permission __do_sys_perf_event_open", nil, Required, "may trace"},
		{"the kernel's counters", capability.Perfmon, "security_capable capable perf_allow_kernel __do_sys_perf_event_open", nil, Required, ""},
		{"verifying a program", capability.Perfmon, "security_capable ns_capable bpf_token_capable bpf_check bpf_prog_load", nil, Required, "verifier"},
		{"migrate_pages", capability.SysNice, "security_capable capable kernel_migrate_pages", nil, Required, "pages"},
		{"autogroup", capability.SysAdmin, "security_capable capable proc_sched_autogroup_set_nice", nil, Required, "per second"},
		{"a line discipline", capability.SysModule, "security_capable capable tty_ldisc_get", nil, Required, "ldisc_autoload"},
		{"SCSI commands", capability.SysRawio, "security_capable capable scsi_cmd_allowed", nil, Required, "may open"},
	} {
		t.Run(test.name, func(t *testing.T) {
			check := granted(test.capability, strings.Fields(test.stack)...)
			if test.change != nil {
				test.change(&check)
			}
			got := Classify(check)
			reason := got.Reason + got.Unsure
			if got.Class != test.want || !strings.Contains(reason, test.reason) || (reason == "") != (test.reason == "") {
				t.Errorf("got %v, want %s with %q", got, test.want, test.reason)
			}
			i := slices.IndexFunc(Rows(), func(row Row) bool { return row.matches(check) })
			if decided := i >= 0 && Rows()[i].Optional == "" || test.reason != ""; decided != (i >= 0 && test.reason != "") {
				t.Fatalf("row %d decided", i)
			}
			if i >= 0 {
				matched[i] = true
			}
		})
	}
	for i, row := range Rows() {
		if !matched[i] {
			t.Errorf("no check here belongs to row %d, %v %v", i, row.Functions, row.Capabilities)
		}
	}
}

// The functions of a row also check other capabilities, and other functions check the capability of the row. The row
// does not match these checks.
func TestRowsMatchNoOtherChecks(t *testing.T) {
	for _, row := range Rows() {
		for c := range capability.CheckpointRestore + 1 {
			check := granted(c, row.Functions...)
			if len(row.Capabilities) > 0 && !slices.Contains(row.Capabilities, c) && row.matches(check) {
				t.Errorf("%v matches %v", row.Functions, c)
			}
			if len(row.Functions) > 0 && (row.matches(granted(c, known...)) || row.matches(granted(c))) {
				t.Errorf("%v matches %v elsewhere", row.Functions, c)
			}
		}
	}
}

func TestRowsAreComplete(t *testing.T) {
	type match struct {
		function   string
		capability capability.Capability
	}
	earlierRows := make(map[match]int) // the row without condition that matches all these checks
	for i, row := range Rows() {
		if row.Reason == "" && row.Optional == "" || row.Source == "" {
			t.Errorf("%v lacks a reason or a source", row.Functions)
		}
		if len(row.Functions) == 0 && len(row.Capabilities) == 0 {
			t.Errorf("row %d matches everything", i)
		}
		if !slices.Contains([]Class{Irrelevant, Soft, Required}, row.Class) {
			t.Errorf("%v: a row cannot have class %s", row.Functions, row.Class)
		}
		for _, function := range row.Functions {
			for _, c := range row.Capabilities {
				current := match{function, c}
				if earlier, ok := earlierRows[current]; ok {
					t.Errorf("row %d can never match %v, because row %d does", i, current, earlier)
				}
				if row.When == nil {
					earlierRows[current] = i
				}
			}
		}
	}
}

// A wrapper is never the call site, so a row with a wrapper as its only function matches checks of all its callers.
// Such a row needs a condition that names the caller.
func TestRowsWithOnlyAWrapperHaveACondition(t *testing.T) {
	for _, row := range Rows() {
		for _, function := range row.Functions {
			site, _ := kernel.CallSite([]string{function, "caller"})
			if site == "caller" && row.When == nil && len(row.Functions) == 1 {
				t.Errorf("%s is a wrapper", function)
			}
		}
	}
}

func TestOpensForReading(t *testing.T) {
	native := syscalls.NativeArch()
	for _, test := range []struct {
		name string
		arch syscalls.Arch
		args []uint64 // as recorded
		want bool
	}{
		{"openat", native, []uint64{0, 0, unix.O_RDONLY}, true},
		{"openat", native, []uint64{0, 0, unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NOFOLLOW}, true},
		{"openat", native, []uint64{0, 0, unix.O_WRONLY}, false},
		{"openat", native, []uint64{0, 0, unix.O_RDWR | unix.O_CLOEXEC}, false},
		{"openat", native, []uint64{0, 0, unix.O_ACCMODE}, false},               // both reading and writing
		{"openat", native, []uint64{0, 0, unix.O_RDONLY | unix.O_TRUNC}, false}, // requests write access: may_open's handle_truncate
		{"openat2", native, nil, false},                                         // the flags are behind a pointer
		{"io_uring_enter", native, nil, false},                                  // may be any operation
		{"newfstatat", native, nil, true},                                       // opens nothing
		{"statx", native, nil, true},
		{"read", native, nil, true},
		{"faccessat", native, nil, false}, // may request write access
		{"faccessat2", native, nil, false},
		{"truncate", native, nil, false},
		// Arguments of 32-bit calls are not recorded.
		{"open", native.Compat(), nil, false},
		{"openat", native.Compat(), nil, false},
		{"creat", native.Compat(), nil, false},
	} {
		check := granted(capability.SysResource)
		check.Call = call(t, test.arch, test.name)
		check.Call.HasArgs = test.args != nil
		copy(check.Call.Args[:], test.args)
		if got := opensForReading(check); got != test.want {
			t.Errorf("%s %s %#x: got %v, want %v", test.arch, test.name, test.args, got, test.want)
		}
	}
	if check := granted(capability.SysResource); opensForReading(check) {
		t.Error("a check of a kernel thread was taken for one of an open for reading")
	}
}
