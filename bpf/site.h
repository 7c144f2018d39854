/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* The call site: which kernel function asked. */
#ifndef CAPMON_SITE_H
#define CAPMON_SITE_H

#include "maps.h"

#define STACK_DEPTH 32

struct stack {
	__u32 used;
	__u32 first; /* of them what the call site begins with */
	__u32 text; /* and where those of the kernel proper begin */
	__u32 end; /* and the call site ends */
	/* For memo.h: bytes below user space's registers, of the next address, of the saved
	 * base pointer, and of what the current part of the chain is measured from. */
	__u32 below, saved, base;
	__u32 part; /* of the chain */
	__u32 place; /* bytes below user space's registers, of the address looked at last */
	__u64 address[STACK_DEPTH];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct stack);
} stacks SEC(".maps");

/* Whether a return address is one of the kernel proper's. */
static __always_inline bool is_text(__u64 address)
{
	return address > settings.text_start && address <= settings.text_end;
}

/*
 * Where in the stack cap_capable's caller is: 0 if that is not known. The frame of cap_capable
 * itself is not there where the kernel jumps to a trampoline of BPF and does not call it
 * (CONFIG_DYNAMIC_FTRACE_WITH_JMP). Then the caller is the first of the kernel proper behind the
 * program and its trampoline.
 */
__noinline int first_site(void)
{
	__u32 zero = 0;
	struct stack *stack = bpf_map_lookup_elem(&stacks, &zero);

	if (!stack)
		return 0;
	for (int i = 0; i < STACK_DEPTH - SITE_DEPTH; i++)
		if (stack->address[i] > settings.asker_start &&
		    stack->address[i] <= settings.asker_end)
			return i + 1;
	for (int i = 0; i < STACK_DEPTH - SITE_DEPTH; i++)
		if (is_text(stack->address[i]))
			return i;
	return 0;
}

/* Fills site with the return addresses above cap_capable. bpf_get_stack sets the
 * rest of its buffer to zero. */
static __always_inline void walk_stack(void *ctx, __u64 *site)
{
	__u32 zero = 0;
	struct stack *stack = bpf_map_lookup_elem(&stacks, &zero);

	if (!stack)
		return;
	long size = bpf_get_stack(ctx, stack->address, sizeof(stack->address), 0);
	if (size <= 0) {
		stack->used = 0;
		count(COUNTER_NO_SITE);
		return;
	}
	stack->used = size / sizeof(__u64);
	stack->first = first_site();
	__u32 first = stack->first;
	if (first <= STACK_DEPTH - SITE_DEPTH)
		__builtin_memcpy(site, &stack->address[first], SITE_DEPTH * sizeof(__u64));
}

static __always_inline bool same_site(const __u64 *one, const __u64 *other)
{
	__u64 differing = 0;

	for (int i = 0; i < SITE_DEPTH; i++)
		differing |= one[i] ^ other[i];
	return !differing;
}

struct site {
	__u64 address[SITE_DEPTH];
};

/*
 * Whether two checks were made by one piece of code, one after the other: their
 * stacks differ in one return address only, as in generic_permission, which asks
 * for CAP_DAC_READ_SEARCH and, refused, for CAP_DAC_OVERRIDE. A global function: the verifier
 * follows it once, and not in each state of its callers.
 */
__noinline int same_call(const struct site *one, const struct site *other)
{
	int differing = 0;

	if (!one || !other)
		return false;
	for (int i = 0; i < SITE_DEPTH; i++)
		differing += one->address[i] != other->address[i];
	return differing == 1;
}

#endif
