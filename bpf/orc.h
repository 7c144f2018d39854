/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * The sizes of the kernel's stack frames, from the tables that x86 kernels unwind their
 * own stack with (ORC, arch/x86/kernel/unwind_orc.c): sorted addresses of instructions,
 * each relative to its place, and for each an entry that tells where the caller's frame
 * is from this instruction on.
 */
#ifndef CAPMON_ORC_H
#define CAPMON_ORC_H

#include "site.h"

/* struct orc_entry (arch/x86/include/asm/orc_types.h). */
struct orc {
	__s16 sp_offset; /* of the caller's frame, from the register that is its base */
	__s16 bp_offset; /* of the saved base pointer, from the caller's frame */
	__u8 registers; /* the base, and in the upper half how the base pointer is found */
	__u8 kind;
} __attribute__((packed));

/* The numbers of registers: some have changed between 6.18 and 7.3. */
#define ORC_BP 4 /* ORC_REG_BP */
#define ORC_SP 3 /* ORC_REG_SP */
#define ORC_SAVED 8 /* on the stack, below the caller's frame */
#define ORC_SP_BEFORE 5
#define ORC_SAVED_BEFORE 1 /* ORC_REG_PREV_SP */
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

/* The two tables of the kernel proper, or of a module. */
struct orc_tables {
	__u64 ips, orcs;
	__u32 count;
};

/* How many modules have been removed: another may be where they were. What is known of
 * module code counts only until then. */
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

/* The module whose code is at an address, 0 if there is none. A global function, as are
 * others here, so that the verifier follows it once. */
__noinline __u64 module_of(__u64 address)
{
	__u64 next = 0;

	if (!settings.modules)
		return 0;
	bpf_probe_read_kernel(&next, sizeof(next), (void *)settings.modules);
	for (int i = 0; i < MODULES_MAX && next && next != settings.modules; i++) {
		struct module *module = (void *)next - bpf_core_field_offset(struct module, list);
		if (address - text_base(module) < text_size(module))
			return (__u64)module;
		next = (__u64)BPF_CORE_READ(module, list.next);
	}
	return 0;
}

/* One step of a search: on to a later entry, if it is not behind the address. A global
 * function, so that the verifier follows one way through the search and not all. */
__noinline __u32 orc_step(__u64 ips, __u32 count, __u32 entry, __u32 step, __u64 address)
{
	__u32 later = entry + step;
	__u64 place = ips + later * sizeof(__s32);
	__s32 distance = 0;

	if (later >= count)
		return entry;
	bpf_probe_read_kernel(&distance, sizeof(distance), (void *)place);
	return place + distance <= address ? later : entry;
}

/* The last entry that begins at an address or before (__orc_find). */
static __always_inline bool orc_of(const struct orc_tables *tables, __u64 address, struct orc *orc)
{
	__u32 entry = 0;

	if (!tables->count)
		return false;
	for (__u32 step = ORC_MAX / 2; step; step /= 2)
		entry = orc_step(tables->ips, tables->count, entry, step, address);
	return !bpf_probe_read_kernel(orc, sizeof(*orc),
				      (void *)(tables->orcs + entry * sizeof(*orc)));
}

/*
 * What lies on the stack behind a return address: where a function is called its frame
 * looks the same every time, so what the entry tells for the call holds whenever this
 * address lies there. Not known where an interrupt or a system call enters, and where a
 * frame is found by other registers. An ordinary entry is recognised by the first one of
 * cap_capable, where the base is the stack pointer: its numbers have changed from version
 * to version.
 */
__noinline __u64 frame_of(__u64 address)
{
	__u64 *known = bpf_map_lookup_elem(&frames, &address);
	struct orc_tables tables = { settings.orc_ips, settings.orcs, settings.orc_count };
	struct orc orc = {};
	union frame frame = {};

	if (known)
		return *known;
	if (!orc_of(&tables, settings.asker_start, &orc))
		return 0;
	__u8 ordinary = orc.kind, sp = orc.registers & 0xf;
	if (sp != ORC_SP && sp != ORC_SP_BEFORE)
		return 0;
	__u8 saved = sp == ORC_SP ? ORC_SAVED : ORC_SAVED_BEFORE;
	if (!is_text(address)) {
		struct module *module = (void *)module_of(address - 1);
		if (!module || !bpf_core_field_exists(module->arch.num_orcs))
			return 0;
		tables.ips = (__u64)BPF_CORE_READ(module, arch.orc_unwind_ip);
		tables.orcs = (__u64)BPF_CORE_READ(module, arch.orc_unwind);
		tables.count = BPF_CORE_READ(module, arch.num_orcs);
	}
	/* A return address may be behind its function's end; unwind_next_frame takes 1, too. */
	if (orc_of(&tables, address - 1, &orc) && orc.kind == ordinary) {
		__u8 base = orc.registers & 0xf;
		if (orc.sp_offset > 0 && (base == sp || base == ORC_BP))
			frame.size = orc.sp_offset;
		frame.by_bp = base == ORC_BP;
		frame.saves = orc.registers >> 4 == saved;
		frame.saved = orc.bp_offset;
	}
	if (is_text(address)) /* code of modules is not there for ever */
		bpf_map_update_elem(&frames, &address, &frame.all, BPF_ANY);
	return frame.all;
}

#endif
