/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Records system calls that need a capability although the kernel does not check it.
 *
 * The seccomp profile of a container allows some of them only with a capability. Without it they
 * fail before the kernel can make a check, and for many the kernel never checks this capability.
 * User space decides with the profile which calls these are, and which recorded calls count.
 *
 * Others pass a limit that a sysctl of the network namespace has lifted (enum lifted_limit).
 */
#ifndef CAPMON_SECCOMP_CALLS_H
#define CAPMON_SECCOMP_CALLS_H

#include "syscall.h"
#include "clone_flags.h"
#include "lifted_limits.h"
#include "quota.h"
#include "phase.h"

static __always_inline struct seccomp_call *seccomp_call_of(const struct call *call)
{
	if (call->nr < 0 || call->nr >= CALL_MAX)
		return NULL;
	__u32 index = call->nr + (call->compat ? CALL_MAX : 0);
	struct seccomp_call *seccomp = bpf_map_lookup_elem(&seccomp_calls, &index);
	return seccomp && seccomp->kind != SECCOMP_CALL_NONE ? seccomp : NULL;
}

/* Adds a new call to the calls map. If its container has used up the quota, this function removes
 * the process name from the key, and the new key may already be in the map. Returns NULL if there
 * is no room. */
static __always_inline struct call_value *add_call(struct call_key *key, __u32 uid, __u64 now)
{
	struct container *container = bpf_map_lookup_elem(&containers, &key->container);
	struct call_value *value = NULL;
	__u32 share = SHARE_CALLS;

	if (!container)
		return NULL;
	if (!may_add_entry(container, share)) {
		share = SHARE_CALLS_NAMELESS;
		__builtin_memset(key->comm, 0, sizeof(key->comm));
		key->comm[1] = FOLD_NAMELESS;
		if (key->lifted || key->unchecked_use)
			__builtin_memset(key->args, 0, sizeof(key->args));
		value = bpf_map_lookup_elem(&calls, key);
	}
	if (!value && may_add_entry(container, share)) {
		struct call_value fresh = { .first_ns = now, .uid = uid };
		fresh.pid = bpf_get_current_pid_tgid() >> 32;
		if (!bpf_map_update_elem(&calls, key, &fresh, BPF_NOEXIST))
			count_entry(container, share);
		value = bpf_map_lookup_elem(&calls, key);
	}
	if (!value) {
		__sync_fetch_and_add(&container->unrecorded_calls, 1);
		increment_counter(COUNTER_CALLS_FULL);
	}
	return value;
}

/* Counts a call, and adds sets to the sets of its entry (call_value). */
static __always_inline void record_call(struct call_key *key, __u32 uid, __u64 sets)
{
	__u64 now = bpf_ktime_get_boot_ns();
	struct call_value *value = bpf_map_lookup_elem(&calls, key);

	if (!value)
		value = add_call(key, uid, now);
	if (!value)
		return;
	__sync_fetch_and_add(&value->count, 1);
	value->last_ns = now;
	if (sets & ~value->sets)
		__sync_fetch_and_or(&value->sets, sets);
}

/* The flags of a clone3 call that returns. The flags whose effect is visible in the child are from
 * the child, the others from memory, where struct clone_args begins with them. If the call failed,
 * there is no child, and all flags are from memory. */
static __always_inline __u64 clone3_flags(const struct call *call, const struct task_state *state,
					  long result)
{
	__u64 flags = 0;

	bpf_probe_read_user(&flags, sizeof(flags), (void *)call->args[0]);
	if (result > 0 && state->child_flags)
		flags = (flags & ~CLONE_FLAGS_SEEN_IN_CHILD) |
			(state->child_flags & CLONE_FLAGS_SEEN_IN_CHILD);
	return flags;
}

/* Records the system call from which the current task returns, if the task is a workload's. Not
 * inlined, since the verifier adds up the stacks of functions that call each other. */
static __noinline int record_returned_call(long result)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct call of_task = {}, *call = &of_task;

	read_call_number(task, call);
	struct seccomp_call *seccomp = seccomp_call_of(call);
	__u32 lifted = result >= 0 ? call_rule_of(call).lifted : LIFTED_NONE;

	if (seccomp && seccomp->kind != SECCOMP_CALL_PLAIN && !result)
		seccomp = NULL; /* the call returns in the child */
	if (!enabled || (!seccomp && !lifted))
		return 0;
	__u64 id = container_of_task(task);
	if (!id)
		return 0;
	struct task_state *state = current_task_state(id);
	if (!state || state->phase != PHASE_WORKLOAD)
		return 0;
	read_call_args(task, call);
	struct call_key key = {
		.container = id,
		.syscall = call->nr,
		.compat = call->compat,
	};
	read_comm(task, key.comm);
	__u32 uid = BPF_CORE_READ(task, real_cred, euid.val);
	if (lifted && passes_lifted_limit(task, call, lifted, &key))
		record_call(&key, uid, 0);
	if (!seccomp)
		return 0;
	key.lifted = LIFTED_NONE;
	key.error = result < 0 && result >= -MAX_ERRNO ? -result : 0;
	for (int i = 0; i < 6; i++)
		key.args[i] = call->args[i] & seccomp->masks[i];
	if (seccomp->kind == SECCOMP_CALL_CLONE3)
		key.args[0] = clone3_flags(call, state, result) & seccomp->masks[0];
	read_comm(task, key.comm); /* add_call may have removed it above */
	record_call(&key, uid, 0);
	return 0;
}

#endif
