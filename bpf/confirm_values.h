/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Confirms checks that depend on a value in the caller's memory. The kernel has copied the value
 * before the check. Another thread, or a process that shares or writes the memory, can change the
 * value before capmon reads it. So capmon defers such a check until the system call returns, and
 * then derives the value from what the kernel did with its copy. If the call failed:
 *  - A granted capability did not help, whatever the value was.
 *  - For a denied capability, capmon uses the value in memory if it says that the denial mattered.
 */
#ifndef CAPMON_CONFIRM_VALUES_H
#define CAPMON_CONFIRM_VALUES_H

#include "condition.h"
#include "capset_and_userns_needs.h"
#include "check_cache.h"
#include "outcome.h"

#define EINVAL 22
#define MQUEUE_MAGIC 0x19800202 /* include/uapi/linux/magic.h */

enum confirm {
	CONFIRM_NONE = 0,
	CONFIRM_CAPSET = 1, /* with the sets that the task has afterwards */
	CONFIRM_QUEUE = 2, /* with the queue that the call created */
	CONFIRM_MAP = 3, /* with the map of the user namespace */
};

/* A check that waits for the return of its system call, with everything that is needed to confirm
 * it. */
struct deferred_check {
	struct check_key key;
	__u64 effective, permitted, inheritable; /* the sets before the call */
	__u64 ns; /* address of the user namespace */
	__u64 max_messages, max_size; /* the largest queue that needs no capability */
	__u32 confirm; /* enum confirm; CONFIRM_NONE: no deferred check */
	__u32 uid; /* as in check_value */
	__u32 own_cred; /* 1: the kernel checked the task's objective credential */
	__u32 shared_files; /* 1: other tasks can change the task's descriptors */
};

/* The deferred check of each task. A newer capmon opens the maps of a pinned recording by their
 * names, so this map keeps its old name. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct deferred_check);
} unconfirmed SEC(".maps");

/* How to confirm a check. Checks of the runtime are runtime setup whatever the values are. */
static __always_inline enum confirm confirm_of(const struct check_ctx *check, struct call_rule rule)
{
	const struct check_key *key = &check->key;

	if (key->phase == PHASE_SETUP)
		return CONFIRM_NONE;
	switch (key->capability) {
	case CAP_SETPCAP:
		return rule.kind == CALL_CAPSET ? CONFIRM_CAPSET : CONFIRM_NONE;
	case CAP_SYS_RESOURCE: /* CONDITION_CAUSES_ERROR needs no confirmation */
		return rule.kind == CALL_MQ_OPEN && check->call.args[3] && !key->compat &&
				       key->condition != CONDITION_CAUSES_ERROR ?
			       CONFIRM_QUEUE :
			       CONFIRM_NONE;
	case CAP_SYS_ADMIN:
		return rule.kind == CALL_WRITE && key->args[1] == ROOT_MAP_UNKNOWN ? CONFIRM_MAP :
										     CONFIRM_NONE;
	}
	return CONFIRM_NONE;
}

/* Marks a condition as unreadable if only the value in memory says that it has no effect. */
static __always_inline void mark_unreadable(struct check_key *key, enum confirm confirm)
{
	if (confirm != CONFIRM_MAP && key->condition == CONDITION_NO_EFFECT)
		key->condition = CONDITION_UNREADABLE;
}

/* Stores a check as the deferred check of its task. */
static __always_inline void store_deferred(struct task_struct *task,
					   struct deferred_check *deferred,
					   const struct check_ctx *check)
{
	struct ipc_namespace *ipc = BPF_CORE_READ(task, nsproxy, ipc_ns);

	deferred->key = check->key;
	deferred->effective = check->cred.effective;
	deferred->permitted = check->cred.permitted;
	deferred->inheritable = check->cred.inheritable;
	deferred->ns = check->target;
	deferred->max_messages = BPF_CORE_READ(ipc, mq_msg_max);
	deferred->max_size = BPF_CORE_READ(ipc, mq_msgsize_max);
	deferred->uid = check->cred.euid;
	deferred->own_cred = check->cred.cred == (__u64)untrusted_task(task)->real_cred;
	/* only the task itself can start to share its files, and it is in a system call */
	deferred->shared_files = BPF_CORE_READ(task, files, count.counter) > 1;
	deferred->confirm = check->confirm;
}

/* Sets the condition of a check whose call failed, without the value. error is the error that a
 * denial would have caused. */
static __always_inline void confirm_failure(struct check_key *key, long result, long error)
{
	bool granted = key->answer == ANSWER_HELD || key->answer == ANSWER_OWNS_USERNS;

	if (granted || result != -error)
		key->condition = CONDITION_NO_EFFECT;
	else
		mark_unreadable(key, CONFIRM_NONE);
}

/* After a capset that failed, stores only the requested capabilities that the task could not get. A
 * task can always get its permitted capabilities. With CAP_SETPCAP, it can also make the
 * capabilities in its bounding set inheritable. */
static __always_inline void store_lacking(struct task_struct *task, struct deferred_check *deferred,
					  long result)
{
	struct check_key *key = &deferred->key;
	__u64 lacking = result == -EPERM ? ~deferred->permitted : 0;
	__u64 raised;

	__builtin_memcpy(&raised, key->detail, sizeof(raised));
	key->args[0] &= lacking;
	key->args[1] &= lacking;
	if (key->answer == ANSWER_HELD)
		key->args[1] &= ~CAP_SET(untrusted_task(task)->real_cred, cap_bset);
	store_raised(key, raised & lacking);
}

/* Confirms a capset. After a success, the task's sets show what cap_capset read. */
static __always_inline void confirm_capset(struct task_struct *task,
					   struct deferred_check *deferred, long result)
{
	struct check_key *key = &deferred->key;

	if (result < 0) {
		confirm_failure(key, result, EPERM);
		store_lacking(task, deferred, result);
		return;
	}
	__u64 inheritable = CAP_SET(untrusted_task(task)->real_cred, cap_inheritable);
	key->args[0] = CAP_SET(untrusted_task(task)->real_cred, cap_permitted);
	key->args[1] = inheritable & ~deferred->inheritable;
	key->args[2] = deferred->permitted;
	store_raised(key, CAP_SET(untrusted_task(task)->real_cred, cap_effective) &
				  ~deferred->effective);
	key->condition = inheritable & ~(deferred->inheritable | deferred->permitted) ?
				 CONDITION_CAUSES_ERROR :
				 CONDITION_NO_EFFECT;
}

/* Confirms the creation of a message queue. mqueue_get_inode stores its copy of the values in the
 * queue. */
static __always_inline void confirm_queue(struct task_struct *task, struct deferred_check *deferred,
					  long result)
{
	struct check_key *key = &deferred->key;

	if (result < 0) {
		confirm_failure(key, result, EINVAL);
		return;
	}
	if (key->answer != ANSWER_HELD) { /* then the queue was within the limits */
		key->condition = CONDITION_NO_EFFECT;
		return;
	}
	struct inode *inode = inode_of_descriptor(task, result);
	if (deferred->shared_files || !bpf_core_type_exists(struct mqueue_inode_info) ||
	    BPF_CORE_READ(inode, i_sb, s_magic) != MQUEUE_MAGIC) {
		mark_unreadable(key, CONFIRM_QUEUE);
		return;
	}
	struct mqueue_inode_info *queue =
		(void *)inode - bpf_core_field_offset(struct mqueue_inode_info, vfs_inode);
	key->condition = BPF_CORE_READ(queue, attr.mq_maxmsg) > deferred->max_messages ||
					 BPF_CORE_READ(queue, attr.mq_msgsize) >
						 deferred->max_size ?
				 CONDITION_CAUSES_ERROR :
				 CONDITION_NO_EFFECT;
}

/* Whether the map of a user namespace contains user 0 of its parent. */
__noinline int map_has_root(__u64 ns)
{
	struct user_namespace *own = (void *)ns;
	struct user_namespace *parent = BPF_CORE_READ(own, parent);
	__u32 extents = BPF_CORE_READ(own, uid_map.nr_extents);
	__u64 at = (__u64)own + bpf_core_field_offset(struct user_namespace, uid_map.extent);
	struct uid_gid_extent extent = {};
	__u32 root = 0;

	if (!map_id(&parent->uid_map, &root))
		return ROOT_MAP_UNKNOWN;
	if (extents > ID_EXTENTS)
		at = (__u64)BPF_CORE_READ(own, uid_map.forward);
	for (int i = 0; i < ID_EXTENTS_MAX && i < extents; i++, at += sizeof(extent)) {
		bpf_probe_read_kernel(&extent, sizeof(extent), (void *)at);
		if (extent.lower_first == root)
			return ROOT_MAP_ROOT;
	}
	return ROOT_MAP_OTHERS;
}

/* Confirms a write to the map of a user namespace. A map can be written only once, so if this call
 * succeeded, it wrote the present map. If verify_root_map may have denied the write (EPERM, and the
 * namespace's creator did not have CAP_SETFCAP), the map stays unknown. */
static __always_inline void confirm_map(struct deferred_check *deferred, long result)
{
	struct check_key *key = &deferred->key;

	if (result > 0)
		key->args[1] = map_has_root(deferred->ns);
	else if (result != -EPERM || key->args[0])
		key->args[1] = ROOT_MAP_OTHERS;
}

static __always_inline void confirm(struct task_struct *task, struct deferred_check *deferred,
				    long result)
{
	switch (deferred->confirm) {
	case CONFIRM_CAPSET:
		confirm_capset(task, deferred, result);
		break;
	case CONFIRM_QUEUE:
		confirm_queue(task, deferred, result);
		break;
	case CONFIRM_MAP:
		confirm_map(deferred, result);
		break;
	}
}

#endif
