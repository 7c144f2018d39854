/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * The sizes of the kernel's stack frames, from the ORC tables with which x86 kernels unwind their
 * own stack (arch/x86/kernel/unwind_orc.c). One table has sorted addresses of instructions, each
 * relative to its own position. The other one has an entry for each address, which says where the
 * caller's frame is from this instruction on.
 */
#ifndef CAPMON_ORC_H
#define CAPMON_ORC_H

#include "stack.h"

/* struct orc_entry (arch/x86/include/asm/orc_types.h). */
struct orc_entry {
	__s16 sp_offset; /* of the caller's frame, from its base register */
	__s16 bp_offset; /* of the saved base pointer, from the caller's frame */
	__u8 registers; /* the base register; upper half: how to find the base pointer */
	__u8 kind;
} __attribute__((packed));

/* Numbers of registers. Some changed between 6.18 and 7.3; _OLD is the former number. */
#define ORC_BP 4 /* ORC_REG_BP */
#define ORC_SP 3 /* ORC_REG_SP */
#define ORC_SAVED 8 /* on the stack, below the caller's frame */
#define ORC_SP_OLD 5
#define ORC_SAVED_OLD 1 /* ORC_REG_PREV_SP */
#define ORC_MAX (1 << 24) /* kernels have fewer entries */

/* The stack between a return address and the next one. */
union frame_layout {
	struct {
		__s16 size; /* distance to the caller's frame; 0: unknown */
		__s16 saved_bp; /* position of the saved base pointer, from the caller's frame */
		__u8 uses_bp; /* 1: size counts from where the base pointer points, not from the end
				 of the return address */
		__u8 saves_bp; /* 1: the base pointer is saved */
	};
	__u64 all;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, __u64);
} frame_cache SEC(".maps");

/* The two tables of the kernel or of a module. */
struct orc_tables {
	__u64 ips, entries;
	__u32 count;
};

/* Number of modules that were removed. Another module can take their addresses, so data about
 * module code is valid only within one epoch. */
__u32 module_epoch;

#define MODULES_MAX 512

static __always_inline __u64 text_base(struct module *module)
{
	if (bpf_core_field_exists(module->mem))
		return (__u64)BPF_CORE_READ(module, mem[0].base);
	return (__u64)BPF_CORE_READ((struct module___before_6_4 *)module, core_layout.base);
}

static __always_inline __u32 text_size(struct module *module)
{
	if (bpf_core_field_exists(module->mem))
		return BPF_CORE_READ(module, mem[0].size);
	return BPF_CORE_READ((struct module___before_6_4 *)module, core_layout.text_size);
}

/* The module whose code is at an address, 0 if there is none. A global function, as are others
 * here, so that the verifier checks it once. */
__noinline __u64 module_at(__u64 address)
{
	__u64 next = 0;

	if (!config.module_list)
		return 0;
	bpf_probe_read_kernel(&next, sizeof(next), (void *)config.module_list);
	for (int i = 0; i < MODULES_MAX && next && next != config.module_list; i++) {
		struct module *module = (void *)next - bpf_core_field_offset(struct module, list);
		if (address - text_base(module) < text_size(module))
			return (__u64)module;
		next = (__u64)BPF_CORE_READ(module, list.next);
	}
	return 0;
}

/* One step of a binary search: returns a later entry if it is not after the address. A global
 * function, so that the verifier does not follow every path through the search. */
__noinline __u32 orc_search_step(__u64 ips, __u32 count, __u32 entry, __u32 step, __u64 address)
{
	__u32 later = entry + step;
	__u64 ip = ips + later * sizeof(__s32);
	__s32 distance = 0;

	if (later >= count)
		return entry;
	bpf_probe_read_kernel(&distance, sizeof(distance), (void *)ip);
	return ip + distance <= address ? later : entry;
}

/* Finds the last entry that begins at an address or before it (__orc_find). */
static __always_inline bool find_orc_entry(const struct orc_tables *tables, __u64 address,
					   struct orc_entry *orc)
{
	__u32 entry = 0;

	if (!tables->count)
		return false;
	for (__u32 step = ORC_MAX / 2; step; step /= 2)
		entry = orc_search_step(tables->ips, tables->count, entry, step, address);
	return !bpf_probe_read_kernel(orc, sizeof(*orc),
				      (void *)(tables->entries + entry * sizeof(*orc)));
}

/*
 * The frame layout (union frame_layout) at a return address, as a number. The frame of a function
 * is the same at every call from one address. So the entry for this address is valid whenever the
 * address is on the stack. The result is 0 (unknown) where an interrupt or a system call enters the
 * kernel, and for frames that are found with other registers. The numbers in ordinary entries, with
 * the stack pointer as base, differ between versions. So capmon takes them from the first entry of
 * cap_capable.
 */
__noinline __u64 frame_layout_of(__u64 address)
{
	__u64 *known = bpf_map_lookup_elem(&frame_cache, &address);
	struct orc_tables tables = { config.orc_ips, config.orc_entries, config.orc_count };
	struct orc_entry orc = {};
	union frame_layout frame = {};

	if (known)
		return *known;
	if (!find_orc_entry(&tables, config.cap_capable_start, &orc))
		return 0;
	__u8 ordinary = orc.kind, sp = orc.registers & 0xf;
	if (sp != ORC_SP && sp != ORC_SP_OLD)
		return 0;
	__u8 saved = sp == ORC_SP ? ORC_SAVED : ORC_SAVED_OLD;
	if (!is_kernel_text(address)) {
		struct module *module = (void *)module_at(address - 1);
		if (!module || !bpf_core_field_exists(module->arch.num_orcs))
			return 0;
		tables.ips = (__u64)BPF_CORE_READ(module, arch.orc_unwind_ip);
		tables.entries = (__u64)BPF_CORE_READ(module, arch.orc_unwind);
		tables.count = BPF_CORE_READ(module, arch.num_orcs);
	}
	/* A return address may be after the end of its function; unwind_next_frame also
	 * subtracts 1. */
	if (find_orc_entry(&tables, address - 1, &orc) && orc.kind == ordinary) {
		__u8 base = orc.registers & 0xf;
		if (orc.sp_offset > 0 && (base == sp || base == ORC_BP))
			frame.size = orc.sp_offset;
		frame.uses_bp = base == ORC_BP;
		frame.saves_bp = orc.registers >> 4 == saved;
		frame.saved_bp = orc.bp_offset;
	}
	if (is_kernel_text(address)) /* modules can be removed */
		bpf_map_update_elem(&frame_cache, &address, &frame.all, BPF_ANY);
	return frame.all;
}

#endif
