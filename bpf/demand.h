/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Needs that are read straight from a credential's bits, without a check, but next
 * to one: what capset asks for, and whether a user namespace may map root.
 */
#ifndef CAPMON_DEMAND_H
#define CAPMON_DEMAND_H

#include "call.h"
#include "cred.h"

#ifndef CAP_SYS_ADMIN
#define CAP_SYS_ADMIN 21
#endif

/* What capset makes effective is in detail, which it does not use otherwise. */
static __always_inline void keep_raised(struct check_key *key, __u64 raised)
{
	__builtin_memcpy(key->detail, &raised, sizeof(raised));
}

/*
 * cap_capset (security/commoncap.c) asks for CAP_SETPCAP on every call, and apart
 * from that refuses to make permitted what is not, to make effective what does not stay
 * permitted, and to make inheritable what is not permitted. Keeps what is made permitted,
 * what becomes inheritable, what was permitted before, and what becomes effective. confirm.h
 * puts what the kernel read in place of what is in memory.
 */
static __always_inline void keep_capset(struct check_key *key, const struct call *call,
					const struct asked *asked)
{
	struct capability_sets sets = {};

	if (!read_capset(call, &sets))
		return;
	key->args[0] = sets.permitted & settings.known;
	key->args[1] = sets.inheritable & settings.known & ~asked->inheritable;
	key->args[2] = asked->permitted;
	keep_raised(key, sets.effective & settings.known & ~asked->effective);
}

/*
 * Mapping the parent's user 0 into a user namespace from inside takes that whoever
 * made it had CAP_SETFCAP at that moment (verify_root_map, kernel/user_namespace.c).
 * map_write asks for CAP_SYS_ADMIN before. A map can be written once: keeps that it may
 * be now, and whether its maker had. What was written confirm.h looks up.
 */
static __always_inline void keep_map(struct check_key *key, struct call_rule rule,
				     const struct asked *asked, struct user_namespace *target,
				     __u32 base)
{
	if (rule.kind != CALL_WRITE && (rule.kind != CALL_PLAIN || rule.args))
		return; /* a call that writes no file */
	if (!base || asked->base == base || asked->ns != (__u64)target)
		return; /* most, and nothing has been read yet */
	if (BPF_CORE_READ(target, parent, ns.inum) != base ||
	    BPF_CORE_READ(target, uid_map.nr_extents))
		return;
	key->args[0] = BPF_CORE_READ(target, parent_could_setfcap);
	key->args[1] = ROOT_MAP_UNKNOWN;
}

static __always_inline void keep_demands(struct check_key *key, const struct call *call,
					 struct call_rule rule, const struct asked *asked,
					 struct user_namespace *target, __u32 base)
{
	if (rule.kind == CALL_CAPSET && key->capability == CAP_SETPCAP)
		keep_capset(key, call, asked);
	if (key->capability == CAP_SYS_ADMIN)
		keep_map(key, rule, asked, target, base);
}

#endif
