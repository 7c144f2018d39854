/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Either of two capabilities: could the credential asked have used the other one, too? */
#ifndef CAPMON_CHOICE_H
#define CAPMON_CHOICE_H

#include "condition.h"
#include "demand.h"

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
 * internal/classify/alternative.go knows which functions. SYS_ADMIN stands for several; the one
 * here is SYS_NICE, which is asked for after it. */
static __always_inline int other_of(int capability)
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

/* A process that holds all that its container was granted would hold the other capability, too, if
 * that was granted instead. One that has given up something may have given up this. */
static __always_inline enum choice choice_of(const struct asked *asked, int capability,
					     const struct container *container)
{
	int other = other_of(capability);

	if (other < 0)
		return CHOICE_UNKNOWN;
	if (!((container->permitted | container->bounding) & ~asked->effective))
		return CHOICE_ALL;
	return has_bit(asked->effective, other) ? CHOICE_OTHER : CHOICE_NONE;
}

#endif
