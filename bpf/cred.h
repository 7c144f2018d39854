/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Credentials: whose was asked, and how the kernel came to its answer. */
#ifndef CAPMON_CRED_H
#define CAPMON_CRED_H

#include "load.h"

/* create_user_ns refuses to nest below level 32 (kernel/user_namespace.c). */
#define USERNS_DEPTH 34

static __always_inline bool has_bit(__u64 set, int capability)
{
	return capability >= 0 && capability < 64 && (set >> capability) & 1;
}

/* What is needed of the credential that a check asks. */
struct asked {
	__u64 cred, ns, groups, keyring; /* addresses; ns is the user namespace's */
	__u64 effective, permitted, inheritable;
	__u32 uid, suid, euid, gid, sgid;
	__u32 base; /* inode number of the user namespace */
};

/* Of a credential that the verifier knows the type of: it lets the program load fields,
 * where a helper would cost ten times as much. */
static __always_inline struct asked typed_credential(const struct cred *credential)
{
	const struct cred *cred = plain_credential(credential);
	struct asked asked = {
		.cred = (__u64)credential,
		.ns = (__u64)cred->user_ns,
		.effective = CAPABILITIES(cred, cap_effective),
		.permitted = CAPABILITIES(cred, cap_permitted),
		.inheritable = CAPABILITIES(cred, cap_inheritable),
		.groups = (__u64)cred->group_info,
		.uid = cred->uid.val,
		.suid = cred->suid.val,
		.euid = cred->euid.val,
		.gid = cred->gid.val,
		.sgid = cred->sgid.val,
		.base = cred->user_ns->ns.inum,
	};
	if (bpf_core_field_exists(cred->session_keyring))
		asked.keyring = (__u64)cred->session_keyring;
	return asked;
}

/* Of one that it does not, as under a kprobe. */
static __always_inline struct asked probed_credential(const struct cred *cred)
{
	struct asked asked = {
		.cred = (__u64)cred,
		.ns = (__u64)BPF_CORE_READ(cred, user_ns),
		.effective = probe_capabilities(&cred->cap_effective),
		.permitted = probe_capabilities(&cred->cap_permitted),
		.inheritable = probe_capabilities(&cred->cap_inheritable),
		.groups = (__u64)BPF_CORE_READ(cred, group_info),
		.uid = BPF_CORE_READ(cred, uid.val),
		.suid = BPF_CORE_READ(cred, suid.val),
		.euid = BPF_CORE_READ(cred, euid.val),
		.gid = BPF_CORE_READ(cred, gid.val),
		.sgid = BPF_CORE_READ(cred, sgid.val),
		.base = BPF_CORE_READ(cred, user_ns, ns.inum),
	};
	if (bpf_core_field_exists(cred->session_keyring))
		asked.keyring = (__u64)BPF_CORE_READ(cred, session_keyring);
	return asked;
}

/*
 * The walk of cap_capable (security/commoncap.c, cap_capable_helper since 6.14):
 * credentials and the namespaces' parents, levels and owners do not change, so
 * the result is the kernel's own.
 */
static __always_inline enum answer replay(const struct asked *asked, struct user_namespace *target,
					  int capability)
{
	struct user_namespace *own = (void *)asked->ns;
	bool held = has_bit(asked->effective, capability);

	if (target == own)
		return held ? ANSWER_HELD : ANSWER_MISSING;

	int own_level = BPF_CORE_READ(own, level);
	struct user_namespace *ns = target;
	for (int i = 0; i < USERNS_DEPTH; i++) {
		if (ns == own)
			return held ? ANSWER_HELD : ANSWER_MISSING;
		if (BPF_CORE_READ(ns, level) <= own_level)
			break;
		struct user_namespace *parent = BPF_CORE_READ(ns, parent);
		if (parent == own && BPF_CORE_READ(ns, owner.val) == asked->euid)
			return ANSWER_OWNER;
		ns = parent;
	}
	return held ? ANSWER_BEYOND : ANSWER_MISSING;
}

/* By the container's id, the capabilities that the engine says it was granted. User space fills it
 * in for containers that ran before capmon began: of the others the kernel side sees the sets. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, __u64);
} grants SEC(".maps");

/* What a container was granted. */
struct grant {
	__u64 capabilities;
	bool certain; /* false: it ran before capmon began, and the engine has not said */
};

/* The container's grant: never what the task or the first process has left of it. Joins what the
 * engine says with what capmon saw, once for each container. */
static __always_inline struct grant grant_of(__u64 id, struct container *container)
{
	struct grant grant = { container->permitted | container->bounding, true };

	if (!container->existed || container->confirmed)
		return grant;
	__u64 *engine = bpf_map_lookup_elem(&grants, &id);
	if (!engine) {
		grant.certain = false;
		return grant;
	}
	__sync_fetch_and_or(&container->bounding, *engine);
	container->confirmed = 1;
	grant.capabilities |= *engine;
	return grant;
}

/* Whether the task has more in its bounding set than its container was granted, as that of
 * docker exec --privileged. */
static __always_inline enum excess excess_of(const struct cred *own, __u64 id,
					     struct container *container)
{
	__u64 bounding = CAPABILITIES(own, cap_bset);

	if (!(bounding & ~(container->permitted | container->bounding)))
		return EXCESS_NONE;
	struct grant grant = grant_of(id, container);
	if (!(bounding & ~grant.capabilities))
		return EXCESS_NONE;
	return grant.certain ? EXCESS_CERTAIN : EXCESS_POSSIBLE;
}

/* Whether a credential has the task's supplementary groups or session keyring, as those that
 * prepare_creds makes from the task's own, or the keyring that the runtime gave the container.
 * A workload can change both, so that a difference proves nothing. */
static __always_inline bool resembles(const struct asked *asked, const struct cred *own,
				      __u64 container_keyring)
{
	if (asked->groups == (__u64)own->group_info)
		return true;
	if (!bpf_core_field_exists(own->session_keyring))
		return false;
	return asked->keyring && (asked->keyring == (__u64)own->session_keyring ||
				  asked->keyring == container_keyring);
}

/*
 * Whose a credential is that is not the task's: one registered with io_uring, a file's
 * opener's, that of access(2), or of whoever mounted an overlay.
 *
 * The host's mounter holds every capability of the host. So what holds no more than the container
 * was granted is the container's, whatever the task has left. Only where the container was granted
 * everything does this not tell the two apart.
 */
static __always_inline enum subject owner_of(const struct asked *asked, const struct cred *own,
					     __u64 id, struct container *container,
					     enum subject foreign)
{
	if (!container->workload_ns) { /* the execve that starts the container */
		__u64 may_have = CAPABILITIES(own, cap_permitted) | CAPABILITIES(own, cap_bset);
		return asked->ns == (__u64)own->user_ns && !(asked->permitted & ~may_have) &&
				       resembles(asked, own, container->keyring) ?
			       SUBJECT_OWN :
			       foreign;
	}
	if (asked->base != container->base_userns) { /* one that the workload made? */
		struct user_namespace *ns = (void *)asked->ns;
		return asked->ns == (__u64)own->user_ns || BPF_CORE_READ(ns, parent, ns.inum) ==
								   container->base_userns ?
			       SUBJECT_OWN :
			       foreign;
	}
	struct grant grant = grant_of(id, container);
	bool fits = !(asked->permitted & ~grant.capabilities);
	if (fits && (settings.host & ~grant.capabilities))
		return SUBJECT_OWN;
	if (!fits && grant.certain)
		return foreign;
	return resembles(asked, own, container->keyring) ? SUBJECT_OWN : SUBJECT_UNCERTAIN;
}

static __always_inline enum subject subject_of(const struct asked *asked, struct task_struct *task,
					       __u64 id, struct container *container)
{
	const struct cred *own = plain(task)->real_cred;

	if (asked->cred == (__u64)own)
		return SUBJECT_OWN;
	return owner_of(asked, own, id, container,
			asked->cred == (__u64)plain(task)->cred ? SUBJECT_BORROWED : SUBJECT_OTHER);
}

#endif
