/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Recognizes a call chain (struct call_chain) without a stack walk: the stack has the chain's
 * return addresses at the learned positions. A stack walk would then find the same addresses: it
 * starts at a position that is fixed for each program, and each return address determines the
 * position of the next one (frame_layout_of). capmon learns the positions from a stack walk, but
 * only if the frame sizes explain all of them. docs/performance.md explains why a cached call site
 * is correct.
 *
 * The kernel stack at a check, with higher addresses further up. F0 is the innermost function in
 * the kernel text, F1 is the caller of F0, and so on. address[i] is the return address into Fi. In
 * this example, F1 addresses its frame with the base pointer, so part 1 of the chain begins after
 * address[1]: part_start[1] is 2. A distance is a number of bytes below user space's registers. The
 * distances are in struct stack and struct check_ctx, before capmon learns address[1].
 *
 *                                 struct call_chain             distance
 *   +-------------------------+
 *   | user space's registers  |
 *   +-------------------------+                                 0
 *   | address[3]              |   offset[3], from origin 1      8, if reaches_entry
 *   | frame of F2             |
 *   +-------------------------+
 *   | address[2]              |   offset[2], from origin 1
 *   | saved base pointer  <-+--------- origin 1
 *   | frame of F1           | |
 *   +-----------------------|-+
 *   | address[1]            | |   offset[1], from origin 0      next_distance
 *   | saved base pointer ---+ |   saved_bp_offset[1],           saved_bp_distance
 *   | frame of F0             |     from origin 0
 *   +-------------------------+
 *   | address[0]              |   offset[0], from origin 0      last_distance
 *   | program's context  <------------ origin 0                 origin_distance, context_distance
 *   +-------------------------+
 *
 * The context of a program on a tracepoint is above address[0], so offset[0] is negative there.
 */
#ifndef CAPMON_CALL_CHAIN_H
#define CAPMON_CALL_CHAIN_H

#include "orc.h"
#include "stack.h"

#define KERNEL_STACK_MAX (1 << 15) /* in bytes; kernel stacks are not larger */
#define CHAIN_MAX_POW2 16 /* a power of two, larger than CHAIN_MAX */

/* The cached checks of each CPU, with their chains. User space reads this map. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct check_cache);
} check_caches SEC(".maps");

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

/* Whether the stack has the addresses of a chain. context_distance is as in check_ctx. first,
 * second and third are the origins of the parts. */
static __always_inline bool matches_chain(__u64 context, __u32 context_distance,
					  const struct call_chain *chain)
{
	__u64 first = context, second = context, third = context, differing = 0;

	if (chain->part_start[1] < CHAIN_MAX)
		second = read_kernel_word(first + chain->saved_bp_offset[1]);
	if (second - context >= KERNEL_STACK_MAX)
		return false;
	third = second;
	if (chain->part_start[2] < CHAIN_MAX)
		third = read_kernel_word(second + chain->saved_bp_offset[2]);
	if (third - context >= KERNEL_STACK_MAX)
		return false;
	if (chain->reaches_entry)
		differing = third + chain->offset[CHAIN_MAX - 1] + sizeof(__u64) - context -
			    context_distance;
	for (int i = 0; i < CHAIN_MAX; i++) {
		__u64 origin = i >= chain->part_start[2] ? third :
			       i >= chain->part_start[1] ? second :
							   first;
		differing |= read_kernel_word(origin + chain->offset[i]) ^ chain->address[i];
	}
	return !differing && chain->address[0] &&
	       (!chain->has_module_code || chain->epoch == module_epoch);
}

/* The index where the kernel text begins in the stack that was just walked: after the addresses of
 * the program and of other code compiled at run time. */
__noinline __u32 first_kernel_text_index(void)
{
	__u32 zero = 0, first = 0;
	struct stack *stack = bpf_map_lookup_elem(&stacks, &zero);

	if (!stack)
		return 0;
	for (__u32 i = 0; i < STACK_DEPTH; i++)
		if (i < stack->site_index && !is_kernel_text(stack->address[i]))
			first = i + 1;
	return first;
}

/* Learns the position of address i of the stack that was just walked, and where the next address is
 * expected (next_distance). Returns false if address i is not at its expected position. A global
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
	__u32 distance = stack->next_distance, saved_bp_distance = stack->saved_bp_distance,
	      position = i - stack->text_index;
	if (!distance || distance >= KERNEL_STACK_MAX || position >= CHAIN_MAX)
		return false;
	bpf_probe_read_kernel(&word, sizeof(word), (void *)(registers - distance));
	if (word != stack->address[i])
		return false;
	chain->address[position] = word;
	if (!is_kernel_text(word))
		chain->has_module_code = 1;
	chain->offset[position] = stack->origin_distance - distance;
	stack->last_distance = distance;

	union frame_layout frame = { .all = frame_layout_of(word) };
	__u32 caller = distance - sizeof(word) - frame.size;
	stack->next_distance = 0; /* until it is found */
	if (!frame.size)
		return true;
	if (frame.uses_bp) {
		__u32 part = stack->part + 1;
		if (part >= CHAIN_PARTS || !saved_bp_distance ||
		    saved_bp_distance >= KERNEL_STACK_MAX)
			return true;
		bpf_probe_read_kernel(&pointer, sizeof(pointer),
				      (void *)(registers - saved_bp_distance));
		__u64 origin_distance = registers - pointer;
		if (origin_distance >= KERNEL_STACK_MAX)
			return true;
		clamp_mask(part, 3);
		chain->saved_bp_offset[part] = stack->origin_distance - saved_bp_distance;
		chain->part_start[part] = position + 1;
		stack->part = part;
		stack->origin_distance = origin_distance;
		caller = origin_distance - frame.size;
	}
	if (frame.saves_bp)
		stack->saved_bp_distance = caller - frame.saved_bp;
	if (caller + sizeof(word) < distance)
		stack->next_distance = caller + sizeof(word);
	return true;
}

/* Learns the positions of the addresses of the stack that was just walked. distance is that of the
 * first address. Returns false if an address of the call site is
 * not where the frame sizes say. */
__noinline int learn_from(__u32 index, __u32 distance, __u32 context_distance)
{
	__u32 zero = 0;
	struct stack *stack = bpf_map_lookup_elem(&stacks, &zero);
	struct call_chain *chain = cached_chain_at(index);

	if (!stack || !chain)
		return false;
	chain->has_module_code = 0;
	chain->epoch = module_epoch;
	stack->origin_distance = context_distance;
	stack->part = 0;
	stack->next_distance = distance;
	stack->saved_bp_distance = distance + sizeof(__u64); /* compiled programs save it first */
	for (__u32 i = 0; i < CHAIN_PARTS; i++)
		chain->part_start[i] = i ? CHAIN_MAX : 0;
	for (__u32 i = 0; i < STACK_DEPTH; i++)
		if (i >= stack->text_index && i < stack->site_end_index && !learn_address(index, i))
			return false;
	__u32 last = (stack->site_end_index - stack->text_index - 1) & (CHAIN_MAX_POW2 - 1);
	if (last >= CHAIN_MAX)
		return false;
	chain->reaches_entry = stack->site_end_index < stack->site_index + SITE_DEPTH;
	if (chain->reaches_entry && stack->last_distance != sizeof(__u64))
		return false; /* an interrupt came in between, or the walk was truncated */
	for (__u32 i = 0; i < CHAIN_PARTS; i++)
		if (chain->part_start[i] > last)
			chain->part_start[i] = CHAIN_MAX;
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
__noinline int learn_first_offset(__u32 index, __u32 context_distance)
{
	__u32 zero = 0;
	struct check_cache *cache = bpf_map_lookup_elem(&check_caches, &zero);

	if (!cache)
		return 0;
	cache->first_offset_candidates = 0;
	for (__s32 offset = -FIRST_OFFSET_MAX; offset < FIRST_OFFSET_MAX; offset += sizeof(__u64))
		if (learn_from(index, context_distance - offset, context_distance)) {
			cache->first_offset = offset;
			cache->first_offset_candidates++;
		}
	return 0;
}

/* Learns the positions of the addresses of the stack that was just walked. */
static __always_inline bool learn_chain(__u32 index, __u32 context_distance)
{
	__u32 zero = 0;
	struct stack *stack = bpf_map_lookup_elem(&stacks, &zero);
	struct check_cache *cache = bpf_map_lookup_elem(&check_caches, &zero);
	struct call_chain *chain = cached_chain_at(index);

	if (!stack || !cache || !chain)
		return false;
	chain->address[0] = 0;
	stack->text_index = first_kernel_text_index();
	stack->site_end_index = stack->site_index + SITE_DEPTH;
	if (stack->site_end_index > stack->length)
		stack->site_end_index = stack->length;
	if (!stack->site_index || stack->site_end_index - stack->text_index > CHAIN_MAX)
		return false;
	if (cache->first_offset_candidates != 1)
		learn_first_offset(index, context_distance);
	if (cache->first_offset_candidates == 1 &&
	    learn_from(index, context_distance - cache->first_offset, context_distance))
		return true;
	if (!chain->address[0])
		cache->first_offset_candidates = 0; /* the position has changed */
	chain->address[0] = 0;
	return false;
}

#endif
