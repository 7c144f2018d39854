/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Runs a program that the kernel has skipped. The kernel skips a program while the same program is
 * active on that CPU, and a preempted program stays active. capmon would lose everything that other
 * tasks do on that CPU until then. Before 7.0, only fexit programs can be preempted, with
 * preempt=full or PREEMPT_LAZY (since 6.13). Since 7.0, tracepoint programs can also be preempted
 * (bpf_prog_get_recursion_context in include/linux/filter.h, __bpf_trace_run in
 * kernel/trace/bpf_trace.c).
 *
 * On these kernels capmon attaches each program twice. The second copy, the fallback, runs right
 * after the first one, and does its work only if the kernel skipped the first one. capmon loses
 * what the kernel skips in both: the skips of the first copy minus the runs of the fallback.
 */
#ifndef CAPMON_PREEMPT_H
#define CAPMON_PREEMPT_H

#include "kernel.h"
#include "maps.h"

enum program {
	PROGRAM_CHECK = 0,
	PROGRAM_CAPSET = 1,
	PROGRAM_PRCTL = 2,
	PROGRAM_FORK = 3,
	PROGRAM_EXEC = 4,
	PROGRAM_EXIT = 5,
	PROGRAM_SYS_EXIT = 6,
	PROGRAM_MAX = 7,
};

/* Threads whose ids are equal modulo this number share an element. If two of them run at once,
 * capmon may record an event twice. */
#define MARKED_THREADS (1 << 16)

/* The threads for which a program has run and its fallback has not yet. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PROGRAM_MAX *MARKED_THREADS);
	__type(key, __u32);
	__type(value, __u32);
} fallback_marks SEC(".maps");

/* The programs use per-CPU scratch space. Since 6.10. */
extern void bpf_preempt_disable(void) __ksym __weak;
extern void bpf_preempt_enable(void) __ksym __weak;

static __always_inline __u32 *fallback_mark(enum program program, __u32 thread)
{
	__u32 key = program * MARKED_THREADS + (thread & (MARKED_THREADS - 1));

	return bpf_map_lookup_elem(&fallback_marks, &key);
}

/* Called at the start of a program. */
static __always_inline void begin_program(enum program program)
{
	if (!settings.preemptible)
		return;
	__u32 thread = bpf_get_current_pid_tgid();
	__u32 *mark = fallback_mark(program, thread);
	if (mark)
		*mark = thread;
	bpf_preempt_disable();
}

/* Called at the start of a fallback. Returns false if the fallback has nothing to do, since the
 * program has run. */
static __always_inline bool begin_fallback(enum program program)
{
	__u32 thread = bpf_get_current_pid_tgid();
	__u32 *mark = fallback_mark(program, thread);

	if (mark && *mark == thread) {
		*mark = 0;
		return false;
	}
	increment_counter(COUNTER_FALLBACK_RUNS);
	bpf_preempt_disable();
	return true;
}

static __always_inline void end_program(void)
{
	if (settings.preemptible)
		bpf_preempt_enable();
}

/* Defines the program NAME, which does WORK, and its fallback NAME_fallback. */
#define DEFINE_WITH_FALLBACK(section, name, program, work, ...) \
	SEC(section) int BPF_PROG(name, __VA_ARGS__)            \
	{                                                       \
		begin_program(program);                         \
		work;                                           \
		end_program();                                  \
		return 0;                                       \
	}                                                       \
	SEC(section) int BPF_PROG(name##_fallback, __VA_ARGS__) \
	{                                                       \
		if (!begin_fallback(program))                   \
			return 0;                               \
		work;                                           \
		end_program();                                  \
		return 0;                                       \
	}

#endif
