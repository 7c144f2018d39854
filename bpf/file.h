/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Which files made a capability necessary. cap_capable is not told, so it is what the
 * system call names: a path, with the directory that it begins at, or a descriptor. Where a
 * path leads user space finds out.
 *
 * The first checks of each kind come here, and later those that were not counted from memory
 * (memo.h) and a sample of those that were: of a frequent kind some files may be missing, and
 * the counts are of the checks that came.
 */
#ifndef CAPMON_FILE_H
#define CAPMON_FILE_H

#include "condition.h"
#include "exec.h"
#include "memo.h"
#include "quota.h"
#include "task.h"

#define CAP_DAC_READ_SEARCH 2
#define AT_FDCWD -100
#define AF_UNIX 1
#define STEPS_MAX 64 /* up a path: names and mounts */

/* Too large for a program's stack. Names are copied with as much room as the verifier
 * wants to see: one may begin at the last byte of the path. */
struct note {
	struct file_event fresh;
	__u8 room[PATH_LEN];
	__u64 dentry, mount; /* where the walk up is */
	__u32 at; /* bytes of its path that are written */
	__u32 link; /* as in file_key */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SLOT_MAX);
	__type(key, __u32);
	__type(value, struct note);
} notes SEC(".maps");

/* Whether a check is of a workload's, about a file, and one that matters. A refused
 * CAP_DAC_READ_SEARCH is followed by the question for CAP_DAC_OVERRIDE (generic_permission,
 * fs/namei.c). */
static __always_inline bool is_of_file(const struct check_key *key)
{
	return key->capability < FILE_CAPABILITIES && key->phase == PHASE_WORKLOAD &&
	       key->subject == SUBJECT_OWN && key->namespace == NAMESPACE_BASE &&
	       key->beyond != EXCESS_CERTAIN && key->condition != CONDITION_MOOT &&
	       (key->answer == ANSWER_HELD ||
		(key->answer == ANSWER_MISSING && key->capability != CAP_DAC_READ_SEARCH));
}

/* One step from a directory towards the root of its mount namespace, as prepend_path
 * (fs/d_path.c); false at the end. A global function, so that the verifier follows it
 * once. */
__noinline int climb(__u32 slot)
{
	struct note *note = bpf_map_lookup_elem(&notes, &slot);

	if (!note)
		return false;
	struct dentry *dentry = (void *)note->dentry;
	struct mount *mount = (void *)note->mount;
	struct dentry *parent = BPF_CORE_READ(dentry, d_parent);
	__u32 at = note->at;

	if (dentry == parent || dentry == BPF_CORE_READ(mount, mnt.mnt_root)) {
		struct mount *above = BPF_CORE_READ(mount, mnt_parent);
		note->fresh.value.whole = above == mount;
		if (!above || above == mount)
			return false;
		note->dentry = (__u64)BPF_CORE_READ(mount, mnt_mountpoint);
		note->mount = (__u64)above;
		return true;
	}
	if (at >= PATH_LEN)
		return false;
	long len = bpf_probe_read_kernel_str(&note->fresh.value.base[at & (PATH_LEN - 1)], PATH_LEN,
					     BPF_CORE_READ(dentry, d_name.name));
	if (len <= 0)
		return false;
	note->at = at + len;
	note->dentry = (__u64)parent;
	return true;
}

/* Whether a container may have one more file of a capability, granted or refused. */
static __always_inline bool may_list(const struct container *container, __u32 kind)
{
	bool full;
	bool roomy = is_roomy(SHARE_FILES, &full);

	return !full && IS_BELOW(kind, FILE_KINDS) &&
	       container->files[kind] < (roomy ? FILES_EACH : FILES_FEW);
}

/* Records one check of one file, or one execve that failed: the note is complete but for what is
 * known once it turns out to be new. */
__noinline int record_file(__u32 slot)
{
	struct note *note = bpf_map_lookup_elem(&notes, &slot);

	if (!note)
		return 0;
	struct file_key *key = &note->fresh.key;
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
	if (!value && may_list(container, kind)) {
		struct file_value *fresh = &note->fresh.value;
		fresh->first_ns = now;
		fresh->pid = bpf_get_current_pid_tgid() >> 32;
		fresh->uid = BPF_CORE_READ(task, cred, fsuid.val);
		fresh->gid = BPF_CORE_READ(task, cred, fsgid.val);
		fresh->bounding = fresh->inheritable = ~0ULL;
		for (int i = 0; i < STEPS_MAX && note->dentry; i++)
			if (!climb(slot))
				break;
		if (!bpf_map_update_elem(&files, key, fresh, BPF_NOEXIST)) {
			if (IS_BELOW(kind, FILE_KINDS))
				__sync_fetch_and_add(&container->files[kind], 1);
			note_entry(container, SHARE_FILES);
			note->fresh.event = (struct event){
				.kind = EVENT_FILE,
				.pid = fresh->pid,
				.container = key->container,
				.time_ns = now,
			};
			if (!may_tell(container, now) ||
			    bpf_ringbuf_output(&events, &note->fresh, sizeof(note->fresh), 0))
				count(COUNTER_EVENTS);
		}
		value = bpf_map_lookup_elem(&files, key);
	}
	if (!value) {
		if (IS_BELOW(kind, FILE_KINDS))
			__sync_fetch_and_add(&container->unlisted[kind], 1);
		return 0;
	}
	if (key->capability == FAILED_EXECVE) {
		const struct cred *cred = plain(task)->real_cred;
		__sync_fetch_and_and(&value->bounding, CAPABILITIES(cred, cap_bset));
		__sync_fetch_and_and(&value->inheritable, CAPABILITIES(cred, cap_inheritable));
	}
	__sync_fetch_and_add(&value->count, 1);
	value->last_ns = now;
	return 0;
}

/* An argument of the system call, by 1 + its index; 0 if there is none such. */
static __always_inline __u64 argument(const struct look *look, __u32 place)
{
	__u32 i = place - 1;

	return i < 6 ? look->call.args[i] : 0;
}

/* Reads the path that an argument points to, or for a socket's address its file; false if
 * that cannot be read. Behind its end there is nothing: the key was empty, and since 5.10 no
 * bytes are copied from there (do_strncpy_from_user, lib/strncpy_from_user.c). */
static __always_inline bool read_name(struct file_key *key, __u64 pointer, bool address)
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
	/* one that fills the room may have been cut */
	if (len == NAME_LEN)
		key->cut = bpf_probe_read_user(&more, sizeof(more), (void *)(pointer + len - 1)) ||
			   more;
	return true;
}

/* Notes one of the files that the system call of a check is about; of_two as in
 * file_key. */
__noinline int note_file(__u32 slot, __u32 path, __u32 base, __u32 address, __u32 of_two)
{
	struct look *look = bpf_map_lookup_elem(&looks, &slot);
	struct note *note = bpf_map_lookup_elem(&notes, &slot);
	struct task_struct *task = bpf_get_current_task_btf();

	if (!look || !note)
		return 0;
	struct file_key *key = &note->fresh.key;
	struct file_value *value = &note->fresh.value;
	__builtin_memset(&note->fresh, 0, sizeof(note->fresh));
	note->at = 0;
	note->dentry = 0;
	key->container = look->key.container;
	__builtin_memcpy(key->site, look->key.site, sizeof(key->site));
	__builtin_memcpy(key->comm, look->key.comm, COMM_LEN);
	key->syscall = look->key.syscall;
	key->compat = look->key.compat;
	key->capability = look->key.capability;
	key->granted = look->key.answer == ANSWER_HELD;
	key->of_two = of_two;
	key->link = note->link;

	__s32 descriptor = base ? argument(look, base) : AT_FDCWD;
	__u64 pointer = argument(look, path);
	if (pointer && read_name(key, pointer, address))
		key->naming = NAMING_PATH;
	/* futimens, and AT_EMPTY_PATH */
	if (base && descriptor != AT_FDCWD &&
	    (!pointer || (key->naming == NAMING_PATH && !key->path[0])))
		key->naming = NAMING_DESCRIPTOR;

	struct path *at = NULL;
	if (key->naming == NAMING_DESCRIPTOR ||
	    (key->naming == NAMING_PATH && key->path[0] != '/' && descriptor != AT_FDCWD)) {
		struct file *file = file_of(task, descriptor);
		if (file)
			at = __builtin_preserve_access_index(&file->f_path);
	} else if (key->naming == NAMING_PATH) {
		struct fs_struct *fs = BPF_CORE_READ(task, fs);
		at = key->path[0] == '/' ? __builtin_preserve_access_index(&fs->root) :
					   __builtin_preserve_access_index(&fs->pwd);
	}
	struct vfsmount *mnt = BPF_CORE_READ(at, mnt);
	struct dentry *dentry = BPF_CORE_READ(at, dentry);
	if (at && mnt && dentry) {
		struct inode *inode = BPF_CORE_READ(dentry, d_inode);
		key->inode = BPF_CORE_READ(inode, i_ino);
		key->device = BPF_CORE_READ(inode, i_sb, s_dev);
		value->owner = BPF_CORE_READ(inode, i_uid.val);
		value->group = BPF_CORE_READ(inode, i_gid.val);
		value->mode = BPF_CORE_READ(inode, i_mode);
		note->dentry = (__u64)dentry;
		note->mount = (__u64)mnt - bpf_core_field_offset(struct mount, mnt);
	}
	return record_file(slot);
}

/* Notes what files the check that has just been recorded is about. */
__noinline int note_files(__u32 slot)
{
	struct look *look = bpf_map_lookup_elem(&looks, &slot);
	struct note *note = bpf_map_lookup_elem(&notes, &slot);
	volatile const struct file_rule *rule = NULL;

	if (!look || !note)
		return 0;
	__u32 nr = look->call.nr;
	note->link = 0;
	if (nr >= CALL_MAX)
		return note_file(slot, 0, 0, 0, 0);
	rule = look->call.compat ? &compat_file_rules[nr] : &file_rules[nr];
	__u32 other_path = rule->other_path, other_base = rule->other_base, flags = rule->flags;
	if (flags)
		note->link = (argument(look, flags) & rule->mask) == rule->links;
	note_file(slot, rule->path, rule->base, rule->address, other_path ? 1 : 0);
	if (other_path)
		note_file(slot, other_path, other_base, 0, 2);
	return 0;
}

/*
 * The current task's execve has failed with EPERM. If the file carries capabilities with the
 * effective flag, the kernel makes no check before it does so (bprm_caps_from_vfs_caps,
 * security/commoncap.c). User space reads what the file carries. The runtime's executions count
 * once it has entered the container's root: the last one would have started the workload.
 */
__noinline int failed_execve(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u32 slot = SLOT_RETURN;
	struct look *look = bpf_map_lookup_elem(&looks, &slot);
	__u64 id = container_of_task(task);

	if (!id || !look || !recording)
		return 0;
	struct task_state *state = current_state(id);
	struct container *container = bpf_map_lookup_elem(&containers, &id);
	if (!state || !container || (state->phase == PHASE_SETUP && !in_own_root(id)))
		return 0;
	if (is_nested(task, container)) /* its bounding set is not the container's */
		return 0;
	__builtin_memset(&look->key, 0, sizeof(look->key));
	read_number(task, &look->call);
	read_arguments(task, &look->call);
	look->key.container = id;
	look->key.syscall = look->call.nr;
	look->key.compat = look->call.compat;
	look->key.capability = FAILED_EXECVE;
	look->key.answer = ANSWER_MISSING;
	read_comm(task, look->key.comm);
	return note_files(slot);
}

#endif
