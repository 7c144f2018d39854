/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Needs without a check of their own, in two kinds of system calls that check another capability:
 * the sets that capset requests, and whether a user namespace may map root. The kernel decides them
 * by reading bits of the credential. capmon stores them in the key of the check that the call
 * makes. unchecked_needs.h has the needs in calls that make no check.
 */
#ifndef CAPMON_CAPSET_AND_USERNS_NEEDS_H
#define CAPMON_CAPSET_AND_USERNS_NEEDS_H

#include "syscall.h"
#include "cred.h"

#ifndef CAP_SYS_ADMIN
#define CAP_SYS_ADMIN 21
#endif

/* Stores in detail what capset makes effective. capset does not use detail otherwise. */
static __always_inline void store_raised(struct check_key *key, __u64 raised)
{
	__builtin_memcpy(key->detail, &raised, sizeof(raised));
}

/*
 * cap_capset (security/commoncap.c) checks CAP_SETPCAP on every call. Its other rules need no
 * check: the new permitted set must be within the old one, the new effective set within the new
 * permitted one, and a new inheritable capability must be permitted. So this function stores what
 * becomes permitted, what becomes inheritable, what was permitted before, and what becomes
 * effective. confirm_values.h replaces the values from memory with the values that the kernel read.
 */
static __always_inline void store_capset(struct check_key *key, const struct call *call,
					 const struct cred_info *checked_cred)
{
	struct capability_sets sets = {};

	if (!read_capset(call, &sets))
		return;
	key->args[0] = sets.permitted & config.known_caps;
	key->args[1] = sets.inheritable & config.known_caps & ~checked_cred->inheritable;
	key->args[2] = checked_cred->permitted;
	store_raised(key, sets.effective & config.known_caps & ~checked_cred->effective);
}

/*
 * A process inside a user namespace can map the parent's user 0 into it, but not in every
 * namespace: its creator must have had CAP_SETFCAP when it created the namespace (verify_root_map,
 * kernel/user_namespace.c). Before that test, map_write checks CAP_SYS_ADMIN. A map can be written
 * once. So this function stores that the map can be written now, and whether the creator had the
 * capability. confirm_values.h finds out what was written.
 */
static __always_inline void store_userns_map(struct check_key *key, struct call_rule rule,
					     const struct cred_info *checked_cred,
					     struct user_namespace *target, __u32 base)
{
	if (rule.kind != CALL_WRITE && (rule.kind != CALL_PLAIN || rule.args))
		return; /* a call that writes no file */
	if (!base || checked_cred->userns_inum == base || checked_cred->ns != (__u64)target)
		return; /* true for most calls, and costs no read */
	if (BPF_CORE_READ(target, parent, ns.inum) != base ||
	    BPF_CORE_READ(target, uid_map.nr_extents))
		return;
	key->args[0] = BPF_CORE_READ(target, parent_could_setfcap);
	key->args[1] = ROOT_MAP_UNKNOWN;
}

static __always_inline void store_capset_or_userns_map(struct check_key *key,
						       const struct call *call,
						       struct call_rule rule,
						       const struct cred_info *checked_cred,
						       struct user_namespace *target, __u32 base)
{
	if (rule.kind == CALL_CAPSET && key->capability == CAP_SETPCAP)
		store_capset(key, call, checked_cred);
	if (key->capability == CAP_SYS_ADMIN)
		store_userns_map(key, rule, checked_cred, target, base);
}

#endif
