/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Fallbacks: second copies of programs, for events for which the kernel has skipped the first copy.
 *
 * The kernel skips a program while the same program is active on that CPU, and a preempted program
 * stays active. Until it ends, capmon would miss everything that other tasks do on that CPU. Before
 * 7.0, the kernel can preempt only fexit programs, with preempt=full or preempt=lazy. Since 7.0, it
 * can also preempt tracepoint programs (bpf_prog_get_recursion_context in include/linux/filter.h,
 * __bpf_trace_run in kernel/trace/bpf_trace.c).
 *
 * On these kernels, from 6.10 on, capmon attaches each program twice. The second copy, the
 * fallback, runs right after the first one, and does its work only if the kernel skipped the first
 * one. An event is lost if the kernel skips both copies. So the number of lost events is the
 * skipped runs of the first copies minus the runs of the fallbacks.
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

/* Number of marks for each program. Threads whose ids are equal modulo this number share a mark. If
 * two of them run at once, capmon may record an event twice. */
#define MARKED_THREADS (1 << 16)

/* A mark has the id of a thread, if the program has run for an event of this thread and its
 * fallback has not yet. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PROGRAM_MAX *MARKED_THREADS);
	__type(key, __u32);
	__type(value, __u32);
} fallback_marks SEC(".maps");

/* The programs disable preemption, since they use per-CPU scratch space. These functions exist
 * since 6.10. */
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
	if (!config.preemptible)
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
	if (config.preemptible)
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
