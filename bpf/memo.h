/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * What each CPU has seen lately. Most checks are of a kind that came a moment ago: they
 * are counted here, without a walk of the stack and without a lookup in the checks map.
 * User space adds both. What is remembered is in the checks map, too.
 *
 * A chain of callers is known again by its return addresses at their places on the stack.
 * That is what the walk would find: it begins at a place that is fixed for each program,
 * and where a return address lies says where the next one does (frame_size). It is
 * learned from a walk whose addresses all lie where these sizes say. Now and then a walk
 * is made all the same; one that finds something else ends the use of chains, and is
 * counted.
 */
#ifndef CAPMON_MEMO_H
#define CAPMON_MEMO_H

#include "call.h"
#include "cred.h"
#include "orc.h"
#include "site.h"

#define WAYS 4 /* memos of which a kind of check may be in any */
#define PATIENCE 32 /* checks of other kinds, in a row, that a memo outlives */
#define DESPAIR 1024 /* checks until a chain that could not be learned is tried again */
#define STACK_MAX (1 << 15) /* bytes; kernel stacks are no larger */
#define CHAIN_ROOM 16 /* a power of two, and more than CHAIN_MAX */
#define SAMPLE 1024 /* one in so many is compared with a walk; a power of two */

/* Each program has a slot of its own: one under fexit may be preempted by another. */
enum slot {
	SLOT_CHECK = 0,
	SLOT_CAPSET = 1,
	SLOT_PRCTL = 2,
	SLOT_RETURN = 3, /* an execve that failed, and no check */
	SLOT_MAX = 4,
};

/* A check that is being looked at. All of it is in memory: of the stack a program and all
 * that it calls have 512 bytes together, and what the verifier knows of a register makes it
 * follow each way that leads there. */
struct look {
	/* What the hook knows. */
	struct asked asked;
	__u64 target; /* address of the user namespace that it was asked for */
	__s32 capability;
	__s32 opts; /* cap_capable's, OPTS_UNKNOWN where the hook does not have it */
	__s32 ret; /* cap_capable's result, RESULT_UNKNOWN where the hook does not have it */
	__u32 remembers; /* 1: the chain of callers is one that may be remembered */
	__u64 site; /* where it was asked, 0 where the stack tells */
	/* What is found out. */
	struct call call;
	struct check_key key;
	__u32 index; /* where its kind is remembered */
	__u32 depth; /* bytes from the program's context to user space's registers */
	__u32 known; /* 1: the chain of callers is the one that is remembered */
	__u32 sampled; /* 1: it was looked at by more than memory */
	__u32 confirm; /* enum confirm: what the kernel has to be asked when the call returns */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SLOT_MAX);
	__type(key, __u32);
	__type(value, struct look);
} looks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct remembered);
} memos SEC(".maps");

/* 1: a chain was known again wrongly. */
__u32 distrusted;

static __always_inline struct memo *memo_at(__u32 index)
{
	__u32 zero = 0;
	struct remembered *all = bpf_map_lookup_elem(&memos, &zero);

	return all ? &all->memo[index & (MEMOS - 1)] : NULL;
}

static __always_inline struct chain *chain_of(__u32 index)
{
	struct memo *memo = memo_at(index);

	return memo ? &memo->chain : NULL;
}

/* A pointer as a number. */
static __always_inline __u64 address_of(const void *pointer, const struct task_struct *task)
{
	return (long)pointer - (long)task + bpf_get_current_task();
}

/* depth is how far user space's registers are from the context. */
static __always_inline bool is_chain(__u64 context, __u32 depth, const struct chain *chain)
{
	__u64 first = context, second = context, third = context, differing = 0;

	if (chain->begin[1] < CHAIN_MAX)
		second = word_at(first + chain->base[1]);
	if (second - context >= STACK_MAX)
		return false;
	third = second;
	if (chain->begin[2] < CHAIN_MAX)
		third = word_at(second + chain->base[2]);
	if (third - context >= STACK_MAX)
		return false;
	if (chain->ends)
		differing = third + chain->at[CHAIN_MAX - 1] + sizeof(__u64) - context - depth;
	for (int i = 0; i < CHAIN_MAX; i++) {
		__u64 base = i >= chain->begin[2] ? third : i >= chain->begin[1] ? second : first;
		differing |= word_at(base + chain->at[i]) ^ chain->address[i];
	}
	return !differing && chain->address[0] && (!chain->modular || chain->epoch == module_epoch);
}

/* Where kinds of check are remembered that have so much in common: the first of WAYS. */
static __always_inline __u32 memo_set(const struct check_key *key)
{
	__u32 hash = key->syscall;

	hash = hash * 31 + key->capability;
	hash = hash * 31 + key->answer;
	hash = hash * 31 + (__u32)key->container;
	return (hash ^ hash >> 4 ^ hash >> 8 ^ hash >> 12) * WAYS & (MEMOS - 1);
}

/* Whether a memo is of this kind of check, of which the site is known to be the same. */
static __always_inline bool is_kind(const struct check_key *one, const struct check_key *other)
{
	const __u64 *words = (const __u64 *)one, *others = (const __u64 *)other;
	__u64 differing = 0;

	_Static_assert(sizeof(*one) % sizeof(__u64) == 0, "compared as words");
	for (int i = 0; i < sizeof(*one) / sizeof(__u64); i++)
		differing |= words[i] ^ others[i];
	return !differing;
}

/* Where the addresses begin of the stack just walked that all are the kernel proper's:
 * behind those of the program and what else was compiled at run time. */
__noinline __u32 first_text(void)
{
	__u32 zero = 0, first = 0;
	struct stack *stack = bpf_map_lookup_elem(&stacks, &zero);

	if (!stack)
		return 0;
	for (__u32 i = 0; i < STACK_DEPTH; i++)
		if (i < stack->first && !is_text(stack->address[i]))
			first = i + 1;
	return first;
}

/*
 * Learns where one address lies of the stack just walked, and how the next one is found;
 * false if it is not there. A global function, so that the verifier follows it once.
 */
__noinline int learn_place(__u32 index, __u32 i)
{
	__u32 zero = 0;
	struct stack *stack = bpf_map_lookup_elem(&stacks, &zero);
	struct chain *chain = chain_of(index);
	struct task_struct *task = bpf_get_current_task_btf();
	__u64 registers = address_of((void *)bpf_task_pt_regs(task), task);
	__u64 word = 0, pointer = 0;

	if (!stack || !chain || i >= STACK_DEPTH)
		return false;
	__u32 below = stack->below, saved = stack->saved, place = i - stack->text;
	if (!below || below >= STACK_MAX || place >= CHAIN_MAX)
		return false;
	bpf_probe_read_kernel(&word, sizeof(word), (void *)(registers - below));
	if (word != stack->address[i])
		return false;
	chain->address[place] = word;
	if (!is_text(word))
		chain->modular = 1;
	chain->at[place] = stack->base - below;
	stack->place = below;

	union frame frame = { .all = frame_of(word) };
	__u32 caller = below - sizeof(word) - frame.size;
	stack->below = 0; /* until it is found */
	if (!frame.size)
		return true;
	if (frame.by_bp) {
		__u32 part = stack->part + 1;
		if (part >= CHAIN_PARTS || !saved || saved >= STACK_MAX)
			return true;
		bpf_probe_read_kernel(&pointer, sizeof(pointer), (void *)(registers - saved));
		__u64 base = registers - pointer;
		if (base >= STACK_MAX)
			return true;
		REMIND(part, 3);
		chain->base[part] = stack->base - saved;
		chain->begin[part] = place + 1;
		stack->part = part;
		stack->base = base;
		caller = base - frame.size;
	}
	if (frame.saves)
		stack->saved = caller - frame.saved;
	if (caller + sizeof(word) < below)
		stack->below = caller + sizeof(word);
	return true;
}

/* Learns where the addresses lie of the stack that has just been walked, outwards from a
 * place that is that much below user space's registers; false if one of the call site's
 * lies elsewhere than their frames say. */
__noinline int learn_from(__u32 index, __u32 below, __u32 depth)
{
	__u32 zero = 0;
	struct stack *stack = bpf_map_lookup_elem(&stacks, &zero);
	struct chain *chain = chain_of(index);

	if (!stack || !chain)
		return false;
	chain->modular = 0;
	chain->epoch = module_epoch;
	stack->base = depth;
	stack->part = 0;
	stack->below = below;
	stack->saved = below + sizeof(__u64); /* compiled programs save it first */
	for (__u32 i = 0; i < CHAIN_PARTS; i++)
		chain->begin[i] = i ? CHAIN_MAX : 0;
	for (__u32 i = 0; i < STACK_DEPTH; i++)
		if (i >= stack->text && i < stack->end && !learn_place(index, i))
			return false;
	__u32 last = (stack->end - stack->text - 1) & (CHAIN_ROOM - 1);
	if (last >= CHAIN_MAX)
		return false;
	chain->ends = stack->end < stack->first + SITE_DEPTH;
	if (chain->ends && stack->place != sizeof(__u64))
		return false; /* an interrupt came in between, or the walk was cut short */
	for (__u32 i = 0; i < CHAIN_PARTS; i++)
		if (chain->begin[i] > last)
			chain->begin[i] = CHAIN_MAX;
	for (__u32 i = 0; i < CHAIN_MAX; i++) /* so that all are compared without a look */
		if (i > last) {
			chain->address[i] = chain->address[last];
			chain->at[i] = chain->at[last];
		}
	return true;
}

#define START_MAX 256 /* bytes; the first address lies no farther from the context */

/* Finds out where chains start, by the one that has just been walked. The number of places
 * is kept in memory, where the verifier does not follow it. */
__noinline int learn_start(__u32 index, __u32 depth)
{
	__u32 zero = 0;
	struct remembered *all = bpf_map_lookup_elem(&memos, &zero);

	if (!all)
		return 0;
	all->starts = 0;
	for (__s32 at = -START_MAX; at < START_MAX; at += sizeof(__u64))
		if (learn_from(index, depth - at, depth)) {
			all->start = at;
			all->starts++;
		}
	return 0;
}

/* Learns where the addresses lie of the stack that has just been walked. */
static __always_inline bool learn_chain(__u32 index, __u32 depth)
{
	__u32 zero = 0;
	struct stack *stack = bpf_map_lookup_elem(&stacks, &zero);
	struct remembered *all = bpf_map_lookup_elem(&memos, &zero);
	struct chain *chain = chain_of(index);

	if (!stack || !all || !chain)
		return false;
	chain->address[0] = 0;
	stack->text = first_text();
	stack->end = stack->first + SITE_DEPTH;
	if (stack->end > stack->used)
		stack->end = stack->used;
	if (!stack->first || stack->end - stack->text > CHAIN_MAX)
		return false;
	if (all->starts != 1)
		learn_start(index, depth);
	if (all->starts == 1 && learn_from(index, depth - all->start, depth))
		return true;
	if (!chain->address[0])
		all->starts = 0; /* it has changed */
	chain->address[0] = 0;
	return false;
}

/* Adds what a memo has counted to the checks map. What a container has counted that is not
 * there any more, user space has taken from here; its place in the checks map may be
 * another's at any moment. */
static __always_inline void move_counts(struct memo *memo)
{
	if (!memo->count)
		return;
	struct check_value *value = NULL;
	if (bpf_map_lookup_elem(&containers, &memo->key.container))
		value = bpf_map_lookup_elem(&checks, &memo->key);
	if (value) {
		__sync_fetch_and_add(&value->count, memo->count);
		if (value->last_ns < memo->last_ns)
			value->last_ns = memo->last_ns;
	}
	memo->count = 0;
}

/* Tells the call site from memory, or by a walk of the stack. Also finds out whether its kind
 * may be remembered. */
static __always_inline void find_site(void *ctx, struct task_struct *task, struct look *look)
{
	struct memo *memo = NULL;

	look->known = 0;
	look->remembers &= settings.orc_count && settings.per_cpu && !distrusted;
	if (look->remembers) {
		__u64 context = address_of(ctx, task);
		look->depth = bpf_task_pt_regs(task) - (long)ctx;
		look->index = memo_set(&look->key);
		for (int way = 0; way < WAYS && !look->known; way++) {
			memo = memo_at(look->index + way);
			if (memo && is_chain(context, look->depth, &memo->chain)) {
				look->index += way;
				look->known = 1;
			}
		}
	}
	memo = memo_at(look->index);
	if (memo && look->known) {
		__builtin_memcpy(look->key.site, memo->key.site, sizeof(look->key.site));
		if ((memo->count + 1) & (SAMPLE - 1))
			return;
	}
	look->sampled = 1;
	walk_stack(ctx, look->key.site);
	if (memo && look->known && !same_site(look->key.site, memo->key.site)) {
		distrusted = 1;
		count(COUNTER_CHAINS);
	}
}

/* Counts a check of a kind that is remembered; false if it is not. */
static __always_inline bool count_memo(struct look *look)
{
	struct memo *memo = memo_at(look->index);

	if (!look->known || !memo || !is_kind(&look->key, &memo->key))
		return false;
	__u64 tick = bpf_jiffies64();
	if (memo->tick != tick) /* the time costs more than all the rest */
		memo->last_ns = bpf_ktime_get_boot_ns();
	memo->tick = tick;
	memo->count++;
	memo->misses = 0;
	return true;
}

/* Which of the memos that a kind of check may be in has been of no use for the longest
 * time; all have been of none now. */
static __always_inline __u32 idle_way(__u32 set)
{
	__s64 most = -DESPAIR;
	__u32 idle = set;

	for (int way = 0; way < WAYS; way++) {
		struct memo *memo = memo_at(set + way);
		if (!memo)
			continue;
		memo->misses++;
		if (memo->misses > most) {
			most = memo->misses;
			idle = set + way;
		}
	}
	return idle;
}

/* Remembers a kind of check that was not, after some patience with what is remembered. A
 * global function, so that the verifier follows it once. */
__noinline int remember(__u32 slot)
{
	struct look *look = bpf_map_lookup_elem(&looks, &slot);

	if (!look || !look->remembers)
		return 0;
	__u32 index = look->known ? look->index : idle_way(look->index);
	struct memo *memo = memo_at(index);
	if (!memo)
		return 0;
	if (look->known)
		memo->misses++;
	if (memo->misses < PATIENCE && (memo->version || memo->misses < 0))
		return 0;
	__sync_fetch_and_add(&memo->version, 1);
	move_counts(memo);
	memo->key = look->key;
	memo->tick = 0;
	memo->misses = 0;
	__sync_fetch_and_add(&memo->version, 1);
	if (!look->known && !learn_chain(index, look->depth))
		memo->misses = -DESPAIR;
	return 0;
}

#endif
