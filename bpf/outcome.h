/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * What became of a check: whether the system call failed in which it was refused, and
 * whether a capability that was used was kept.
 */
#ifndef CAPMON_OUTCOME_H
#define CAPMON_OUTCOME_H

#include "site.h"
#include "task.h"

#define REFUSALS_MAX 4
#define EPERM 1
#define CAP_SETFCAP 31
#define EACCES 13
#define ERESTARTSYS 512 /* include/linux/errno.h: the first that user space never sees */

/* The refusals in the system call of a task, whether a check is held (confirm.h), and whether
 * capmon has to inspect writes (inspect.h). One lookup at the end of each system call gets all
 * three. */
struct refusals {
	__u32 used;
	__s32 syscall;
	__u32 held;
	__u32 pressure;
	__u32 times[REFUSALS_MAX];
	struct check_key keys[REFUSALS_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct refusals);
} refusals_of SEC(".maps");

/* A path of several directories is refused at each of them. Without branches, each of
 * which the verifier would follow. */
static __always_inline bool same_question(const struct check_key *one,
					  const struct check_key *other)
{
	return !((one->capability ^ other->capability) | (one->subject ^ other->subject)) &&
	       same_site(one->site, other->site);
}

/* Remembers a refusal until its system call returns. */
static __always_inline void await_outcome(struct task_struct *task, const struct check_key *key)
{
	if (key->syscall < 0)
		return;
	struct refusals *refusals =
		bpf_task_storage_get(&refusals_of, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!refusals)
		return;
	if (refusals->syscall != key->syscall)
		refusals->used = 0;
	refusals->syscall = key->syscall;
	__u32 used = refusals->used;
	for (__u32 i = 0; i < REFUSALS_MAX; i++) {
		if (i >= used)
			break;
		if (same_question(&refusals->keys[i], key)) {
			refusals->times[i]++;
			return;
		}
	}
	if (used >= REFUSALS_MAX)
		return; /* its outcome stays unknown */
	REMIND(used, REFUSALS_MAX - 1);
	refusals->keys[used] = *key;
	refusals->times[used] = 1;
	refusals->used = used + 1;
}

/* The kernel has asked for another capability after a refusal, and was content. */
static __always_inline void overrule(struct task_struct *task, const struct check_key *granted)
{
	struct refusals *refusals = bpf_task_storage_get(&refusals_of, task, NULL, 0);

	if (!refusals || refusals->syscall != granted->syscall)
		return;
	for (__u32 i = 0; i < REFUSALS_MAX; i++) {
		struct check_key *refused = &refusals->keys[i];
		if (i >= refusals->used)
			break;
		if (!refusals->times[i] || refused->capability + 1 != granted->refused_first ||
		    !same_call((void *)refused->site, (void *)granted->site))
			continue;
		struct check_value *value = bpf_map_lookup_elem(&checks, refused);
		if (value) {
			__sync_fetch_and_add(&value->overruled, 1);
			refusals->times[i]--;
		}
		return;
	}
}

/* The current task's system call has returned. */
static __always_inline void settle_refusals(struct refusals *refusals, const struct call *call,
					    long result)
{
	if (!refusals->used)
		return;
	bool restarts = result <= -ERESTARTSYS && result >= -ERROR_MAX;
	for (__u32 i = 0; i < REFUSALS_MAX; i++) {
		if (i >= refusals->used || refusals->syscall != call->nr || restarts)
			break;
		struct check_value *value = bpf_map_lookup_elem(&checks, &refusals->keys[i]);
		if (!value)
			continue;
		if (result >= 0 || result < -ERROR_MAX)
			__sync_fetch_and_add(&value->succeeded, refusals->times[i]);
		else if (result == -EPERM || result == -EACCES)
			__sync_fetch_and_add(&value->forbidden, refusals->times[i]);
		else
			__sync_fetch_and_add(&value->failed, refusals->times[i]);
	}
	refusals->used = 0;
}

/* A thread has used a capability. Of one that was a copied credential's, such as a ring's
 * of io_uring, it cannot be told when it is given up. */
static __always_inline void note_use(const struct check_key *key, bool own)
{
	struct container *container = bpf_map_lookup_elem(&containers, &key->container);

	if (!container || key->capability >= 64)
		return;
	__u64 bit = 1ULL << key->capability;
	if (key->capability == CAP_SETFCAP)
		__sync_fetch_and_add(&container->setfcap_uses, 1);
	if (!(container->used & bit))
		__sync_fetch_and_or(&container->used, bit);
	if (!own && !(container->kept & bit))
		__sync_fetch_and_or(&container->kept, bit);
}

/* A thread ends, with what it still holds of what was used: by itself or by another, such
 * as the child that a server's first process makes for each connection. */
static __always_inline void keep_used(struct task_struct *task, struct container *container)
{
	struct task_state *state = bpf_task_storage_get(&tasks, task, NULL, 0);

	if (!state || state->phase != PHASE_WORKLOAD || !container->used)
		return;
	__sync_fetch_and_or(&container->kept,
			    container->used & CAPABILITIES(plain(task)->real_cred, cap_permitted));
}

#endif
