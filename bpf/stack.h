/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Finds the call site of a check with a real walk of the stack: the kernel function that made the
 * check. call_chain.h recognizes most call sites without one.
 */
#ifndef CAPMON_STACK_H
#define CAPMON_STACK_H

#include "maps.h"

#define STACK_DEPTH 32

struct stack {
	__u32 length;
	__u32 site_index; /* index in address where the call site starts */
	__u32 text_index; /* index where the kernel text starts */
	__u32 site_end_index; /* index after the end of the call site */
	/* For call_chain.h, which has a drawing: distances of the address to learn next, of the
	 * saved base pointer, and of the origin of the current part of the chain. In bytes below
	 * user space's registers. */
	__u32 next_distance, saved_bp_distance, origin_distance;
	__u32 part; /* of the chain */
	__u32 last_distance; /* distance of the address that was learned last */
	__u64 address[STACK_DEPTH];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct stack);
} stacks SEC(".maps");

/* Whether a return address is in the kernel text, not in a module or in BPF code. */
static __always_inline bool is_kernel_text(__u64 address)
{
	return address > config.text_start && address <= config.text_end;
}

/*
 * The index of cap_capable's caller in the stack, 0 if it is unknown. The frame of cap_capable is
 * missing if the kernel jumps to a BPF trampoline instead of calling it
 * (CONFIG_DYNAMIC_FTRACE_WITH_JMP). Then the caller is the first address in the kernel text after
 * the program and its trampoline.
 */
__noinline int caller_index(void)
{
	__u32 zero = 0;
	struct stack *stack = bpf_map_lookup_elem(&stacks, &zero);

	if (!stack)
		return 0;
	for (int i = 0; i < STACK_DEPTH - SITE_DEPTH; i++)
		if (stack->address[i] > config.cap_capable_start &&
		    stack->address[i] <= config.cap_capable_end)
			return i + 1;
	for (int i = 0; i < STACK_DEPTH - SITE_DEPTH; i++)
		if (is_kernel_text(stack->address[i]))
			return i;
	return 0;
}

/* Fills site with the return addresses above cap_capable. bpf_get_stack clears the rest of its
 * buffer. */
static __always_inline void walk_stack(void *ctx, __u64 *site)
{
	__u32 zero = 0;
	struct stack *stack = bpf_map_lookup_elem(&stacks, &zero);

	if (!stack)
		return;
	long size = bpf_get_stack(ctx, stack->address, sizeof(stack->address), 0);
	if (size <= 0) {
		stack->length = 0;
		increment_counter(COUNTER_NO_CALL_SITE);
		return;
	}
	stack->length = size / sizeof(__u64);
	stack->site_index = caller_index();
	__u32 first = stack->site_index;
	if (first <= STACK_DEPTH - SITE_DEPTH)
		__builtin_memcpy(site, &stack->address[first], SITE_DEPTH * sizeof(__u64));
}

static __always_inline bool is_same_call_site(const __u64 *one, const __u64 *other)
{
	__u64 differing = 0;

	for (int i = 0; i < SITE_DEPTH; i++)
		differing |= one[i] ^ other[i];
	return !differing;
}

struct call_site {
	__u64 address[SITE_DEPTH];
};

/*
 * Whether one piece of code made two checks, one after the other. Then their stacks differ in only
 * one return address. An example is generic_permission, which checks CAP_DAC_READ_SEARCH and, after
 * a denial, CAP_DAC_OVERRIDE. A global function, so that the verifier checks it once and not in
 * each state of its callers.
 */
__noinline int is_same_sequence(const struct call_site *one, const struct call_site *other)
{
	int differing = 0;

	if (!one || !other)
		return false;
	for (int i = 0; i < SITE_DEPTH; i++)
		differing += one->address[i] != other->address[i];
	return differing == 1;
}

#endif
