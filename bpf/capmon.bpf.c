//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * Records every capability check (cap_capable, security/commoncap.c) that the
 * tasks of containers cause, with all that is needed to tell what it means.
 */
#include <linux/securebits.h>

#include "kernel.h"
#include "record.h"
#include "maps.h"
#include "cgroup.h"
#include "task.h"
#include "exec.h"
#include "cred.h"
#include "condition.h"
#include "choice.h"
#include "demand.h"
#include "site.h"
#include "memo.h"
#include "outcome.h"
#include "confirm.h"
#include "file.h"
#include "quota.h"
#include "news.h"
#include "watch.h"
#include "inspect.h"
#include "turn.h"

#define OPTS_UNKNOWN 0xff
#define RESULT_UNKNOWN 1
#define PENDING_MAX 16
#define RECORDED_MAX (1 << 30)

/* Named in no map, so that the BTF and with it bpf2go would not have them. */
const enum answer *answer_type __attribute__((unused));
const enum subject *subject_type __attribute__((unused));
const enum excess *excess_type __attribute__((unused));
const enum root_map *root_map_type __attribute__((unused));
const enum namespace_kind *namespace_type __attribute__((unused));
const enum slot_limit *slot_limit_type __attribute__((unused));
const enum phase *phase_type __attribute__((unused));
const enum limits *limits_type __attribute__((unused));
const enum condition *condition_type __attribute__((unused));
const enum choice *choice_type __attribute__((unused));
const enum call_kind *call_kind_type __attribute__((unused));
const enum naming *naming_type __attribute__((unused));
const enum watch_kind *watch_kind_type __attribute__((unused));
const enum inspects *inspects_type __attribute__((unused));
const enum unasked *unasked_type __attribute__((unused));
const enum pressure *pressure_type __attribute__((unused));
const enum pids *pids_type __attribute__((unused));
const enum lifted *lifted_type __attribute__((unused));
const enum fold *fold_type __attribute__((unused));
const enum share *share_type __attribute__((unused));
const enum event_kind *event_kind_type __attribute__((unused));
const enum counter *counter_type __attribute__((unused));
const struct event *event_type __attribute__((unused));
const struct file_event *file_event_type __attribute__((unused));
const struct check_event *check_event_type __attribute__((unused));

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Checks made inside an execve of the set-up. If it turns out to be the last one
 * they were made with the container's credentials for the workload's file. */
struct pending {
	__u64 path; /* user space address of the path: tells one execve from the next */
	__u32 used;
	__u32 pad;
	struct check_key keys[PENDING_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct pending);
} pendings SEC(".maps");

/* Of the stack a program and all that it calls have 512 bytes together. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct check_value);
} fresh_checks SEC(".maps");

/* Leaves out of a pattern what its container's quota has no room for. */
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
	key->refused_first = 0;
	key->opts = OPTS_UNKNOWN;
}

/* No process has such a name. */
static __always_inline bool is_folded(const struct check_key *key)
{
	return !key->comm[0] && key->comm[1];
}

/* Enters a pattern that is not known. Beyond the quota of its container it is folded, and then
 * may be known. NULL if there is no room even for the coarsest, which is then lost. */
static __always_inline struct check_value *enter_check(struct check_key *key, __u32 uid, __u64 now)
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
		if (may_enter(container, fold))
			break;
	}
	struct check_value *fresh = bpf_map_lookup_elem(&fresh_checks, &zero);
	if (!fresh)
		return NULL;
	if (fold < FOLD_MAX) {
		__builtin_memset(fresh, 0, sizeof(*fresh));
		fresh->first_ns = now;
		fresh->pid = bpf_get_current_pid_tgid() >> 32;
		fresh->uid = uid;
		if (!bpf_map_update_elem(&checks, key, fresh, BPF_NOEXIST)) {
			note_entry(container, fold);
			tell_check(key, fresh);
		}
		value = bpf_map_lookup_elem(&checks, key);
	}
	if (!value) {
		__sync_fetch_and_add(&container->lost, 1);
		count(COUNTER_CHECKS_FULL);
	}
	return value;
}

/* How often a kind of check has been recorded now, but for what is remembered; 0 if there is no
 * room. May fold the key. Not a global function: before 6.2 the verifier takes no pointer that
 * came through one for a map's key. */
static __noinline int record(struct check_key *key, __u32 uid)
{
	if (!key)
		return 0;
	__u64 now = bpf_ktime_get_boot_ns();
	struct check_value *value = bpf_map_lookup_elem(&checks, key);
	if (!value)
		value = enter_check(key, uid, now);
	if (!value)
		return 0;
	__sync_fetch_and_add(&value->count, 1);
	value->last_ns = now;
	return value->count < RECORDED_MAX ? value->count : RECORDED_MAX;
}

static __always_inline bool is_granted(enum answer answer)
{
	return answer == ANSWER_HELD || answer == ANSWER_OWNER;
}

/* Looks out for what becomes of a workload's check; own tells whether it asked the
 * task's credential and not a copy. */
static __always_inline void follow(struct task_struct *task, const struct check_key *key, bool own)
{
	if (key->subject != SUBJECT_OWN || key->namespace != NAMESPACE_BASE)
		return;
	if (settings.outcomes && !is_granted(key->answer)) {
		if (!is_of_memory(key))
			await_outcome(task, key);
	} else if (settings.outcomes && key->refused_first) {
		overrule(task, key);
	}
	if (key->answer == ANSWER_HELD)
		note_use(key, own);
}

/* The check that has just been recorded. A global function, so that the verifier
 * follows it once and not at the end of every path that leads here. */
__noinline int follow_look(__u32 slot, bool own)
{
	struct look *look = bpf_map_lookup_elem(&looks, &slot);

	if (look)
		follow(bpf_get_current_task_btf(), &look->key, own);
	return 0;
}

/* One of the checks that the current task's execve of the set-up made; global for the
 * same reason. */
__noinline int settle_one(__u32 i, __u32 phase)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pending *pending = bpf_task_storage_get(&pendings, task, NULL, 0);

	if (!pending || i >= PENDING_MAX)
		return 0;
	struct check_key *key = &pending->keys[i];
	key->phase = phase == PHASE_LONG_SETUP && is_of_memory(key) ? PHASE_SETUP : phase;
	record(key, plain(task)->real_cred->euid.val);
	if (phase == PHASE_WORKLOAD)
		follow(task, key, true);
	return 0;
}

/* Ends the current task's execve of the set-up: as the workload's, or as set-up after all. */
__noinline int settle(__u32 phase)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pending *pending = bpf_task_storage_get(&pendings, task, NULL, 0);

	if (!pending)
		return 0;
	if (phase == PHASE_SETUP && is_overdue(bpf_task_storage_get(&tasks, task, NULL, 0)))
		phase = PHASE_LONG_SETUP;
	for (__u32 i = 0; i < PENDING_MAX; i++) {
		if (i >= pending->used)
			break;
		settle_one(i, phase);
	}
	pending->used = 0;
	if (phase == PHASE_WORKLOAD)
		bpf_task_storage_delete(&pendings, task);
	return 0;
}

/* Keeps a check made inside an execve of the set-up until its end; false if
 * there is no room. */
static __always_inline bool hold(struct task_struct *task, const struct check_key *key, __u64 path)
{
	struct pending *pending =
		bpf_task_storage_get(&pendings, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!pending)
		return false;
	if (pending->used && pending->path != path)
		settle(PHASE_SETUP);
	pending->path = path;
	__u32 i = pending->used;
	if (i >= PENDING_MAX)
		return false;
	pending->keys[i] = *key;
	pending->used = i + 1;
	return true;
}

/* Records the check that waits for the kernel's copy of a value, after it has been settled. */
static __always_inline void record_held(struct unconfirmed *held)
{
	held->confirm = CONFIRM_NONE;
	record(&held->key, held->uid);
	if (held->key.phase == PHASE_WORKLOAD)
		follow(bpf_get_current_task_btf(), &held->key, held->own);
}

/* The system call of the current task's held check has returned. */
__noinline int confirm_return(__s32 syscall, long result)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct unconfirmed *held = bpf_task_storage_get(&unconfirmed_of, task, NULL, 0);

	if (!held || held->confirm == CONFIRM_NONE)
		return 0;
	if (held->key.syscall == syscall)
		confirm(task, held, result);
	else
		distrust(&held->key, held->confirm);
	record_held(held);
	return 0;
}

/* Records what the current task still holds: its system call's return was not seen. */
__noinline int release_held(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct unconfirmed *held = bpf_task_storage_get(&unconfirmed_of, task, NULL, 0);

	if (!held || held->confirm == CONFIRM_NONE)
		return 0;
	distrust(&held->key, held->confirm);
	record_held(held);
	return 0;
}

/* Holds a check until its system call returns. If that cannot be seen, what is in memory is not
 * believed, and the check not held. */
__noinline int hold_look(__u32 slot)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct look *look = bpf_map_lookup_elem(&looks, &slot);
	struct unconfirmed *held = NULL;
	struct refusals *refusals = NULL;

	if (!look)
		return false;
	if (settings.outcomes) {
		release_held();
		held = bpf_task_storage_get(&unconfirmed_of, task, NULL,
					    BPF_LOCAL_STORAGE_GET_F_CREATE);
		refusals = bpf_task_storage_get(&refusals_of, task, NULL,
						BPF_LOCAL_STORAGE_GET_F_CREATE);
	}
	if (!held || !refusals) {
		distrust(&look->key, look->confirm);
		return false;
	}
	prepare(task, held, look);
	refusals->held = 1;
	return true;
}

/* Begins to look at a check of the current task; NULL if it is no container's. */
static __always_inline struct look *begin_look(__u32 slot)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if (plain(task)->flags & PF_KTHREAD)
		return NULL;
	__u64 id = container_of_task(task);
	if (!recording)
		return NULL;
	struct look *look = id ? bpf_map_lookup_elem(&looks, &slot) : NULL;
	if (!look)
		return NULL;
	__builtin_memset(&look->key, 0, sizeof(look->key));
	look->key.container = id;
	look->opts = OPTS_UNKNOWN;
	look->ret = RESULT_UNKNOWN;
	look->site = 0;
	look->remembers = 0;
	look->sampled = 0;
	return look;
}

/* The body that all hooks share. Those that have nothing remembered have no room on the stack for
 * what does it. */
static __always_inline int check(void *ctx, struct look *look, __u32 slot, bool remembers)
{
	struct task_struct *task = bpf_get_current_task_btf();
	const struct asked *asked = &look->asked;
	struct check_key *key = &look->key;
	struct call *call = &look->call;
	struct user_namespace *target = (void *)look->target;

	key->capability = look->capability;
	key->opts = look->opts;
	key->answer = replay(asked, target, look->capability);
	if (look->ret != RESULT_UNKNOWN && is_granted(key->answer) != (look->ret == 0))
		count(COUNTER_VERDICT);
	read_comm(task, key->comm);

	read_number(task, call);
	read_arguments(task, call);
	key->syscall = call->nr;
	key->compat = call->compat;
	if (look->site)
		key->site[0] = look->site;
	else
		find_site(ctx, task, look);
	struct call_rule rule = rule_of(call);
	keep_arguments(key, call, rule);
	key->condition = condition_of(key, call, rule, asked, task, address_of(ctx, task));

	__u64 id = key->container;
	struct task_state *state = current_state(id);
	key->phase = state ? state->phase : phase_of_new(id);
	struct container *container = bpf_map_lookup_elem(&containers, &id);
	if (!container) {
		count(COUNTER_CONTAINERS_FULL);
		return 0;
	}
	key->subject = subject_of(asked, task, id, container);
	key->root = asked->euid == 0;
	if (container->base_userns && asked->base != container->base_userns)
		key->namespace = NAMESPACE_NESTED;
	else if (container->workload_ns) /* a user namespace of its own gives all there is */
		key->beyond = excess_of(plain(task)->real_cred, id, container);
	if (key->namespace == NAMESPACE_BASE)
		key->choice = choice_of(asked, key->capability, container);
	keep_demands(key, call, rule, asked, target, container->base_userns);

	if (state) {
		if (key->capability == CAP_SETPCAP)
			state->setpcap_asked = 1;
		if (is_granted(key->answer)) {
			if (state->refused &&
			    same_call((void *)state->refused_site, (void *)key->site))
				key->refused_first = state->refused;
			state->refused = 0;
		} else {
			state->refused = key->capability + 1;
			__builtin_memcpy(state->refused_site, key->site, sizeof(key->site));
		}
	}

	if (key->phase == PHASE_SETUP) {
		if (rule.kind != CALL_EXEC) {
			settle(PHASE_SETUP);
			if (is_overdue(state) && !is_of_memory(key))
				key->phase = PHASE_LONG_SETUP;
		} else {
			key->nested_entry = 1;
			if (hold(task, key, call->args[0]))
				return 0;
			/* no room: better one too many than one too few */
			key->phase = PHASE_WORKLOAD;
		}
	}
	look->confirm = confirm_of(look, rule);
	if (look->confirm && hold_look(slot))
		return 0;
	bool of_file = is_of_file(key);
	if (!count_memo(look)) {
		int times = record(key, asked->euid);
		/* the first ones are looked at one by one, for their files; a folded key
		 * has not the call site that a chain of callers stands for */
		if (remembers && times && !is_folded(key) && (!of_file || times >= FILES_EACH))
			remember(slot);
		look->sampled = times > 0;
	}
	if (of_file && look->sampled)
		note_files(slot);
	if (key->phase == PHASE_WORKLOAD)
		follow_look(slot, asked->cred == (__u64)plain(task)->real_cred);
	return 0;
}

/* A check whose hook has typed arguments. */
static __always_inline int check_typed(void *ctx, const struct cred *cred,
				       struct user_namespace *target, int capability, int opts,
				       int ret)
{
	struct look *look = begin_look(SLOT_CHECK);

	if (!look)
		return 0;
	look->asked = typed_credential(cred);
	look->target = (__u64)target;
	look->capability = capability;
	look->opts = opts;
	look->ret = ret;
	look->remembers = 1;
	return check(ctx, look, SLOT_CHECK, true);
}

TWICE("tp_btf/cap_capable", check_tracepoint, TURN_CHECK,
      check_typed(ctx, cred, target, capability, OPTS_UNKNOWN, ret), const struct cred *cred,
      struct user_namespace *target, const struct user_namespace *capable_ns, int capability,
      int ret)

TWICE("fexit/cap_capable", check_fexit, TURN_CHECK,
      check_typed(ctx, cred, target, capability, opts, ret), const struct cred *cred,
      struct user_namespace *target, int capability, unsigned int opts, int ret)

/* At the entry, without a return probe: the answer is computed, so nothing has
 * to be paired and nothing can be lost between the two. */
SEC("kprobe/cap_capable")
int check_kprobe(struct pt_regs *ctx)
{
	struct look *look = begin_look(SLOT_CHECK);

	if (!look)
		return 0;
#if defined(__TARGET_ARCH_x86)
	look->asked = probed_credential((const struct cred *)ctx->di);
	look->target = ctx->si;
	look->capability = ctx->dx;
	look->opts = ctx->cx;
#elif defined(__TARGET_ARCH_arm64)
	struct user_pt_regs *regs = (struct user_pt_regs *)ctx;
	look->asked = probed_credential((const struct cred *)regs->regs[0]);
	look->target = regs->regs[1];
	look->capability = regs->regs[2];
	look->opts = regs->regs[3];
#endif
	return check(ctx, look, SLOT_CHECK, false);
}

/*
 * Compilers build cap_capable into those of its callers that are in the same file, where
 * neither fexit nor a kprobe on it sees them ask. They are cap_capset and, for
 * PR_SET_SECUREBITS, cap_task_prctl (security/commoncap.c); both ask for CAP_SETPCAP.
 * When one of them returns and the question was not seen, it is recorded here.
 */
static __always_inline int asked_inside(void *ctx, bool asks, __u64 site, __u32 slot)
{
	struct look *look = begin_look(slot);

	if (!look)
		return 0;
	struct task_state *state = current_state(look->key.container);
	if (!state)
		return 0;
	bool seen = state->setpcap_asked;
	if (asks && !seen) {
		look->asked = typed_credential(plain(bpf_get_current_task_btf())->cred);
		look->target = look->asked.ns;
		look->capability = CAP_SETPCAP;
		look->site = site;
		check(ctx, look, slot, false);
	}
	state->setpcap_asked = 0;
	return 0;
}

/* Whether cap_task_prctl got as far as asking. After a success the credential has the
 * new bits already. */
static __always_inline bool sets_securebits(long result)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct call call = {};

	read_number(task, &call);
	read_arguments(task, &call);
	if (rule_of(&call).kind != CALL_PRCTL || call.args[0] != PR_SET_SECUREBITS)
		return false;
	__u32 bits = call.args[1];
	__u32 had = plain(task)->cred->securebits;
	__u32 locked = had & SECURE_ALL_LOCKS;
	return !result || !(((locked >> 1) & (had ^ bits)) || (locked & ~bits) ||
			    (bits & ~(SECURE_ALL_LOCKS | SECURE_ALL_BITS)));
}

TWICE("fexit/cap_capset", capset_fexit, TURN_CAPSET,
      asked_inside(ctx, true, settings.capset, SLOT_CAPSET), struct cred *unused)

SEC("kretprobe/cap_capset")
int capset_kretprobe(struct pt_regs *ctx)
{
	return asked_inside(ctx, true, settings.capset, SLOT_CAPSET);
}

TWICE("fexit/cap_task_prctl", prctl_fexit, TURN_PRCTL,
      asked_inside(ctx, sets_securebits(result), settings.task_prctl, SLOT_PRCTL), int option,
      unsigned long arg2, unsigned long arg3, unsigned long arg4, unsigned long arg5, int result)

SEC("kretprobe/cap_task_prctl")
int prctl_kretprobe(struct pt_regs *ctx)
{
#if defined(__TARGET_ARCH_x86)
	int result = ctx->ax;
#elif defined(__TARGET_ARCH_arm64)
	int result = ((struct user_pt_regs *)ctx)->regs[0];
#endif
	return asked_inside(ctx, sets_securebits(result), settings.task_prctl, SLOT_PRCTL);
}

/* Whether a task is a workload's that has been moved out of its container. */
static __always_inline bool has_left(struct task_struct *task)
{
	struct task_state *state = bpf_task_storage_get(&tasks, task, NULL, 0);

	return state && state->phase == PHASE_WORKLOAD;
}

/* A child is in its parent's phase: workload stays workload, also outside of containers. */
static __always_inline int fork_seen(struct task_struct *parent, struct task_struct *child)
{
	__u64 id = container_of_task(parent);
	if (!id && !has_left(parent))
		return 0;
	struct task_state *from = state_of(parent, id);
	if (!from)
		return 0;
	from->cloned = flags_of_child(parent, child);
	struct task_state *to =
		bpf_task_storage_get(&tasks, child, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!to) {
		count(COUNTER_TASK_STATE);
		return 0;
	}
	to->container = id;
	to->phase = from->phase;
	to->setup_ns = from->setup_ns;
	if (id && to->phase == PHASE_WORKLOAD && plain(child)->pid == plain(child)->tgid)
		workload_seen(child, id, false);
	return 0;
}

TWICE("tp_btf/sched_process_fork", forked, TURN_FORK, fork_seen(parent, child),
      struct task_struct *parent, struct task_struct *child)

/* An execve that succeeded. The runtime setup ends with the first one inside the container's
 * root. */
static __always_inline int exec_seen(struct task_struct *task, struct linux_binprm *bprm)
{
	__u64 id = container_of_task(task);
	if (!id)
		return 0;
	struct task_state *state = state_of(task, id);
	if (!state)
		return 0;
	if (state->phase == PHASE_SETUP) {
		if (in_own_root(id)) {
			state->phase = PHASE_WORKLOAD;
			workload_seen(task, id, false);
		}
		settle(state->phase);
	}
	if (state->phase == PHASE_WORKLOAD)
		executed_file(id, (__u64)file_with_credentials(task, bprm));
	return 0;
}

TWICE("tp_btf/sched_process_exec", executed, TURN_EXEC, exec_seen(task, bprm),
      struct task_struct *task, int old_pid, struct linux_binprm *bprm)

static __always_inline int exit_seen(struct task_struct *task)
{
	__u64 id = container_of_task(task);
	if (!id)
		return 0;
	settle(PHASE_SETUP);
	release_held();
	struct container *container = bpf_map_lookup_elem(&containers, &id);
	if (container) {
		container->last_ns = bpf_ktime_get_boot_ns();
		keep_used(task, container);
	}
	return 0;
}

TWICE("tp_btf/sched_process_exit", exited, TURN_EXIT, exit_seen(task), struct task_struct *task)

/* Attached where code of modules is remembered. */
SEC("tp_btf/module_free")
int module_freed(void *ctx)
{
	__sync_fetch_and_add(&module_epoch, 1);
	return 0;
}

/* Every system call of the machine ends here: attached only while it is needed. */
static __always_inline int return_seen(long result)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct call call = {};

	read_number(task, &call);
	if (result == -EPERM && rule_of(&call).kind == CALL_EXEC)
		failed_execve();
	struct refusals *refusals = NULL;
	if (settings.outcomes)
		refusals = bpf_task_storage_get(&refusals_of, task, NULL, 0);
	if (refusals) {
		if (refusals->held)
			confirm_return(call.nr, result);
		refusals->held = 0;
		settle_refusals(refusals, &call, result);
		if (refusals->pressure && result > 0)
			wrote_pressure();
	}
	struct call_rule rule = rule_of(&call);
	if (rule.lifted || watch_of(&call))
		watched_call(result);
	if (rule.inspects && result >= 0)
		inspected(rule.inspects, rule.process, rule.first, result);
	return 0;
}

TWICE("tp_btf/sys_exit", returned, TURN_RETURN, return_seen(result), struct pt_regs *regs,
      long result)
