/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Loads of the kernel's fields. Through a pointer that the verifier knows the type of a
 * program loads a field by an instruction, where a helper costs ten times as much. Of a
 * pointer that it trusts it asks what each field makes of that, which takes it a
 * thousand times as long: so these are taken as pointers that it does not.
 */
#ifndef CAPMON_LOAD_H
#define CAPMON_LOAD_H

#include "maps.h"

/* Since 6.2. */
extern void *bpf_rdonly_cast(const void *object, __u32 type) __ksym __weak;

/* The same task, for loads only. */
static __always_inline struct task_struct *plain(struct task_struct *task)
{
	if (settings.casts)
		return bpf_rdonly_cast(task, bpf_core_type_id_kernel(struct task_struct));
	return task;
}

/* The same credential, for loads only. */
static __always_inline const struct cred *plain_credential(const struct cred *cred)
{
	if (settings.casts)
		return bpf_rdonly_cast(cred, bpf_core_type_id_kernel(struct cred));
	return cred;
}

/* What user space had in its registers when the task entered the kernel. */
static __always_inline const struct pt_regs *registers_of(struct task_struct *task)
{
	const struct pt_regs *regs = (void *)bpf_task_pt_regs(task);

	if (settings.casts)
		return bpf_rdonly_cast(regs, bpf_core_type_id_kernel(struct pt_regs));
	return regs;
}

/* A word of the kernel's memory. */
static __always_inline __u64 word_at(__u64 place)
{
	__u64 word = 0;

#if defined(__TARGET_ARCH_x86)
	if (settings.casts) {
		const struct pt_regs *words =
			bpf_rdonly_cast((void *)place, bpf_core_type_id_kernel(struct pt_regs));
		return words->r15; /* the first */
	}
#endif
	bpf_probe_read_kernel(&word, sizeof(word), (void *)place);
	return word;
}

/* The name of a task's thread group, as its leader has it. */
static __always_inline void read_comm(struct task_struct *task, __u8 *comm)
{
	__u64 name = (__u64)&plain(task)->group_leader->comm;

	((__u64 *)comm)[0] = word_at(name);
	((__u64 *)comm)[1] = word_at(name + sizeof(__u64));
}

/* One of the sets of a credential that the verifier knows the type of. */
#define CAPABILITIES(of, set)                                           \
	(bpf_core_field_exists(((struct cred *)0)->set.val) ?           \
		 (of)->set.val :                                        \
		 ((const struct cred___before_6_3 *)(of))->set.cap[0] | \
			 (__u64)((const struct cred___before_6_3 *)(of))->set.cap[1] << 32)

/* And of one that it does not. */
static __always_inline __u64 probe_capabilities(const kernel_cap_t *set)
{
	__u64 bits = 0;

	bpf_probe_read_kernel(&bits, sizeof(bits), set);
	return bits;
}

#endif
