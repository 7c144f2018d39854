/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * The sizes of the kernel's stack frames, from the tables that x86 kernels unwind their
 * own stack with (ORC, arch/x86/kernel/unwind_orc.c): sorted addresses of instructions,
 * each relative to its place, and for each an entry that tells where the caller's frame
 * is from this instruction on.
 */
#ifndef CAPMON_ORC_H
#define CAPMON_ORC_H

#include "maps.h"

/* struct orc_entry (arch/x86/include/asm/orc_types.h). */
struct orc {
	__s16 sp_offset; /* of the caller's frame, from the register that is its base */
	__s16 bp_offset; /* of the saved base pointer, from the caller's frame */
	__u8 registers; /* the base, and in the upper half how the base pointer is found */
	__u8 kind;
} __attribute__((packed));

#define ORC_PREV_SP 1 /* ORC_REG_PREV_SP: saved on the stack */
#define ORC_BP 4 /* ORC_REG_BP */
#define ORC_SP 5 /* ORC_REG_SP */
#define ORC_MAX (1 << 24) /* kernels have fewer entries */

/* What lies on the stack between a return address and the next. */
union frame {
	struct {
		__s16 size; /* to the caller's frame; 0: it is not known */
		__s16 saved; /* where the base pointer is saved, from there */
		__u8 by_bp; /* 1: size counts from where the base pointer points, and not
			       from behind the return address */
		__u8 saves; /* 1: the base pointer is saved */
	};
	__u64 all;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, __u64);
} frames SEC(".maps");

/* One step of a search: on to a later entry, if it is not behind the address. A global
 * function, so that the verifier follows one way through the search and not all. */
__noinline __u32 orc_step(__u32 entry, __u32 step, __u64 address)
{
	__u32 later = entry + step;
	__u64 place = settings.orc_ips + later * sizeof(__s32);
	__s32 distance = 0;

	if (later >= settings.orc_count)
		return entry;
	bpf_probe_read_kernel(&distance, sizeof(distance), (void *)place);
	return place + distance <= address ? later : entry;
}

/* The last entry that begins at an address or before (__orc_find). */
static __always_inline bool orc_of(__u64 address, struct orc *orc)
{
	__u32 entry = 0;

	for (__u32 step = ORC_MAX / 2; step; step /= 2)
		entry = orc_step(entry, step, address);
	return !bpf_probe_read_kernel(orc, sizeof(*orc),
				      (void *)(settings.orcs + entry * sizeof(*orc)));
}

static __always_inline bool is_text(__u64 address)
{
	return address > settings.text_start && address <= settings.text_end;
}

/*
 * What lies on the stack behind a return address: where a function is called its frame
 * looks the same every time, so what the entry tells for the call holds whenever this
 * address lies there. Not known where an interrupt or a system call enters, and where a
 * frame is found by other registers. An ordinary entry is recognised by the first one of
 * cap_capable: its numbers have changed from version to version.
 */
__noinline __u64 frame_of(__u64 address)
{
	__u64 *known = bpf_map_lookup_elem(&frames, &address);
	struct orc ordinary = {}, orc = {};
	union frame frame = {};

	if (known)
		return *known;
	if (!settings.orc_count || !is_text(address))
		return 0;
	/* A return address may be behind its function's end; unwind_next_frame takes 1, too. */
	if (orc_of(settings.asker_start, &ordinary) && orc_of(address - 1, &orc) &&
	    orc.kind == ordinary.kind) {
		__u8 base = orc.registers & 0xf;
		if (orc.sp_offset > 0 && (base == ORC_SP || base == ORC_BP))
			frame.size = orc.sp_offset;
		frame.by_bp = base == ORC_BP;
		frame.saves = orc.registers >> 4 == ORC_PREV_SP;
		frame.saved = orc.bp_offset;
	}
	bpf_map_update_elem(&frames, &address, &frame.all, BPF_ANY);
	return frame.all;
}

#endif
