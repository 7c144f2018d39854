/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Credentials: whose credential the kernel checked, how the kernel found its answer, and what a
 * container was granted.
 */
#ifndef CAPMON_CRED_H
#define CAPMON_CRED_H

#include "untrusted_read.h"

/* create_user_ns does not nest user namespaces below level 32 (kernel/user_namespace.c). */
#define USERNS_DEPTH 34

static __always_inline bool set_has(__u64 set, int capability)
{
	return capability >= 0 && capability < 64 && (set >> capability) & 1;
}

/* The fields of a checked credential that capmon uses. */
struct cred_info {
	__u64 cred, ns, groups, keyring; /* addresses; ns: the user namespace */
	__u64 effective, permitted, inheritable;
	__u32 uid, suid, euid, gid, sgid;
	__u32 userns_inum; /* inode number of the user namespace */
};

/* Reads a credential whose type the verifier knows. Each field costs one instruction, where a
 * helper would cost ten times as much. */
static __always_inline struct cred_info typed_cred_info(const struct cred *credential)
{
	const struct cred *cred = untrusted_cred(credential);
	struct cred_info info = {
		.cred = (__u64)credential,
		.ns = (__u64)cred->user_ns,
		.effective = CAP_SET(cred, cap_effective),
		.permitted = CAP_SET(cred, cap_permitted),
		.inheritable = CAP_SET(cred, cap_inheritable),
		.groups = (__u64)cred->group_info,
		.uid = cred->uid.val,
		.suid = cred->suid.val,
		.euid = cred->euid.val,
		.gid = cred->gid.val,
		.sgid = cred->sgid.val,
		.userns_inum = cred->user_ns->ns.inum,
	};
	if (bpf_core_field_exists(cred->session_keyring))
		info.keyring = (__u64)cred->session_keyring;
	return info;
}

/* Reads a credential whose type the verifier does not know, as under a kprobe. */
static __always_inline struct cred_info probed_cred_info(const struct cred *cred)
{
	struct cred_info info = {
		.cred = (__u64)cred,
		.ns = (__u64)BPF_CORE_READ(cred, user_ns),
		.effective = probe_cap_set(&cred->cap_effective),
		.permitted = probe_cap_set(&cred->cap_permitted),
		.inheritable = probe_cap_set(&cred->cap_inheritable),
		.groups = (__u64)BPF_CORE_READ(cred, group_info),
		.uid = BPF_CORE_READ(cred, uid.val),
		.suid = BPF_CORE_READ(cred, suid.val),
		.euid = BPF_CORE_READ(cred, euid.val),
		.gid = BPF_CORE_READ(cred, gid.val),
		.sgid = BPF_CORE_READ(cred, sgid.val),
		.userns_inum = BPF_CORE_READ(cred, user_ns, ns.inum),
	};
	if (bpf_core_field_exists(cred->session_keyring))
		info.keyring = (__u64)BPF_CORE_READ(cred, session_keyring);
	return info;
}

/*
 * Repeats the walk of cap_capable (security/commoncap.c; cap_capable_helper since 6.14).
 * Credentials do not change, and neither do the parents, levels and owners of user namespaces. So
 * the result is the kernel's.
 */
static __always_inline enum answer replay_cap_capable(const struct cred_info *checked_cred,
						      struct user_namespace *target, int capability)
{
	struct user_namespace *own = (void *)checked_cred->ns;
	bool held = set_has(checked_cred->effective, capability);

	if (target == own)
		return held ? ANSWER_HELD : ANSWER_NOT_HELD;

	int own_level = BPF_CORE_READ(own, level);
	struct user_namespace *ns = target;
	for (int i = 0; i < USERNS_DEPTH; i++) {
		if (ns == own)
			return held ? ANSWER_HELD : ANSWER_NOT_HELD;
		if (BPF_CORE_READ(ns, level) <= own_level)
			break;
		struct user_namespace *parent = BPF_CORE_READ(ns, parent);
		if (parent == own && BPF_CORE_READ(ns, owner.val) == checked_cred->euid)
			return ANSWER_OWNS_USERNS;
		ns = parent;
	}
	return held ? ANSWER_OUTSIDE_USERNS : ANSWER_NOT_HELD;
}

/* The capabilities that the engine has granted, by container id. User space fills this map for
 * containers that ran before capmon started. For other containers, the programs have seen the sets
 * at the start of the workload. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, __u64);
} grants SEC(".maps");

/* What a container was granted. */
struct grant {
	__u64 capabilities;
	bool certain; /* false: the container ran before capmon started, and the engine's grant is
			 unknown */
};

/* The container's grant. It is complete even if the task or the first process has dropped a part of
 * it. The first call for a container that ran before capmon adds the engine's grant, if user space
 * has set it, to the sets that capmon saw. */
static __always_inline struct grant grant_of(__u64 id, struct container *container)
{
	struct grant grant = { container->permitted | container->bounding, true };

	if (!container->existed || container->grant_confirmed)
		return grant;
	__u64 *engine = bpf_map_lookup_elem(&grants, &id);
	if (!engine) {
		grant.certain = false;
		return grant;
	}
	__sync_fetch_and_or(&container->bounding, *engine);
	container->grant_confirmed = 1;
	grant.capabilities |= *engine;
	return grant;
}

/* Whether the task's bounding set has more than its container was granted, as with docker exec
 * --privileged. */
static __always_inline enum excess excess_of(const struct cred *own, __u64 id,
					     struct container *container)
{
	__u64 bounding = CAP_SET(own, cap_bset);

	if (!(bounding & ~(container->permitted | container->bounding)))
		return EXCESS_NONE;
	struct grant grant = grant_of(id, container);
	if (!(bounding & ~grant.capabilities))
		return EXCESS_NONE;
	return grant.certain ? EXCESS_CERTAIN : EXCESS_POSSIBLE;
}

/* Whether a credential seems to belong to the container: it has the task's supplementary groups,
 * the task's session keyring, or the keyring that the runtime gave the container. A copy of the
 * task's credential has them (prepare_creds). A workload can change both, so a difference proves
 * nothing. */
static __always_inline bool shares_groups_or_keyring(const struct cred_info *checked_cred,
						     const struct cred *own,
						     __u64 container_keyring)
{
	if (checked_cred->groups == (__u64)own->group_info)
		return true;
	if (!bpf_core_field_exists(own->session_keyring))
		return false;
	return checked_cred->keyring && (checked_cred->keyring == (__u64)own->session_keyring ||
					 checked_cred->keyring == container_keyring);
}

/*
 * Finds out whose credential the kernel checked, if it is not the task's objective credential. It
 * can be a credential that was registered with io_uring, that access(2) made, that belongs to a
 * file's opener, or that belongs to the mounter of an overlay. Returns foreign if the credential is
 * not the container's.
 *
 * A mounter on the host holds all capabilities of the host. So a credential that holds no more than
 * the container was granted is the container's, even if the task has dropped capabilities. This
 * rule cannot distinguish the two only if the container was granted everything.
 */
static __always_inline enum subject subject_of_foreign(const struct cred_info *checked_cred,
						       const struct cred *own, __u64 id,
						       struct container *container,
						       enum subject foreign)
{
	if (!container->workload_ns) { /* the execve that starts the container */
		__u64 may_have = CAP_SET(own, cap_permitted) | CAP_SET(own, cap_bset);
		return checked_cred->ns == (__u64)own->user_ns &&
				       !(checked_cred->permitted & ~may_have) &&
				       shares_groups_or_keyring(checked_cred, own,
								container->keyring) ?
			       SUBJECT_OWN :
			       foreign;
	}
	if (checked_cred->userns_inum !=
	    container->base_userns) { /* a user namespace that the workload created? */
		struct user_namespace *ns = (void *)checked_cred->ns;
		return checked_cred->ns == (__u64)own->user_ns ||
				       BPF_CORE_READ(ns, parent, ns.inum) ==
					       container->base_userns ?
			       SUBJECT_OWN :
			       foreign;
	}
	struct grant grant = grant_of(id, container);
	bool fits = !(checked_cred->permitted & ~grant.capabilities);
	if (fits && (config.host_caps & ~grant.capabilities))
		return SUBJECT_OWN;
	if (!fits && grant.certain)
		return foreign;
	return shares_groups_or_keyring(checked_cred, own, container->keyring) ? SUBJECT_OWN :
										 SUBJECT_UNCERTAIN;
}

static __always_inline enum subject subject_of(const struct cred_info *checked_cred,
					       struct task_struct *task, __u64 id,
					       struct container *container)
{
	const struct cred *own = untrusted_task(task)->real_cred;

	if (checked_cred->cred == (__u64)own)
		return SUBJECT_OWN;
	return subject_of_foreign(checked_cred, own, id, container,
				  checked_cred->cred == (__u64)untrusted_task(task)->cred ?
					  SUBJECT_OVERRIDDEN :
					  SUBJECT_OTHER);
}

#endif
