/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * The kernel structures that capmon reads, with only the fields that it uses. CO-RE relocates every
 * field with the running kernel's BTF, so the order and the offsets here have no meaning. The names
 * must be the kernel's.
 */
#ifndef CAPMON_KERNEL_H
#define CAPMON_KERNEL_H

#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#define PF_IO_WORKER 0x00000010 /* include/linux/sched.h */
#define PF_KTHREAD 0x00200000
#define MNT_NOSUID 0x01 /* include/linux/mount.h */

/* Limits a number to a mask, a power of two minus one, which it never exceeds anyway. The verifier
 * of 6.1 needs this again after the number was stored on the stack. An ordinary test or mask does
 * not help: the compiler knows its result and removes it. */
#define clamp_mask(number, mask) asm volatile("%0 &= %1" : "+r"(number) : "i"(mask))

/* Whether a number is below a limit, for limits that are not a power of two. As with clamp_mask,
 * the compiler may know the result, but still has to make the test. */
#define IS_BELOW(number, limit)                  \
	({                                       \
		asm volatile("" : "+r"(number)); \
		(number) < (limit);              \
	})

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	__u32 val;
} kuid_t;

typedef struct {
	__u32 val;
} kgid_t;

typedef struct {
	__u64 val;
} kernel_cap_t;

typedef struct {
	__u32 cap[2];
} kernel_cap_t___before_6_3;

struct ns_common {
	unsigned int inum;
};

#define ID_EXTENTS 5 /* UID_GID_MAP_MAX_BASE_EXTENTS: a longer map is at forward */
#define ID_EXTENTS_MAX 340 /* UID_GID_MAP_MAX_EXTENTS */

struct uid_gid_extent {
	__u32 first, lower_first, count;
};

struct uid_gid_map {
	struct uid_gid_extent extent[ID_EXTENTS];
	struct uid_gid_extent *forward; /* the extents of a longer map */
	__u32 nr_extents;
};

struct user_namespace {
	struct uid_gid_map uid_map, gid_map;
	struct user_namespace *parent;
	int level;
	kuid_t owner;
	bool parent_could_setfcap;
	struct ns_common ns;
};

struct group_info {
	int ngroups;
	kgid_t gid[];
};

struct cred {
	kuid_t uid, suid, euid, fsuid;
	kgid_t gid, sgid, egid, fsgid;
	unsigned int securebits;
	kernel_cap_t cap_inheritable, cap_permitted, cap_effective, cap_bset, cap_ambient;
	struct key *session_keyring;
	struct user_namespace *user_ns;
	struct group_info *group_info;
};

struct cred___before_6_3 {
	kernel_cap_t___before_6_3 cap_inheritable, cap_permitted, cap_effective, cap_bset,
		cap_ambient;
};

struct kernfs_iattrs {
	kuid_t ia_uid;
};

struct kernfs_node {
	const char *name;
	struct kernfs_node *__parent;
	__u64 id;
	__u16 mode;
	struct kernfs_iattrs *iattr; /* NULL: unchanged since its creation, owned by root */
};

/* Up to 6.14, the name of the parent's field has no underscores. */
struct kernfs_node___before_6_15 {
	struct kernfs_node *parent;
};

struct cgroup_subsys_state {
	struct cgroup *cgroup;
	struct cgroup_subsys_state *parent;
};

struct cgroup_root;

struct cgroup {
	struct cgroup_subsys_state self;
	struct kernfs_node *kn;
	struct cgroup_root *root; /* of the hierarchy */
	int level; /* 0 for the root */
	struct cgroup *ancestors[]; /* from the root to the cgroup itself, since 6.1 */
};

struct cgroup___before_6_1 {
	struct kernfs_node *kn;
	__u64 ancestor_ids[]; /* kernfs ids, from the root to the cgroup itself */
};

struct css_set {
	struct cgroup *dfl_cgrp;
	struct cgroup_subsys_state *subsys[16];
};

struct list_head {
	struct list_head *next;
};

struct module_memory {
	void *base;
	unsigned int size;
};

struct mod_arch_specific {
	unsigned int num_orcs;
	int *orc_unwind_ip;
	void *orc_unwind;
};

struct module {
	struct list_head list;
	struct module_memory mem[1]; /* the first one is the text */
	struct mod_arch_specific arch;
};

struct module_layout {
	void *base;
	unsigned int text_size;
};

struct module___before_6_4 {
	struct module_layout core_layout;
};

struct mnt_namespace {
	struct ns_common ns;
};

struct uts_namespace;
struct time_namespace;
struct cgroup_namespace;

struct qstr {
	const unsigned char *name;
};

struct super_block {
	__u32 s_dev;
	unsigned long s_magic;
	void *s_fs_info;
};

struct address_space {
	struct inode *host;
};

struct inode {
	__u16 i_mode;
	kuid_t i_uid;
	kgid_t i_gid;
	unsigned long i_ino;
	__u32 i_generation;
	__s64 i_ctime_sec;
	__u32 i_ctime_nsec;
	struct super_block *i_sb;
	void *i_private;
	struct address_space *i_mapping, i_data;
};

struct timespec64 {
	__s64 tv_sec;
	long tv_nsec;
};

struct inode___before_6_11 {
	struct timespec64 __i_ctime;
};

struct inode___before_6_6 {
	struct timespec64 i_ctime;
};

struct proc_inode {
	struct pid *pid; /* of a file about a process */
	struct inode vfs_inode;
};

struct proc_fs_info { /* s_fs_info of a proc file system */
	struct pid_namespace *pid_ns;
};

struct mq_attr {
	long mq_maxmsg, mq_msgsize;
};

struct mqueue_inode_info {
	struct inode vfs_inode;
	struct mq_attr attr;
};

struct dentry {
	struct inode *d_inode;
	struct dentry *d_parent;
	struct qstr d_name;
};

struct vfsmount {
	struct dentry *mnt_root;
	struct super_block *mnt_sb;
	int mnt_flags;
};

struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
	struct mnt_namespace *mnt_ns;
};

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

struct file {
	struct path f_path;
	struct inode *f_inode;
	unsigned int f_mode;
	void *private_data;
};

struct ping_group_range {
	kgid_t range[2];
};

struct seq_file { /* private_data of many files in /proc */
	void *private;
};

struct psi_window {
	__u64 size; /* in nanoseconds */
};

struct psi_trigger { /* private of a file in /proc/pressure, after a write */
	struct psi_window win;
};

struct netns_ipv4 {
	int sysctl_ip_prot_sock; /* also for IPv6 */
	struct ping_group_range ping_group_range; /* also for IPv6 */
};

struct net {
	struct user_namespace *user_ns;
	struct netns_ipv4 ipv4;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct sock_common {
	__u16 skc_family;
	__u16 skc_num; /* the local port; for a raw socket, the protocol */
	possible_net_t skc_net;
};

struct sock {
	struct sock_common __sk_common;
	__u16 sk_type, sk_protocol;
};

struct socket { /* private_data of the socket's file */
	struct sock *sk;
};

struct linux_binprm {
	unsigned int execfd_creds : 1; /* the capabilities of the file of execfd count */
	int execfd; /* the program, which the interpreter gets as an open file */
};

struct fs_struct {
	struct path root, pwd;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

typedef struct {
	int counter;
} atomic_t;

struct files_struct {
	atomic_t count;
	struct fdtable *fdt;
};

struct mm_struct {
	struct file *exe_file;
	unsigned long arg_start, arg_end;
	unsigned long brk;
	unsigned long locked_vm; /* in pages */
};

struct rlimit {
	__u64 rlim_cur;
};

struct signal_struct {
	struct rlimit rlim[16];
};

struct ipc_namespace {
	unsigned int mq_msg_max, mq_msgsize_max;
};

struct nsproxy {
	struct uts_namespace *uts_ns;
	struct ipc_namespace *ipc_ns;
	struct mnt_namespace *mnt_ns;
	struct pid_namespace *pid_ns_for_children;
	struct net *net_ns;
	struct time_namespace *time_ns_for_children; /* since 5.6 */
	struct cgroup_namespace *cgroup_ns;
};

struct thread_info {
	unsigned long flags;
	__u32 status;
};

struct xarray {
	void *xa_head;
};

struct xa_node {
	unsigned char shift;
	void *slots[64];
};

struct idr {
	struct xarray idr_rt;
};

struct pid_namespace {
	struct idr idr; /* struct pid by number */
	struct task_struct *child_reaper; /* the first process of the namespace */
};

struct upid {
	int nr;
	struct pid_namespace *ns;
};

struct hlist_node {
	struct hlist_node *next;
};

struct hlist_head {
	struct hlist_node *first;
};

struct pid {
	unsigned int level;
	struct hlist_head tasks[1]; /* the first one is the list of the one thread */
	struct upid numbers[1]; /* one for each level */
};

struct task_struct {
	struct thread_info thread_info;
	unsigned int flags;
	int pid, tgid;
	__u64 start_boottime; /* for a thread that executed a program: that of its former leader */
	struct pid *thread_pid;
	struct hlist_node pid_links[1]; /* the first one is in the list of thread_pid */
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	const struct cred *cred, *real_cred;
	struct css_set *cgroups;
	struct mm_struct *mm;
	struct fs_struct *fs;
	struct files_struct *files;
	struct signal_struct *signal;
	struct nsproxy *nsproxy;
	char comm[16];
};

#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long r15, r10, r9, r8, ax, bx, cx, dx, si, di, orig_ax;
};
#elif defined(__TARGET_ARCH_arm64)
struct user_pt_regs {
	__u64 regs[31];
};

struct pt_regs {
	__u64 regs[31];
	__u64 orig_x0;
	__s32 syscallno;
};
#endif

#pragma clang attribute pop

#endif
