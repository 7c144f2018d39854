package classify

import "github.com/capmon/capmon/capability"

// conditional has the call sites where the kernel compares something else after a denial, and bpf/condition.h evaluates
// that condition. If it cannot, the check is required, and Reason states the condition.
var conditional = []Row{
	{
		Functions:     []string{"__sys_setuid", "__x64_sys_setuid", "__arm64_sys_setuid", "__ia32_sys_setuid"},
		Capabilities:  caps{capability.Setuid},
		Class:         Required,
		Reason:        "needed unless the real and the saved user ID are already the requested one, which capmon could not determine",
		NoEffect:      "the user ID was already the requested one",
		ChangesResult: "without it the saved user ID would keep its old value",
		Source:        "__sys_setuid, kernel/sys.c",
	},
	{
		Functions:     []string{"__sys_setgid", "__x64_sys_setgid", "__arm64_sys_setgid", "__ia32_sys_setgid"},
		Capabilities:  caps{capability.Setgid},
		Class:         Required,
		Reason:        "needed unless the real and the saved group ID are already the requested one, which capmon could not determine",
		NoEffect:      "the group ID was already the requested one",
		ChangesResult: "without it the saved group ID would keep its old value",
		Source:        "__sys_setgid, kernel/sys.c",
	},
	{
		Functions:    []string{"cap_capset", "security_capset", "__do_sys_capset", "__x64_sys_capset", "__arm64_sys_capset"},
		Capabilities: caps{capability.Setpcap},
		Class:        Required,
		Reason:       "needed only to make a capability inheritable that is not permitted, and capmon could not read the sets",
		NoEffect:     "no capability became inheritable that was not held before",
		Source:       "cap_inh_is_capped and cap_capset, security/commoncap.c",
	},
	{
		Functions:     []string{"setattr_prepare", "setattr_copy", "posix_acl_update_mode", "fuse_set_acl"},
		Capabilities:  caps{capability.Fsetid},
		Class:         Required,
		Reason:        "needed only if the file has a set-group-ID bit, which capmon could not determine",
		NoEffect:      "the mode had no set-group-ID bit to lose",
		ChangesResult: "without it the set-group-ID bit would be lost",
		Source:        "setattr_prepare and setattr_copy, fs/attr.c; posix_acl_update_mode, fs/posix_acl.c; fuse_set_acl, fs/fuse/acl.c",
	},
	{
		Functions: []string{"fuse_create_open", "fuse_send_open", "fuse_file_open", "fuse_do_open", "fuse_do_setattr",
			"fuse_perform_write", "fuse_cache_write_iter", "fuse_file_write_iter", "fuse_direct_io"},
		Capabilities:  caps{capability.Fsetid},
		Class:         Required,
		Reason:        "checked on every write, but needed only if the file has a set-user-ID or set-group-ID bit, which capmon could not determine",
		NoEffect:      "the file had no set-user-ID or set-group-ID bit to lose",
		ChangesResult: "without it the file's set-user-ID and set-group-ID bits would be cleared",
		Source:        "fuse_send_write_pages and fuse_direct_io, fs/fuse/file.c; fuse_create_open and fuse_do_setattr, fs/fuse/dir.c",
	},
	{
		Functions: []string{"do_mmap", "mlock_future_ok", "mlock_future_check", "check_brk_limits", "__do_sys_brk", "__x64_sys_brk",
			"vma_to_resize", "check_prep_vma", "mremap_to", "do_mremap", "__do_sys_mremap", "__x64_sys_mremap",
			"expand_upwards", "expand_downwards", "expand_stack", "expand_stack_locked"},
		Capabilities: caps{capability.IPCLock},
		Class:        Required,
		Reason:       "needed only beyond RLIMIT_MEMLOCK, and capmon could not determine how much memory was to be locked",
		NoEffect:     "the locked memory was within RLIMIT_MEMLOCK",
		Source:       "mlock_future_ok, mm/mmap.c (mm/vma.c since 6.13; mlock_future_check up to 6.2, which compares the limit first)",
	},
	{
		Functions: []string{"mm_account_pinned_pages", "msg_zerocopy_realloc", "xdp_umem_create", "account_locked_vm",
			"sev_pin_memory", "__io_account_mem"},
		Capabilities: caps{capability.IPCLock},
		Class:        Required,
		Reason:       "needed only beyond RLIMIT_MEMLOCK, and capmon could not determine how much memory was to be pinned",
		NoEffect:     "RLIMIT_MEMLOCK is unlimited",
		Source:       "mm_account_pinned_pages, net/core/skbuff.c; xdp_umem_account_pages, net/xdp/xdp_umem.c; account_locked_vm, mm/util.c",
	},
	{
		Functions:    []string{"io_uring_create", "io_uring_setup"},
		Capabilities: caps{capability.IPCLock},
		Class:        Soft,
		Reason:       "without it registered buffers of the ring count towards RLIMIT_MEMLOCK",
		NoEffect:     "RLIMIT_MEMLOCK, the limit for registered buffers, is unlimited",
		Source:       "io_uring_create, io_uring/io_uring.c; __io_account_mem, io_uring/rsrc.c",
	},
	{
		// mqueue_create_attr makes its own check only if the maximum number of queues exists.
		Functions:    []string{"mqueue_get_inode"},
		Capabilities: caps{capability.SysResource},
		Class:        Required,
		Reason:       "needed only for queues larger than the limits in fs.mqueue, and capmon could not determine the size",
		NoEffect:     "the queue was within the limits in fs.mqueue",
		Source:       "mqueue_get_inode, ipc/mqueue.c",
	},
}
