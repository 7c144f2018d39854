/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * The kernel skips a program while the same one is active on that CPU, and one that is
 * preempted stays active: all that other tasks do there meanwhile would be lost. Until 7.0
 * only fexit can be preempted, with preempt=full; since then tracepoints can, too
 * (bpf_prog_get_recursion_context in include/linux/filter.h, __bpf_trace_run in
 * kernel/trace/bpf_trace.c). So there every program has an understudy that runs right after
 * it, and does its work if it was skipped. Both skipped at once is what is lost: the
 * first's skips less the understudy's turns.
 */
#ifndef CAPMON_TURN_H
#define CAPMON_TURN_H

#include "kernel.h"
#include "maps.h"

enum turn {
	TURN_CHECK = 0,
	TURN_CAPSET = 1,
	TURN_PRCTL = 2,
	TURN_FORK = 3,
	TURN_EXEC = 4,
	TURN_EXIT = 5,
	TURN_RETURN = 6,
	TURN_MAX = 7,
};

/* Thread ids beyond this share a place. That two threads run at once that do would have
 * an event recorded twice, at worst. */
#define TURN_THREADS (1 << 16)

/* Which threads the program has run for, and the understudy not yet. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TURN_MAX *TURN_THREADS);
	__type(key, __u32);
	__type(value, __u32);
} turns SEC(".maps");

/* In these programs buffers of the CPU are in use. Since 6.10. */
extern void bpf_preempt_disable(void) __ksym __weak;
extern void bpf_preempt_enable(void) __ksym __weak;

static __always_inline __u32 *place(enum turn turn, __u32 thread)
{
	__u32 key = turn * TURN_THREADS + (thread & (TURN_THREADS - 1));

	return bpf_map_lookup_elem(&turns, &key);
}

/* Begins the turn of a program. */
static __always_inline void take_turn(enum turn turn)
{
	if (!settings.preemptible)
		return;
	__u32 thread = bpf_get_current_pid_tgid();
	__u32 *mark = place(turn, thread);
	if (mark)
		*mark = thread;
	bpf_preempt_disable();
}

/* Begins the turn of an understudy; false if there is none, since the program has run. */
static __always_inline bool take_over(enum turn turn)
{
	__u32 thread = bpf_get_current_pid_tgid();
	__u32 *mark = place(turn, thread);

	if (mark && *mark == thread) {
		*mark = 0;
		return false;
	}
	count(COUNTER_TAKEN_OVER);
	bpf_preempt_disable();
	return true;
}

static __always_inline void end_turn(void)
{
	if (settings.preemptible)
		bpf_preempt_enable();
}

/* Defines the program NAME, which does WORK, and its understudy NAME_again. */
#define TWICE(section, name, turn, work, ...)                \
	SEC(section) int BPF_PROG(name, __VA_ARGS__)         \
	{                                                    \
		take_turn(turn);                             \
		work;                                        \
		end_turn();                                  \
		return 0;                                    \
	}                                                    \
	SEC(section) int BPF_PROG(name##_again, __VA_ARGS__) \
	{                                                    \
		if (!take_over(turn))                        \
			return 0;                            \
		work;                                        \
		end_turn();                                  \
		return 0;                                    \
	}

#endif
