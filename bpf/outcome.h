/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Records what happens after a check: how the system call ended in which the check was denied, and
 * whether the process kept a capability that it used.
 */
#ifndef CAPMON_OUTCOME_H
#define CAPMON_OUTCOME_H

#include "stack.h"
#include "phase.h"

#define DENIALS_MAX 4
#define EPERM 1
#define CAP_SETFCAP 31
#define EACCES 13
#define ERESTARTSYS 512 /* include/linux/errno.h: the first error that user space never sees */

/* The denied checks in a task's system call, whether the task has a deferred check
 * (confirm_values.h), and whether capmon has to inspect its writes (unchecked_needs.h). One lookup
 * at the end of each system call gets all three. */
struct denials {
	__u32 used;
	__s32 syscall;
	__u32 has_deferred;
	__u32 pressure_file;
	__u32 times[DENIALS_MAX];
	struct check_key keys[DENIALS_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct denials);
} task_denials SEC(".maps");

/* Whether two denied checks are the same, as at each directory of a path. Without branches, since
 * the verifier would follow each of them. */
static __always_inline bool is_same_check(const struct check_key *one,
					  const struct check_key *other)
{
	return !((one->capability ^ other->capability) | (one->subject ^ other->subject)) &&
	       is_same_call_site(one->site, other->site);
}

/* Stores a denied check until its system call returns. */
static __always_inline void await_outcome(struct task_struct *task, const struct check_key *key)
{
	if (key->syscall < 0)
		return;
	struct denials *denials =
		bpf_task_storage_get(&task_denials, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!denials)
		return;
	if (denials->syscall != key->syscall)
		denials->used = 0;
	denials->syscall = key->syscall;
	__u32 used = denials->used;
	for (__u32 i = 0; i < DENIALS_MAX; i++) {
		if (i >= used)
			break;
		if (is_same_check(&denials->keys[i], key)) {
			denials->times[i]++;
			return;
		}
	}
	if (used >= DENIALS_MAX)
		return; /* its outcome stays unknown */
	clamp_mask(used, DENIALS_MAX - 1);
	denials->keys[used] = *key;
	denials->times[used] = 1;
	denials->used = used + 1;
}

/* Marks a denied check as overruled: the kernel then checked another capability, and granted it. */
static __always_inline void mark_overruled(struct task_struct *task,
					   const struct check_key *granted)
{
	struct denials *denials = bpf_task_storage_get(&task_denials, task, NULL, 0);

	if (!denials || denials->syscall != granted->syscall)
		return;
	for (__u32 i = 0; i < DENIALS_MAX; i++) {
		struct check_key *denied = &denials->keys[i];
		if (i >= denials->used)
			break;
		if (!denials->times[i] || denied->capability + 1 != granted->denied_first ||
		    !is_same_sequence((void *)denied->site, (void *)granted->site))
			continue;
		struct check_value *value = bpf_map_lookup_elem(&checks, denied);
		if (value) {
			__sync_fetch_and_add(&value->overruled, 1);
			denials->times[i]--;
		}
		return;
	}
}

/* Records the outcomes of the denied checks of a system call that has returned. */
static __always_inline void record_outcomes(struct denials *denials, const struct call *call,
					    long result)
{
	if (!denials->used)
		return;
	bool restarts = result <= -ERESTARTSYS && result >= -MAX_ERRNO;
	for (__u32 i = 0; i < DENIALS_MAX; i++) {
		if (i >= denials->used || denials->syscall != call->nr || restarts)
			break;
		struct check_value *value = bpf_map_lookup_elem(&checks, &denials->keys[i]);
		if (!value)
			continue;
		if (result >= 0 || result < -MAX_ERRNO)
			__sync_fetch_and_add(&value->succeeded, denials->times[i]);
		else if (result == -EPERM || result == -EACCES)
			__sync_fetch_and_add(&value->forbidden, denials->times[i]);
		else
			__sync_fetch_and_add(&value->failed, denials->times[i]);
	}
	denials->used = 0;
}

/* Records that a thread used a capability. If the credential was a copy, such as that of an
 * io_uring, capmon cannot find out when the capability is given up, and counts it as kept. */
static __always_inline void record_use(const struct check_key *key, bool own)
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

/* Records at the end of a thread which of the used capabilities it still holds. Another thread may
 * have used them: a server's first process, for example, makes a child for each connection. */
static __always_inline void record_kept(struct task_struct *task, struct container *container)
{
	struct task_state *state = bpf_task_storage_get(&task_states, task, NULL, 0);

	if (!state || state->phase != PHASE_WORKLOAD || !container->used)
		return;
	__sync_fetch_and_or(&container->kept,
			    container->used &
				    CAP_SET(untrusted_task(task)->real_cred, cap_permitted));
}

#endif
