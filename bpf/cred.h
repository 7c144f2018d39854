/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Credentials: whose was asked, and how the kernel came to its answer. */
#ifndef CAPMON_CRED_H
#define CAPMON_CRED_H

#include "record.h"

/* create_user_ns refuses to nest below level 32 (kernel/user_namespace.c). */
#define USERNS_DEPTH 34

static __always_inline bool has_bit(__u64 set, int capability)
{
	return capability >= 0 && capability < 64 && (set >> capability) & 1;
}

/*
 * The walk of cap_capable (security/commoncap.c, cap_capable_helper since 6.14):
 * credentials and the namespaces' parents, levels and owners do not change, so
 * the result is the kernel's own.
 */
static __always_inline enum answer replay(const struct cred *cred, struct user_namespace *target,
					  int capability)
{
	struct user_namespace *own = BPF_CORE_READ(cred, user_ns);
	bool held = has_bit(read_set(&cred->cap_effective), capability);
	int own_level = BPF_CORE_READ(own, level);
	__u32 euid = BPF_CORE_READ(cred, euid.val);
	struct user_namespace *ns = target;

	for (int i = 0; i < USERNS_DEPTH; i++) {
		if (ns == own)
			return held ? ANSWER_HELD : ANSWER_MISSING;
		if (BPF_CORE_READ(ns, level) <= own_level)
			break;
		struct user_namespace *parent = BPF_CORE_READ(ns, parent);
		if (parent == own && BPF_CORE_READ(ns, owner.val) == euid)
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
static __always_inline bool is_derived(const struct cred *cred, const struct cred *own,
				       __u64 container_keyring)
{
	if (BPF_CORE_READ(cred, user_ns) != BPF_CORE_READ(own, user_ns))
		return false;
	__u64 may_have = read_set(&own->cap_permitted) | read_set(&own->cap_bset);
	if (read_set(&cred->cap_permitted) & ~may_have)
		return false;
	if (BPF_CORE_READ(cred, group_info) == BPF_CORE_READ(own, group_info))
		return true;
	if (!bpf_core_field_exists(cred->session_keyring))
		return false;
	__u64 keyring = (__u64)BPF_CORE_READ(cred, session_keyring);
	return keyring && (keyring == (__u64)BPF_CORE_READ(own, session_keyring) ||
			   keyring == container_keyring);
}

static __always_inline enum subject subject_of(const struct cred *cred, struct task_struct *task,
					       __u64 container_keyring)
{
	const struct cred *own = BPF_CORE_READ(task, real_cred);

	if (cred == own || is_derived(cred, own, container_keyring))
		return SUBJECT_OWN;
	return cred == BPF_CORE_READ(task, cred) ? SUBJECT_BORROWED : SUBJECT_OTHER;
}

#endif
