/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * The descendants of the command that capmon profile runs. A container belongs to the command if
 * one of them was the first task in the container's cgroup.
 *
 * A task descends from the command if the command has forked it, or a descendant has. The parent in
 * /proc does not show that: a monitor of Podman gets another parent when podman has ended. The
 * workload of a container has no descendants in this sense. So no container can make others belong
 * to the command.
 */
#ifndef CAPMON_COMMAND_H
#define CAPMON_COMMAND_H

#include "task_state.h"
#include "untrusted_read.h"

/* The command and its descendants. User space adds the command. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u32);
} command_tasks SEC(".maps");

/* Whether a task descends from the command and is not the workload of a container. */
static __always_inline bool is_of_command(struct task_struct *task)
{
	if (!config.follow_command || !bpf_task_storage_get(&command_tasks, task, NULL, 0))
		return false;
	struct task_state *state = bpf_task_storage_get(&task_states, task, NULL, 0);
	return !state || state->phase != PHASE_WORKLOAD;
}

static __always_inline void follow_fork(struct task_struct *parent, struct task_struct *child)
{
	if (is_of_command(parent) &&
	    !bpf_task_storage_get(&command_tasks, child, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE))
		increment_counter(COUNTER_TASK_STATE_FULL);
}

/* Whether the current task executes a program with the name of Podman's monitor of containers. */
static __always_inline bool executes_conmon(void)
{
	char comm[COMM_LEN] = {};

	bpf_get_current_comm(comm, sizeof(comm));
	return comm[0] == 'c' && comm[1] == 'o' && comm[2] == 'n' && comm[3] == 'm' &&
	       comm[4] == 'o' && comm[5] == 'n' && !comm[6];
}

/* Sends the arguments of a monitor that descends from the command. They name its container, which
 * may have no cgroup of its own. */
static __always_inline void announce_monitor(struct task_struct *task)
{
	if (!is_of_command(task) || !executes_conmon())
		return;
	struct monitor_event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		increment_counter(COUNTER_EVENTS_NOT_SENT);
		return;
	}
	__builtin_memset(&event->event, 0, sizeof(event->event));
	event->size = 0;
	event->event.kind = EVENT_MONITOR;
	event->event.pid = bpf_get_current_pid_tgid() >> 32;
	event->event.time_ns = bpf_ktime_get_boot_ns();
	event->uid = untrusted_task(task)->real_cred->euid.val;
	__u64 start = BPF_CORE_READ(task, mm, arg_start);
	__u64 size = BPF_CORE_READ(task, mm, arg_end) - start;
	if (size > ARGUMENTS_LEN - 1)
		size = ARGUMENTS_LEN - 1;
	size &= ARGUMENTS_LEN - 1; /* for the verifier */
	if (!bpf_probe_read_user(event->arguments, size, (void *)start))
		event->size = size;
	bpf_ringbuf_submit(event, 0);
}

#endif
