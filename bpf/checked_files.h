/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Records for which files the kernel checked a capability. cap_capable does not get the file, so
 * capmon records how the system call names it: a path and the directory where it starts, or a
 * descriptor. User space resolves the path.
 *
 * capmon records the files of the first checks of each kind. Later it records them only for checks
 * that the cache did not count (check_cache.h), and for a sample of the checks that the cache
 * counted. So some files of a frequent kind may be missing, and the counts are of the recorded
 * checks only.
 */
#ifndef CAPMON_CHECKED_FILES_H
#define CAPMON_CHECKED_FILES_H

#include "condition.h"
#include "executed_files.h"
#include "check_cache.h"
#include "quota.h"
#include "phase.h"

#define CAP_DAC_READ_SEARCH 2
#define AT_FDCWD -100
#define AF_UNIX 1
#define PATH_STEPS_MAX 64 /* of step_up_path: names and mounts */

/* Scratch space, too large for the stack of a program. A name can begin at the last byte of the
 * path, and the verifier requires room for the longest name there, hence the padding. */
struct file_scratch {
	struct file_event fresh;
	__u8 padding[PATH_LEN];
	__u64 dentry, mount; /* current position of step_up_path */
	__u32 path_len; /* bytes of the base's path written so far */
	__u32 nofollow; /* as in file_key */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, CTX_MAX);
	__type(key, __u32);
	__type(value, struct file_scratch);
} file_scratch SEC(".maps");

/* Whether a check is made for a workload's access to a file, and can matter. Of two denied checks
 * by generic_permission (fs/namei.c), first CAP_DAC_READ_SEARCH and then CAP_DAC_OVERRIDE, only the
 * second one counts. */
static __always_inline bool is_file_check(const struct check_key *key)
{
	return key->capability < FILE_CAPABILITIES && key->phase == PHASE_WORKLOAD &&
	       key->subject == SUBJECT_OWN && key->namespace == NAMESPACE_BASE &&
	       key->excess != EXCESS_CERTAIN && key->condition != CONDITION_NO_EFFECT &&
	       (key->answer == ANSWER_HELD ||
		(key->answer == ANSWER_NOT_HELD && key->capability != CAP_DAC_READ_SEARCH));
}

/* Steps from a directory towards the root of its mount namespace, as prepend_path does
 * (fs/d_path.c). Returns false at the end. Global, so that the verifier checks it once. */
__noinline int step_up_path(__u32 slot)
{
	struct file_scratch *scratch = bpf_map_lookup_elem(&file_scratch, &slot);

	if (!scratch)
		return false;
	struct dentry *dentry = (void *)scratch->dentry;
	struct mount *mount = (void *)scratch->mount;
	struct dentry *parent = BPF_CORE_READ(dentry, d_parent);
	__u32 len_before = scratch->path_len;

	if (dentry == parent || dentry == BPF_CORE_READ(mount, mnt.mnt_root)) {
		struct mount *above = BPF_CORE_READ(mount, mnt_parent);
		scratch->fresh.value.base_complete = above == mount;
		if (!above || above == mount)
			return false;
		scratch->dentry = (__u64)BPF_CORE_READ(mount, mnt_mountpoint);
		scratch->mount = (__u64)above;
		return true;
	}
	if (len_before >= PATH_LEN)
		return false;
	long len =
		bpf_probe_read_kernel_str(&scratch->fresh.value.base[len_before & (PATH_LEN - 1)],
					  PATH_LEN, BPF_CORE_READ(dentry, d_name.name));
	if (len <= 0)
		return false;
	scratch->path_len = len_before + len;
	scratch->dentry = (__u64)parent;
	return true;
}

/* Whether a container may have one more file of a kind (FILE_KINDS). */
static __always_inline bool may_add_file(const struct container *container, __u32 kind)
{
	bool full;
	bool half_free = is_half_free(SHARE_FILES, &full);

	return !full && IS_BELOW(kind, FILE_KINDS) &&
	       container->files[kind] < (half_free ? FILES_QUOTA : FILES_QUOTA_LOW);
}

/* Records one check on one file, or one execve that failed. The caller has set the key in the
 * scratch space. If the file is new, this function sets the value. */
__noinline int record_file(__u32 slot)
{
	struct file_scratch *scratch = bpf_map_lookup_elem(&file_scratch, &slot);

	if (!scratch)
		return 0;
	struct file_key *key = &scratch->fresh.key;
	struct file_value *value = bpf_map_lookup_elem(&files, key);
	struct container *container = bpf_map_lookup_elem(&containers, &key->container);
	__u64 now = bpf_ktime_get_boot_ns();
	__u32 kind = key->capability + (key->granted ? 0 : FILE_CAPABILITIES);
	struct task_struct *task = bpf_get_current_task_btf();

	if (key->capability == FAILED_EXECVE)
		kind = FILE_KINDS - 1;
	else if (kind == FILE_KINDS - 1)
		return 0;
	if (!container || kind >= FILE_KINDS)
		return 0;
	if (!value && may_add_file(container, kind)) {
		struct file_value *fresh = &scratch->fresh.value;
		fresh->first_ns = now;
		fresh->pid = bpf_get_current_pid_tgid() >> 32;
		fresh->uid = BPF_CORE_READ(task, cred, fsuid.val);
		fresh->gid = BPF_CORE_READ(task, cred, fsgid.val);
		fresh->bounding = fresh->inheritable = ~0ULL;
		for (int i = 0; i < PATH_STEPS_MAX && scratch->dentry; i++)
			if (!step_up_path(slot))
				break;
		if (!bpf_map_update_elem(&files, key, fresh, BPF_NOEXIST)) {
			if (IS_BELOW(kind, FILE_KINDS))
				__sync_fetch_and_add(&container->files[kind], 1);
			count_entry(container, SHARE_FILES);
			scratch->fresh.event = (struct event){
				.kind = EVENT_FILE,
				.pid = fresh->pid,
				.container = key->container,
				.time_ns = now,
			};
			if (!may_send_event(container, now) ||
			    bpf_ringbuf_output(&events, &scratch->fresh, sizeof(scratch->fresh), 0))
				increment_counter(COUNTER_EVENTS_NOT_SENT);
		}
		value = bpf_map_lookup_elem(&files, key);
	}
	if (!value) {
		if (IS_BELOW(kind, FILE_KINDS))
			__sync_fetch_and_add(&container->unlisted[kind], 1);
		return 0;
	}
	if (key->capability == FAILED_EXECVE) {
		const struct cred *cred = untrusted_task(task)->real_cred;
		__sync_fetch_and_and(&value->bounding, CAP_SET(cred, cap_bset));
		__sync_fetch_and_and(&value->inheritable, CAP_SET(cred, cap_inheritable));
	}
	__sync_fetch_and_add(&value->count, 1);
	value->last_ns = now;
	return 0;
}

/* An argument of the system call, by 1 + its index; 0 if there is no such argument. */
static __always_inline __u64 call_argument(const struct check_ctx *check, __u32 arg_plus_1)
{
	__u32 i = arg_plus_1 - 1;

	return i < 6 ? check->call.args[i] : 0;
}

/* Reads the path that an argument points to, or the path in a socket address. Returns false if it
 * cannot be read. The bytes after the end of the path are 0: the key was empty, and since 5.10 the
 * kernel copies no bytes from there (do_strncpy_from_user, lib/strncpy_from_user.c). */
static __always_inline bool read_user_path(struct file_key *key, __u64 pointer, bool address)
{
	__u16 family = 0;
	__u8 more = 0;

	if (address) {
		if (bpf_probe_read_user(&family, sizeof(family), (void *)pointer) ||
		    family != AF_UNIX)
			return false;
		pointer += sizeof(family);
	}
	long len = bpf_probe_read_user_str(key->path, NAME_LEN, (void *)pointer);
	if (len <= 0 || (address && len == 1))
		return false;
	/* a path that fills the buffer may be truncated */
	if (len == NAME_LEN)
		key->truncated =
			bpf_probe_read_user(&more, sizeof(more), (void *)(pointer + len - 1)) ||
			more;
	return true;
}

/* Records one of the files that the system call of a check names. For which_of_two see file_key. */
__noinline int record_named_file(__u32 slot, __u32 path, __u32 base, __u32 address,
				 __u32 which_of_two)
{
	struct check_ctx *check = bpf_map_lookup_elem(&check_ctx, &slot);
	struct file_scratch *scratch = bpf_map_lookup_elem(&file_scratch, &slot);
	struct task_struct *task = bpf_get_current_task_btf();

	if (!check || !scratch)
		return 0;
	struct file_key *key = &scratch->fresh.key;
	struct file_value *value = &scratch->fresh.value;
	__builtin_memset(&scratch->fresh, 0, sizeof(scratch->fresh));
	scratch->path_len = 0;
	scratch->dentry = 0;
	key->container = check->key.container;
	__builtin_memcpy(key->site, check->key.site, sizeof(key->site));
	__builtin_memcpy(key->comm, check->key.comm, COMM_LEN);
	key->syscall = check->key.syscall;
	key->compat = check->key.compat;
	key->capability = check->key.capability;
	key->granted = check->key.answer == ANSWER_HELD;
	key->which_of_two = which_of_two;
	key->nofollow = scratch->nofollow;

	__s32 descriptor = base ? call_argument(check, base) : AT_FDCWD;
	__u64 pointer = call_argument(check, path);
	if (pointer && read_user_path(key, pointer, address))
		key->naming = NAMING_PATH;
	/* without a path (futimens) or with an empty one (AT_EMPTY_PATH), base is the file */
	if (base && descriptor != AT_FDCWD &&
	    (!pointer || (key->naming == NAMING_PATH && !key->path[0])))
		key->naming = NAMING_DESCRIPTOR;

	struct path *start = NULL;
	if (key->naming == NAMING_DESCRIPTOR ||
	    (key->naming == NAMING_PATH && key->path[0] != '/' && descriptor != AT_FDCWD)) {
		struct file *file = file_of_descriptor(task, descriptor);
		if (file)
			start = __builtin_preserve_access_index(&file->f_path);
	} else if (key->naming == NAMING_PATH) {
		struct fs_struct *fs = BPF_CORE_READ(task, fs);
		start = key->path[0] == '/' ? __builtin_preserve_access_index(&fs->root) :
					      __builtin_preserve_access_index(&fs->pwd);
	}
	struct vfsmount *mnt = BPF_CORE_READ(start, mnt);
	struct dentry *dentry = BPF_CORE_READ(start, dentry);
	if (start && mnt && dentry) {
		struct inode *inode = BPF_CORE_READ(dentry, d_inode);
		key->inode = BPF_CORE_READ(inode, i_ino);
		key->device = BPF_CORE_READ(inode, i_sb, s_dev);
		value->owner = BPF_CORE_READ(inode, i_uid.val);
		value->group = BPF_CORE_READ(inode, i_gid.val);
		value->mode = BPF_CORE_READ(inode, i_mode);
		scratch->dentry = (__u64)dentry;
		scratch->mount = (__u64)mnt - bpf_core_field_offset(struct mount, mnt);
	}
	return record_file(slot);
}

/* Records the files of the check that handle_check has just recorded. */
__noinline int record_files(__u32 slot)
{
	struct check_ctx *check = bpf_map_lookup_elem(&check_ctx, &slot);
	struct file_scratch *scratch = bpf_map_lookup_elem(&file_scratch, &slot);
	volatile const struct file_rule *rule = NULL;

	if (!check || !scratch)
		return 0;
	__u32 nr = check->call.nr;
	scratch->nofollow = 0;
	if (nr >= CALL_MAX)
		return record_named_file(slot, 0, 0, 0, 0);
	rule = check->call.compat ? &compat_file_rules[nr] : &file_rules[nr];
	__u32 other_path = rule->other_path_arg, other_base = rule->other_base_arg,
	      flags = rule->flags_arg;
	if (flags)
		scratch->nofollow = (call_argument(check, flags) & rule->nofollow_mask) ==
				    rule->nofollow_flags;
	record_named_file(slot, rule->path_arg, rule->base_arg, rule->is_sockaddr,
			  other_path ? 1 : 0);
	if (other_path)
		record_named_file(slot, other_path, other_base, 0, 2);
	return 0;
}

/*
 * Records that the current task's execve failed with EPERM. If the file has capabilities with the
 * effective flag, the kernel makes no check before it fails (bprm_caps_from_vfs_caps,
 * security/commoncap.c). User space reads the capabilities of the file. A failed execve of the
 * runtime counts if the runtime has already entered the container's root: this execve would have
 * started the workload.
 */
__noinline int record_failed_execve(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u32 slot = CTX_SYS_EXIT;
	struct check_ctx *check = bpf_map_lookup_elem(&check_ctx, &slot);
	__u64 id = container_of_task(task);

	if (!id || !check || !enabled)
		return 0;
	struct task_state *state = current_task_state(id);
	struct container *container = bpf_map_lookup_elem(&containers, &id);
	if (!state || !container || (state->phase == PHASE_SETUP && !has_container_root(id)))
		return 0;
	if (is_in_nested_userns(task, container)) /* its bounding set is not the container's */
		return 0;
	__builtin_memset(&check->key, 0, sizeof(check->key));
	read_call_number(task, &check->call);
	read_call_args(task, &check->call);
	check->key.container = id;
	check->key.syscall = check->call.nr;
	check->key.compat = check->call.compat;
	check->key.capability = FAILED_EXECVE;
	check->key.answer = ANSWER_NOT_HELD;
	read_comm(task, check->key.comm);
	return record_files(slot);
}

#endif
