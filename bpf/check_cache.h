/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * A per-CPU cache of recent checks and their call sites. Most checks are of a kind that the CPU has
 * just seen. capmon counts them in the cache, without a stack walk and without a lookup in the
 * checks map. Each cached kind also has an entry in the checks map. User space adds both counts.
 *
 * call_chain.h recognizes the call site of a cached check. capmon compares some cached checks with
 * a real stack walk. If one differs, capmon counts this and stops using the cache.
 */
#ifndef CAPMON_CHECK_CACHE_H
#define CAPMON_CHECK_CACHE_H

#include "syscall.h"
#include "cred.h"
#include "call_chain.h"

#define CACHE_WAYS 4 /* cached checks in one set; a kind of check can be in any of them */
#define EVICT_AFTER_MISSES 32 /* consecutive checks of other kinds that evict a cached check */
#define LEARN_BACKOFF 1024 /* checks until capmon tries again to learn a chain after a failure */
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
	__u64 site_from_hook; /* the call site if the hook knows it; 0: it is on the stack */
	/* Found out by handle_check: */
	struct call call;
	struct check_key key;
	__u32 cache_index; /* index of the cached check or of its set */
	__u32 context_distance; /* see the drawing in call_chain.h */
	__u32 chain_matches; /* 1: the call chain is the one at cache_index */
	/* 1: capmon walked the stack or counted the check in the checks map */
	__u32 not_only_cached;
	__u32 confirm; /* enum confirm: what to confirm when the system call returns */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, CTX_MAX);
	__type(key, __u32);
	__type(value, struct check_ctx);
} check_ctx SEC(".maps");

/* 1: a cached call chain was wrong, so the cache is no longer used. */
__u32 cache_disabled;

/* The index of the first cached check of the set for a key. All kinds of check with the same system
 * call, capability, answer and container share a set of CACHE_WAYS cached checks. */
static __always_inline __u32 cache_set_of(const struct check_key *key)
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

/* Adds the count of a cached check to the checks map. If the container is no longer in the
 * containers map, user space has already read this count. It may remove the entry from the checks
 * map at any moment, and another key may take the entry's place. */
static __always_inline void move_cached_count(struct cached_check *cached)
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

	check->chain_matches = 0;
	check->cacheable &= config.orc_count && config.cpu_exclusive && !cache_disabled;
	if (check->cacheable) {
		__u64 context = kernel_address(ctx, task);
		check->context_distance = bpf_task_pt_regs(task) - (long)ctx;
		check->cache_index = cache_set_of(&check->key);
		for (int way = 0; way < CACHE_WAYS && !check->chain_matches; way++) {
			cached = cached_check_at(check->cache_index + way);
			if (cached &&
			    matches_chain(context, check->context_distance, &cached->chain)) {
				check->cache_index += way;
				check->chain_matches = 1;
			}
		}
	}
	cached = cached_check_at(check->cache_index);
	if (cached && check->chain_matches) {
		__builtin_memcpy(check->key.site, cached->key.site, sizeof(check->key.site));
		if ((cached->count + 1) & (SAMPLE_INTERVAL - 1))
			return;
	}
	check->not_only_cached = 1;
	walk_stack(ctx, check->key.site);
	if (cached && check->chain_matches &&
	    !is_same_call_site(check->key.site, cached->key.site)) {
		cache_disabled = 1;
		increment_counter(COUNTER_WRONG_CHAINS);
	}
}

/* Counts a check in the cache. Returns false if its kind is not cached. */
static __always_inline bool count_cached(struct check_ctx *check)
{
	struct cached_check *cached = cached_check_at(check->cache_index);

	if (!check->chain_matches || !cached || !is_same_key(&check->key, &cached->key))
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
static __always_inline __u32 index_to_evict(__u32 set)
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
	__u32 index = check->chain_matches ? check->cache_index :
					     index_to_evict(check->cache_index);
	struct cached_check *cached = cached_check_at(index);
	if (!cached)
		return 0;
	if (check->chain_matches)
		cached->misses++;
	if (cached->misses < EVICT_AFTER_MISSES && (cached->version || cached->misses < 0))
		return 0;
	__sync_fetch_and_add(&cached->version, 1);
	move_cached_count(cached);
	cached->key = check->key;
	cached->tick = 0;
	cached->misses = 0;
	__sync_fetch_and_add(&cached->version, 1);
	if (!check->chain_matches && !learn_chain(index, check->context_distance))
		cached->misses = -LEARN_BACKOFF;
	return 0;
}

#endif
