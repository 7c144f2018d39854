/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * A per-CPU cache of recent checks and their call sites. Most checks are of a kind that the CPU has
 * just seen. capmon counts them in the cache, without a stack walk and without a lookup in the
 * checks map. Each cached kind also has an entry in the checks map. User space adds both counts.
 *
 * capmon recognizes a call chain if the stack has the chain's return addresses at the learned
 * positions. A stack walk would then find the same addresses: it starts at a position that is fixed
 * for each program, and each return address determines the position of the next one
 * (frame_layout_of). capmon learns the positions from a stack walk, but only if the frame sizes
 * explain all of them. It compares some cached checks with a real stack walk. If one differs,
 * capmon counts this and stops using the cache. docs/performance.md explains why a cached call site
 * is correct.
 */
#ifndef CAPMON_CHECK_CACHE_H
#define CAPMON_CHECK_CACHE_H

#include "syscall.h"
#include "cred.h"
#include "orc.h"
#include "stack.h"

#define CACHE_WAYS 4 /* cached checks in one set; a kind of check can be in any of them */
#define EVICT_AFTER_MISSES 32 /* consecutive checks of other kinds that evict a cached check */
#define LEARN_BACKOFF 1024 /* checks until capmon tries again to learn a chain after a failure */
#define KERNEL_STACK_MAX (1 << 15) /* in bytes; kernel stacks are not larger */
#define CHAIN_MAX_POW2 16 /* a power of two, larger than CHAIN_MAX */
#define SAMPLE_INTERVAL 1024 /* checks between comparisons with a stack walk; a power of two */

/* Each program has its own element of check_ctx, since another program can preempt it (fexit). */
enum ctx_slot {
	CTX_CHECK = 0,
	CTX_CAPSET = 1,
	CTX_PRCTL = 2,
	CTX_SYS_EXIT = 3, /* no check: a failed execve, or a call that capmon inspects */
	CTX_MAX = 4,
};

/* Scratch state of one check. It is in a per-CPU map because the 512-byte BPF stack cannot hold it.
 * Another reason: the verifier tracks values in registers, but not in maps, so it follows fewer
 * paths. */
struct check_ctx {
	/* From the hook: */
	struct cred_info cred;
	__u64 target; /* address of the user namespace that the check is for */
	__s32 capability;
	__s32 cap_opts; /* cap_capable's opts, or CAP_OPTS_UNKNOWN */
	__s32 result; /* cap_capable's result, or RESULT_UNKNOWN */
	__u32 cacheable; /* 1: the check and its call chain can be cached */
	__u64 known_site; /* the call site if the hook knows it; 0: it is on the stack */
	/* Found out by handle_check: */
	struct call call;
	struct check_key key;
	__u32 cache_index; /* index of the cached check or of its set */
	__u32 regs_distance; /* bytes from the program's context to user space's registers */
	__u32 chain_known; /* 1: the call chain is the one at cache_index */
	__u32 examined; /* 1: capmon walked the stack or counted the check in the checks map */
	__u32 confirm; /* enum confirm: what to confirm when the system call returns */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, CTX_MAX);
	__type(key, __u32);
	__type(value, struct check_ctx);
} check_ctx SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct check_cache);
} check_caches SEC(".maps");

/* 1: a cached call chain was wrong, so the cache is no longer used. */
__u32 cache_disabled;

static __always_inline struct cached_check *cached_check_at(__u32 index)
{
	__u32 zero = 0;
	struct check_cache *cache = bpf_map_lookup_elem(&check_caches, &zero);

	return cache ? &cache->checks[index & (CACHED_CHECKS - 1)] : NULL;
}

static __always_inline struct call_chain *cached_chain_at(__u32 index)
{
	struct cached_check *cached = cached_check_at(index);

	return cached ? &cached->chain : NULL;
}

/* A pointer as a number. */
static __always_inline __u64 kernel_address(const void *pointer, const struct task_struct *task)
{
	return (long)pointer - (long)task + bpf_get_current_task();
}

/* Whether the stack has the addresses of a chain. regs_distance is as in check_ctx. */
static __always_inline bool matches_chain(__u64 context, __u32 regs_distance,
					  const struct call_chain *chain)
{
	__u64 first = context, second = context, third = context, differing = 0;

	if (chain->begin[1] < CHAIN_MAX)
		second = read_kernel_word(first + chain->base[1]);
	if (second - context >= KERNEL_STACK_MAX)
		return false;
	third = second;
	if (chain->begin[2] < CHAIN_MAX)
		third = read_kernel_word(second + chain->base[2]);
	if (third - context >= KERNEL_STACK_MAX)
		return false;
	if (chain->reaches_entry)
		differing = third + chain->offset[CHAIN_MAX - 1] + sizeof(__u64) - context -
			    regs_distance;
	for (int i = 0; i < CHAIN_MAX; i++) {
		__u64 base = i >= chain->begin[2] ? third : i >= chain->begin[1] ? second : first;
		differing |= read_kernel_word(base + chain->offset[i]) ^ chain->address[i];
	}
	return !differing && chain->address[0] &&
	       (!chain->has_module_code || chain->epoch == module_epoch);
}

/* The index of the first cached check of the set for a key. All kinds of check with the same system
 * call, capability, answer and container share a set of CACHE_WAYS cached checks. */
static __always_inline __u32 cache_set(const struct check_key *key)
{
	__u32 hash = key->syscall;

	hash = hash * 31 + key->capability;
	hash = hash * 31 + key->answer;
	hash = hash * 31 + (__u32)key->container;
	return (hash ^ hash >> 4 ^ hash >> 8 ^ hash >> 12) * CACHE_WAYS & (CACHED_CHECKS - 1);
}

/* Whether two keys are equal. */
static __always_inline bool is_same_key(const struct check_key *one, const struct check_key *other)
{
	const __u64 *words = (const __u64 *)one, *others = (const __u64 *)other;
	__u64 differing = 0;

	_Static_assert(sizeof(*one) % sizeof(__u64) == 0, "compared as words");
	for (int i = 0; i < sizeof(*one) / sizeof(__u64); i++)
		differing |= words[i] ^ others[i];
	return !differing;
}

/* The index where the kernel text begins in the stack that was just walked: after the addresses of
 * the program and of other code compiled at run time. */
__noinline __u32 first_text_index(void)
{
	__u32 zero = 0, first = 0;
	struct stack *stack = bpf_map_lookup_elem(&stacks, &zero);

	if (!stack)
		return 0;
	for (__u32 i = 0; i < STACK_DEPTH; i++)
		if (i < stack->site_start && !is_kernel_text(stack->address[i]))
			first = i + 1;
	return first;
}

/* Learns the position of address i of the stack that was just walked, and where the next address is
 * expected (next_below). Returns false if address i is not at its expected position. A global
 * function, so that the verifier checks it once. */
__noinline int learn_address(__u32 index, __u32 i)
{
	__u32 zero = 0;
	struct stack *stack = bpf_map_lookup_elem(&stacks, &zero);
	struct call_chain *chain = cached_chain_at(index);
	struct task_struct *task = bpf_get_current_task_btf();
	__u64 registers = kernel_address((void *)bpf_task_pt_regs(task), task);
	__u64 word = 0, pointer = 0;

	if (!stack || !chain || i >= STACK_DEPTH)
		return false;
	__u32 below = stack->next_below, bp_below = stack->bp_below,
	      position = i - stack->text_start;
	if (!below || below >= KERNEL_STACK_MAX || position >= CHAIN_MAX)
		return false;
	bpf_probe_read_kernel(&word, sizeof(word), (void *)(registers - below));
	if (word != stack->address[i])
		return false;
	chain->address[position] = word;
	if (!is_kernel_text(word))
		chain->has_module_code = 1;
	chain->offset[position] = stack->part_base - below;
	stack->last_below = below;

	union frame_layout frame = { .all = frame_layout_of(word) };
	__u32 caller = below - sizeof(word) - frame.size;
	stack->next_below = 0; /* until it is found */
	if (!frame.size)
		return true;
	if (frame.uses_bp) {
		__u32 part = stack->part + 1;
		if (part >= CHAIN_PARTS || !bp_below || bp_below >= KERNEL_STACK_MAX)
			return true;
		bpf_probe_read_kernel(&pointer, sizeof(pointer), (void *)(registers - bp_below));
		__u64 base = registers - pointer;
		if (base >= KERNEL_STACK_MAX)
			return true;
		clamp_mask(part, 3);
		chain->base[part] = stack->part_base - bp_below;
		chain->begin[part] = position + 1;
		stack->part = part;
		stack->part_base = base;
		caller = base - frame.size;
	}
	if (frame.saves_bp)
		stack->bp_below = caller - frame.saved_bp;
	if (caller + sizeof(word) < below)
		stack->next_below = caller + sizeof(word);
	return true;
}

/* Learns the positions of the addresses of the stack that was just walked. The first one is at the
 * distance below from user space's registers. Returns false if an address of the call site is not
 * where the frame sizes say. */
__noinline int learn_from(__u32 index, __u32 below, __u32 regs_distance)
{
	__u32 zero = 0;
	struct stack *stack = bpf_map_lookup_elem(&stacks, &zero);
	struct call_chain *chain = cached_chain_at(index);

	if (!stack || !chain)
		return false;
	chain->has_module_code = 0;
	chain->epoch = module_epoch;
	stack->part_base = regs_distance;
	stack->part = 0;
	stack->next_below = below;
	stack->bp_below = below + sizeof(__u64); /* compiled programs save it first */
	for (__u32 i = 0; i < CHAIN_PARTS; i++)
		chain->begin[i] = i ? CHAIN_MAX : 0;
	for (__u32 i = 0; i < STACK_DEPTH; i++)
		if (i >= stack->text_start && i < stack->site_end && !learn_address(index, i))
			return false;
	__u32 last = (stack->site_end - stack->text_start - 1) & (CHAIN_MAX_POW2 - 1);
	if (last >= CHAIN_MAX)
		return false;
	chain->reaches_entry = stack->site_end < stack->site_start + SITE_DEPTH;
	if (chain->reaches_entry && stack->last_below != sizeof(__u64))
		return false; /* an interrupt came in between, or the walk was truncated */
	for (__u32 i = 0; i < CHAIN_PARTS; i++)
		if (chain->begin[i] > last)
			chain->begin[i] = CHAIN_MAX;
	for (__u32 i = 0; i < CHAIN_MAX; i++) /* so that matches_chain can compare all elements */
		if (i > last) {
			chain->address[i] = chain->address[last];
			chain->offset[i] = chain->offset[last];
		}
	return true;
}

#define FIRST_OFFSET_MAX 256 /* in bytes; the first address is not farther from the context */

/* Finds the position of the first address of all chains, with the stack that was just walked. The
 * number of candidates is in a map, where the verifier does not track it. */
__noinline int learn_first_offset(__u32 index, __u32 regs_distance)
{
	__u32 zero = 0;
	struct check_cache *cache = bpf_map_lookup_elem(&check_caches, &zero);

	if (!cache)
		return 0;
	cache->first_candidates = 0;
	for (__s32 offset = -FIRST_OFFSET_MAX; offset < FIRST_OFFSET_MAX; offset += sizeof(__u64))
		if (learn_from(index, regs_distance - offset, regs_distance)) {
			cache->first_offset = offset;
			cache->first_candidates++;
		}
	return 0;
}

/* Learns the positions of the addresses of the stack that was just walked. */
static __always_inline bool learn_chain(__u32 index, __u32 regs_distance)
{
	__u32 zero = 0;
	struct stack *stack = bpf_map_lookup_elem(&stacks, &zero);
	struct check_cache *cache = bpf_map_lookup_elem(&check_caches, &zero);
	struct call_chain *chain = cached_chain_at(index);

	if (!stack || !cache || !chain)
		return false;
	chain->address[0] = 0;
	stack->text_start = first_text_index();
	stack->site_end = stack->site_start + SITE_DEPTH;
	if (stack->site_end > stack->length)
		stack->site_end = stack->length;
	if (!stack->site_start || stack->site_end - stack->text_start > CHAIN_MAX)
		return false;
	if (cache->first_candidates != 1)
		learn_first_offset(index, regs_distance);
	if (cache->first_candidates == 1 &&
	    learn_from(index, regs_distance - cache->first_offset, regs_distance))
		return true;
	if (!chain->address[0])
		cache->first_candidates = 0; /* the position has changed */
	chain->address[0] = 0;
	return false;
}

/* Adds the count of a cached check to the checks map. If the container is no longer in the
 * containers map, user space has already read this count. It may remove the entry from the checks
 * map at any moment, and another key may take the entry's place. */
static __always_inline void flush_cached_count(struct cached_check *cached)
{
	if (!cached->count)
		return;
	struct check_value *value = NULL;
	if (bpf_map_lookup_elem(&containers, &cached->key.container))
		value = bpf_map_lookup_elem(&checks, &cached->key);
	if (value) {
		__sync_fetch_and_add(&value->count, cached->count);
		if (value->last_ns < cached->last_ns)
			value->last_ns = cached->last_ns;
	}
	cached->count = 0;
}

/* Finds the call site of a check in the cache or with a stack walk. Also finds out whether the
 * check can be cached. */
static __always_inline void find_call_site(void *ctx, struct task_struct *task,
					   struct check_ctx *check)
{
	struct cached_check *cached = NULL;

	check->chain_known = 0;
	check->cacheable &= settings.orc_count && settings.cpu_exclusive && !cache_disabled;
	if (check->cacheable) {
		__u64 context = kernel_address(ctx, task);
		check->regs_distance = bpf_task_pt_regs(task) - (long)ctx;
		check->cache_index = cache_set(&check->key);
		for (int way = 0; way < CACHE_WAYS && !check->chain_known; way++) {
			cached = cached_check_at(check->cache_index + way);
			if (cached &&
			    matches_chain(context, check->regs_distance, &cached->chain)) {
				check->cache_index += way;
				check->chain_known = 1;
			}
		}
	}
	cached = cached_check_at(check->cache_index);
	if (cached && check->chain_known) {
		__builtin_memcpy(check->key.site, cached->key.site, sizeof(check->key.site));
		if ((cached->count + 1) & (SAMPLE_INTERVAL - 1))
			return;
	}
	check->examined = 1;
	walk_stack(ctx, check->key.site);
	if (cached && check->chain_known && !is_same_call_site(check->key.site, cached->key.site)) {
		cache_disabled = 1;
		increment_counter(COUNTER_WRONG_CHAINS);
	}
}

/* Counts a check in the cache. Returns false if its kind is not cached. */
static __always_inline bool count_cached(struct check_ctx *check)
{
	struct cached_check *cached = cached_check_at(check->cache_index);

	if (!check->chain_known || !cached || !is_same_key(&check->key, &cached->key))
		return false;
	__u64 tick = bpf_jiffies64();
	if (cached->tick != tick) /* reading the clock costs more than everything else here */
		cached->last_ns = bpf_ktime_get_boot_ns();
	cached->tick = tick;
	cached->count++;
	cached->misses = 0;
	return true;
}

/* The index of the cached check of a set that had the most misses. Counts a miss for all of
 * them. */
static __always_inline __u32 victim_way(__u32 set)
{
	__s64 most_misses = -LEARN_BACKOFF;
	__u32 victim = set;

	for (int way = 0; way < CACHE_WAYS; way++) {
		struct cached_check *cached = cached_check_at(set + way);
		if (!cached)
			continue;
		cached->misses++;
		if (cached->misses > most_misses) {
			most_misses = cached->misses;
			victim = set + way;
		}
	}
	return victim;
}

/* Caches a kind of check in its set, if the cached check that it would replace has had enough
 * misses. A global function, so that the verifier checks it once. */
__noinline int cache_check(__u32 slot)
{
	struct check_ctx *check = bpf_map_lookup_elem(&check_ctx, &slot);

	if (!check || !check->cacheable)
		return 0;
	__u32 index = check->chain_known ? check->cache_index : victim_way(check->cache_index);
	struct cached_check *cached = cached_check_at(index);
	if (!cached)
		return 0;
	if (check->chain_known)
		cached->misses++;
	if (cached->misses < EVICT_AFTER_MISSES && (cached->version || cached->misses < 0))
		return 0;
	__sync_fetch_and_add(&cached->version, 1);
	flush_cached_count(cached);
	cached->key = check->key;
	cached->tick = 0;
	cached->misses = 0;
	__sync_fetch_and_add(&cached->version, 1);
	if (!check->chain_known && !learn_chain(index, check->regs_distance))
		cached->misses = -LEARN_BACKOFF;
	return 0;
}

#endif
