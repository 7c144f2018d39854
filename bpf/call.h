/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* The system call that a check was made in: number and arguments. */
#ifndef CAPMON_CALL_H
#define CAPMON_CALL_H

#include "load.h"

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

static __always_inline struct call_rule rule_of(const struct call *call)
{
	struct call_rule none = {};
	__s32 nr = call->nr;

	if (nr < 0 || nr >= CALL_MAX)
		return none;
	volatile const struct call_rule *rule = call->compat ? &compat_rules[nr] : &call_rules[nr];
	return (struct call_rule){ rule->kind,	   rule->args,	  rule->mode, rule->lifted,
				   rule->inspects, rule->process, rule->first };
}

#define IO_URING_ENTER 426 /* include/uapi/asm-generic/unistd.h, and on x86 */

/* A thread that the kernel has made for io_uring has the registers of some system call that its
 * process was in. It does what io_uring_enter is for. */
static __always_inline bool is_of_ring(struct task_struct *task)
{
	return plain(task)->flags & PF_IO_WORKER;
}

#if defined(__TARGET_ARCH_x86)
#define TS_COMPAT 0x0002 /* arch/x86/include/asm/thread_info.h */

static __always_inline void read_number(struct task_struct *task, struct call *call)
{
	const struct pt_regs *regs = registers_of(task);

	call->nr = is_of_ring(task) ? IO_URING_ENTER : regs->orig_ax;
	call->compat = !is_of_ring(task) && plain(task)->thread_info.status & TS_COMPAT;
}

static __always_inline void read_arguments(struct task_struct *task, struct call *call)
{
	const struct pt_regs *regs = registers_of(task);

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

static __always_inline void read_number(struct task_struct *task, struct call *call)
{
	const struct pt_regs *regs = registers_of(task);

	call->nr = is_of_ring(task) ? IO_URING_ENTER : regs->syscallno;
	call->compat = !is_of_ring(task) && (plain(task)->thread_info.flags >> TIF_32BIT) & 1;
}

static __always_inline void read_arguments(struct task_struct *task, struct call *call)
{
	const struct pt_regs *regs = registers_of(task);

	call->args[0] = regs->orig_x0;
	call->args[1] = regs->regs[1];
	call->args[2] = regs->regs[2];
	call->args[3] = regs->regs[3];
	call->args[4] = regs->regs[4];
	call->args[5] = regs->regs[5];
}
#endif

/* Keeps of the arguments what explains the need; pointers would only make
 * every call a kind of its own. */
static __always_inline void keep_arguments(struct check_key *key, const struct call *call,
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
	/* These three are read from memory which another thread may have changed since the kernel
	 * read it. They explain a need, and decide none. */
	case CALL_CLONE3: /* struct clone_args begins with the flags */
		bpf_probe_read_user(&key->args[0], sizeof(key->args[0]), (void *)call->args[0]);
		break;
	case CALL_BIND: /* family and port are the first four bytes for IPv4 and IPv6 */
		bpf_probe_read_user(key->detail, 4, (void *)call->args[1]);
		break;
	case CALL_MOUNT:
		bpf_probe_read_user_str(key->detail, DETAIL_LEN, (void *)call->args[2]);
		/* the bytes behind the end would make equal names differ */
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

/* The sets that capset was given, as they are in memory now; false if they cannot be read. */
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
