/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Quotas: how much of each map one container may use. A container can create any number of kinds
 * of check, for example if it renames itself. Without quotas it would fill the maps, and capmon
 * would lose the uses of all other containers.
 *
 * The maps are divided into shares (enum share). While less than half of a share is used, a
 * container may have 1/32 of the share, later 1/256. So at least 16 containers are necessary to
 * fill the first half, and then 128 other containers still have room in the second half. Even if
 * the checks map is small (--max-checks), a container may have as many entries as an honest
 * container needs, while there is room. User space removes the entries of a container only after
 * the container has ended and left the containers map, so the container's own counts never shrink.
 */
#ifndef CAPMON_QUOTA_H
#define CAPMON_QUOTA_H

#include "maps.h"

#define QUOTA_DIVISOR 32 /* quota: share / QUOTA_DIVISOR while half of the share is free */
#define QUOTA_DIVISOR_LOW 256 /* later: share / QUOTA_DIVISOR_LOW */
#define QUOTA_MIN_CHECKS 384 /* unfolded keys: a runtime's setup alone makes about 100 */
#define QUOTA_MIN_FOLDED 64 /* folded keys */
#define EVENT_INTERVAL_NS 15625000ULL /* between a container's events: 64 per second */
#define EVENT_BURST 256 /* additional events after a pause */

/* Entries that the programs have added since the recording started, by enum share. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SHARE_MAX);
	__type(key, __u32);
	__type(value, __u64);
} entries_added SEC(".maps");

/* The added entries that were removed. Only user space writes this map. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SHARE_MAX);
	__type(key, __u32);
	__type(value, __u64);
} entries_removed SEC(".maps");

/* Whether half of a share is free. Sets full if nothing is free. */
static __always_inline bool is_half_free(__u32 share, bool *full)
{
	__u64 *in = bpf_map_lookup_elem(&entries_added, &share);
	__u64 *out = bpf_map_lookup_elem(&entries_removed, &share);

	*full = true;
	if (!in || !out)
		return false;
	clamp_mask(share, SHARE_MAX - 1);
	__u64 taken = *in - *out;
	*full = taken >= config.capacity[share];
	return taken < config.capacity[share] / 2;
}

/* Whether a container may add one more entry. */
static __always_inline bool may_add_entry(const struct container *container, __u32 share)
{
	bool full;
	bool half_free = is_half_free(share, &full);

	if (full)
		return false;
	clamp_mask(share, SHARE_MAX - 1);
	__u32 room = config.capacity[share];
	__u32 quota = half_free ? room / QUOTA_DIVISOR : room / QUOTA_DIVISOR_LOW;
	__u32 least = share == SHARE_CHECKS ? QUOTA_MIN_CHECKS : QUOTA_MIN_FOLDED;
	if (share <= SHARE_CHECKS_COARSE && quota < least)
		quota = least;
	return container->entries[share] < quota || !container->entries[share];
}

/* Counts an entry that was added. */
static __always_inline void count_entry(struct container *container, __u32 share)
{
	__u64 *in = bpf_map_lookup_elem(&entries_added, &share);

	if (!in)
		return;
	__sync_fetch_and_add(in, 1);
	clamp_mask(share, SHARE_MAX - 1);
	__sync_fetch_and_add(&container->entries[share], 1);
}

/* Whether a container may send an event now. A flood of events of one container must not push the
 * events of others out of the ring buffer. User space finds in the maps what was not sent. */
static __always_inline bool may_send_event(struct container *container, __u64 now)
{
	__u64 until = container->events_ns;

	if (until < now)
		until = now;
	if (until - now > EVENT_BURST * EVENT_INTERVAL_NS)
		return false;
	container->events_ns = until + EVENT_INTERVAL_NS;
	return true;
}

#endif
