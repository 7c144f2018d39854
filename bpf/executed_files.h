/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Records the program files that workloads execute. A file with capabilities and the effective flag
 * needs these capabilities: without them execve fails, and the kernel makes no check
 * (bprm_caps_from_vfs_caps, security/commoncap.c). BPF programs cannot read this attribute, so
 * capmon records the file, and user space reads it.
 */
#ifndef CAPMON_EXECUTED_FILES_H
#define CAPMON_EXECUTED_FILES_H

#include "condition.h"
#include "quota.h"
#include "phase.h"

#define PATH_DEPTH 32
#define OVERLAYFS_SUPER_MAGIC 0x794c7630 /* include/uapi/linux/magic.h */

/* Scratch space, too large for the stack of a program. A name can begin at the last byte of the
 * path, and the verifier requires room for the longest name there, hence the padding. */
struct execution_scratch {
	struct execution_value value;
	__u8 padding[PATH_LEN];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct execution_scratch);
} exec_scratch SEC(".maps");

/* Writes the path of a file below the root of its file system, with the links resolved. */
static __always_inline void read_path(struct dentry *dentry, __u8 *path)
{
	__u32 at = 0;

	for (int depth = 0; depth < PATH_DEPTH; depth++) {
		struct dentry *parent = BPF_CORE_READ(dentry, d_parent);
		if (dentry == parent || at >= PATH_LEN)
			return;
		long len = bpf_probe_read_kernel_str(&path[at & (PATH_LEN - 1)], PATH_LEN,
						     BPF_CORE_READ(dentry, d_name.name));
		if (len <= 0)
			return;
		at += len;
		dentry = parent;
	}
}

/* The file whose capabilities the kernel reads (bprm_creds_from_file, fs/exec.c): the file that the
 * task executes. For an interpreter of binfmt_misc with the flag C, it is the program given to the
 * interpreter. */
static __always_inline struct file *file_with_capabilities(struct task_struct *task,
							   struct linux_binprm *bprm)
{
	if (BPF_CORE_READ_BITFIELD_PROBED(bprm, execfd_creds))
		return file_of_descriptor(task, BPF_CORE_READ(bprm, execfd));
	return BPF_CORE_READ(task, mm, exe_file);
}

/* The mount namespace in which a file was opened; NULL or an error pointer for a memfd and for a
 * mount that was removed since. */
static __always_inline struct mnt_namespace *mount_namespace_of(struct file *file)
{
	struct vfsmount *mnt = BPF_CORE_READ(file, f_path.mnt);
	if (!mnt)
		return NULL;
	struct mount *mount = (void *)mnt - bpf_core_field_offset(struct mount, mnt);
	return BPF_CORE_READ(mount, mnt_ns);
}

/* Whether the kernel reads the file's capabilities: not on a mount with nosuid, and not on a mount
 * of another mount namespace, such as that of a memfd (mnt_may_suid, fs/namespace.c). */
static __always_inline bool honors_file_capabilities(struct task_struct *task, struct file *file)
{
	return !(BPF_CORE_READ(file, f_path.mnt, mnt_flags) & MNT_NOSUID) &&
	       mount_namespace_of(file) == BPF_CORE_READ(task, nsproxy, mnt_ns);
}

#define NANOSECONDS 1000000000LL
#define NSEC_MASK 0x7fffffff /* without I_CTIME_QUERIED, include/linux/fs.h */

/* When the inode was last changed, which includes its capabilities. Nobody can set this time. */
static __always_inline __s64 ctime_of(struct inode *inode)
{
	struct inode___before_6_11 *timed = (void *)inode;
	struct inode___before_6_6 *older = (void *)inode;

	if (bpf_core_field_exists(inode->i_ctime_sec))
		return BPF_CORE_READ(inode, i_ctime_sec) * NANOSECONDS +
		       (BPF_CORE_READ(inode, i_ctime_nsec) & NSEC_MASK);
	if (bpf_core_field_exists(timed->__i_ctime))
		return BPF_CORE_READ(timed, __i_ctime.tv_sec) * NANOSECONDS +
		       BPF_CORE_READ(timed, __i_ctime.tv_nsec);
	return BPF_CORE_READ(older, i_ctime.tv_sec) * NANOSECONDS +
	       BPF_CORE_READ(older, i_ctime.tv_nsec);
}

/* Whether the task is in a user namespace that the container's workload created. There it can have
 * every capability, whatever the container was granted. */
static __always_inline bool is_in_nested_userns(struct task_struct *task,
						const struct container *container)
{
	return container->base_userns &&
	       container->base_userns != untrusted_task(task)->real_cred->user_ns->ns.inum;
}

/* Folds the key of an execution: removes the file. The key keeps nosuid and the ambient set. These
 * are all that matters for files whose capabilities do not count, because they are on a mount with
 * nosuid or in a memfd. */
static __always_inline void fold_execution(struct execution_key *key)
{
	key->inode = 0;
	key->ctime_ns = 0;
	key->device = 0;
	key->generation = 0;
	key->overlay = 0;
	key->folded = 1;
}

/* Adds a new execution, and sends an event unless the execution is folded. */
static __always_inline void add_execution(struct container *owner, struct execution_key *key,
					  struct task_struct *task, struct file *file, __u64 now)
{
	__u32 zero = 0;
	struct execution_scratch *fresh = bpf_map_lookup_elem(&exec_scratch, &zero);

	if (!fresh)
		return;
	__builtin_memset(&fresh->value, 0, sizeof(fresh->value));
	fresh->value.first_ns = now;
	fresh->value.pid = bpf_get_current_pid_tgid() >> 32;
	fresh->value.uid = BPF_CORE_READ(task, real_cred, euid.val);
	if (!key->folded)
		read_path(BPF_CORE_READ(file, f_path.dentry), fresh->value.path);
	if (bpf_map_update_elem(&executions, key, &fresh->value, BPF_NOEXIST))
		return;
	count_entry(owner, key->folded ? SHARE_EXECUTIONS_FOLDED : SHARE_EXECUTIONS);
	if (key->folded)
		return;
	send_event(&(struct event){
		.kind = EVENT_EXECUTION,
		.pid = fresh->value.pid,
		.container = key->container,
		.time_ns = now,
		.execution = *key,
	});
}

/* Records the file at an address, which the current task of a workload has just executed. */
__noinline int record_execution(__u64 container, __u64 address)
{
	struct container *owner = bpf_map_lookup_elem(&containers, &container);
	if (!enabled || !owner)
		return 0;
	struct task_struct *task = bpf_get_current_task_btf();
	struct file *file = (void *)address;
	struct inode *inode = BPF_CORE_READ(file, f_inode);
	__u64 now = bpf_ktime_get_boot_ns();
	struct execution_key key = {
		.container = container,
		.inode = BPF_CORE_READ(inode, i_ino),
		.ambient = CAP_SET(untrusted_task(task)->real_cred, cap_ambient),
		.ctime_ns = ctime_of(inode),
		.device = BPF_CORE_READ(inode, i_sb, s_dev),
		.generation = BPF_CORE_READ(inode, i_generation),
		.nosuid = !honors_file_capabilities(task, file),
		.overlay = BPF_CORE_READ(inode, i_sb, s_magic) == OVERLAYFS_SUPER_MAGIC,
		.nested = is_in_nested_userns(task, owner),
	};
	struct execution_value *known = bpf_map_lookup_elem(&executions, &key);
	if (!known) {
		bool room = may_add_entry(owner, SHARE_EXECUTIONS);
		if (!room) {
			fold_execution(&key);
			known = bpf_map_lookup_elem(&executions, &key);
			room = !known && may_add_entry(owner, SHARE_EXECUTIONS_FOLDED);
		}
		if (room) {
			add_execution(owner, &key, task, file, now);
			known = bpf_map_lookup_elem(&executions, &key);
		}
		if (!known) {
			__sync_fetch_and_add(&owner->unrecorded_executions, 1);
			increment_counter(COUNTER_EXECUTIONS_FULL);
			return 0;
		}
	}
	__sync_fetch_and_add(&known->count, 1);
	known->last_ns = now;
	return 0;
}

#endif
