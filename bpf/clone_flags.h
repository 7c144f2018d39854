/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Finds out with which flags a child was created. The flags of clone3 are in memory. Another thread
 * or the child itself can change them before the call returns, so capmon derives them from what the
 * kernel did.
 */
#ifndef CAPMON_CLONE_FLAGS_H
#define CAPMON_CLONE_FLAGS_H

#include "phase.h"

#define CLONE_NEWTIME 0x80 /* include/uapi/linux/sched.h */
#define CLONE_NEWNS 0x20000
#define CLONE_NEWCGROUP 0x2000000
#define CLONE_NEWUTS 0x4000000
#define CLONE_NEWIPC 0x8000000
#define CLONE_NEWUSER 0x10000000
#define CLONE_NEWPID 0x20000000
#define CLONE_NEWNET 0x40000000
#define CLONE_INTO_CGROUP 0x200000000ULL
#define CLONE_FLAGS_SEEN_IN_CHILD                                                      \
	(CLONE_NEWTIME | CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | \
	 CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_INTO_CGROUP)
#define CHILD_CREATED (1ULL << 63) /* the call created a child */

#define FLAG_IF_DIFFERENT(one, other, field, flag) \
	(BPF_CORE_READ(one, field) != BPF_CORE_READ(other, field) ? (flag) : 0)

/* The flags for the namespaces in nsproxy that differ. A new nsproxy alone does not imply a flag:
 * it may only have namespaces that the parent had prepared for its children. */
static __always_inline __u64 new_namespaces(struct nsproxy *parent, struct nsproxy *child)
{
	__u64 flags = FLAG_IF_DIFFERENT(parent, child, uts_ns, CLONE_NEWUTS) |
		      FLAG_IF_DIFFERENT(parent, child, ipc_ns, CLONE_NEWIPC) |
		      FLAG_IF_DIFFERENT(parent, child, mnt_ns, CLONE_NEWNS) |
		      FLAG_IF_DIFFERENT(parent, child, pid_ns_for_children, CLONE_NEWPID) |
		      FLAG_IF_DIFFERENT(parent, child, net_ns, CLONE_NEWNET) |
		      FLAG_IF_DIFFERENT(parent, child, cgroup_ns, CLONE_NEWCGROUP);

	if (bpf_core_field_exists(parent->time_ns_for_children))
		flags |= FLAG_IF_DIFFERENT(parent, child, time_ns_for_children, CLONE_NEWTIME);
	return flags;
}

/* The flags in CLONE_FLAGS_SEEN_IN_CHILD with which a child was created. Most children have none,
 * and three comparisons are enough to find that out. */
static __always_inline __u64 clone_flags_of_child(struct task_struct *parent,
						  struct task_struct *child)
{
	struct css_set *from = untrusted_task(parent)->cgroups,
		       *to = untrusted_task(child)->cgroups;
	struct nsproxy *before = untrusted_task(parent)->nsproxy,
		       *after = untrusted_task(child)->nsproxy;
	__u64 flags = CHILD_CREATED;

	if (untrusted_task(parent)->real_cred->user_ns != untrusted_task(child)->real_cred->user_ns)
		flags |= CLONE_NEWUSER;
	if (before != after)
		flags |= new_namespaces(before, after);
	if (from != to)
		flags |= FLAG_IF_DIFFERENT(from, to, dfl_cgrp, CLONE_INTO_CGROUP);
	return flags;
}

#endif
