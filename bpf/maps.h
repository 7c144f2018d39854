/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* The maps, the configuration, and the counters of what was lost. */
#ifndef CAPMON_MAPS_H
#define CAPMON_MAPS_H

#include "record.h"

volatile const struct config settings;
volatile const struct call_rule call_rules[CALL_MAX];
volatile const struct call_rule compat_rules[CALL_MAX]; /* of 32-bit system calls */

/* 0: nothing is counted here. By this a later capmon, whose maps are laid out otherwise, takes
 * over at one moment. Alone in its section, so that any version finds it. */
volatile __u32 recording SEC(".data.recording") = 1;

/* Every kind of check with its counts: what user space reads. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 131072);
	__type(key, struct check_key);
	__type(value, struct check_value);
} checks SEC(".maps");

/* By kernfs id of the topmost cgroup that bears a container's name. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct container);
} containers SEC(".maps");

/* Every program file that a workload executed, for the capabilities that it may
 * carry. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct execution_key);
	__type(value, struct execution_value);
} executions SEC(".maps");

/* By number, those of 32-bit system calls from CALL_MAX on; user space fills it while
 * containers run that it is for. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2 * CALL_MAX);
	__type(key, __u32);
	__type(value, struct call_watch);
} call_watches SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct call_key);
	__type(value, struct call_value);
} calls SEC(".maps");

volatile const struct file_rule file_rules[CALL_MAX];
volatile const struct file_rule compat_file_rules[CALL_MAX];

/* The files that made capabilities necessary. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct file_key);
	__type(value, struct file_value);
} files SEC(".maps");

/* From any cgroup's kernfs id to its container's, 0 for none. A cache: what it
 * forgets is found again by walking up the tree. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, __u64);
} cgroups SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTER_MAX);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

static __always_inline void count(__u32 which)
{
	__u64 *n = bpf_map_lookup_elem(&counters, &which);
	if (n)
		__sync_fetch_and_add(n, 1); /* may be preempted */
}

/* Tells of a first sight: what of it is in the event's own fields. */
static __always_inline void tell(struct event *what)
{
	if (bpf_ringbuf_output(&events, what, sizeof(*what), 0))
		count(COUNTER_EVENTS);
}

#endif
