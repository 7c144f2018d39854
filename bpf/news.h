/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* What user space is told at the first sight of a kind of check. */
#ifndef CAPMON_NEWS_H
#define CAPMON_NEWS_H

#include "quota.h"
#include "task.h"

/* Whether it was asked because memory changes its size: the most frequent question of all, and
 * what becomes of it says nothing (internal/classify/irrelevant.go). */
static __always_inline bool is_of_memory(const struct check_key *key)
{
	if (key->capability != CAP_SYS_ADMIN)
		return false;
	for (int i = 0; i < 3; i++)
		if (key->site[i] > settings.memory_start && key->site[i] <= settings.memory_end)
			return true;
	return false;
}

/* The number of a process in its own pid namespace, the innermost that has one for it. */
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

/* Names the processes in the container that the current one descends from. What user space
 * looked up later could be gone. */
static __always_inline void tell_parents(struct check_event *news)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	__builtin_memset(news->parents, 0, sizeof(news->parents));
	for (int i = 0; i < PARENTS_MAX; i++) {
		task = BPF_CORE_READ(task, real_parent);
		if (!task || container_remembered(task) != news->key.container)
			break;
		struct parent *parent = &news->parents[i];
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

/* Whether a container may announce a new pattern: always if no event has announced that its
 * workload was granted, or refused, this capability. */
static __always_inline bool may_tell_check(struct container *container, const struct check_key *key,
					   __u64 now)
{
	__u64 bit = 1ULL << (key->capability & 63);
	bool granted = key->answer == ANSWER_HELD || key->answer == ANSWER_OWNER;
	__u64 *told = granted ? &container->told_granted : &container->told_refused;

	if (key->subject == SUBJECT_OWN && key->namespace == NAMESPACE_BASE && !(*told & bit)) {
		*told |= bit;
		return true;
	}
	return may_tell(container, now);
}

/* Tells of a kind of check that has just been recorded for the first time. Written where user
 * space reads it: the stack has no room. */
static __noinline int tell_check(const struct check_key *key, const struct check_value *first)
{
	if (!key || !first)
		return 0;
	struct container *container = bpf_map_lookup_elem(&containers, &key->container);
	if (!container)
		return 0;
	if (key->phase == PHASE_SETUP || is_of_memory(key)) {
		struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
		if (!event) {
			count(COUNTER_EVENTS);
			return 0;
		}
		fill_event(event, key, first);
		bpf_ringbuf_submit(event, 0);
		return 0;
	}
	struct check_event *news = NULL;
	if (may_tell_check(container, key, first->first_ns))
		news = bpf_ringbuf_reserve(&events, sizeof(*news), 0);
	if (!news) {
		count(COUNTER_EVENTS);
		return 0;
	}
	struct task_struct *task = (void *)bpf_get_current_task();
	struct inode *executable = BPF_CORE_READ(task, mm, exe_file, f_inode);
	fill_event(&news->event, key, first);
	news->key = *key;
	news->inode = BPF_CORE_READ(executable, i_ino);
	news->device = BPF_CORE_READ(executable, i_sb, s_dev);
	news->uid = first->uid;
	news->inner_pid = inner_pid(BPF_CORE_READ(task, group_leader));
	news->pad = 0;
	tell_parents(news);
	bpf_ringbuf_submit(news, 0);
	return 0;
}

#endif
