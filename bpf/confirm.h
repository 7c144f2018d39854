/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Checks that a value decides which the system call points to. The kernel has copied it before it
 * asks, and another thread, or a process that shares or writes the memory, can change it before
 * capmon reads it. So such a check is held until the system call returns, and decided then by
 * what the kernel has made of its copy. Of a call that failed:
 *  - where the capability was granted, it has not helped, whatever the value was;
 *  - where it was refused, the value in memory is believed if it says that this mattered.
 */
#ifndef CAPMON_CONFIRM_H
#define CAPMON_CONFIRM_H

#include "condition.h"
#include "demand.h"
#include "memo.h"
#include "outcome.h"

#define EINVAL 22
#define MQUEUE_MAGIC 0x19800202 /* include/uapi/linux/magic.h */

enum confirm {
	CONFIRM_NONE = 0,
	CONFIRM_CAPSET = 1, /* by the sets that the task has */
	CONFIRM_QUEUE = 2, /* by the queue that was made */
	CONFIRM_MAP = 3, /* by the map of the user namespace */
};

struct unconfirmed {
	struct check_key key;
	__u64 effective, permitted, inheritable; /* the sets before */
	__u64 ns; /* address of the user namespace */
	__u64 messages, size; /* the largest queue without the capability */
	__u32 confirm; /* enum confirm; CONFIRM_NONE: there is no check */
	__u32 uid; /* as in check_value */
	__u32 own; /* 1: the task's own credential was asked */
	__u32 shared; /* 1: others can change what the task's descriptors stand for */
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct unconfirmed);
} unconfirmed_of SEC(".maps");

/* What a check has to be confirmed by. The runtime's own is set-up whatever the values are. */
static __always_inline enum confirm confirm_of(const struct look *look, struct call_rule rule)
{
	const struct check_key *key = &look->key;

	if (key->phase == PHASE_SETUP)
		return CONFIRM_NONE;
	switch (key->capability) {
	case CAP_SETPCAP:
		return rule.kind == CALL_CAPSET ? CONFIRM_CAPSET : CONFIRM_NONE;
	case CAP_SYS_RESOURCE: /* that it matters is believed */
		return rule.kind == CALL_MQ_OPEN && look->call.args[3] && !key->compat &&
				       key->condition != CONDITION_MATTERS ?
			       CONFIRM_QUEUE :
			       CONFIRM_NONE;
	case CAP_SYS_ADMIN:
		return rule.kind == CALL_WRITE && key->args[1] == ROOT_MAP_UNKNOWN ? CONFIRM_MAP :
										     CONFIRM_NONE;
	}
	return CONFIRM_NONE;
}

/* Leaves open what only the value in memory says. */
static __always_inline void distrust(struct check_key *key, enum confirm confirm)
{
	if (confirm != CONFIRM_MAP && key->condition == CONDITION_MOOT)
		key->condition = CONDITION_UNREADABLE;
}

/* Holds a check, with what is needed to confirm it. */
static __always_inline void prepare(struct task_struct *task, struct unconfirmed *held,
				    const struct look *look)
{
	struct ipc_namespace *ipc = BPF_CORE_READ(task, nsproxy, ipc_ns);

	held->key = look->key;
	held->effective = look->asked.effective;
	held->permitted = look->asked.permitted;
	held->inheritable = look->asked.inheritable;
	held->ns = look->target;
	held->messages = BPF_CORE_READ(ipc, mq_msg_max);
	held->size = BPF_CORE_READ(ipc, mq_msgsize_max);
	held->uid = look->asked.euid;
	held->own = look->asked.cred == (__u64)plain(task)->real_cred;
	/* only the task itself can begin to share it, which is in a system call */
	held->shared = BPF_CORE_READ(task, files, count.counter) > 1;
	held->confirm = look->confirm;
}

/* What is known without the value: whether a refusal mattered to a call that has failed, with this
 * error if it did. */
static __always_inline void confirm_failure(struct check_key *key, long result, long error)
{
	bool granted = key->answer == ANSWER_HELD || key->answer == ANSWER_OWNER;

	if (granted || result != -error)
		key->condition = CONDITION_MOOT;
	else
		distrust(key, CONFIRM_NONE);
}

/* Of a capset that failed, keeps what it asked for and what could not be given to it: nothing that
 * is permitted, and with CAP_SETPCAP nothing inheritable that is in the bounding set. */
static __always_inline void keep_lacking(struct task_struct *task, struct unconfirmed *held,
					 long result)
{
	struct check_key *key = &held->key;
	__u64 lacking = result == -EPERM ? ~held->permitted : 0;
	__u64 raised;

	__builtin_memcpy(&raised, key->detail, sizeof(raised));
	key->args[0] &= lacking;
	key->args[1] &= lacking;
	if (key->answer == ANSWER_HELD)
		key->args[1] &= ~CAPABILITIES(plain(task)->real_cred, cap_bset);
	keep_raised(key, raised & lacking);
}

/* cap_capset makes the credential's sets of its copy. */
static __always_inline void confirm_capset(struct task_struct *task, struct unconfirmed *held,
					   long result)
{
	struct check_key *key = &held->key;

	if (result < 0) {
		confirm_failure(key, result, EPERM);
		keep_lacking(task, held, result);
		return;
	}
	__u64 inheritable = CAPABILITIES(plain(task)->real_cred, cap_inheritable);
	key->args[0] = CAPABILITIES(plain(task)->real_cred, cap_permitted);
	key->args[1] = inheritable & ~held->inheritable;
	key->args[2] = held->permitted;
	keep_raised(key, CAPABILITIES(plain(task)->real_cred, cap_effective) & ~held->effective);
	key->condition = inheritable & ~(held->inheritable | held->permitted) ? CONDITION_MATTERS :
										CONDITION_MOOT;
}

/* mqueue_get_inode keeps its copy in the queue. */
static __always_inline void confirm_queue(struct task_struct *task, struct unconfirmed *held,
					  long result)
{
	struct check_key *key = &held->key;

	if (result < 0) {
		confirm_failure(key, result, EINVAL);
		return;
	}
	if (key->answer != ANSWER_HELD) { /* it was within the limits, then */
		key->condition = CONDITION_MOOT;
		return;
	}
	struct inode *inode = inode_of(task, result);
	if (held->shared || !bpf_core_type_exists(struct mqueue_inode_info) ||
	    BPF_CORE_READ(inode, i_sb, s_magic) != MQUEUE_MAGIC) {
		distrust(key, CONFIRM_QUEUE);
		return;
	}
	struct mqueue_inode_info *queue =
		(void *)inode - bpf_core_field_offset(struct mqueue_inode_info, vfs_inode);
	key->condition = BPF_CORE_READ(queue, attr.mq_maxmsg) > held->messages ||
					 BPF_CORE_READ(queue, attr.mq_msgsize) > held->size ?
				 CONDITION_MATTERS :
				 CONDITION_MOOT;
}

/* Whether the map of a user namespace has the user 0 of its parent. */
__noinline int maps_root(__u64 ns)
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

/* A map can be written once: what is there now was written by this call, if it has succeeded. If
 * verify_root_map has refused it, the map is not known. */
static __always_inline void confirm_map(struct unconfirmed *held, long result)
{
	struct check_key *key = &held->key;

	if (result > 0)
		key->args[1] = maps_root(held->ns);
	else if (result != -EPERM || key->args[0])
		key->args[1] = ROOT_MAP_OTHERS;
}

static __always_inline void confirm(struct task_struct *task, struct unconfirmed *held, long result)
{
	switch (held->confirm) {
	case CONFIRM_CAPSET:
		confirm_capset(task, held, result);
		break;
	case CONFIRM_QUEUE:
		confirm_queue(task, held, result);
		break;
	case CONFIRM_MAP:
		confirm_map(held, result);
		break;
	}
}

#endif
