/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Sends an event to user space at the first check of each kind.
 */
#ifndef CAPMON_EVENTS_H
#define CAPMON_EVENTS_H

#include "quota.h"
#include "phase.h"

/* Whether the kernel made the check because memory changes its size. This is the most frequent
 * check, and its outcome has no effect (internal/classify/irrelevant.go). */
static __always_inline bool is_memory_size_check(const struct check_key *key)
{
	if (key->capability != CAP_SYS_ADMIN)
		return false;
	for (int i = 0; i < 3; i++)
		if (key->site[i] > config.enough_memory_start &&
		    key->site[i] <= config.enough_memory_end)
			return true;
	return false;
}

/* The pid of a process in its own (innermost) pid namespace. */
static __always_inline __u32 inner_pid(struct task_struct *leader)
{
	struct pid *pid = BPF_CORE_READ(leader, thread_pid);
	__u64 numbers = (__u64)__builtin_preserve_access_index(&pid->numbers[0].nr);
	__u32 nr = 0;

	bpf_probe_read_kernel(
		&nr, sizeof(nr),
		(void *)(numbers + BPF_CORE_READ(pid, level) * bpf_core_type_size(struct upid)));
	return nr;
}

/* Adds the ancestors of the current process in the container. User space would look them up later,
 * when they may have ended. */
static __always_inline void add_parents(struct check_event *details)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	__builtin_memset(details->parents, 0, sizeof(details->parents));
	for (int i = 0; i < PARENTS_MAX; i++) {
		task = BPF_CORE_READ(task, real_parent);
		if (!task || cached_container(task) != details->key.container)
			break;
		struct parent *parent = &details->parents[i];
		parent->pid = BPF_CORE_READ(task, tgid);
		BPF_CORE_READ_INTO(&parent->comm, task, group_leader, comm);
	}
}

static __always_inline void fill_event(struct event *event, const struct check_key *key,
				       const struct check_value *first)
{
	__builtin_memset(event, 0, sizeof(*event));
	event->kind = EVENT_CHECK;
	event->pid = first->pid;
	event->container = key->container;
	event->time_ns = first->first_ns;
	event->capability = key->capability;
	event->answer = key->answer;
	event->phase = key->phase;
}

/* Whether a container may send an event of a new kind of check: always at the first event for this
 * capability, granted or denied. */
static __always_inline bool may_send_check_event(struct container *container,
						 const struct check_key *key, __u64 now)
{
	__u64 bit = 1ULL << (key->capability & 63);
	bool granted = key->answer == ANSWER_HELD || key->answer == ANSWER_OWNS_USERNS;
	__u64 *announced = granted ? &container->announced_granted : &container->announced_denied;

	if (key->subject == SUBJECT_OWN && key->namespace == NAMESPACE_BASE &&
	    !(*announced & bit)) {
		*announced |= bit;
		return true;
	}
	return may_send_event(container, now);
}

/* Sends an event for a kind of check that was recorded for the first time. Writes it into the ring
 * buffer, since the stack has no room. */
static __noinline int send_check_event(const struct check_key *key, const struct check_value *first)
{
	if (!key || !first)
		return 0;
	struct container *container = bpf_map_lookup_elem(&containers, &key->container);
	if (!container)
		return 0;
	if (key->phase == PHASE_SETUP || is_memory_size_check(key)) {
		struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
		if (!event) {
			increment_counter(COUNTER_EVENTS_NOT_SENT);
			return 0;
		}
		fill_event(event, key, first);
		bpf_ringbuf_submit(event, 0);
		return 0;
	}
	struct check_event *details = NULL;
	if (may_send_check_event(container, key, first->first_ns))
		details = bpf_ringbuf_reserve(&events, sizeof(*details), 0);
	if (!details) {
		increment_counter(COUNTER_EVENTS_NOT_SENT);
		return 0;
	}
	struct task_struct *task = (void *)bpf_get_current_task();
	struct inode *executable = BPF_CORE_READ(task, mm, exe_file, f_inode);
	fill_event(&details->event, key, first);
	details->key = *key;
	details->inode = BPF_CORE_READ(executable, i_ino);
	details->device = BPF_CORE_READ(executable, i_sb, s_dev);
	details->uid = first->uid;
	details->inner_pid = inner_pid(BPF_CORE_READ(task, group_leader));
	details->pad = 0;
	add_parents(details);
	bpf_ringbuf_submit(details, 0);
	return 0;
}

#endif
