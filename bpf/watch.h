/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * System calls that need a capability although the kernel does not ask for it.
 *
 * Some the seccomp profile of the container allows only with a capability. Without it they
 * fail before the kernel proper is asked, and many never ask it for that capability. Which
 * calls these are, and whether one was such, user space tells from the profile.
 *
 * Some pass a limit that a sysctl of the network namespace has lifted (enum lifted).
 */
#ifndef CAPMON_WATCH_H
#define CAPMON_WATCH_H

#include "call.h"
#include "clone.h"
#include "lifted.h"
#include "quota.h"
#include "task.h"

static __always_inline struct call_watch *watch_of(const struct call *call)
{
	if (call->nr < 0 || call->nr >= CALL_MAX)
		return NULL;
	__u32 index = call->nr + (call->compat ? CALL_MAX : 0);
	struct call_watch *watch = bpf_map_lookup_elem(&call_watches, &index);
	return watch && watch->kind != WATCH_NONE ? watch : NULL;
}

/* Enters a watched system call that is not known: beyond the quota of its container without the
 * process name, which then may be known. NULL if there is no room. */
static __always_inline struct call_value *enter_call(struct call_key *key, __u32 uid, __u64 now)
{
	struct container *container = bpf_map_lookup_elem(&containers, &key->container);
	struct call_value *value = NULL;
	__u32 share = SHARE_CALLS;

	if (!container)
		return NULL;
	if (!may_enter(container, share)) {
		share = SHARE_CALLS_NAME;
		__builtin_memset(key->comm, 0, sizeof(key->comm));
		key->comm[1] = FOLD_NAME;
		if (key->lifted || key->unasked)
			__builtin_memset(key->args, 0, sizeof(key->args));
		value = bpf_map_lookup_elem(&calls, key);
	}
	if (!value && may_enter(container, share)) {
		struct call_value fresh = { .first_ns = now, .uid = uid };
		fresh.pid = bpf_get_current_pid_tgid() >> 32;
		if (!bpf_map_update_elem(&calls, key, &fresh, BPF_NOEXIST))
			note_entry(container, share);
		value = bpf_map_lookup_elem(&calls, key);
	}
	if (!value) {
		__sync_fetch_and_add(&container->unrecorded_calls, 1);
		count(COUNTER_CALLS);
	}
	return value;
}

/* Counts a call and adds sets to its entry; sets as in call_value. */
static __always_inline void record_call(struct call_key *key, __u32 uid, __u64 sets)
{
	__u64 now = bpf_ktime_get_boot_ns();
	struct call_value *value = bpf_map_lookup_elem(&calls, key);

	if (!value)
		value = enter_call(key, uid, now);
	if (!value)
		return;
	__sync_fetch_and_add(&value->count, 1);
	value->last_ns = now;
	if (sets & ~value->sets)
		__sync_fetch_and_or(&value->sets, sets);
}

/* The flags of a clone3 that returns: what the child tells, and the rest from memory, where struct
 * clone_args begins with them. Of one that failed all are from there. It has made nothing. */
static __always_inline __u64 clone3_flags(const struct call *call, const struct task_state *state,
					  long result)
{
	__u64 flags = 0;

	bpf_probe_read_user(&flags, sizeof(flags), (void *)call->args[0]);
	if (result > 0 && state->cloned)
		flags = (flags & ~CLONE_TOLD) | (state->cloned & CLONE_TOLD);
	return flags;
}

/* Records the system call from which the current task returns, if the task is a workload's. Not
 * inlined: the verifier adds up the stacks of functions that call each other. */
static __noinline int watched_call(long result)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct call of_task = {}, *call = &of_task;

	read_number(task, call);
	struct call_watch *watch = watch_of(call);
	__u32 lifted = result >= 0 ? rule_of(call).lifted : LIFTED_NONE;

	if (watch && watch->kind != WATCH_CALL && !result)
		watch = NULL; /* it returns in the child */
	if (!recording || (!watch && !lifted))
		return 0;
	__u64 id = container_of_task(task);
	if (!id)
		return 0;
	struct task_state *state = current_state(id);
	if (!state || state->phase != PHASE_WORKLOAD)
		return 0;
	read_arguments(task, call);
	struct call_key key = {
		.container = id,
		.syscall = call->nr,
		.compat = call->compat,
	};
	read_comm(task, key.comm);
	__u32 uid = BPF_CORE_READ(task, real_cred, euid.val);
	if (lifted && passes_limit(task, call, lifted, &key))
		record_call(&key, uid, 0);
	if (!watch)
		return 0;
	key.lifted = LIFTED_NONE;
	key.error = result < 0 && result >= -ERROR_MAX ? -result : 0;
	for (int i = 0; i < 6; i++)
		key.args[i] = call->args[i] & watch->masks[i];
	if (watch->kind == WATCH_CLONE3)
		key.args[0] = clone3_flags(call, state, result) & watch->masks[0];
	read_comm(task, key.comm); /* may have been left out above */
	record_call(&key, uid, 0);
	return 0;
}

#endif
