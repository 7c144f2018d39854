package classify

import "github.com/capmon/capmon/internal/capability"

// conditional are the places where the kernel looks at something else after a refusal
// that bpf/condition.h evaluates. Where it cannot, the check is required, and Reason
// says what it would depend on.
var conditional = []Row{
	{
		Functions:    []string{"__sys_setuid", "__x64_sys_setuid", "__arm64_sys_setuid", "__ia32_sys_setuid"},
		Capabilities: caps{capability.Setuid},
		Class:        Required,
		Reason:       "needed unless the user id is the real and the saved one already, which could not be told",
		Moot:         "the user id was already the one asked for",
		Silent:       "without it the saved user id would stay behind",
		Source:       "__sys_setuid, kernel/sys.c",
	},
	{
		Functions:    []string{"__sys_setgid", "__x64_sys_setgid", "__arm64_sys_setgid", "__ia32_sys_setgid"},
		Capabilities: caps{capability.Setgid},
		Class:        Required,
		Reason:       "needed unless the group id is the real and the saved one already, which could not be told",
		Moot:         "the group id was already the one asked for",
		Silent:       "without it the saved group id would stay behind",
		Source:       "__sys_setgid, kernel/sys.c",
	},
	{
		Functions:    []string{"cap_capset", "security_capset", "__do_sys_capset", "__x64_sys_capset", "__arm64_sys_capset"},
		Capabilities: caps{capability.Setpcap},
		Class:        Required,
		Reason:       "needed only to make inheritable what is not permitted, and the sets could not be read",
		Moot:         "no capability was made inheritable that was not held",
		Source:       "cap_inh_is_capped and cap_capset, security/commoncap.c",
	},
	{
		Functions:    []string{"setattr_prepare", "setattr_copy", "posix_acl_update_mode", "fuse_set_acl"},
		Capabilities: caps{capability.Fsetid},
		Class:        Required,
		Reason:       "needed only if the file has a set-group-ID bit, which could not be told",
		Moot:         "the mode had no set-group-ID bit to lose",
		Silent:       "without it the set-group-ID bit would be lost",
		Source:       "setattr_prepare and setattr_copy, fs/attr.c; posix_acl_update_mode, fs/posix_acl.c; fuse_set_acl, fs/fuse/acl.c",
	},
	{
		Functions: []string{"fuse_create_open", "fuse_send_open", "fuse_file_open", "fuse_do_open", "fuse_do_setattr",
			"fuse_perform_write", "fuse_cache_write_iter", "fuse_file_write_iter", "fuse_direct_io"},
		Capabilities: caps{capability.Fsetid},
		Class:        Required,
		Reason:       "asked on every write, and needed only if the file has a set-user-ID or set-group-ID bit, which could not be told",
		Moot:         "the file had no set-user-ID or set-group-ID bit to lose",
		Silent:       "without it the file's set-user-ID and set-group-ID bits would be cleared",
		Source:       "fuse_send_write_pages and fuse_direct_io, fs/fuse/file.c; fuse_create_open and fuse_do_setattr, fs/fuse/dir.c",
	},
	{
		Functions: []string{"do_mmap", "mlock_future_ok", "mlock_future_check", "check_brk_limits", "__do_sys_brk", "__x64_sys_brk",
			"vma_to_resize", "check_prep_vma", "mremap_to", "do_mremap", "__do_sys_mremap", "__x64_sys_mremap",
			"expand_upwards", "expand_downwards", "expand_stack", "expand_stack_locked"},
		Capabilities: caps{capability.IPCLock},
		Class:        Required,
		Reason:       "needed only beyond RLIMIT_MEMLOCK, and how much was to be locked could not be told",
		Moot:         "what was locked was within RLIMIT_MEMLOCK",
		Source:       "mlock_future_ok, mm/mmap.c (mm/vma.c since 6.13; mlock_future_check up to 6.2, which looks at the limit first)",
	},
	{
		Functions: []string{"mm_account_pinned_pages", "msg_zerocopy_realloc", "xdp_umem_create", "account_locked_vm",
			"sev_pin_memory", "__io_account_mem"},
		Capabilities: caps{capability.IPCLock},
		Class:        Required,
		Reason:       "needed only beyond RLIMIT_MEMLOCK, and how much was to be pinned could not be told",
		Moot:         "RLIMIT_MEMLOCK is unlimited",
		Source:       "mm_account_pinned_pages, net/core/skbuff.c; xdp_umem_account_pages, net/xdp/xdp_umem.c; account_locked_vm, mm/util.c",
	},
	{
		Functions:    []string{"io_uring_create", "io_uring_setup"},
		Capabilities: caps{capability.IPCLock},
		Class:        Soft,
		Reason:       "without it buffers that are registered with the ring count towards RLIMIT_MEMLOCK",
		Moot:         "RLIMIT_MEMLOCK, towards which registered buffers would count, is unlimited",
		Source:       "io_uring_create, io_uring/io_uring.c; __io_account_mem, io_uring/rsrc.c",
	},
	{
		// mqueue_create_attr asks itself only if there are as many queues as may be.
		Functions:    []string{"mqueue_get_inode"},
		Capabilities: caps{capability.SysResource},
		Class:        Required,
		Reason:       "needed only for queues larger than fs.mqueue's limits, and the size could not be told",
		Moot:         "the queue was within fs.mqueue's limits",
		Source:       "mqueue_get_inode, ipc/mqueue.c",
	},
}
