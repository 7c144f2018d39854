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

/*
 * A credential made by prepare_creds from the task's own (access(2), io_uring's
 * registered ones, a file's opener in the same container) shares its session
 * keyring or its supplementary groups and holds no more than the task may have.
 * So does that of another of the container's processes which keeps the session
 * keyring that the runtime gave the first one: the mounter of an overlay that was
 * mounted in the container. The host's mounter fails one of these: it has more, or,
 * in a privileged container, other pointers.
 */
static __always_inline bool is_derived(const struct asked *asked, const struct cred *own,
				       __u64 container_keyring)
{
	if (asked->ns != (__u64)own->user_ns)
		return false;
	__u64 may_have = CAPABILITIES(own, cap_permitted) | CAPABILITIES(own, cap_bset);
	if (asked->permitted & ~may_have)
		return false;
	if (asked->groups == (__u64)own->group_info)
		return true;
	if (!bpf_core_field_exists(own->session_keyring))
		return false;
	return asked->keyring && (asked->keyring == (__u64)own->session_keyring ||
				  asked->keyring == container_keyring);
}

static __always_inline enum subject subject_of(const struct asked *asked, struct task_struct *task,
					       __u64 container_keyring)
{
	const struct cred *own = plain(task)->real_cred;

	if (asked->cred == (__u64)own || is_derived(asked, own, container_keyring))
		return SUBJECT_OWN;
	return asked->cred == (__u64)plain(task)->cred ? SUBJECT_BORROWED : SUBJECT_OTHER;
}

#endif
