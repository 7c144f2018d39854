/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * What capmon knows about each task, and from which workload without a runtime a task descends.
 */
#ifndef CAPMON_TASK_STATE_H
#define CAPMON_TASK_STATE_H

#include "maps.h"

struct task_state {
	__u64 container; /* the container of the phase: a task can be moved to another container */
	__u32 phase; /* enum phase */
	__u32 denied; /* 1 + the capability of the last check if it was denied, else 0 */
	__u64 denied_site[SITE_DEPTH]; /* its call site */
	__u32 setpcap_checked; /* 1: CAP_SETPCAP was checked since the last capset or prctl */
	__u32 pad;
	__u64 setup_ns; /* CLOCK_BOOTTIME of its first sight in runtime setup; 0: never */
	__u64 child_flags; /* clone flags of the task's last child, see clone_flags.h */
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct task_state);
} task_states SEC(".maps");

/* Whether no container runtime prepares the workload of a container: it is a command or a unit. */
static __always_inline bool has_no_runtime(__u64 id)
{
	struct container *container = bpf_map_lookup_elem(&containers, &id);

	return container && container->no_runtime;
}

/*
 * The container of the current task, given the container of its cgroup. The two differ if the task
 * descends from a workload without a runtime: root can move such a task to any cgroup, and must not
 * hide it that way. Threads without a state have the state of their process (phase_without_fork).
 */
__noinline __u64 container_by_descent(__u64 of_cgroup)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct task_state *state = bpf_task_storage_get(&task_states, task, NULL, 0);

	if (!state)
		state = bpf_task_storage_get(&task_states, task->group_leader, NULL, 0);
	if (!state || state->phase != PHASE_WORKLOAD || state->container == of_cgroup)
		return of_cgroup;
	__u64 id = state->container;
	struct container *origin = bpf_map_lookup_elem(&containers, &id);
	if (!origin || !origin->no_runtime)
		return of_cgroup;
	origin->moved = 1;
	return id;
}

#endif
