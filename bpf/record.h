/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * What crosses the border between kernel and user space: keys and values of
 * the maps, events, counters, configuration. bpf2go makes the Go types from
 * these, so nothing here is written twice.
 *
 * A capmon takes over what another version has recorded, by the names of the fields
 * (monitor/inherit.go). A field whose meaning changes has to change its name, too; where one goes,
 * or shrinks, nothing can be taken over. Counters keep their numbers.
 */
#ifndef CAPMON_RECORD_H
#define CAPMON_RECORD_H

#include "kernel.h"

#define COMM_LEN 16
#define SITE_DEPTH 8 /* kernel return addresses kept of each check */
#define CALL_ARGS 3 /* system call arguments kept of each check */
#define CALL_MAX 512 /* system call numbers that may have a rule */
#define DETAIL_LEN 16 /* bytes kept of what an argument points to */
#define CGROUP_NAME_LEN 128
#define PATH_LEN 256
#define NAME_LEN 160 /* bytes kept of a path that a system call names */
#define FILE_CAPABILITIES 5 /* CAP_CHOWN to CAP_FSETID, which checks of files ask for */
#define FAILED_EXECVE 0xff /* in place of a capability: of an execve that failed with EPERM */
#define FILE_KINDS (2 * FILE_CAPABILITIES + 1) /* granted, refused, and of a failed execve */
#define FILES_EACH                                                                     \
	64 /* that a container may have of each, granted and refused; checks of a kind \
	       that are looked at for their files */
#define FILES_FEW 8 /* and may have while more than half of the room for files is taken */
#define COARSE_DEPTH 4 /* kernel return addresses kept by FOLD_COARSE */
#define CHAIN_MAX 12 /* return addresses by which a chain of callers is known again */
#define CHAIN_PARTS 3
#define MEMOS 64 /* kinds of check that each CPU remembers; a power of two */
#define PARENTS_MAX 8 /* that are told of a process */
#define ERROR_MAX 4095 /* MAX_ERRNO, include/linux/err.h */

/* How cap_capable's walk through the user namespaces ended. */
enum answer {
	ANSWER_HELD = 0, /* granted: the capability was in the effective set */
	ANSWER_OWNER = 1, /* granted: the credential owns the namespace asked about */
	ANSWER_MISSING = 2, /* refused: the capability was not in the set */
	ANSWER_BEYOND = 3, /* refused: held, but the namespace asked about is not below */
};

/* Whose credential was asked, seen from the current task. */
enum subject {
	SUBJECT_OWN = 0, /* the task's, or a copy derived from it */
	SUBJECT_BORROWED = 1, /* put on by the kernel for a moment (overlayfs' mounter) */
	SUBJECT_OTHER = 2, /* of another task or of a file's opener */
	SUBJECT_UNCERTAIN = 3, /* the container's or a mounter's: the call site decides */
};

/* Whether the task may have more than its container was granted. */
enum excess {
	EXCESS_NONE = 0,
	EXCESS_CERTAIN = 1,
	EXCESS_POSSIBLE = 2, /* more than any process had when capmon began; the grant is unknown */
};

/* The user namespace of the credential, against the container's base one. */
enum namespace_kind {
	NAMESPACE_BASE = 0,
	NAMESPACE_NESTED = 1,
};

enum phase {
	PHASE_UNKNOWN = 0,
	PHASE_SETUP = 1, /* the runtime preparing the container or an exec into it */
	PHASE_WORKLOAD = 2,
	PHASE_LONG_SETUP = 3, /* runtime setup for longer than a runtime takes */
};

enum limits {
	SETUP_SECONDS = 30, /* how long a runtime may prepare a process at most */
};

/* Whether a refusal of a check would have mattered, where the kernel asks for
 * the capability first and looks at ids, sets or modes only after a refusal. */
enum condition {
	CONDITION_UNTESTED = 0, /* no condition is known for this call */
	CONDITION_MATTERS = 1, /* the refusal would have been an error */
	CONDITION_MOOT = 2, /* the result would have been the same */
	CONDITION_SILENT = 3, /* no error, another result */
	CONDITION_UNREADABLE = 4, /* it could not be read */
	CONDITION_OPTIONAL = 5, /* an error, but the call would have changed nothing, or the kernel
				   allows the same in another way */
};

/* Whether a write mapped the parent's user 0 into a user namespace. */
enum root_map {
	ROOT_MAP_NONE = 0, /* it could not, as the namespace had a map */
	ROOT_MAP_ROOT = 1,
	ROOT_MAP_OTHERS = 2,
	ROOT_MAP_UNKNOWN = 3,
};

/* Where the kernel would accept another capability in place of the one that it asks for: whether
 * the credential holds that one. */
enum choice {
	CHOICE_UNKNOWN = 0, /* there is no such capability, or an earlier version recorded it */
	CHOICE_NONE = 1, /* it does not, and it holds less than the container was granted */
	CHOICE_OTHER = 2, /* it does */
	CHOICE_ALL = 3, /* it holds all that the container was granted */
};

/* What is special about a system call, beside the arguments to keep. */
enum call_kind {
	CALL_PLAIN = 0,
	CALL_EXEC = 1,
	CALL_SETUID = 2,
	CALL_SETGID = 3,
	CALL_CAPSET = 4,
	CALL_CHMOD = 5,
	CALL_BIND = 6,
	CALL_MOUNT = 7,
	CALL_CLONE3 = 8,
	CALL_PRCTL = 9,
	CALL_WRITE = 10, /* to the file that argument 0 is a descriptor of */
	CALL_MMAP = 11,
	CALL_BRK = 12,
	CALL_MREMAP = 13,
	CALL_MQ_OPEN = 14,
	CALL_FD = 15, /* changes the file that argument 0 is a descriptor of */
	CALL_FCHMOD = 16, /* likewise; argument 1 is the mode */
	CALL_SETGROUPS = 17,
	CALL_CHOWN = 18, /* by path */
};

/* A limit of the kernel's that a sysctl of the network namespace can lift, so that there is no
 * check. Docker lifts both limits for its containers, other engines do not. */
enum lifted {
	LIFTED_NONE = 0,
	LIFTED_PORT = 1, /* ip_unprivileged_port_start: for a port below 1024 the kernel would
			    ask for CAP_NET_BIND_SERVICE */
	LIFTED_PING = 2, /* ping_group_range: an ICMP socket that is not raw would be refused */
	LIFTED_EITHER = 3, /* of a system call: socketcall of 32-bit programs may be both */
};

/* What a system call does that needs capabilities or reports them, if the kernel decides it by
 * reading sets, without a check (inspect.h). */
enum unasked {
	UNASKED_NONE = 0,
	UNASKED_TRACE = 1, /* looks into another process (cap_ptrace_access_check) */
	UNASKED_SCHEDULE = 2, /* changes the scheduling of another process (cap_safe_nice) */
	UNASKED_PRESSURE = 3, /* makes a trigger for stalls (psi_trigger_create) */
	UNASKED_OWN = 4, /* reads the task's own sets (cap_capget, PR_CAPBSET_READ) */
};

/* Whether CAP_SYS_RESOURCE made a difference to UNASKED_PRESSURE. */
enum pressure {
	PRESSURE_OPENED = 0, /* not known: the file is open, and there is no trigger yet */
	PRESSURE_NEEDED = 1,
	PRESSURE_MOOT = 2,
};

/* How to find out which enum unasked a system call does. */
enum inspects {
	INSPECTS_NONE = 0,
	INSPECTS_OPENED = 1, /* by the file that the call opens */
	INSPECTS_LINK = 2, /* by the links on the path that the call follows */
	INSPECTS_PID = 3, /* looks into the process with the number in an argument */
	INSPECTS_PTRACE = 4, /* as INSPECTS_PID, if the first argument is an attach request */
	INSPECTS_PIDFD = 5, /* looks into the process with the descriptor in an argument */
	INSPECTS_SCHEDULE = 6, /* changes the scheduling of the process with that number */
	INSPECTS_OWN = 7, /* reads the task's own sets */
};

/* How to record one system call; the table is filled by name in Go. */
struct call_rule {
	__u8 kind; /* enum call_kind */
	__u8 args; /* bit n: argument n is kept */
	__u8 mode; /* CALL_CHMOD: which argument is the mode; CALL_CHOWN: the user */
	__u8 lifted; /* enum lifted: the limit that it may pass */
	__u8 inspects; /* enum inspects */
	__u8 process; /* index of the argument that names the process */
	__u8 first; /* 1 + the required value of argument 0, 0: any value */
	__u8 pad[1];
};

/* How much is left out of a pattern beyond its container's quota (quota.h). All else is recorded
 * as ever, so that the use is counted, classified and announced. comm then begins with a NUL and
 * this number, as no process can name itself: since 5.17 the kernel fills names with NULs
 * (__set_task_comm, fs/exec.c). */
enum fold {
	FOLD_NONE = 0,
	FOLD_NAME = 1, /* the process name, and the arguments of the system call */
	FOLD_COARSE = 2, /* also the system call, the condition, the refusal before it, and all
			    return addresses but the first COARSE_DEPTH */
	FOLD_MAX = 3,
};

/* What a map, or a part of one, has room for. */
enum share {
	SHARE_CHECKS = FOLD_NONE, /* of the checks map */
	SHARE_CHECKS_NAME = FOLD_NAME,
	SHARE_CHECKS_COARSE = FOLD_COARSE,
	SHARE_EXECUTIONS = 3,
	SHARE_CALLS = 4, /* of the calls map */
	SHARE_CALLS_NAME = 5, /* those without a process name */
	SHARE_FILES = 6,
	SHARE_EXECUTIONS_FOLDED = 7, /* of the executions map */
	SHARE_MAX = 8, /* a power of two */
};

/* One kind of check. Everything that can change its class is in the key. */
struct check_key {
	__u64 container; /* kernfs id of the container's topmost cgroup */
	__u64 site[SITE_DEPTH]; /* return addresses from cap_capable's caller on */
	__u64 args[CALL_ARGS]; /* capset: see keep_capset; write and the like: see keep_map */
	/* mount: file system type; bind: head of the address; capset: see keep_raised */
	__u8 detail[DETAIL_LEN];
	__u8 comm[COMM_LEN]; /* of the thread group's leader; see enum fold */
	__s32 syscall; /* -1: not in a system call */
	__u8 compat; /* 1: a 32-bit system call on a 64-bit kernel */
	__u8 capability;
	__u8 answer; /* enum answer */
	__u8 subject; /* enum subject */
	__u8 namespace; /* enum namespace_kind */
	__u8 phase; /* enum phase */
	__u8 condition; /* enum condition */
	__u8 refused_first; /* capability + 1 that the same call asked for first and was refused; 0
			       none */
	__u8 opts; /* cap_capable's opts where the hook has them, else 0xff; tests only */
	__u8 nested_entry; /* 1: made by the last execve of the set-up */
	__u8 root; /* 1: the effective user is the host's user 0 */
	__u8 beyond; /* enum excess: of the task's bounding set over the container's grant */
	__u8 choice; /* enum choice */
	__u8 pad[7];
};

struct check_value {
	__u64 count;
	/* Of refusals, those after which another capability did, and how the system calls of
	 * the others ended (forbidden: with EPERM or EACCES). The rest is not known. */
	__u64 overruled, succeeded, forbidden, failed;
	__u64 first_ns; /* CLOCK_BOOTTIME */
	__u64 last_ns; /* to a tick of the kernel's clock */
	__u32 pid; /* thread group that was first, in the initial pid namespace */
	__u32 uid; /* effective, in the initial user namespace */
};

/* A chain of callers, and where on the stack its return addresses lie. The first ones lie
 * at fixed distances from the program's context. Behind a function that addresses its
 * frame by the base pointer, it is from where that pointed: the number of such parts is
 * limited. */
struct chain {
	__u64 address[CHAIN_MAX]; /* from what called the program outwards; 0: no chain */
	__s16 at[CHAIN_MAX]; /* bytes from where their part is measured */
	__s16 base[CHAIN_PARTS]; /* where that is said, bytes from where the part before is
				    measured; of the first, it is the context */
	__u8 begin[CHAIN_PARTS]; /* the first address of each part; CHAIN_MAX: there is none */
	__u8 ends; /* 1: the last address is what user space has entered the kernel by */
	__u8 modular; /* 1: some of it is code of a module */
	__u8 pad[1];
	__u32 epoch; /* that it was learned in, see module_epoch */
};

/* A kind of check that a CPU has seen lately, with those that are not in the checks map
 * yet. */
struct memo {
	__u64 version; /* grows when the key changes; odd: it is just changing */
	struct check_key key;
	struct chain chain;
	__s64 misses; /* checks that came here in a row and were others */
	__u64 count;
	__u64 last_ns; /* to a tick of the kernel's clock */
	__u64 tick;
};

/* What one CPU remembers. */
struct remembered {
	/* Where the first address of all chains lies: bytes from the program's context. It is
	 * as the compiler has laid out the frame that the context is in, and found by trying. */
	__s32 start;
	__u32 starts; /* places that it may be; 1: it is known */
	struct memo memo[MEMOS];
};

struct container {
	__u64 first_ns; /* CLOCK_BOOTTIME of the first sight */
	__u64 workload_ns; /* of the first workload instruction seen; 0: none yet */
	__u64 last_ns; /* of the last exec, fork or exit of a workload process */
	__u64 bounding; /* capability sets of the first workload process at its start; if it */
	__u64 permitted; /* ran before, those of all its processes, and what the engine says */
	__u64 keyring; /* session keyring of that process; 0: it has none */
	__u64 used; /* capabilities that the workload's threads were granted */
	__u64 kept; /* those of them that some thread still held when it ended */
	__u64 lost; /* checks that found no room in the checks map */
	/* By capability, the refused ones behind the granted, and last those of failed executions:
	 * files that were recorded, and checks or executions whose files found no room. */
	__u32 files[FILE_KINDS];
	__u64 unlisted[FILE_KINDS];
	__u32 base_userns; /* inode number of the base user namespace; 0: not known yet */
	__u32 processes; /* workload processes seen */
	__u32 uid; /* effective, of the first workload process */
	__u32 existed; /* 1: it had a workload before the first sight */
	__u32 confirmed; /* 1: what the engine says of its grant is in bounding */
	__u32 setfcap_uses; /* by the workload: capabilities of files may have changed */
	__u8 name[CGROUP_NAME_LEN]; /* of the topmost cgroup that is the container's */
	__u32 entries[SHARE_MAX]; /* that it has in the maps, by enum share */
	__u64 unrecorded_executions; /* that found no room in the executions map */
	__u64 unrecorded_calls; /* likewise, of watched system calls */
	__u64 told_granted, told_refused; /* capabilities that an event has announced */
	__u64 events_ns; /* CLOCK_BOOTTIME until when its events count against its limit */
	/* Kernfs id of the topmost cgroup above in which somebody else than root may make cgroups;
	 * 0: only root can have made the container's. */
	__u64 delegated;
	__u32 folded; /* times that a cgroup below was put here for lack of a slot; 0: a container
		       */
	__u32 pids; /* enum pids */
};

/* Whether a container shares its pid namespace with other containers or the host. */
enum pids {
	PIDS_UNKNOWN = 0,
	PIDS_OWN = 1,
	PIDS_SHARED = 2,
};

enum slot_limit {
	SLOTS_EACH = 64, /* places for containers below one cgroup that is not root's */
	SLOT_FREE = 0xffffffff, /* an index: the number of places is not limited */
};

/* A place in the map of containers for one that somebody else than root may have made. */
struct slot_key {
	__u64 delegated; /* as in container */
	__u32 index; /* below SLOTS_EACH, or SLOT_FREE, or any other where that is */
	__u32 pad;
};

/* One program file that a container's workload executed. */
struct execution_key {
	__u64 container; /* as in check_key */
	__u64 inode; /* number of the inode; of the file on top where file systems are stacked */
	__u64 ambient; /* ambient set with which the execution began */
	__s64 changed; /* ctime of the inode, in nanoseconds: every change of its capabilities
			  sets it. 0: not recorded, by an earlier version */
	__u32 device; /* of the file system, as the kernel encodes it */
	__u32 generation; /* of the inode: another file may have its number later */
	__u16 nosuid; /* 1: from a mount where file capabilities count for nothing */
	__u16 overlay; /* 1: from an overlay, as most containers' root file system is */
	__u16 folded; /* 1: all programs beyond the container's quota. Which files they are was
			 left out, but not nosuid */
	__u16 nested; /* 1: in a user namespace that the workload made */
};

struct execution_value {
	__u64 count;
	__u64 first_ns; /* CLOCK_BOOTTIME */
	__u64 last_ns;
	__u32 pid; /* as in check_value */
	__u32 uid;
	/* Names from the file upwards to the root of its file system, each with a NUL. A
	 * path that has no room ends in the middle of a name. */
	__u8 path[PATH_LEN];
};

/* How a system call says which file it is about. */
enum naming {
	NAMING_NONE = 0, /* it does not, or it could not be read */
	NAMING_PATH = 1,
	NAMING_DESCRIPTOR = 2, /* it is open */
};

/* Which arguments name the files of a system call: 1 + their index, 0 for none. The table is
 * filled by name in Go. */
struct file_rule {
	__u8 path, base; /* base: the directory that the path begins at; without path: the file */
	__u8 other_path, other_base; /* of a call that is about two */
	__u8 address; /* 1: path points to a socket's address */
	__u8 flags; /* tells whether path goes on where a link at its end points to */
	__u8 pad[2];
	__u32 mask, links; /* if these of its bits are those, the link itself is meant */
};

/* A file that a check of a capability was made for, or that could not be executed, as the system
 * call names it. */
struct file_key {
	__u64 container; /* as in check_key */
	__u64 site[SITE_DEPTH]; /* likewise */
	__u64 inode; /* of the base: the directory that the path begins at, or the open file */
	__u32 device; /* its file system, as the kernel encodes it */
	__s32 syscall; /* as in check_key */
	__u8 comm[COMM_LEN];
	__u8 compat;
	__u8 capability; /* or FAILED_EXECVE */
	__u8 granted;
	__u8 naming; /* enum naming */
	__u8 cut; /* 1: the path goes on */
	__u8 of_two; /* 1, 2: the call is about two files, and this is the first, the second */
	__u8 link; /* 1: by its flags, the call is about a link at the end of the path itself */
	__u8 pad;
	__u8 path[NAME_LEN]; /* NAMING_PATH */
};

struct file_value {
	__u64 count;
	__u64 first_ns; /* CLOCK_BOOTTIME */
	__u64 last_ns;
	__u32 pid; /* as in check_value */
	__u32 uid, gid; /* by which the kernel grants access, in the initial user namespace */
	__u32 owner, group, mode; /* of the base, when the first check was made */
	__u32 whole; /* 1: base is all of its path */
	__u32 pad;
	/* Of failed executions, what all of the processes had in their bounding sets and in their
	 * inheritable sets. */
	__u64 bounding, inheritable;
	__u8 base[PATH_LEN]; /* its path in its mount namespace, as in execution_value */
};

enum watch_kind {
	WATCH_NONE = 0,
	WATCH_CALL = 1,
	WATCH_CLONE = 2, /* returns in the child, too */
	WATCH_CLONE3 = 3, /* likewise; the first argument points to what clone has as its own */
};

/* How to record a system call that a seccomp profile lets through only with a
 * capability. */
struct call_watch {
	__u64 masks[6]; /* which bits of each argument are kept */
	__u64 kind; /* enum watch_kind */
};

/* One kind of watched system call. */
struct call_key {
	__u64 container; /* as in check_key */
	__u64 args[6]; /* if lifted: address family; for a port, its protocol and number. If unasked
			* is UNASKED_PRESSURE: enum pressure */
	__u8 comm[COMM_LEN]; /* as in check_key; beyond the quota as FOLD_NAME, and then args are 0
			      * if lifted or unasked */
	__s32 syscall;
	__u16 error; /* that it ended with, 0: none */
	__u8 compat;
	__u8 lifted; /* enum lifted: the limit that the call passed; LIFTED_NONE: recorded for the
			seccomp profile or for unasked */
	__u8 unasked; /* enum unasked */
	__u8 pad[7];
};

struct call_value {
	__u64 count;
	__u64 sets; /* if unasked: union of the capabilities that the calls needed */
	__u64 first_ns; /* CLOCK_BOOTTIME */
	__u64 last_ns;
	__u32 pid; /* as in check_value */
	__u32 uid;
};

enum event_kind {
	EVENT_CONTAINER = 1, /* first sight of a container */
	EVENT_CHECK = 2, /* first sight of a check_key: a check_event, or only an event */
	EVENT_EXECUTION = 3, /* first sight of an execution_key */
	EVENT_FILE = 4, /* first sight of a file_key: a file_event */
};

struct event {
	__u32 kind; /* enum event_kind */
	__u32 pid;
	__u64 container;
	__u64 time_ns;
	struct execution_key execution; /* EVENT_EXECUTION */
	__u8 capability; /* EVENT_CHECK */
	__u8 answer;
	__u8 phase;
	__u8 pad[5];
};

struct parent {
	__u32 pid; /* as in check_value */
	__u8 comm[COMM_LEN]; /* as in check_key */
};

/* EVENT_CHECK of a workload, unless it is asked because memory changes its size: of these and
 * of the set-up there are many, and there is only an event. */
struct check_event {
	struct event event;
	struct check_key key;
	struct parent
		parents[PARENTS_MAX]; /* in the container, the nearest first; pid 0: no more */
	__u64 inode; /* of the file that the process executes, as in execution_key */
	__u32 device;
	__u32 uid; /* as in check_value */
	__u32 inner_pid; /* event's pid in the process's own pid namespace */
	__u32 pad;
};

struct file_event {
	struct event event;
	struct file_key key;
	struct file_value value;
};

/* What could not be recorded, each a per-CPU counter. */
enum counter {
	COUNTER_CHECKS_FULL = 0, /* checks that found no room in the checks map */
	COUNTER_CONTAINERS_FULL = 1, /* checks of containers that found no room */
	COUNTER_CGROUP_DEPTH = 2, /* checks from cgroups too deep to follow to the root */
	COUNTER_TASK_STATE = 3, /* tasks whose phase could not be remembered */
	COUNTER_EVENTS = 4, /* ring buffer full; the maps have the data all the same */
	COUNTER_NO_SITE = 5, /* checks whose call site could not be read */
	COUNTER_VERDICT = 6, /* the kernel's verdict was not the one computed */
	COUNTER_EXECUTIONS = 7, /* executions that found no room in the executions map */
	COUNTER_CALLS = 8, /* watched system calls that found no room in the calls map */
	COUNTER_TAKEN_OVER = 9, /* turns that an understudy took over; nothing lost */
	COUNTER_CHAINS = 10, /* chains of callers known again, and wrongly */
	COUNTER_MAX = 11,
};

struct config {
	__u64 asker_start, asker_end; /* address range of cap_capable */
	__u64 capset, task_prctl; /* addresses in cap_capset and cap_task_prctl */
	__u64 memory_start, memory_end; /* address range of security_vm_enough_memory_mm */
	__u64 known; /* the capabilities that this kernel knows */
	__u64 host; /* those that the host's root has: a machine may be without some */
	__u64 text_start, text_end; /* of the kernel proper, without modules */
	__u64 orc_ips, orcs; /* the kernel's tables for unwinding, see orc.h */
	__u64 modules; /* the kernel's list of modules, which have such tables, too; 0: not used */
	__u32 orc_count; /* their length; 0: chains of callers are not remembered */
	__u32 outcomes; /* 1: learn how the system calls end in which a check is refused */
	__s32 subsys; /* index of the cgroup v1 controller that tells containers; -1: v2 */
	__u32 page_size;
	__u32 preemptible; /* 1: the programs can be preempted, and have understudies */
	__u32 per_cpu; /* 1: what a program keeps for its CPU no other task's run can disturb */
	__u32 casts; /* 1: the kernel has bpf_rdonly_cast */
	__u32 pad;
	__u32 rooms[SHARE_MAX]; /* entries of each share, by enum share */
};

#endif
