/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * The maps that user space reads and configures, the configuration, and the counters of losses.
 */
#ifndef CAPMON_MAPS_H
#define CAPMON_MAPS_H

#include "types.h"

volatile const struct config config;
volatile const struct call_rule call_rules[CALL_MAX];
volatile const struct call_rule compat_call_rules[CALL_MAX]; /* of 32-bit system calls */

/* 1: the programs count. A new capmon with another layout of the maps uses this to switch counting
 * from the old programs to its own atomically. The variable is alone in its section, so that any
 * version finds it. */
volatile __u32 enabled SEC(".data.recording") = 1;

/* All kinds of check with their counts. User space reads this map. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 131072);
	__type(key, struct check_key);
	__type(value, struct check_value);
} checks SEC(".maps");

/* All containers, by kernfs id of the topmost cgroup with a container's name. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct container);
} containers SEC(".maps");

/* All program files that workloads executed, since files can carry capabilities. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct execution_key);
	__type(value, struct execution_value);
} executions SEC(".maps");

/* The system calls to record for seccomp profiles, by system call number; 32-bit system calls start
 * at CALL_MAX. User space adds a call while containers run whose profile allows it only with a
 * capability. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2 * CALL_MAX);
	__type(key, __u32);
	__type(value, struct seccomp_call);
} seccomp_calls SEC(".maps");

/* All recorded system calls: for seccomp profiles, lifted limits and unchecked uses. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct call_key);
	__type(value, struct call_value);
} calls SEC(".maps");

volatile const struct file_rule file_rules[CALL_MAX];
volatile const struct file_rule compat_file_rules[CALL_MAX];

/* The files for which the kernel checked capabilities. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct file_key);
	__type(value, struct file_value);
} files SEC(".maps");

/* The container of each cgroup: from the kernfs id of the cgroup to the id of its container, 0 for
 * none. A cache: capmon finds evicted entries again by a walk up the cgroup tree. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, __u64);
} cgroup_cache SEC(".maps");

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

static __always_inline void increment_counter(__u32 counter)
{
	__u64 *n = bpf_map_lookup_elem(&counters, &counter);
	if (n)
		__sync_fetch_and_add(n, 1); /* the program may be preempted */
}

/* Sends an event that has no further data. */
static __always_inline void send_event(struct event *event)
{
	if (bpf_ringbuf_output(&events, event, sizeof(*event), 0))
		increment_counter(COUNTER_EVENTS_NOT_SENT);
}

#endif
