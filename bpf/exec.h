/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Executed files. A file with capabilities whose effective flag is set demands
 * them: execve fails without (bprm_caps_from_vfs_caps, security/commoncap.c), and no
 * check is made. The attribute cannot be read here, so the file is named to user
 * space, which reads it.
 */
#ifndef CAPMON_EXEC_H
#define CAPMON_EXEC_H

#include "condition.h"
#include "quota.h"
#include "task.h"

#define PATH_DEPTH 32
#define OVERLAYFS_SUPER_MAGIC 0x794c7630 /* include/uapi/linux/magic.h */

/* Too large for a program's stack. Names are copied with as much room as the
 * verifier wants to see: one may begin at the last byte of the path. */
struct execution {
	struct execution_value value;
	__u8 room[PATH_LEN];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct execution);
} fresh_executions SEC(".maps");

/* Writes the path of a file below the root of its file system, links resolved as
 * the kernel has resolved them. */
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

/* The file whose capabilities the kernel looks at (bprm_creds_from_file, fs/exec.c): what the task
 * executes or, if that is an interpreter by binfmt_misc with the flag C, the program that it was
 * given. */
static __always_inline struct file *file_with_credentials(struct task_struct *task,
							  struct linux_binprm *bprm)
{
	if (BPF_CORE_READ_BITFIELD_PROBED(bprm, execfd_creds))
		return file_of(task, BPF_CORE_READ(bprm, execfd));
	return BPF_CORE_READ(task, mm, exe_file);
}

/* The mount namespace that a file was opened in; NULL or an error pointer for a memfd and for a
 * mount that was taken away since. */
static __always_inline struct mnt_namespace *namespace_of(struct file *file)
{
	struct vfsmount *mnt = BPF_CORE_READ(file, f_path.mnt);
	if (!mnt)
		return NULL;
	struct mount *mount = (void *)mnt - bpf_core_field_offset(struct mount, mnt);
	return BPF_CORE_READ(mount, mnt_ns);
}

/* Whether the kernel looks at the file's capabilities: not on a mount with nosuid, nor
 * on one of another mount namespace, such as a memory file's (mnt_may_suid,
 * fs/namespace.c). */
static __always_inline bool may_raise(struct task_struct *task, struct file *file)
{
	return !(BPF_CORE_READ(file, f_path.mnt, mnt_flags) & MNT_NOSUID) &&
	       namespace_of(file) == BPF_CORE_READ(task, nsproxy, mnt_ns);
}

#define NANOSECONDS 1000000000LL
#define NSEC_MASK 0x7fffffff /* without I_CTIME_QUERIED, include/linux/fs.h */

/* When the inode was changed, its capabilities included. Nobody can set that. */
static __always_inline __s64 changed_at(struct inode *inode)
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

/* Whether the task is in a user namespace that the container's workload made. There it may have
 * every capability, whatever the container was granted. */
static __always_inline bool is_nested(struct task_struct *task, const struct container *container)
{
	return container->base_userns &&
	       container->base_userns != plain(task)->real_cred->user_ns->ns.inum;
}

/* Leaves out which file was executed. Whether its capabilities count is still known, and so is
 * the ambient set: of a mount with nosuid, such as a memory file's, nothing is missing then. */
static __always_inline void fold_execution(struct execution_key *key)
{
	key->inode = 0;
	key->changed = 0;
	key->device = 0;
	key->generation = 0;
	key->overlay = 0;
	key->folded = 1;
}

/* Enters a new execution, and tells of it unless it is folded. */
static __always_inline void enter_execution(struct container *owner, struct execution_key *key,
					    struct task_struct *task, struct file *file, __u64 now)
{
	__u32 zero = 0;
	struct execution *fresh = bpf_map_lookup_elem(&fresh_executions, &zero);

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
	note_entry(owner, key->folded ? SHARE_EXECUTIONS_FOLDED : SHARE_EXECUTIONS);
	if (key->folded)
		return;
	tell(&(struct event){
		.kind = EVENT_EXECUTION,
		.pid = fresh->value.pid,
		.container = key->container,
		.time_ns = now,
		.execution = *key,
	});
}

/* Records what the current task, a workload's, has just executed: the file at an address. */
__noinline int executed_file(__u64 container, __u64 address)
{
	struct container *owner = bpf_map_lookup_elem(&containers, &container);
	if (!recording || !owner)
		return 0;
	struct task_struct *task = bpf_get_current_task_btf();
	struct file *file = (void *)address;
	struct inode *inode = BPF_CORE_READ(file, f_inode);
	__u64 now = bpf_ktime_get_boot_ns();
	struct execution_key key = {
		.container = container,
		.inode = BPF_CORE_READ(inode, i_ino),
		.ambient = CAPABILITIES(plain(task)->real_cred, cap_ambient),
		.changed = changed_at(inode),
		.device = BPF_CORE_READ(inode, i_sb, s_dev),
		.generation = BPF_CORE_READ(inode, i_generation),
		.nosuid = !may_raise(task, file),
		.overlay = BPF_CORE_READ(inode, i_sb, s_magic) == OVERLAYFS_SUPER_MAGIC,
		.nested = is_nested(task, owner),
	};
	struct execution_value *known = bpf_map_lookup_elem(&executions, &key);
	if (!known) {
		bool room = may_enter(owner, SHARE_EXECUTIONS);
		if (!room) {
			fold_execution(&key);
			known = bpf_map_lookup_elem(&executions, &key);
			room = !known && may_enter(owner, SHARE_EXECUTIONS_FOLDED);
		}
		if (room) {
			enter_execution(owner, &key, task, file, now);
			known = bpf_map_lookup_elem(&executions, &key);
		}
		if (!known) {
			__sync_fetch_and_add(&owner->unrecorded_executions, 1);
			count(COUNTER_EXECUTIONS);
			return 0;
		}
	}
	__sync_fetch_and_add(&known->count, 1);
	known->last_ns = now;
	return 0;
}

#endif
