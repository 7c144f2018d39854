/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Reads fields of kernel structures through untrusted pointers. If the verifier knows the type of a
 * pointer, a program reads a field with one instruction, where a helper costs ten times as much. If
 * the pointer is also trusted, the verifier tracks for each field whether that pointer is trusted,
 * which takes a thousand times as long. So these functions turn trusted pointers into untrusted
 * ones.
 */
#ifndef CAPMON_UNTRUSTED_READ_H
#define CAPMON_UNTRUSTED_READ_H

#include "maps.h"

/* Since 6.2. */
extern void *bpf_rdonly_cast(const void *object, __u32 type) __ksym __weak;

/* The same task, for reads only. */
static __always_inline struct task_struct *untrusted_task(struct task_struct *task)
{
	if (config.has_rdonly_cast)
		return bpf_rdonly_cast(task, bpf_core_type_id_kernel(struct task_struct));
	return task;
}

/* The same credential, for reads only. */
static __always_inline const struct cred *untrusted_cred(const struct cred *cred)
{
	if (config.has_rdonly_cast)
		return bpf_rdonly_cast(cred, bpf_core_type_id_kernel(struct cred));
	return cred;
}

/* The registers of user space when the task entered the kernel. */
static __always_inline const struct pt_regs *user_registers(struct task_struct *task)
{
	const struct pt_regs *regs = (void *)bpf_task_pt_regs(task);

	if (config.has_rdonly_cast)
		return bpf_rdonly_cast(regs, bpf_core_type_id_kernel(struct pt_regs));
	return regs;
}

/* Reads a word of the kernel's memory. */
static __always_inline __u64 read_kernel_word(__u64 address)
{
	__u64 word = 0;

#if defined(__TARGET_ARCH_x86)
	if (config.has_rdonly_cast) {
		const struct pt_regs *words =
			bpf_rdonly_cast((void *)address, bpf_core_type_id_kernel(struct pt_regs));
		return words->r15; /* the first field */
	}
#endif
	bpf_probe_read_kernel(&word, sizeof(word), (void *)address);
	return word;
}

/* Reads the name of a task's thread group leader. */
static __always_inline void read_comm(struct task_struct *task, __u8 *comm)
{
	__u64 name = (__u64)&untrusted_task(task)->group_leader->comm;

	((__u64 *)comm)[0] = read_kernel_word(name);
	((__u64 *)comm)[1] = read_kernel_word(name + sizeof(__u64));
}

/* One of the sets of a credential, if the verifier knows the type of the pointer. */
#define CAP_SET(of, set)                                                \
	(bpf_core_field_exists(((struct cred *)0)->set.val) ?           \
		 (of)->set.val :                                        \
		 ((const struct cred___before_6_3 *)(of))->set.cap[0] | \
			 (__u64)((const struct cred___before_6_3 *)(of))->set.cap[1] << 32)

/* One of the sets of a credential, if the verifier does not know the type of the pointer. */
static __always_inline __u64 probe_cap_set(const kernel_cap_t *set)
{
	__u64 bits = 0;

	bpf_probe_read_kernel(&bits, sizeof(bits), set);
	return bits;
}

#endif
