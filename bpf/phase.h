/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Phases: whether a task belongs to the runtime setup or to the workload of a container.
 *
 * The workload begins with the first execve that succeeds inside the container's root, whatever
 * file it executes. An interpreter of the host, a memfd or the runtime's own file can run the
 * container's code. runc and crun execute themselves only before pivot_root, so they stay runtime
 * setup until their last execve. After that, the task and all its descendants are workload,
 * whatever they execute and wherever they are moved.
 */
#ifndef CAPMON_PHASE_H
#define CAPMON_PHASE_H

#include "cgroup.h"

#define PF_FORKNOEXEC 0x40 /* include/linux/sched.h: no execve since the fork */
#define SETUP_MAX_NS (SETUP_SECONDS * 1000000000ULL)

/* CLOCK_BOOTTIME since when capmon sees every fork, 0: not yet. Not in struct config, since user
 * space knows it only after it has attached the program. */
volatile __u64 attached_ns SEC(".data.attached");

/* The root directory of a task. A new mount namespace changes the mount of the root but not its
 * dentry. Only pivot_root, chroot and setns change the dentry. */
static __always_inline __u64 root_dentry(struct task_struct *task)
{
	return (__u64)BPF_CORE_READ(task, fs, root.dentry);
}

/* Whether a task is in the container. */
static __always_inline bool is_in_container(struct task_struct *task, __u64 container)
{
	return BPF_CORE_READ(task, pid) && container_of_other((__u64)task) == container;
}

/* The root directory of the nearest ancestor outside the container: of runc, or of the shim that
 * becomes the parent when runc exits. 0 if there are more ancestors in the container than a runtime
 * creates. */
static __always_inline __u64 root_outside(struct task_struct *task, __u64 container)
{
	struct task_struct *ancestor = BPF_CORE_READ(task, real_parent);

	for (int i = 0; i < ANCESTORS_MAX && ancestor; i++) {
		if (!is_in_container(ancestor, container))
			return root_dentry(ancestor);
		ancestor = BPF_CORE_READ(ancestor, real_parent);
	}
	return 0;
}

/* Whether the current task's root is the container's. A global function, as are others here, so
 * that the verifier checks it once. */
__noinline int has_container_root(__u64 container)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	return root_dentry(task) != root_outside(task, container);
}

/* Whether the current task has executed the program that prepares the processes of units. */
static __always_inline bool is_executor(struct task_struct *task)
{
	struct inode *inode = BPF_CORE_READ(task, mm, exe_file, f_inode);

	return config.executor_inode && BPF_CORE_READ(inode, i_ino) == config.executor_inode &&
	       BPF_CORE_READ(inode, i_sb, s_dev) == config.executor_device;
}

/* Whether an execve of the current task, which has just succeeded, ends the runtime setup. */
static __always_inline bool starts_workload(struct task_struct *task, __u64 container)
{
	if (has_no_runtime(container))
		return !is_executor(task);
	return has_container_root(container);
}

/*
 * The phase of the current task if its process is older than the recording. The task is workload if
 * its process has the container's root directory, or is older than a runtime setup can be. The same
 * is true if this applies to an ancestor of the process in the container. So a runtime that is just
 * executing a program in the container counts as workload: a use too many is better than one too
 * few. monitor/existing.go has the same rule.
 */
__noinline int phase_of_existing(__u64 container)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	__u64 outside = root_outside(task, container);

	if (has_no_runtime(container))
		return PHASE_WORKLOAD;

	task = BPF_CORE_READ(task, group_leader);
	for (int i = 0; i < ANCESTORS_MAX && is_in_container(task, container); i++) {
		__u64 limit = BPF_CORE_READ(task, start_boottime) + SETUP_MAX_NS;
		if (root_dentry(task) != outside || limit < attached_ns)
			return PHASE_WORKLOAD;
		task = BPF_CORE_READ(task, real_parent, group_leader);
	}
	return PHASE_SETUP;
}

static __always_inline int known_phase(struct task_struct *task)
{
	struct task_state *state = bpf_task_storage_get(&task_states, task, NULL, 0);

	return state ? state->phase : PHASE_UNKNOWN;
}

/* Whether capmon knows the container since a time after the start of a process. User space adds a
 * container without a name of its own after it has started (monitor/add_container.go). A process of
 * a runtime outside the container is the runtime's until it executes a program. */
static __always_inline bool is_older_than_sight(struct task_struct *leader, __u64 id)
{
	struct container *container = bpf_map_lookup_elem(&containers, &id);

	if (!container || !container->existed ||
	    untrusted_task(leader)->start_boottime >= container->first_ns)
		return false;
	return !(BPF_CORE_READ(leader, flags) & PF_FORKNOEXEC) ||
	       is_in_container(BPF_CORE_READ(leader, real_parent), id);
}

/*
 * The phase of the current task if capmon saw no fork that made it in a container; PHASE_UNKNOWN if
 * the task is older than the recording of the container. The task is one of these:
 *  - A thread that the kernel made without the fork tracepoint (create_io_thread in kernel/fork.c,
 *    for io_uring; vhost_task_create). It is in the phase of its process.
 *  - A task from before the recording.
 *  - A task that a runtime has moved into the container: only its last execve makes it workload.
 *    runc exec enters the container's root before the container's cgroup, so the root does not
 *    help here.
 * A process that descends from a workload is none of these (handle_fork), unless there was no room
 * for its state.
 */
__noinline int phase_without_fork(__u64 container)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct task_struct *leader = task->group_leader;
	int phase = known_phase(leader);

	if (phase != PHASE_UNKNOWN)
		return phase;
	if (!attached_ns || untrusted_task(leader)->start_boottime < attached_ns ||
	    is_older_than_sight(leader, container))
		return PHASE_UNKNOWN;
	return known_phase(task->real_parent) == PHASE_WORKLOAD ? PHASE_WORKLOAD : PHASE_SETUP;
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

/* Sets pidns of a container: shared if the first process of its pid namespace is in another
 * container or on the host. Also marks that other container as shared. A pid namespace that the
 * container created says nothing about the one that the container is in. */
__noinline int set_pidns(__u64 id)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct container *container = bpf_map_lookup_elem(&containers, &id);
	struct task_struct *reaper = BPF_CORE_READ(pid_namespace_of(task), child_reaper);
	__u64 first = cached_container(reaper);

	if (!container)
		return 0;
	if (is_below_container((__u64)reaper, id)) {
		if (container->pidns == PIDNS_UNKNOWN &&
		    !is_below_container((__u64)BPF_CORE_READ(reaper, real_parent), id))
			container->pidns = PIDNS_OWN;
		return 0;
	}
	container->pidns = PIDNS_SHARED;
	container = bpf_map_lookup_elem(&containers, &first);
	if (container)
		container->pidns = PIDNS_SHARED;
	return 0;
}

/* Records a new workload process. The first one sets the container's sets and user namespace. */
static __always_inline void record_workload_process(struct task_struct *task, __u64 id,
						    bool existed)
{
	struct container *container = bpf_map_lookup_elem(&containers, &id);
	__u64 now = bpf_ktime_get_boot_ns();

	if (!container || (existed && container->workload_ns))
		return; /* user space has counted the processes that already ran */
	container->last_ns = now;
	if (enabled)
		__sync_fetch_and_add(&container->processes, 1);
	if (container->workload_ns)
		return;
	const struct cred *cred = untrusted_task(task)->real_cred;
	container->workload_ns = now;
	container->existed = existed;
	container->bounding = CAP_SET(cred, cap_bset);
	container->permitted = CAP_SET(cred, cap_permitted);
	container->keyring = keyring_of(cred);
	container->uid = cred->euid.val;
	if (!container->base_userns)
		container->base_userns = cred->user_ns->ns.inum;
	set_pidns(id);
}

/* The phase of a task without a state. */
static __always_inline int initial_phase(__u64 container)
{
	int phase = phase_without_fork(container);

	return phase == PHASE_UNKNOWN ? phase_of_existing(container) : phase;
}

/* Records that a task is in a container for the first time. A workload task stays workload: only a
 * runtime from outside starts with runtime setup, not a task that moves between cgroups. */
static __always_inline void enter_container(struct task_struct *task, struct task_state *state,
					    __u64 container)
{
	if (state->phase == PHASE_UNKNOWN)
		state->phase = initial_phase(container);
	state->container = container;
	if (state->phase == PHASE_WORKLOAD)
		record_workload_process(task, container, true);
	else if (!state->setup_ns)
		state->setup_ns = bpf_ktime_get_boot_ns();
}

/* The state of a task in a container. The task is the current one, or has just forked. NULL if
 * there is no room. */
static __always_inline struct task_state *task_state_of(struct task_struct *task, __u64 container)
{
	struct task_state *state =
		bpf_task_storage_get(&task_states, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!state) {
		increment_counter(COUNTER_TASK_STATE_FULL);
		return NULL;
	}
	if (state->phase == PHASE_UNKNOWN || state->container != container)
		enter_container(task, state, container);
	return state;
}

static __always_inline struct task_state *current_task_state(__u64 container)
{
	return task_state_of(bpf_get_current_task_btf(), container);
}

/* Whether a task has been in runtime setup for longer than a runtime takes. */
static __always_inline bool is_setup_overdue(const struct task_state *state)
{
	return state && bpf_ktime_get_boot_ns() - state->setup_ns > SETUP_MAX_NS;
}

#endif
