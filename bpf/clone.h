/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * What a child has as its own. The flags of clone3 are in memory, where another thread or the
 * child itself may change them before the call returns: so they are told by what the kernel did.
 */
#ifndef CAPMON_CLONE_H
#define CAPMON_CLONE_H

#include "task.h"

#define CLONE_NEWTIME 0x80 /* include/uapi/linux/sched.h */
#define CLONE_NEWNS 0x20000
#define CLONE_NEWCGROUP 0x2000000
#define CLONE_NEWUTS 0x4000000
#define CLONE_NEWIPC 0x8000000
#define CLONE_NEWUSER 0x10000000
#define CLONE_NEWPID 0x20000000
#define CLONE_NEWNET 0x40000000
#define CLONE_INTO_CGROUP 0x200000000ULL
#define CLONE_TOLD                                                                     \
	(CLONE_NEWTIME | CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | \
	 CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_INTO_CGROUP)
#define CLONED (1ULL << 63) /* there was a child */

#define DIFFERENT(one, other, field, flag) \
	(BPF_CORE_READ(one, field) != BPF_CORE_READ(other, field) ? (flag) : 0)

/* The namespaces that are in nsproxy. A new one may have only what the parent had set aside for
 * its children. */
static __always_inline __u64 own_namespaces(struct nsproxy *parent, struct nsproxy *child)
{
	__u64 flags = DIFFERENT(parent, child, uts_ns, CLONE_NEWUTS) |
		      DIFFERENT(parent, child, ipc_ns, CLONE_NEWIPC) |
		      DIFFERENT(parent, child, mnt_ns, CLONE_NEWNS) |
		      DIFFERENT(parent, child, pid_ns_for_children, CLONE_NEWPID) |
		      DIFFERENT(parent, child, net_ns, CLONE_NEWNET) |
		      DIFFERENT(parent, child, cgroup_ns, CLONE_NEWCGROUP);

	if (bpf_core_field_exists(parent->time_ns_for_children))
		flags |= DIFFERENT(parent, child, time_ns_for_children, CLONE_NEWTIME);
	return flags;
}

/* By which of the flags in CLONE_TOLD a child was made. Most have none, and three comparisons
 * tell that. */
static __always_inline __u64 flags_of_child(struct task_struct *parent, struct task_struct *child)
{
	struct css_set *from = plain(parent)->cgroups, *to = plain(child)->cgroups;
	struct nsproxy *before = plain(parent)->nsproxy, *after = plain(child)->nsproxy;
	__u64 flags = CLONED;

	if (plain(parent)->real_cred->user_ns != plain(child)->real_cred->user_ns)
		flags |= CLONE_NEWUSER;
	if (before != after)
		flags |= own_namespaces(before, after);
	if (from != to)
		flags |= DIFFERENT(from, to, dfl_cgrp, CLONE_INTO_CGROUP);
	return flags;
}

#endif
