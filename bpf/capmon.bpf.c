//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * The programs that record every capability check (cap_capable, security/commoncap.c) of the tasks
 * in containers, with everything that decides the class of the check. There is one program for each
 * hook. Other programs follow fork, exec, exit and the end of system calls.
 */
#include <linux/securebits.h>

#include "kernel.h"
#include "types.h"
#include "maps.h"
#include "cgroup.h"
#include "expected_container.h"
#include "phase.h"
#include "executed_files.h"
#include "cred.h"
#include "condition.h"
#include "alternative.h"
#include "capset_and_userns_needs.h"
#include "stack.h"
#include "check_cache.h"
#include "outcome.h"
#include "confirm_values.h"
#include "checked_files.h"
#include "quota.h"
#include "events.h"
#include "seccomp_calls.h"
#include "unchecked_needs.h"
#include "preempt.h"

#define RESULT_UNKNOWN 1
#define PENDING_MAX 16
#define COUNT_MAX (1 << 30)

/* No map uses these types. The variables put them into the BTF, from which bpf2go generates Go
 * types. */
const enum answer *answer_type __attribute__((unused));
const enum subject *subject_type __attribute__((unused));
const enum excess *excess_type __attribute__((unused));
const enum root_map *root_map_type __attribute__((unused));
const enum namespace_kind *namespace_type __attribute__((unused));
const enum slot_limit *slot_limit_type __attribute__((unused));
const enum phase *phase_type __attribute__((unused));
const enum limits *limits_type __attribute__((unused));
const enum special_value *special_value_type __attribute__((unused));
const enum condition *condition_type __attribute__((unused));
const enum alternative *alternative_type __attribute__((unused));
const enum call_kind *call_kind_type __attribute__((unused));
const enum naming *naming_type __attribute__((unused));
const enum seccomp_call_kind *seccomp_call_kind_type __attribute__((unused));
const enum inspects *inspects_type __attribute__((unused));
const enum unchecked_use *unchecked_use_type __attribute__((unused));
const enum pressure *pressure_type __attribute__((unused));
const enum pidns *pidns_type __attribute__((unused));
const enum lifted_limit *lifted_limit_type __attribute__((unused));
const enum fold *fold_type __attribute__((unused));
const enum share *share_type __attribute__((unused));
const enum event_kind *event_kind_type __attribute__((unused));
const enum counter *counter_type __attribute__((unused));
const struct event *event_type __attribute__((unused));
const struct file_event *file_event_type __attribute__((unused));
const struct check_event *check_event_type __attribute__((unused));
const struct monitor_event *monitor_event_type __attribute__((unused));

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* The pending checks of a task: the kernel made them inside an execve of the runtime setup. capmon
 * knows their phase only when the execve ends. If this execve starts the workload, the kernel made
 * the checks with the container's credentials for the workload's file, so they belong to the
 * workload. Otherwise they belong to the runtime setup. */
struct pending_checks {
	__u64 path; /* user space address of the path: distinguishes one execve from the next */
	__u32 used;
	__u32 pad;
	struct check_key keys[PENDING_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct pending_checks);
} pending_checks SEC(".maps");

/* Scratch space for a new entry of the checks map. It does not fit on the stack: a program and the
 * functions that it calls share 512 bytes. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct check_value);
} check_scratch SEC(".maps");

/* Folds a key, because its container has used up its quota: removes the details that this level of
 * enum fold leaves out, and stores the level in comm. */
static __always_inline void fold_key(struct check_key *key, __u32 fold)
{
	__builtin_memset(key->args, 0, sizeof(key->args));
	__builtin_memset(key->detail, 0, sizeof(key->detail));
	__builtin_memset(key->comm, 0, sizeof(key->comm));
	key->comm[1] = fold;
	if (fold != FOLD_COARSE)
		return;
	for (int i = COARSE_DEPTH; i < SITE_DEPTH; i++)
		key->site[i] = 0;
	key->syscall = -1;
	key->compat = 0;
	key->condition = CONDITION_UNTESTED;
	key->denied_first = 0;
	key->cap_opts = CAP_OPTS_UNKNOWN;
}

/* Whether a key is folded. Only fold_key writes such a comm: a process name does not have a NUL
 * before other bytes (enum fold). */
static __always_inline bool is_folded(const struct check_key *key)
{
	return !key->comm[0] && key->comm[1];
}

/* Adds a new kind of check to the checks map. If the container has used up its quota, this
 * function folds the key, and the folded key may already be in the map. Returns NULL if even the
 * coarsest fold does not fit. The check is then lost. */
static __always_inline struct check_value *add_check(struct check_key *key, __u32 uid, __u64 now)
{
	struct container *container = bpf_map_lookup_elem(&containers, &key->container);
	struct check_value *value = NULL;
	__u32 fold = FOLD_NONE, zero = 0;

	if (!container)
		return NULL;
	for (; fold < FOLD_MAX; fold++) {
		if (fold != FOLD_NONE) {
			fold_key(key, fold);
			value = bpf_map_lookup_elem(&checks, key);
			if (value)
				return value;
		}
		if (may_add_entry(container, fold))
			break;
	}
	struct check_value *fresh = bpf_map_lookup_elem(&check_scratch, &zero);
	if (!fresh)
		return NULL;
	if (fold < FOLD_MAX) {
		__builtin_memset(fresh, 0, sizeof(*fresh));
		fresh->first_ns = now;
		fresh->pid = bpf_get_current_pid_tgid() >> 32;
		fresh->uid = uid;
		if (!bpf_map_update_elem(&checks, key, fresh, BPF_NOEXIST)) {
			count_entry(container, fold);
			send_check_event(key, fresh);
		}
		value = bpf_map_lookup_elem(&checks, key);
	}
	if (!value) {
		__sync_fetch_and_add(&container->lost, 1);
		increment_counter(COUNTER_CHECKS_FULL);
	}
	return value;
}

/* Counts a check in the checks map. If the key is new and the container has used up its quota, this
 * function folds the key (add_check). Returns the count of the key's entry, or 0 if the check does
 * not fit in the map. The count lacks the checks that are only in the per-CPU caches. This is not a
 * global function: before 6.2, the verifier does not accept a pointer argument of a global function
 * as a map key. */
static __noinline int count_check(struct check_key *key, __u32 uid)
{
	if (!key)
		return 0;
	__u64 now = bpf_ktime_get_boot_ns();
	struct check_value *value = bpf_map_lookup_elem(&checks, key);
	if (!value)
		value = add_check(key, uid, now);
	if (!value)
		return 0;
	__sync_fetch_and_add(&value->count, 1);
	value->last_ns = now;
	return value->count < COUNT_MAX ? value->count : COUNT_MAX;
}

static __always_inline bool is_granted(enum answer answer)
{
	return answer == ANSWER_HELD || answer == ANSWER_OWNS_USERNS;
}

/* Starts to follow what happens after a workload's check: how the system call of a denied check
 * ends, and whether the process keeps a capability that it used (outcome.h). own: the kernel
 * checked the task's own credential, not a copy. */
static __always_inline void follow_outcome(struct task_struct *task, const struct check_key *key,
					   bool own)
{
	if (key->subject != SUBJECT_OWN || key->namespace != NAMESPACE_BASE)
		return;
	if (config.outcomes && !is_granted(key->answer)) {
		if (!is_memory_size_check(key))
			await_outcome(task, key);
	} else if (config.outcomes && key->denied_first) {
		mark_overruled(task, key);
	}
	if (key->answer == ANSWER_HELD)
		record_use(key, own);
}

/* Calls follow_outcome for the check that handle_check has just recorded. A global function, so
 * that the verifier checks it once, and not at the end of every path that leads here. */
__noinline int follow_check(__u32 slot, bool own)
{
	struct check_ctx *check = bpf_map_lookup_elem(&check_ctx, &slot);

	if (check)
		follow_outcome(bpf_get_current_task_btf(), &check->key, own);
	return 0;
}

/* Records one of the pending checks of the current task, in the given phase. A global function, so
 * that the verifier checks it once, and not for every iteration of the loop in
 * record_pending_checks. */
__noinline int record_pending_check(__u32 i, __u32 phase)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pending_checks *pending = bpf_task_storage_get(&pending_checks, task, NULL, 0);

	if (!pending || i >= PENDING_MAX)
		return 0;
	struct check_key *key = &pending->keys[i];
	key->phase = phase == PHASE_LONG_SETUP && is_memory_size_check(key) ? PHASE_SETUP : phase;
	count_check(key, untrusted_task(task)->real_cred->euid.val);
	if (phase == PHASE_WORKLOAD)
		follow_outcome(task, key, true);
	return 0;
}

/* Records the pending checks of the current task: in the phase of the workload if their execve has
 * started the workload, else in the phase of the runtime setup. */
__noinline int record_pending_checks(__u32 phase)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pending_checks *pending = bpf_task_storage_get(&pending_checks, task, NULL, 0);

	if (!pending)
		return 0;
	if (phase == PHASE_SETUP &&
	    is_setup_overdue(bpf_task_storage_get(&task_states, task, NULL, 0)))
		phase = PHASE_LONG_SETUP;
	for (__u32 i = 0; i < PENDING_MAX; i++) {
		if (i >= pending->used)
			break;
		record_pending_check(i, phase);
	}
	pending->used = 0;
	if (phase == PHASE_WORKLOAD)
		bpf_task_storage_delete(&pending_checks, task);
	return 0;
}

/* Adds a check made inside an execve of the runtime setup to the pending checks. Returns false if
 * there is no room. */
static __always_inline bool add_pending_check(struct task_struct *task, const struct check_key *key,
					      __u64 path)
{
	struct pending_checks *pending =
		bpf_task_storage_get(&pending_checks, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!pending)
		return false;
	if (pending->used && pending->path != path)
		record_pending_checks(PHASE_SETUP);
	pending->path = path;
	__u32 i = pending->used;
	if (i >= PENDING_MAX)
		return false;
	pending->keys[i] = *key;
	pending->used = i + 1;
	return true;
}

/* Records a deferred check. The caller has already completed its key, with confirm or
 * mark_unreadable. */
static __always_inline void record_deferred(struct deferred_check *deferred)
{
	deferred->confirm = CONFIRM_NONE;
	count_check(&deferred->key, deferred->uid);
	if (deferred->key.phase == PHASE_WORKLOAD)
		follow_outcome(bpf_get_current_task_btf(), &deferred->key, deferred->own_cred);
}

/* Confirms and records the deferred check of the current task, if there is one. The task's system
 * call has just returned. */
__noinline int confirm_at_return(__s32 syscall, long result)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct deferred_check *deferred = bpf_task_storage_get(&unconfirmed, task, NULL, 0);

	if (!deferred || deferred->confirm == CONFIRM_NONE)
		return 0;
	if (deferred->key.syscall == syscall)
		confirm(task, deferred, result);
	else
		mark_unreadable(&deferred->key, deferred->confirm);
	record_deferred(deferred);
	return 0;
}

/* Records the deferred check of the current task, if there is one, without a confirmation: capmon
 * did not see the return of its system call. */
__noinline int record_deferred_without_value(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct deferred_check *deferred = bpf_task_storage_get(&unconfirmed, task, NULL, 0);

	if (!deferred || deferred->confirm == CONFIRM_NONE)
		return 0;
	mark_unreadable(&deferred->key, deferred->confirm);
	record_deferred(deferred);
	return 0;
}

/* Defers a check until its system call returns, because another thread can change the value in
 * memory on which the check depends (confirm_values.h). Returns false if capmon cannot defer the
 * check: it does not see the ends of system calls, or there is no room. Then the key no longer
 * relies on the value in memory (mark_unreadable), and the caller records the check immediately. */
__noinline int defer_until_return(__u32 slot)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct check_ctx *check = bpf_map_lookup_elem(&check_ctx, &slot);
	struct deferred_check *deferred = NULL;
	struct denials *denials = NULL;

	if (!check)
		return false;
	if (config.outcomes) {
		record_deferred_without_value();
		deferred = bpf_task_storage_get(&unconfirmed, task, NULL,
						BPF_LOCAL_STORAGE_GET_F_CREATE);
		denials = bpf_task_storage_get(&task_denials, task, NULL,
					       BPF_LOCAL_STORAGE_GET_F_CREATE);
	}
	if (!deferred || !denials) {
		mark_unreadable(&check->key, check->confirm);
		return false;
	}
	store_deferred(task, deferred, check);
	denials->has_deferred = 1;
	return true;
}

/* Starts the handling of a check of the current task. Returns NULL if the task is not in a
 * container. */
static __always_inline struct check_ctx *begin_check(__u32 slot)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if (untrusted_task(task)->flags & PF_KTHREAD)
		return NULL;
	__u64 id = container_of_task(task);
	if (!enabled)
		return NULL;
	struct check_ctx *check = id ? bpf_map_lookup_elem(&check_ctx, &slot) : NULL;
	if (!check)
		return NULL;
	__builtin_memset(&check->key, 0, sizeof(check->key));
	check->key.container = id;
	check->cap_opts = CAP_OPTS_UNKNOWN;
	check->result = RESULT_UNKNOWN;
	check->site_from_hook = 0;
	check->cacheable = 0;
	check->not_only_cached = 0;
	return check;
}

/* Handles a check, for all hooks. cacheable is a constant of the calling program: false if the
 * program does not have enough stack for the functions that cache checks. (The field
 * check->cacheable says whether this check can be cached.) */
static __always_inline int handle_check(void *ctx, struct check_ctx *check, __u32 slot,
					bool cacheable)
{
	struct task_struct *task = bpf_get_current_task_btf();
	const struct cred_info *checked_cred = &check->cred;
	struct check_key *key = &check->key;
	struct call *call = &check->call;
	struct user_namespace *target = (void *)check->target;

	key->capability = check->capability;
	key->cap_opts = check->cap_opts;
	key->answer = replay_cap_capable(checked_cred, target, check->capability);
	if (check->result != RESULT_UNKNOWN && is_granted(key->answer) != (check->result == 0))
		increment_counter(COUNTER_ANSWER_MISMATCH);
	read_comm(task, key->comm);

	read_call_number(task, call);
	read_call_args(task, call);
	key->syscall = call->nr;
	key->compat = call->compat;
	if (check->site_from_hook)
		key->site[0] = check->site_from_hook;
	else
		find_call_site(ctx, task, check);
	struct call_rule rule = call_rule_of(call);
	store_args(key, call, rule);
	key->condition =
		condition_of(key, call, rule, checked_cred, task, kernel_address(ctx, task));

	__u64 id = key->container;
	struct task_state *state = current_task_state(id);
	key->phase = state ? state->phase : initial_phase(id);
	struct container *container = bpf_map_lookup_elem(&containers, &id);
	if (!container) {
		increment_counter(COUNTER_CONTAINERS_FULL);
		return 0;
	}
	key->subject = subject_of(checked_cred, task, id, container);
	key->host_root = checked_cred->euid == 0;
	if (container->base_userns && checked_cred->userns_inum != container->base_userns)
		key->namespace = NAMESPACE_NESTED;
	else if (container->workload_ns) /* in a nested one, a task can have all capabilities */
		key->excess = excess_of(untrusted_task(task)->real_cred, id, container);
	if (key->namespace == NAMESPACE_BASE)
		key->alternative = alternative_of(checked_cred, key->capability, container);
	store_capset_or_userns_map(key, call, rule, checked_cred, target, container->base_userns);

	if (state) {
		if (key->capability == CAP_SETPCAP)
			state->setpcap_checked = 1;
		if (is_granted(key->answer)) {
			if (state->denied &&
			    is_same_sequence((void *)state->denied_site, (void *)key->site))
				key->denied_first = state->denied;
			state->denied = 0;
		} else {
			state->denied = key->capability + 1;
			__builtin_memcpy(state->denied_site, key->site, sizeof(key->site));
		}
	}

	if (key->phase == PHASE_SETUP) {
		if (rule.kind != CALL_EXEC) {
			record_pending_checks(PHASE_SETUP);
			if (is_setup_overdue(state) && !is_memory_size_check(key))
				key->phase = PHASE_LONG_SETUP;
		} else {
			key->setup_execve = 1;
			if (add_pending_check(task, key, call->args[0]))
				return 0;
			/* no room: a use too many in the workload is better than one too few */
			key->phase = PHASE_WORKLOAD;
		}
	}
	check->confirm = confirm_of(check, rule);
	if (check->confirm && defer_until_return(slot))
		return 0;
	bool of_file = is_file_check(key);
	if (!count_cached(check)) {
		int times = count_check(key, checked_cred->euid);
		/* Two kinds of check are not cached. The first FILES_QUOTA checks on files are
		 * examined one by one, to record their files. A folded key would never match in
		 * count_cached, and FOLD_COARSE has removed a part of the call site. */
		if (cacheable && times && !is_folded(key) && (!of_file || times >= FILES_QUOTA))
			cache_check(slot);
		check->not_only_cached = times > 0;
	}
	if (of_file && check->not_only_cached)
		record_files(slot);
	if (key->phase == PHASE_WORKLOAD)
		follow_check(slot, checked_cred->cred == (__u64)untrusted_task(task)->real_cred);
	return 0;
}

/* Handles a check whose hook has typed arguments. */
static __always_inline int handle_typed_check(void *ctx, const struct cred *cred,
					      struct user_namespace *target, int capability,
					      int opts, int ret)
{
	struct check_ctx *check = begin_check(CTX_CHECK);

	if (!check)
		return 0;
	check->cred = typed_cred_info(cred);
	check->target = (__u64)target;
	check->capability = capability;
	check->cap_opts = opts;
	check->result = ret;
	check->cacheable = 1;
	return handle_check(ctx, check, CTX_CHECK, true);
}

DEFINE_WITH_FALLBACK("tp_btf/cap_capable", capmon_tp_btf, PROGRAM_CHECK,
		     handle_typed_check(ctx, cred, target, capability, CAP_OPTS_UNKNOWN, ret),
		     const struct cred *cred, struct user_namespace *target,
		     const struct user_namespace *capable_ns, int capability, int ret)

DEFINE_WITH_FALLBACK("fexit/cap_capable", capmon_fexit, PROGRAM_CHECK,
		     handle_typed_check(ctx, cred, target, capability, opts, ret),
		     const struct cred *cred, struct user_namespace *target, int capability,
		     unsigned int opts, int ret)

/* This program runs at the entry of cap_capable and has no return probe. capmon computes the answer
 * itself, so it does not have to match entries with returns, and cannot lose a check between
 * them. */
SEC("kprobe/cap_capable")
int capmon_kprobe(struct pt_regs *ctx)
{
	struct check_ctx *check = begin_check(CTX_CHECK);

	if (!check)
		return 0;
#if defined(__TARGET_ARCH_x86)
	check->cred = probed_cred_info((const struct cred *)ctx->di);
	check->target = ctx->si;
	check->capability = ctx->dx;
	check->cap_opts = ctx->cx;
#elif defined(__TARGET_ARCH_arm64)
	struct user_pt_regs *regs = (struct user_pt_regs *)ctx;
	check->cred = probed_cred_info((const struct cred *)regs->regs[0]);
	check->target = regs->regs[1];
	check->capability = regs->regs[2];
	check->cap_opts = regs->regs[3];
#endif
	return handle_check(ctx, check, CTX_CHECK, false);
}

/*
 * Compilers inline cap_capable into callers in the same file. Neither fexit nor a kprobe on
 * cap_capable sees these checks. The callers are cap_capset and, for PR_SET_SECUREBITS,
 * cap_task_prctl (security/commoncap.c). Both check CAP_SETPCAP. This function runs when one of
 * them returns. It records the check if no hook saw it. expected: whether the caller made its check
 * in this call.
 */
static __always_inline int handle_inlined_check(void *ctx, bool expected, __u64 site, __u32 slot)
{
	struct check_ctx *check = begin_check(slot);

	if (!check)
		return 0;
	struct task_state *state = current_task_state(check->key.container);
	if (!state)
		return 0;
	bool seen = state->setpcap_checked;
	if (expected && !seen) {
		check->cred = typed_cred_info(untrusted_task(bpf_get_current_task_btf())->cred);
		check->target = check->cred.ns;
		check->capability = CAP_SETPCAP;
		check->site_from_hook = site;
		handle_check(ctx, check, slot, false);
	}
	state->setpcap_checked = 0;
	return 0;
}

/* Whether cap_task_prctl reached its check, called with PR_SET_SECUREBITS. A call that succeeded
 * has reached it. A call that failed has not changed the credential, so this function repeats the
 * kernel's tests before the check with the old bits. */
static __always_inline bool reaches_securebits_check(long result)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct call call = {};

	read_call_number(task, &call);
	read_call_args(task, &call);
	if (call_rule_of(&call).kind != CALL_PRCTL || call.args[0] != PR_SET_SECUREBITS)
		return false;
	__u32 bits = call.args[1];
	__u32 had = untrusted_task(task)->cred->securebits;
	__u32 locked = had & SECURE_ALL_LOCKS;
	return !result || !(((locked >> 1) & (had ^ bits)) || (locked & ~bits) ||
			    (bits & ~(SECURE_ALL_LOCKS | SECURE_ALL_BITS)));
}

DEFINE_WITH_FALLBACK("fexit/cap_capset", capmon_capset, PROGRAM_CAPSET,
		     handle_inlined_check(ctx, true, config.capset_site, CTX_CAPSET),
		     struct cred *unused)

SEC("kretprobe/cap_capset")
int capmon_capset_kretprobe(struct pt_regs *ctx)
{
	return handle_inlined_check(ctx, true, config.capset_site, CTX_CAPSET);
}

DEFINE_WITH_FALLBACK("fexit/cap_task_prctl", capmon_prctl, PROGRAM_PRCTL,
		     handle_inlined_check(ctx, reaches_securebits_check(result),
					  config.task_prctl_site, CTX_PRCTL),
		     int option, unsigned long arg2, unsigned long arg3, unsigned long arg4,
		     unsigned long arg5, int result)

SEC("kretprobe/cap_task_prctl")
int capmon_prctl_kretprobe(struct pt_regs *ctx)
{
#if defined(__TARGET_ARCH_x86)
	int result = ctx->ax;
#elif defined(__TARGET_ARCH_arm64)
	int result = ((struct user_pt_regs *)ctx)->regs[0];
#endif
	return handle_inlined_check(ctx, reaches_securebits_check(result), config.task_prctl_site,
				    CTX_PRCTL);
}

/* Whether a task that is not in a container belongs to a workload: it was moved out of its
 * container. */
static __always_inline bool has_left_container(struct task_struct *task)
{
	struct task_state *state = bpf_task_storage_get(&task_states, task, NULL, 0);

	return state && state->phase == PHASE_WORKLOAD;
}

/* Stores the phase of a new child: the phase of its parent. So a child of a workload belongs to the
 * workload, even outside containers. */
static __always_inline int handle_fork(struct task_struct *parent, struct task_struct *child)
{
	follow_fork(parent, child);
	__u64 id = container_of_task(parent);
	if (!id && !has_left_container(parent))
		return 0;
	struct task_state *from = task_state_of(parent, id);
	if (!from)
		return 0;
	from->child_flags = clone_flags_of_child(parent, child);
	struct task_state *to =
		bpf_task_storage_get(&task_states, child, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!to) {
		increment_counter(COUNTER_TASK_STATE_FULL);
		return 0;
	}
	to->container = id;
	to->phase = from->phase;
	to->setup_ns = from->setup_ns;
	if (id && to->phase == PHASE_WORKLOAD &&
	    untrusted_task(child)->pid == untrusted_task(child)->tgid)
		record_workload_process(child, id, false);
	return 0;
}

DEFINE_WITH_FALLBACK("tp_btf/sched_process_fork", capmon_fork, PROGRAM_FORK,
		     handle_fork(parent, child), struct task_struct *parent,
		     struct task_struct *child)

/* Handles an execve that succeeded. The first one inside the container's root directory ends the
 * runtime setup. Without a runtime, it is the first one that does not prepare a unit. */
static __always_inline int handle_exec(struct task_struct *task, struct linux_binprm *bprm)
{
	announce_monitor(task);
	__u64 id = container_of_task(task);
	if (!id)
		return 0;
	struct task_state *state = task_state_of(task, id);
	if (!state)
		return 0;
	if (state->phase == PHASE_SETUP) {
		if (starts_workload(task, id)) {
			state->phase = PHASE_WORKLOAD;
			record_workload_process(task, id, false);
		}
		record_pending_checks(state->phase);
	}
	if (state->phase == PHASE_WORKLOAD)
		record_execution(id, (__u64)file_with_capabilities(task, bprm));
	return 0;
}

DEFINE_WITH_FALLBACK("tp_btf/sched_process_exec", capmon_exec, PROGRAM_EXEC,
		     handle_exec(task, bprm), struct task_struct *task, int old_pid,
		     struct linux_binprm *bprm)

static __always_inline int handle_exit(struct task_struct *task)
{
	__u64 id = container_of_task(task);
	if (!id)
		return 0;
	record_pending_checks(PHASE_SETUP);
	record_deferred_without_value();
	struct container *container = bpf_map_lookup_elem(&containers, &id);
	if (container) {
		container->last_ns = bpf_ktime_get_boot_ns();
		record_kept(task, container);
	}
	return 0;
}

DEFINE_WITH_FALLBACK("tp_btf/sched_process_exit", capmon_exit, PROGRAM_EXIT, handle_exit(task),
		     struct task_struct *task)

/* The kernel has made a cgroup, and no process can be in it yet (cgroup_mkdir,
 * kernel/cgroup/cgroup.c). This program has no fallback: it cannot run twice at once, since the
 * kernel holds a lock. */
SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(capmon_cgroup_mkdir, struct cgroup *cgroup, const char *path)
{
	if (config.preemptible)
		bpf_preempt_disable();
	add_if_expected(cgroup, path);
	end_program();
	return 0;
}

/* Attached only if call chains in modules are cached. */
SEC("tp_btf/module_free")
int capmon_mod_free(void *ctx)
{
	__sync_fetch_and_add(&module_epoch, 1);
	return 0;
}

/* Handles the end of every system call on the host. Attached only while capmon needs it. */
static __always_inline int handle_sys_exit(long result)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct call call = {};

	read_call_number(task, &call);
	if (result == -EPERM && call_rule_of(&call).kind == CALL_EXEC)
		record_failed_execve();
	struct denials *denials = NULL;
	if (config.outcomes)
		denials = bpf_task_storage_get(&task_denials, task, NULL, 0);
	if (denials) {
		if (denials->has_deferred)
			confirm_at_return(call.nr, result);
		denials->has_deferred = 0;
		record_outcomes(denials, &call, result);
		if (denials->pressure_file && result > 0)
			record_pressure_write();
	}
	struct call_rule rule = call_rule_of(&call);
	if (rule.lifted || seccomp_call_of(&call))
		record_returned_call(result);
	if (rule.inspects && result >= 0)
		record_unchecked_call(rule.inspects, rule.pid_arg, rule.required_arg0_plus_1,
				      result);
	return 0;
}

DEFINE_WITH_FALLBACK("tp_btf/sys_exit", capmon_sys_exit, PROGRAM_SYS_EXIT, handle_sys_exit(result),
		     struct pt_regs *regs, long result)
