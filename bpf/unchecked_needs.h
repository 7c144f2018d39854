/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Records system calls for which the kernel reads capability sets, but makes no check (enum
 * unchecked_use).
 *
 * Most of these calls are about another process. A process may access another process of the same
 * user without a check, if the other process is permitted no more capabilities
 * (cap_ptrace_access_check, security/commoncap.c). The same is true for changing its scheduling
 * (cap_safe_nice). If the other process is permitted more, the kernel checks CAP_SYS_PTRACE or
 * CAP_SYS_NICE. So a container with a shorter list may need these capabilities for processes of
 * other containers and of the host. It does not need them for its own processes, because all
 * processes in a container have the same list.
 *
 * The calls name the other process by a path or an argument. capmon reads it when the call has
 * returned. The program can change the path before that. In this way it can only hide its own
 * needs.
 */
#ifndef CAPMON_UNCHECKED_NEEDS_H
#define CAPMON_UNCHECKED_NEEDS_H

#include "condition.h"
#include "checked_files.h"
#include "phase.h"
#include "seccomp_calls.h"

#define PROC_SUPER_MAGIC 0x9fa0 /* include/uapi/linux/magic.h */
#define CGROUP2_SUPER_MAGIC 0x63677270
#define NSFS_MAGIC 0x6e736673
#define FMODE_WRITE 2 /* include/linux/fs.h */
#define PRESSURE_STEP_NS 2000000000ULL
#define OWN_SETS_LIMIT 32 /* libcap reads some higher capabilities in every program */
#define PID_DIGITS 8
#define XA_INTERNAL 2 /* the two lowest bits of a pointer to a node, include/linux/xarray.h */
#define XA_FLAGS 3
#define XA_BITS 6 /* bits of an index per level of nodes */
#define XA_LEVELS 5 /* more than pids need */
#define PTRACE_ATTACH 16
#define PTRACE_SEIZE 0x4206
#define PROC_BEGIN ('/' | 'p' << 8 | 'r' << 16 | 'o' << 24)
#define PREFIX(a, b, c) ((a) | (b) << 8 | (c) << 16)

/* The process with a number in a pid namespace; NULL if there is none. */
static __always_inline struct pid *find_pid(struct pid_namespace *ns, __u32 number)
{
	__u64 entry = (__u64)BPF_CORE_READ(ns, idr.idr_rt.xa_head);

	for (int i = 0; i < XA_LEVELS && (entry & XA_FLAGS) == XA_INTERNAL; i++) {
		struct xa_node *node = (void *)(entry - XA_INTERNAL);
		__u64 index = number >> (BPF_CORE_READ(node, shift) & 31);
		if (!i && index >> XA_BITS)
			return NULL; /* larger than all numbers in use */
		index &= (1 << XA_BITS) - 1;
		__u64 slots = (__u64)node + bpf_core_field_offset(node->slots);
		bpf_probe_read_kernel(&entry, sizeof(entry),
				      (void *)(slots + index * sizeof(entry)));
	}
	return entry & XA_FLAGS ? NULL : (struct pid *)entry;
}

static __always_inline struct task_struct *task_of_pid(struct pid *pid)
{
	struct hlist_node *first = BPF_CORE_READ(pid, tasks[0].first);

	return first ? (void *)first - bpf_core_field_offset(struct task_struct, pid_links) : NULL;
}

/* Whether all ids of a credential have these values. */
static __always_inline bool all_ids_equal(const struct cred *cred, __u32 uid, __u32 gid)
{
	return BPF_CORE_READ(cred, euid.val) == uid && BPF_CORE_READ(cred, suid.val) == uid &&
	       BPF_CORE_READ(cred, uid.val) == uid && BPF_CORE_READ(cred, egid.val) == gid &&
	       BPF_CORE_READ(cred, sgid.val) == gid && BPF_CORE_READ(cred, gid.val) == gid;
}

/* Whether the ids of two credentials match, so that the kernel decides by their sets. If the ids do
 * not match, the kernel makes a check. __ptrace_may_access (kernel/ptrace.c) compares the ids of
 * the other process with the file system ids of the caller for files, otherwise with its real ids.
 * For scheduling see set_one_prio_perm (kernel/sys.c). */
static __always_inline bool is_same_user(const struct cred *own, const struct cred *its,
					 __u32 unchecked_use)
{
	if (unchecked_use == UNCHECKED_SCHEDULE)
		return own->euid.val == BPF_CORE_READ(its, uid.val) ||
		       own->euid.val == BPF_CORE_READ(its, euid.val);
	return (__u64)own->user_ns == (__u64)BPF_CORE_READ(its, user_ns) &&
	       (all_ids_equal(its, own->uid.val, own->gid.val) ||
		all_ids_equal(its, own->fsuid.val, own->fsgid.val));
}

/* Records a system call of the current task, if the task belongs to a workload. sets has the
 * capabilities that the call needed; it is 0 if the call read the task's own sets. detail is stored
 * as the first argument in the key. */
__noinline int record_unchecked_use(__u64 id, __u32 unchecked_use, __u64 sets, __u32 detail)
{
	struct task_struct *task = bpf_get_current_task_btf();
	const struct cred *own = untrusted_task(task)->real_cred;
	struct container *container = bpf_map_lookup_elem(&containers, &id);
	struct task_state *state = bpf_task_storage_get(&task_states, task, NULL, 0);

	if (!container || !state || state->phase != PHASE_WORKLOAD)
		return 0;
	if (container->workload_ns && excess_of(own, id, container) == EXCESS_CERTAIN)
		return 0; /* as with docker exec --privileged: not a need of the container */
	struct call call = {};
	read_call_number(task, &call);
	struct call_key key = {
		.container = id,
		.args = { detail },
		.syscall = call.nr,
		.compat = call.compat,
		.unchecked_use = unchecked_use,
	};
	read_comm(task, key.comm);
	record_call(&key, own->euid.val, sets);
	return 0;
}

/* Records that the current task inspected the process at an address, or changed its scheduling.
 * Only processes of other containers or of the host count, and only if they are permitted
 * capabilities. */
__noinline int record_unchecked_access(__u64 id, __u64 address, __u32 unchecked_use)
{
	struct task_struct *task = bpf_get_current_task_btf(), *other = (void *)address;
	const struct cred *own = untrusted_task(task)->real_cred;
	const struct cred *its = BPF_CORE_READ(other, real_cred);
	__u64 sets = its ? probe_cap_set(&its->cap_permitted) : 0;

	if (!sets || sets & ~CAP_SET(own, cap_permitted) || !is_same_user(own, its, unchecked_use))
		return 0;
	if (is_below_container(address, id))
		return 0;
	return record_unchecked_use(id, unchecked_use, sets, 0);
}

/* The number at the start of a user space string, 0 if there is none. Advances the pointer beyond
 * the number and the slash after it. */
static __always_inline __u32 parse_number(__u64 *text)
{
	char digits[PID_DIGITS + 1] = {};
	__u32 number = 0, length = 0;

	if (bpf_probe_read_user_str(digits, sizeof(digits), (void *)*text) <= 0)
		return 0;
	for (int i = 0; i < PID_DIGITS; i++) {
		__u32 digit = digits[i] - '0';
		if (digit > 9)
			break;
		number = number * 10 + digit;
		length++;
	}
	*text += length + 1;
	return number;
}

/* The first three bytes of a string, or fewer if it is shorter. */
static __always_inline __u32 first_bytes(__u64 text, bool user)
{
	union {
		char bytes[4];
		__u32 word;
	} begin = {};

	if (user)
		bpf_probe_read_user_str(begin.bytes, sizeof(begin.bytes), (void *)text);
	else
		bpf_probe_read_kernel_str(begin.bytes, sizeof(begin.bytes), (void *)text);
	return begin.word;
}

/* Whether a name in the directory of a process is a link, or a directory of links, that only
 * processes with access to the process may follow (proc_fd_access_allowed, fs/proc/base.c). */
static __always_inline bool is_guarded_link(__u32 name)
{
	return name == PREFIX('e', 'x', 'e') || name == PREFIX('c', 'w', 'd') ||
	       name == PREFIX('r', 'o', 'o') || name == PREFIX('f', 'd', '/') ||
	       name == PREFIX('n', 's', '/');
}

/* Whether a name is a file that only processes with access to the process may open or read
 * (proc_mem_open, lock_trace). */
static __always_inline bool is_guarded_file(__u32 name)
{
	return name == PREFIX('e', 'n', 'v') || name == PREFIX('m', 'e', 'm') ||
	       name == PREFIX('m', 'a', 'p') || name == PREFIX('s', 'm', 'a') ||
	       name == PREFIX('p', 'a', 'g') || name == PREFIX('a', 'u', 'x') ||
	       name == PREFIX('n', 'u', 'm') || name == PREFIX('i', 'o', 0) ||
	       name == PREFIX('s', 'y', 's') || name == PREFIX('p', 'e', 'r') ||
	       name == PREFIX('f', 'd', 'i');
}

static __always_inline bool is_in_procfs(struct inode *inode)
{
	return BPF_CORE_READ(inode, i_sb, s_magic) == PROC_SUPER_MAGIC;
}

/* The process to which a file in a proc file system belongs; NULL if there is none. */
static __always_inline struct pid *pid_of_inode(struct inode *inode)
{
	struct proc_inode *proc =
		(void *)inode - bpf_core_field_offset(struct proc_inode, vfs_inode);

	return BPF_CORE_READ(proc, pid);
}

static __always_inline __u32 name_prefix(struct dentry *dentry)
{
	return first_bytes((__u64)BPF_CORE_READ(dentry, d_name.name), false);
}

/* The process whose guarded link a path follows, if the path starts at the root of a proc file
 * system. NULL if there is none. */
static __always_inline struct pid *pid_on_path(struct pid_namespace *ns, __u64 path)
{
	__u32 number = parse_number(&path);

	if (number && first_bytes(path, true) == PREFIX('t', 'a', 's')) {
		path += sizeof("task"); /* and the slash */
		number = parse_number(&path);
	}
	if (!number || !is_guarded_link(first_bytes(path, true)))
		return NULL;
	return find_pid(ns, number);
}

/* The process whose guarded link a path follows, if the path starts at a directory. NULL if there
 * is none. */
static __always_inline struct pid *pid_below(struct path *base, __u64 path)
{
	struct dentry *dentry = BPF_CORE_READ(base, dentry);
	struct inode *inode = BPF_CORE_READ(dentry, d_inode);

	if (!is_in_procfs(inode))
		return NULL;
	if (dentry == BPF_CORE_READ(dentry, d_parent)) {
		struct proc_fs_info *info = BPF_CORE_READ(inode, i_sb, s_fs_info);
		return pid_on_path(BPF_CORE_READ(info, pid_ns), path);
	}
	__u32 name = name_prefix(dentry);
	bool of_links = name == PREFIX('f', 'd', 0) || name == PREFIX('n', 's', 0) ||
			name == PREFIX('m', 'a', 'p');
	return of_links || is_guarded_link(first_bytes(path, true)) ? pid_of_inode(inode) : NULL;
}

/* The process whose guarded link the path of a system call follows, NULL if there is none. */
static __always_inline struct pid *pid_by_links(struct task_struct *task, struct check_ctx *check)
{
	volatile const struct file_rule *rule;
	__u32 nr = check->call.nr;
	char begin[7] = {}; /* "/proc/" */

	if (nr >= CALL_MAX)
		return NULL;
	rule = check->call.compat ? &compat_file_rules[nr] : &file_rules[nr];
	__u32 path_arg = rule->path_arg, base_arg = rule->base_arg, flags = rule->flags_arg;
	__u64 path = call_argument(check, path_arg);
	if (flags && (call_argument(check, flags) & rule->nofollow_mask) == rule->nofollow_flags)
		return NULL;
	if (bpf_probe_read_user_str(begin, sizeof(begin), (void *)path) <= 0)
		return NULL;
	if (begin[0] == '/') {
		if (*(__u32 *)begin != PROC_BEGIN || begin[4] != 'c' || begin[5] != '/')
			return NULL;
		return pid_on_path(pid_namespace_of(task), path + sizeof(begin) - 1);
	}
	__s32 descriptor = base_arg ? call_argument(check, base_arg) : AT_FDCWD;
	if (descriptor == AT_FDCWD) {
		struct fs_struct *fs = BPF_CORE_READ(task, fs);
		return pid_below(__builtin_preserve_access_index(&fs->pwd), path);
	}
	struct file *file = file_of_descriptor(task, descriptor);
	return file ? pid_below(__builtin_preserve_access_index(&file->f_path), path) : NULL;
}

/* The process to which an opened file belongs, if only processes with access to that process may
 * open or read the file. Sets links to false if the path to the file cannot have followed a guarded
 * link. */
static __always_inline struct pid *pid_of_opened(struct task_struct *task, __u32 descriptor,
						 bool *links)
{
	struct file *file = file_of_descriptor(task, descriptor);
	struct inode *inode = BPF_CORE_READ(file, f_inode);

	if (!is_in_procfs(inode))
		return NULL;
	*links = false; /* guarded links lead out of procfs */
	return is_guarded_file(name_prefix(BPF_CORE_READ(file, f_path.dentry))) ?
		       pid_of_inode(inode) :
		       NULL;
}

/* Whether a program can create a pressure stall trigger with a file (/proc/pressure/memory,
 * memory.pressure of a cgroup). */
static __always_inline bool is_pressure_file(struct file *file)
{
	__u64 magic = BPF_CORE_READ(file, f_inode, i_sb, s_magic);
	struct dentry *dentry = BPF_CORE_READ(file, f_path.dentry);
	char name[sizeof("memory.pressure")] = {};

	if (magic == PROC_SUPER_MAGIC)
		dentry = BPF_CORE_READ(dentry, d_parent);
	else if (magic != CGROUP2_SUPER_MAGIC)
		return false;
	bpf_probe_read_kernel_str(name, sizeof(name), BPF_CORE_READ(dentry, d_name.name));
	if (magic == PROC_SUPER_MAGIC)
		return *(__u64 *)name == *(__u64 *)"pressure" && !name[8];
	for (int i = 2; i <= 6; i++) /* io, cpu, irq, memory */
		if (name[i] == '.' && name[i + 1] == 'p' && name[i + 2] == 'r' &&
		    name[i + 3] == 'e' && name[i + 4] == 's')
			return true;
	return false;
}

/*
 * Records that a task opened a file for pressure stall triggers, with CAP_SYS_RESOURCE. The kernel
 * does not allow triggers whose window is not a multiple of two seconds, unless the opener of the
 * file had this capability (psi_trigger_create, kernel/sched/psi.c). The window is known only after
 * a later write. So this function makes handle_sys_exit inspect the writes of the thread.
 */
static __always_inline void record_pressure_open(__u64 id, struct task_struct *task,
						 __s32 descriptor)
{
	if (!set_has(CAP_SET(untrusted_task(task)->real_cred, cap_effective), CAP_SYS_RESOURCE))
		return;
	struct file *file = file_of_descriptor(task, descriptor);
	if (!(BPF_CORE_READ(file, f_mode) & FMODE_WRITE) || !is_pressure_file(file))
		return;
	record_unchecked_use(id, UNCHECKED_PRESSURE, 1ULL << CAP_SYS_RESOURCE, PRESSURE_OPENED);
	if (!config.outcomes)
		return;
	struct denials *denials =
		bpf_task_storage_get(&task_denials, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (denials)
		denials->pressure_file = 1;
}

/* Records, after a write of a thread that has opened such a file, whether the new trigger needed
 * CAP_SYS_RESOURCE. The window is in the trigger that the kernel has created. capmon finds the
 * trigger of a file in /proc/pressure, but not that of a cgroup file. */
__noinline int record_pressure_write(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct call call = {};

	read_call_number(task, &call);
	if (call_rule_of(&call).kind != CALL_WRITE || !bpf_core_type_exists(struct psi_trigger))
		return 0;
	read_call_args(task, &call);
	struct file *file = file_of_descriptor(task, call.args[0]);
	if (BPF_CORE_READ(file, f_inode, i_sb, s_magic) != PROC_SUPER_MAGIC ||
	    !is_pressure_file(file))
		return 0;
	struct seq_file *seq = BPF_CORE_READ(file, private_data);
	struct psi_trigger *trigger = BPF_CORE_READ(seq, private);
	__u64 window = BPF_CORE_READ(trigger, win.size), id = container_of_task(task);
	if (!window || !id)
		return 0;
	return record_unchecked_use(id, UNCHECKED_PRESSURE, 1ULL << CAP_SYS_RESOURCE,
				    window % PRESSURE_STEP_NS ? PRESSURE_NEEDED :
								PRESSURE_NO_EFFECT);
}

/* Records the process to which the path of a system call leads. opened is the descriptor of the
 * file that the call opened, or -1. shared: processes of other containers can be in the pid
 * namespace, so capmon also examines the links on the path. */
__noinline int inspect_path(__u64 id, __u32 slot, __s32 opened, bool shared)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct check_ctx *check = bpf_map_lookup_elem(&check_ctx, &slot);
	struct pid *pid = NULL;
	bool links = shared;

	if (!check)
		return 0;
	if (opened >= 0) {
		record_pressure_open(id, task, opened);
		pid = pid_of_opened(task, opened, &links);
	}
	if (links) {
		read_call_args(task, &check->call);
		pid = pid_by_links(task, check);
	}
	struct task_struct *other = task_of_pid(pid);
	return other ? record_unchecked_access(id, (__u64)other, UNCHECKED_INSPECT) : 0;
}

/* The process of a pidfd. NULL if the descriptor is of a namespace, which setns also accepts. Since
 * 6.9 a pidfd is a file of pidfs, and its inode has the process. Before, private_data of the file
 * has it. */
static __always_inline struct pid *pid_of_descriptor(struct task_struct *task, __u32 descriptor)
{
	struct file *file = file_of_descriptor(task, descriptor);
	struct pid *pid = BPF_CORE_READ(file, f_inode, i_private);

	if (BPF_CORE_READ(file, f_inode, i_sb, s_magic) == NSFS_MAGIC)
		return NULL;
	return pid ?: BPF_CORE_READ(file, private_data);
}

/* Records that a system call acts on the process that an argument names. */
__noinline int inspect_argument(__u64 id, __u32 slot, __u32 how, __u32 pid_arg)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct check_ctx *check = bpf_map_lookup_elem(&check_ctx, &slot);
	struct pid *pid = NULL;

	if (!check)
		return 0;
	__u32 named = call_argument(check, pid_arg + 1);
	if (how == INSPECTS_PIDFD)
		pid = pid_of_descriptor(task, named);
	else if (named) /* 0 is the current process */
		pid = find_pid(pid_namespace_of(task), named);
	struct task_struct *other = task_of_pid(pid);
	__u32 unchecked_use = how == INSPECTS_SCHEDULE ? UNCHECKED_SCHEDULE : UNCHECKED_INSPECT;
	return other ? record_unchecked_access(id, (__u64)other, unchecked_use) : 0;
}

/* Handles a successful system call that may be an unchecked use. Returns immediately for tasks
 * outside containers. The parameters except result are fields of call_rule. */
__noinline int record_unchecked_call(__u32 how, __u32 pid_arg, __u32 required_arg0_plus_1,
				     __s32 result)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u32 slot = CTX_SYS_EXIT;
	__u64 id = container_of_task(task);
	struct container *container = id ? bpf_map_lookup_elem(&containers, &id) : NULL;
	struct check_ctx *check = bpf_map_lookup_elem(&check_ctx, &slot);

	if (!container || !check || !enabled)
		return 0;
	struct task_state *state = current_task_state(id);
	if (!state || state->phase != PHASE_WORKLOAD)
		return 0;
	if (container->pidns == PIDNS_UNKNOWN)
		set_pidns(id);
	bool shared = container->pidns == PIDNS_SHARED;
	read_call_number(task, &check->call);
	if (how == INSPECTS_OPENED_FILE)
		return inspect_path(id, slot, result, shared);
	if (!shared && how != INSPECTS_OWN_SETS)
		return 0;
	read_call_args(task, &check->call);
	__u64 request = check->call.args[0];
	if (required_arg0_plus_1 && request != required_arg0_plus_1 - 1)
		return 0;
	/* capget counts if it reads the sets and not only the version. PR_CAPBSET_READ counts if it
	 * reads a capability from 1 to OWN_SETS_LIMIT - 1: libcap-ng reads capability 0 in every
	 * program, to learn whether the kernel has this call. */
	if (how == INSPECTS_OWN_SETS)
		return check->call.args[1] && (!required_arg0_plus_1 ||
					       check->call.args[1] < OWN_SETS_LIMIT) ?
			       record_unchecked_use(id, UNCHECKED_READ_OWN_SETS, 0, 0) :
			       0;
	if (how == INSPECTS_PATH_LINKS)
		return inspect_path(id, slot, -1, true);
	if (how == INSPECTS_PTRACE && request != PTRACE_ATTACH && request != PTRACE_SEIZE)
		return 0;
	return inspect_argument(id, slot, how, pid_arg);
}

#endif
