/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Reads the current system call: its number, its arguments, and the rule for recording it.
 */
#ifndef CAPMON_SYSCALL_H
#define CAPMON_SYSCALL_H

#include "untrusted_read.h"

#define PR_CAPBSET_READ 23
#define PR_CAPBSET_DROP 24
#define PR_SET_SECUREBITS 28
#define PR_CAP_AMBIENT 47
#define CAPABILITY_VERSION_1 0x19980330 /* include/uapi/linux/capability.h */

struct call {
	__s32 nr;
	bool compat;
	__u64 args[6];
};

static __always_inline struct call_rule call_rule_of(const struct call *call)
{
	struct call_rule none = {};
	__s32 nr = call->nr;

	if (nr < 0 || nr >= CALL_MAX)
		return none;
	volatile const struct call_rule *rule = call->compat ? &compat_call_rules[nr] :
							       &call_rules[nr];
	return (struct call_rule){ rule->kind,
				   rule->args,
				   rule->mode_arg,
				   rule->lifted,
				   rule->inspects,
				   rule->pid_arg,
				   rule->required_arg0_plus_1 };
}

#define IO_URING_ENTER 426 /* include/uapi/asm-generic/unistd.h, and on x86 */

/* Whether the kernel created a thread for io_uring. Its registers have the values of some system
 * call of its process, but it does the work of io_uring_enter. */
static __always_inline bool is_io_worker(struct task_struct *task)
{
	return untrusted_task(task)->flags & PF_IO_WORKER;
}

#if defined(__TARGET_ARCH_x86)
#define TS_COMPAT 0x0002 /* arch/x86/include/asm/thread_info.h */

static __always_inline void read_call_number(struct task_struct *task, struct call *call)
{
	const struct pt_regs *regs = user_registers(task);

	call->nr = is_io_worker(task) ? IO_URING_ENTER : regs->orig_ax;
	call->compat = !is_io_worker(task) && untrusted_task(task)->thread_info.status & TS_COMPAT;
}

static __always_inline void read_call_args(struct task_struct *task, struct call *call)
{
	const struct pt_regs *regs = user_registers(task);

	if (call->compat) {
		call->args[0] = (__u32)regs->bx;
		call->args[1] = (__u32)regs->cx;
		call->args[2] = (__u32)regs->dx;
		call->args[3] = (__u32)regs->si;
		call->args[4] = (__u32)regs->di;
		return;
	}
	call->args[0] = regs->di;
	call->args[1] = regs->si;
	call->args[2] = regs->dx;
	call->args[3] = regs->r10;
	call->args[4] = regs->r8;
	call->args[5] = regs->r9;
}
#elif defined(__TARGET_ARCH_arm64)
#define TIF_32BIT 22 /* arch/arm64/include/asm/thread_info.h */

static __always_inline void read_call_number(struct task_struct *task, struct call *call)
{
	const struct pt_regs *regs = user_registers(task);

	call->nr = is_io_worker(task) ? IO_URING_ENTER : regs->syscallno;
	call->compat = !is_io_worker(task) &&
		       (untrusted_task(task)->thread_info.flags >> TIF_32BIT) & 1;
}

static __always_inline void read_call_args(struct task_struct *task, struct call *call)
{
	const struct pt_regs *regs = user_registers(task);

	call->args[0] = regs->orig_x0;
	call->args[1] = regs->regs[1];
	call->args[2] = regs->regs[2];
	call->args[3] = regs->regs[3];
	call->args[4] = regs->regs[4];
	call->args[5] = regs->regs[5];
}
#endif

/* Stores the arguments that explain a need. Not pointers: each value would make another kind of
 * check. */
static __always_inline void store_args(struct check_key *key, const struct call *call,
				       struct call_rule rule)
{
	if (rule.args & 1)
		key->args[0] = (__u32)call->args[0];
	if (rule.args & 2)
		key->args[1] = (__u32)call->args[1];
	if (rule.args & 4)
		key->args[2] = (__u32)call->args[2];

	switch (rule.kind) {
	case CALL_PRCTL:
		if (key->args[0] == PR_CAPBSET_DROP || key->args[0] == PR_CAP_AMBIENT)
			key->args[1] = (__u32)call->args[1];
		if (key->args[0] == PR_CAP_AMBIENT)
			key->args[2] = (__u32)call->args[2];
		break;
	/* These three are read from memory that another thread may have changed after the kernel
	 * read it. They explain a need, but do not decide it. */
	case CALL_CLONE3: /* struct clone_args begins with the flags */
		bpf_probe_read_user(&key->args[0], sizeof(key->args[0]), (void *)call->args[0]);
		break;
	case CALL_BIND: /* for IPv4 and IPv6, the first four bytes are family and port */
		bpf_probe_read_user(key->detail, 4, (void *)call->args[1]);
		break;
	case CALL_MOUNT:
		bpf_probe_read_user_str(key->detail, DETAIL_LEN, (void *)call->args[2]);
		/* bytes after the end would make equal names differ */
		for (int i = 1, end = 0; i < DETAIL_LEN; i++) {
			if (!key->detail[i - 1])
				end = 1;
			if (end)
				key->detail[i] = 0;
		}
		break;
	}
}

struct capability_sets {
	__u64 effective, permitted, inheritable;
};

/* Reads the sets of a capset as they are in memory now. Returns false if they cannot be read. */
static __always_inline bool read_capset(const struct call *call, struct capability_sets *sets)
{
	struct {
		__u32 effective, permitted, inheritable;
	} data[2] = {};
	__u32 version = 0;

	if (bpf_probe_read_user(&version, sizeof(version), (void *)call->args[0]))
		return false;
	if (bpf_probe_read_user(data,
				version == CAPABILITY_VERSION_1 ? sizeof(data[0]) : sizeof(data),
				(void *)call->args[1]))
		return false;
	sets->effective = data[0].effective | (__u64)data[1].effective << 32;
	sets->permitted = data[0].permitted | (__u64)data[1].permitted << 32;
	sets->inheritable = data[0].inheritable | (__u64)data[1].inheritable << 32;
	return true;
}

#endif
