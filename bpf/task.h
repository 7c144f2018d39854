/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Phases: is a task still the container runtime preparing, or the workload?
 *
 * runc init, crun and the like run an executable of the host (or a sealed memfd)
 * until their last execve, which runs a file of the container. From then on the
 * task and all its descendants are workload, whatever they execute or unshare.
 */
#ifndef CAPMON_TASK_H
#define CAPMON_TASK_H

#include "cgroup.h"

#define ANCESTORS 32

struct task_state {
	__u64 container; /* that the phase is told for: a task can be moved to another */
	__u32 phase; /* enum phase */
	__u32 refused; /* capability + 1 of the last check if it was refused, else 0 */
	__u64 refused_site[SITE_DEPTH]; /* and where it was asked */
	__u32 setpcap_asked; /* 1: CAP_SETPCAP was, since the last capset or prctl */
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct task_state);
} tasks SEC(".maps");

static __always_inline struct mnt_namespace *mount_namespace(struct task_struct *task)
{
	return BPF_CORE_READ(task, nsproxy, mnt_ns);
}

/* The mount namespace that the task's executable was opened in; NULL or an error
 * pointer for a memfd and for a mount that was taken away since. */
static __always_inline struct mnt_namespace *executable_namespace(struct task_struct *task)
{
	struct vfsmount *mnt = BPF_CORE_READ(task, mm, exe_file, f_path.mnt);
	if (!mnt)
		return NULL;
	struct mount *mount = (void *)mnt - bpf_core_field_offset(struct mount, mnt);
	return BPF_CORE_READ(mount, mnt_ns);
}

/* The file system that the task has its root directory on. */
static __always_inline struct super_block *root_of(struct task_struct *task)
{
	return BPF_CORE_READ(task, fs, root.mnt, mnt_sb);
}

/* What tells the files of the runtime from those of the container. */
struct runtime {
	struct mnt_namespace *mounts;
	struct super_block *root;
};

/* Whether a task is one of the container's. */
static __always_inline bool is_in(struct task_struct *task, __u64 container)
{
	return BPF_CORE_READ(task, pid) && container_of_other((__u64)task) == container;
}

/* Of the nearest ancestor outside the container: runc, or the shim that adopts what runc
 * leaves. Zero if there are too many in between to be a runtime's. */
static __always_inline struct runtime runtime_of(struct task_struct *task, __u64 container)
{
	struct task_struct *ancestor = BPF_CORE_READ(task, real_parent);

	for (int i = 0; i < ANCESTORS && ancestor; i++) {
		if (!is_in(ancestor, container))
			return (struct runtime){ mount_namespace(ancestor), root_of(ancestor) };
		ancestor = BPF_CORE_READ(ancestor, real_parent);
	}
	return (struct runtime){};
}

/* A file from a mount namespace that is not the runtime's is the container's.
 * Comparing with the runtime's namespace, not the task's own, is right for a workload
 * that has unshared its mounts and for a runc init that has not entered the
 * container's yet.
 *
 * A mount that was taken away is in none: so are those from which runtimes execute
 * themselves, and that of a workload which was the last to leave the namespace that it
 * was started in. Only a workload's is of the file system that its root is on, where
 * that is not the runtime's. */
static __always_inline bool executes_own_file(struct task_struct *task, struct runtime runtime)
{
	struct mnt_namespace *executable = executable_namespace(task);

	if (!executable) {
		struct super_block *root = root_of(task);
		return root && root != runtime.root &&
		       root == BPF_CORE_READ(task, mm, exe_file, f_path.mnt, mnt_sb);
	}
	return (unsigned long)executable < (unsigned long)-4095 && executable != runtime.mounts;
}

/*
 * Tells the phase of the current task from what it executes, or an ancestor of its
 * in the container: a workload's descendants may execute anything, the runtime has
 * no ancestors there that execute a file of the container.
 */
__noinline int phase_by_executable(__u64 container)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct runtime runtime = runtime_of(task, container);

	for (int i = 0; i < ANCESTORS && is_in(task, container); i++) {
		if (executes_own_file(task, runtime))
			return PHASE_WORKLOAD;
		task = BPF_CORE_READ(task, real_parent);
	}
	return PHASE_SETUP;
}

static __always_inline __u64 keyring_of(const struct cred *cred)
{
	if (!bpf_core_field_exists(cred->session_keyring))
		return 0;
	return (__u64)cred->session_keyring;
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
}

/* The current task's state; one without is a task that was there before capmon, or one
 * that has just been put into the container: its executable tells. */
static __always_inline struct task_state *current_state(__u64 container)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct task_state *state =
		bpf_task_storage_get(&tasks, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!state) {
		count(COUNTER_TASK_STATE);
		return NULL;
	}
	if (state->phase == PHASE_UNKNOWN || state->container != container) {
		state->container = container;
		state->phase = phase_by_executable(container);
		if (state->phase == PHASE_WORKLOAD)
			workload_seen(task, container, true);
	}
	return state;
}

#endif
