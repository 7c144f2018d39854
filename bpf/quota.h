/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Quotas: how much of each map one container may take. A container can make as many patterns of
 * use as it likes, for example by renaming itself. Without quotas it would fill the maps, and the
 * uses of all other containers would be lost.
 *
 * The maps are divided into shares. While less than half of a share is taken, a container may have
 * 1/32 of it, later 1/256. So 16 containers fill the first half at most, and 128 others still find
 * room in the second. However small the map of checks is made (--max-checks), a container may have
 * as much as an honest one needs, while there is room. Entries leave the maps only when their
 * container has ended and left the map of containers, so a container's own counts never shrink.
 */
#ifndef CAPMON_QUOTA_H
#define CAPMON_QUOTA_H

#include "maps.h"

#define QUOTA_MOST 32 /* part of a share that a container may have, while half of it is free */
#define QUOTA_FEW 256 /* and later */
#define QUOTA_LEAST_CHECKS 384 /* whole patterns: a runtime's setup alone makes some 100 */
#define QUOTA_LEAST 64 /* folded ones */
#define EVENT_EVERY 15625000ULL /* ns: a container's events of new patterns, 64 a second */
#define EVENTS_AT_ONCE 256 /* and so many more after a pause */

/* Entries that the programs have made since the recording began, by enum share. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SHARE_MAX);
	__type(key, __u32);
	__type(value, __u64);
} entered SEC(".maps");

/* Those of them that are gone; only user space writes here. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SHARE_MAX);
	__type(key, __u32);
	__type(value, __u64);
} removed SEC(".maps");

/* Whether half of a share is free; full is set where nothing is. */
static __always_inline bool is_roomy(__u32 share, bool *full)
{
	__u64 *in = bpf_map_lookup_elem(&entered, &share);
	__u64 *out = bpf_map_lookup_elem(&removed, &share);

	*full = true;
	if (!in || !out)
		return false;
	REMIND(share, SHARE_MAX - 1);
	__u64 taken = *in - *out;
	*full = taken >= settings.rooms[share];
	return taken < settings.rooms[share] / 2;
}

/* Whether a container may make one more entry. */
static __always_inline bool may_enter(const struct container *container, __u32 share)
{
	bool full;
	bool roomy = is_roomy(share, &full);

	if (full)
		return false;
	REMIND(share, SHARE_MAX - 1);
	__u32 room = settings.rooms[share];
	__u32 quota = roomy ? room / QUOTA_MOST : room / QUOTA_FEW;
	__u32 least = share == SHARE_CHECKS ? QUOTA_LEAST_CHECKS : QUOTA_LEAST;
	if (share <= SHARE_CHECKS_COARSE && quota < least)
		quota = least;
	return container->entries[share] < quota || !container->entries[share];
}

/* Counts an entry that has been made. */
static __always_inline void note_entry(struct container *container, __u32 share)
{
	__u64 *in = bpf_map_lookup_elem(&entered, &share);

	if (!in)
		return;
	__sync_fetch_and_add(in, 1);
	REMIND(share, SHARE_MAX - 1);
	__sync_fetch_and_add(&container->entries[share], 1);
}

/* Whether a container may announce a first sight now: a flood of one container's events must not
 * push those of others out of the ring buffer. User space finds what was not announced. */
static __always_inline bool may_tell(struct container *container, __u64 now)
{
	__u64 until = container->events_ns;

	if (until < now)
		until = now;
	if (until - now > EVENTS_AT_ONCE * EVENT_EVERY)
		return false;
	container->events_ns = until + EVENT_EVERY;
	return true;
}

#endif
