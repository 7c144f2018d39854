/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* The maps, the configuration, and the counters of what was lost. */
#ifndef CAPMON_MAPS_H
#define CAPMON_MAPS_H

#include "record.h"

volatile const struct config settings;
volatile const struct call_rule call_rules[CALL_MAX];

/* Every kind of check with its counts: what user space reads. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
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
	__uint(max_entries, 1 << 18);
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
		*n += 1;
}

static __always_inline void tell(__u32 kind, __u64 container, __u64 now, __u32 pid,
				 const struct check_key *key)
{
	struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		count(COUNTER_EVENTS);
		return;
	}
	__builtin_memset(event, 0, sizeof(*event));
	event->kind = kind;
	event->container = container;
	event->time_ns = now;
	event->pid = pid;
	if (key) {
		event->capability = key->capability;
		event->answer = key->answer;
		event->phase = key->phase;
	}
	bpf_ringbuf_submit(event, 0);
}

#endif
