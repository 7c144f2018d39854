/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Phases: is a task still the container runtime preparing, or the workload?
 *
 * The workload begins with the first execve that succeeds inside the container's root,
 * whatever file it executes: an interpreter of the host, a memfd or the runtime's own file
 * may run the container's code. runc and crun execute themselves only before pivot_root, so
 * they stay runtime setup until their last execve. From then on the task and all its
 * descendants are workload, whatever they execute and wherever they are moved.
 */
#ifndef CAPMON_TASK_H
#define CAPMON_TASK_H

#include "cgroup.h"

#define ANCESTORS 32
#define SETUP_NS (SETUP_SECONDS * 1000000000ULL)

struct task_state {
	__u64 container; /* that the phase is told for: a task can be moved to another */
	__u32 phase; /* enum phase */
	__u32 refused; /* capability + 1 of the last check if it was refused, else 0 */
	__u64 refused_site[SITE_DEPTH]; /* and where it was asked */
	__u32 setpcap_asked; /* 1: CAP_SETPCAP was, since the last capset or prctl */
	__u32 pad;
	__u64 setup_ns; /* CLOCK_BOOTTIME when its runtime setup was first seen; 0: never */
	__u64 cloned; /* what the child has as its own that it has made last, see clone.h */
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct task_state);
} tasks SEC(".maps");

/* CLOCK_BOOTTIME from when on every fork is seen, 0: not yet. Not one of the settings, since
 * only user space knows it, and only once the program is attached. */
volatile __u64 attached_ns SEC(".data.attached");

/* The root directory of a task. A new mount namespace changes the mount of the root but not
 * its dentry, so only pivot_root, chroot and setns do. */
static __always_inline __u64 root_of(struct task_struct *task)
{
	return (__u64)BPF_CORE_READ(task, fs, root.dentry);
}

/* Whether a task is one of the container's. */
static __always_inline bool is_in(struct task_struct *task, __u64 container)
{
	return BPF_CORE_READ(task, pid) && container_of_other((__u64)task) == container;
}

/* The root of the nearest ancestor outside the container: runc, or the shim that adopts what
 * runc leaves. 0 if there are too many in between to be a runtime's. */
static __always_inline __u64 root_outside(struct task_struct *task, __u64 container)
{
	struct task_struct *ancestor = BPF_CORE_READ(task, real_parent);

	for (int i = 0; i < ANCESTORS && ancestor; i++) {
		if (!is_in(ancestor, container))
			return root_of(ancestor);
		ancestor = BPF_CORE_READ(ancestor, real_parent);
	}
	return 0;
}

/* Whether the current task's root is the container's. Global, as others here, so that the
 * verifier looks at it once. */
__noinline int in_own_root(__u64 container)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	return root_of(task) != root_outside(task, container);
}

/*
 * The phase of the current task's process, which was there before capmon: workload if it, or
 * an ancestor of it in the container, has the container's root or is older than a runtime
 * setup takes. A runtime that is executing a program in the container just then counts as
 * workload: better one use too many than one too few.
 * monitor/adopt.go has the same rule.
 */
__noinline int phase_of_existing(__u64 container)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	__u64 outside = root_outside(task, container);

	task = BPF_CORE_READ(task, group_leader);
	for (int i = 0; i < ANCESTORS && is_in(task, container); i++) {
		__u64 limit = BPF_CORE_READ(task, start_boottime) + SETUP_NS;
		if (root_of(task) != outside || limit < attached_ns)
			return PHASE_WORKLOAD;
		task = BPF_CORE_READ(task, real_parent, group_leader);
	}
	return PHASE_SETUP;
}

static __always_inline int phase_known(struct task_struct *task)
{
	struct task_state *state = bpf_task_storage_get(&tasks, task, NULL, 0);

	return state ? state->phase : PHASE_UNKNOWN;
}

/*
 * The phase of the current task, of which no fork was seen in a container. It is
 *  - a thread that the kernel made for a process without telling (create_io_thread in
 *    kernel/fork.c, for io_uring; vhost_task_create): that of the process,
 *  - or one that was there before capmon,
 *  - or one that a runtime has put into the container: only its last execve makes it workload.
 *    runc exec enters the container's root before the container's cgroup, so that the root says
 *    nothing. A process that descends from a workload comes to none of this (fork_seen), but
 *    that its state may have found no room.
 */
__noinline int first_phase(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct task_struct *leader = task->group_leader;
	int phase = phase_known(leader);

	if (phase != PHASE_UNKNOWN)
		return phase;
	if (!attached_ns || plain(leader)->start_boottime < attached_ns)
		return PHASE_UNKNOWN;
	return phase_known(task->real_parent) == PHASE_WORKLOAD ? PHASE_WORKLOAD : PHASE_SETUP;
}

static __always_inline __u64 keyring_of(const struct cred *cred)
{
	if (!bpf_core_field_exists(cred->session_keyring))
		return 0;
	return (__u64)cred->session_keyring;
}

/* The pid namespace of a task. */
static __always_inline struct pid_namespace *pid_namespace_of(struct task_struct *task)
{
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	__u64 namespaces = (__u64)__builtin_preserve_access_index(&pid->numbers[0].ns);
	struct pid_namespace *ns = NULL;

	bpf_probe_read_kernel(
		&ns, sizeof(ns),
		(void *)(namespaces + BPF_CORE_READ(pid, level) * bpf_core_type_size(struct upid)));
	return ns;
}

/* Sets the pids of a container: shared if the first process of its pid namespace is of another
 * container or of the host. Marks that other container as shared as well. A namespace that the
 * container made says nothing about the one that the container is in. */
__noinline int note_pids(__u64 id)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct container *container = bpf_map_lookup_elem(&containers, &id);
	struct task_struct *reaper = BPF_CORE_READ(pid_namespace_of(task), child_reaper);
	__u64 first = container_remembered(reaper);

	if (!container)
		return 0;
	if (is_of_container((__u64)reaper, id)) {
		if (container->pids == PIDS_UNKNOWN &&
		    !is_of_container((__u64)BPF_CORE_READ(reaper, real_parent), id))
			container->pids = PIDS_OWN;
		return 0;
	}
	container->pids = PIDS_SHARED;
	container = bpf_map_lookup_elem(&containers, &first);
	if (container)
		container->pids = PIDS_SHARED;
	return 0;
}

/* First sight of a workload process: the container's own sets and namespace. */
static __always_inline void workload_seen(struct task_struct *task, __u64 id, bool existed)
{
	struct container *container = bpf_map_lookup_elem(&containers, &id);
	__u64 now = bpf_ktime_get_boot_ns();

	if (!container || (existed && container->workload_ns))
		return; /* user space counted the processes that were there */
	container->last_ns = now;
	if (recording)
		__sync_fetch_and_add(&container->processes, 1);
	if (container->workload_ns)
		return;
	const struct cred *cred = plain(task)->real_cred;
	container->workload_ns = now;
	container->existed = existed;
	container->bounding = CAPABILITIES(cred, cap_bset);
	container->permitted = CAPABILITIES(cred, cap_permitted);
	container->keyring = keyring_of(cred);
	container->uid = cred->euid.val;
	if (!container->base_userns)
		container->base_userns = cred->user_ns->ns.inum;
	note_pids(id);
}

/* The phase of a task without a state. */
static __always_inline int phase_of_new(__u64 container)
{
	int phase = first_phase();

	return phase == PHASE_UNKNOWN ? phase_of_existing(container) : phase;
}

/* Notes that a task is seen in a container for the first time. Workload stays workload: only a
 * runtime from outside begins with runtime setup, and not whoever moves between cgroups. */
static __always_inline void enter(struct task_struct *task, struct task_state *state,
				  __u64 container)
{
	if (state->phase == PHASE_UNKNOWN)
		state->phase = phase_of_new(container);
	state->container = container;
	if (state->phase == PHASE_WORKLOAD)
		workload_seen(task, container, true);
	else if (!state->setup_ns)
		state->setup_ns = bpf_ktime_get_boot_ns();
}

/* The state of a task that is current, in a container; NULL if there is no room. */
static __always_inline struct task_state *state_of(struct task_struct *task, __u64 container)
{
	struct task_state *state =
		bpf_task_storage_get(&tasks, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!state) {
		count(COUNTER_TASK_STATE);
		return NULL;
	}
	if (state->phase == PHASE_UNKNOWN || state->container != container)
		enter(task, state, container);
	return state;
}

static __always_inline struct task_state *current_state(__u64 container)
{
	return state_of(bpf_get_current_task_btf(), container);
}

/* Whether a task has been preparing for longer than a runtime takes. */
static __always_inline bool is_overdue(const struct task_state *state)
{
	return state && bpf_ktime_get_boot_ns() - state->setup_ns > SETUP_NS;
}

#endif
