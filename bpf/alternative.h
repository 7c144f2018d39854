/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * The alternative of a capability: whether the checked credential also holds another capability
 * that the kernel accepts in its place.
 */
#ifndef CAPMON_ALTERNATIVE_H
#define CAPMON_ALTERNATIVE_H

#include "condition.h"
#include "capset_and_userns_needs.h"

enum {
	CAP_DAC_OVERRIDE = 1,
	CAP_DAC_READ_SEARCH = 2,
	CAP_NET_ADMIN = 12,
	CAP_SYS_NICE = 23,
	CAP_SYSLOG = 34,
	CAP_PERFMON = 38,
	CAP_BPF = 39,
	CAP_CHECKPOINT_RESTORE = 40,
};

/* The capability that some kernel functions accept in place of another one, -1 if there is none.
 * internal/classify/alternative.go has the list of these functions. SYS_ADMIN has several
 * alternatives. For SYS_ADMIN, this function returns SYS_NICE, which the kernel checks after
 * SYS_ADMIN. */
static __always_inline int alternative_capability(int capability)
{
	switch (capability) {
	case CAP_DAC_OVERRIDE:
		return CAP_DAC_READ_SEARCH;
	case CAP_DAC_READ_SEARCH:
		return CAP_DAC_OVERRIDE;
	case CAP_NET_RAW:
		return CAP_NET_ADMIN;
	case CAP_SYS_ADMIN:
		return CAP_SYS_NICE;
	case CAP_NET_ADMIN:
	case CAP_SYS_NICE:
	case CAP_SYS_RESOURCE:
	case CAP_SYSLOG:
	case CAP_PERFMON:
	case CAP_BPF:
	case CAP_CHECKPOINT_RESTORE:
		return CAP_SYS_ADMIN;
	}
	return -1;
}

/* Whether a credential holds the alternative of a capability. A process that holds everything that
 * its container was granted would also hold the alternative, if the container were granted that
 * instead (ALTERNATIVE_WHOLE_GRANT). A process that has dropped capabilities may have dropped the
 * alternative. */
static __always_inline enum alternative alternative_of(const struct cred_info *checked_cred,
						       int capability,
						       const struct container *container)
{
	int other = alternative_capability(capability);

	if (other < 0)
		return ALTERNATIVE_UNKNOWN;
	if (!((container->permitted | container->bounding) & ~checked_cred->effective))
		return ALTERNATIVE_WHOLE_GRANT;
	return set_has(checked_cred->effective, other) ? ALTERNATIVE_HELD : ALTERNATIVE_NOT_HELD;
}

#endif
