/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * The types that the BPF programs and user space share: keys and values of the maps, events,
 * counters, and the configuration. bpf2go generates the Go types from this file, so nothing here is
 * defined twice.
 *
 * capmon can take over the pinned recording of another version (monitor/upgrade.go). It converts
 * the data by the names of the fields, so this file must have every field of the other version, at
 * least as wide. If the meaning of a field changes, give the field a new name. Do not change the
 * numbers of enum counter.
 */
#ifndef CAPMON_TYPES_H
#define CAPMON_TYPES_H

#include "kernel.h"

#define COMM_LEN 16
#define SITE_DEPTH 8 /* kernel return addresses recorded for each check */
#define CALL_ARGS 3 /* system call arguments recorded for each check */
#define DETAIL_LEN 16 /* bytes recorded of the memory that an argument points to */
#define PATH_LEN 256
#define NAME_LEN 160 /* bytes recorded of a path that a system call names */
#define FILE_CAPABILITIES 5 /* CAP_CHOWN to CAP_FSETID: the capabilities of checks on files */
#define FILE_KINDS (2 * FILE_CAPABILITIES + 1) /* granted, denied, and one for failed execves */
#define FILES_QUOTA_LOW 8 /* instead of FILES_QUOTA when half of the files map is used */
#define COARSE_DEPTH 4 /* kernel return addresses that FOLD_COARSE keeps */
#define CHAIN_MAX 12 /* return addresses of a cached call chain */
#define CHAIN_PARTS 3
#define CACHED_CHECKS 64 /* kinds of check that each CPU caches; a power of two */
#define PARENTS_MAX 8 /* ancestors of a process in one event */
#define MAX_ERRNO 4095 /* include/linux/err.h */

/* Limits that the BPF programs and user space both use. */
enum limits {
	CALL_MAX = 512, /* system call numbers that can have a rule */
	CGROUP_NAME_LEN = 128, /* bytes recorded of a cgroup's name, with the final NUL */
	/* Two limits have this value. One is the number of recorded files of one container for each
	 * of the FILE_KINDS. The other is the number of checks of one kind that capmon examines one
	 * by one, for their files, before it caches the kind. */
	FILES_QUOTA = 64,
	ANCESTORS_MAX = 32, /* ancestors of a task that capmon inspects to find its phase */
	ARGUMENTS_LEN = 1024, /* bytes recorded of the arguments of a process; a power of two */
	SETUP_SECONDS = 30, /* the longest time that a runtime takes to prepare a process */
};

/* Values of one byte that stand for something else than their field usually holds. */
enum special_value {
	CAP_OPTS_UNKNOWN = 0xff, /* in cap_opts: the hook does not have opts */
	FAILED_EXECVE = 0xff, /* in capability: not a check, but an execve that failed with EPERM */
};

/* The kernel's answer to a check, and its reason. cap_capable walks from the target user namespace,
 * for which the capability is checked, up to the namespace of the credential. */
enum answer {
	ANSWER_HELD = 0, /* granted: the capability is in the effective set */
	ANSWER_OWNS_USERNS = 1, /* granted: the credential owns the target user namespace */
	ANSWER_NOT_HELD = 2, /* denied: the capability is not in the effective set */
	ANSWER_OUTSIDE_USERNS = 3, /* denied: the capability is in the effective set, but the target
				      user namespace is neither the credential's nor below it */
};

/* Whose credential the kernel checked, in relation to the current task. */
enum subject {
	SUBJECT_OWN = 0, /* the task's objective credential, or a copy derived from it */
	SUBJECT_OVERRIDDEN = 1, /* a subjective credential that the kernel installed with
				   override_creds (for example, overlayfs uses its mounter's) */
	SUBJECT_OTHER = 2, /* the credential of another task or of the opener of a file */
	SUBJECT_UNCERTAIN = 3, /* the container's, or the mounter's as in SUBJECT_OVERRIDDEN; user
				  space decides this by the call site */
};

/* Whether the task can have more capabilities than its container was granted. */
enum excess {
	EXCESS_NONE = 0,
	EXCESS_CERTAIN = 1,
	/* the bounding set has more than any process had when capmon started, but the container's
	 * grant is unknown */
	EXCESS_POSSIBLE = 2,
};

/* The user namespace of the credential: the container's base user namespace or another one. */
enum namespace_kind {
	NAMESPACE_BASE = 0,
	NAMESPACE_NESTED = 1,
};

enum phase {
	PHASE_UNKNOWN = 0,
	PHASE_SETUP = 1, /* the runtime prepares the container or an exec into it */
	PHASE_WORKLOAD = 2,
	PHASE_LONG_SETUP = 3, /* runtime setup for longer than SETUP_SECONDS */
};

/* What a denial would have changed, if the kernel makes the check first, and tests ids, sets or
 * modes only after a denial. */
enum condition {
	CONDITION_UNTESTED = 0, /* capmon knows no condition for this call */
	CONDITION_CAUSES_ERROR = 1, /* a denial would have been an error */
	CONDITION_NO_EFFECT = 2, /* the result would have been the same */
	CONDITION_CHANGES_RESULT = 3, /* no error, but another result */
	CONDITION_UNREADABLE = 4, /* capmon could not read the values that decide */
	/* an error, but the call would have changed nothing, or the kernel allows the same in
	 * another way */
	CONDITION_CALL_UNNECESSARY = 5,
};

/* Whether a system call mapped user 0 of the parent namespace into a user namespace. */
enum root_map {
	/* the call cannot do this; for example, the namespace already has a map */
	ROOT_MAP_NONE = 0,
	ROOT_MAP_ROOT = 1, /* yes */
	ROOT_MAP_OTHERS = 2, /* no: it mapped only other users, or none */
	ROOT_MAP_UNKNOWN = 3, /* possible, but not confirmed (confirm_values.h) */
};

/* Whether the checked credential also holds the alternative: another capability that the kernel
 * accepts in place of the checked one (alternative.h). */
enum alternative {
	/* the checked capability has no alternative, or an earlier version recorded the check */
	ALTERNATIVE_UNKNOWN = 0,
	/* the credential does not hold it. The process may have dropped it: it holds less than the
	 * container was granted */
	ALTERNATIVE_NOT_HELD = 1,
	/* the credential holds it, but not everything that the container was granted */
	ALTERNATIVE_HELD = 2,
	/* the credential holds everything that the container was granted, so it would also hold the
	 * alternative if the container were granted that */
	ALTERNATIVE_WHOLE_GRANT = 3,
};

/* The system calls for which capmon does more than to record arguments (call_rule). */
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
	CALL_WRITE = 10, /* writes to the file with descriptor argument 0 */
	CALL_MMAP = 11,
	CALL_BRK = 12,
	CALL_MREMAP = 13,
	CALL_MQ_OPEN = 14,
	CALL_FD = 15, /* changes the file with descriptor argument 0 */
	CALL_FCHMOD = 16, /* as CALL_FD; argument 1 is the mode */
	CALL_SETGROUPS = 17,
	CALL_CHOWN = 18, /* by path */
};

/* A kernel limit that a sysctl of the network namespace can lift. While it is lifted, the kernel
 * makes no check. Docker lifts both limits for its containers, other engines do not. */
enum lifted_limit {
	LIFTED_NONE = 0,
	LIFTED_PORT = 1, /* ip_unprivileged_port_start: for a port below 1024 the kernel would check
			    CAP_NET_BIND_SERVICE */
	/* ping_group_range: otherwise the kernel denies an ICMP socket that is not raw */
	LIFTED_PING = 2,
	LIFTED_PORT_OR_PING = 3, /* for a call_rule: socketcall of 32-bit programs can do either */
};

/* What a system call does if the kernel decides it by reading capability sets, without a check
 * (unchecked_needs.h). */
enum unchecked_use {
	UNCHECKED_NONE = 0,
	UNCHECKED_INSPECT = 1, /* inspects another process (cap_ptrace_access_check) */
	UNCHECKED_SCHEDULE = 2, /* changes the scheduling of another process (cap_safe_nice) */
	UNCHECKED_PRESSURE = 3, /* creates a pressure stall trigger (psi_trigger_create) */
	UNCHECKED_READ_OWN_SETS = 4, /* reads the task's own sets (cap_capget, PR_CAPBSET_READ) */
};

/* Whether an UNCHECKED_PRESSURE call needed CAP_SYS_RESOURCE. */
enum pressure {
	PRESSURE_OPENED = 0, /* unknown: the call opened the file, and there was no trigger yet */
	PRESSURE_NEEDED = 1,
	PRESSURE_NO_EFFECT = 2,
};

/* Where capmon finds out whether a system call is an unchecked use, and which one (enum
 * unchecked_use). */
enum inspects {
	INSPECTS_NONE = 0,
	INSPECTS_OPENED_FILE = 1, /* from the file that the call opens */
	INSPECTS_PATH_LINKS = 2, /* from the links on the path that the call follows */
	INSPECTS_PID = 3, /* accesses the process whose number is in an argument */
	INSPECTS_PTRACE = 4, /* as INSPECTS_PID, if the first argument is an attach request */
	INSPECTS_PIDFD = 5, /* accesses the process whose descriptor is in an argument */
	/* may change the scheduling of the process whose number is in an argument */
	INSPECTS_SCHEDULE = 6,
	INSPECTS_OWN_SETS = 7, /* reads the task's own sets */
};

/* How to record one system call. Go fills the tables of rules by name. */
struct call_rule {
	__u8 kind; /* enum call_kind */
	__u8 args; /* bit n: record argument n */
	__u8 mode_arg; /* index of the mode argument; CALL_CHOWN: of the user argument */
	__u8 lifted; /* enum lifted_limit: the limit that the call can pass */
	__u8 inspects; /* enum inspects */
	__u8 pid_arg; /* index of the argument that names the process */
	__u8 required_arg0_plus_1; /* 1 + the required value of argument 0; 0: any value */
	__u8 pad[1];
};

/* What capmon leaves out of the key of a kind of check if the container has used up its quota
 * (quota.h). Such a key is folded. capmon still counts, classifies and announces its checks. The
 * comm of a folded key begins with a NUL and the number below. Since 5.17 a process cannot have
 * such a name, because the kernel fills names with NULs (__set_task_comm, fs/exec.c). */
enum fold {
	FOLD_NONE = 0,
	FOLD_NAMELESS = 1, /* the process name, and the arguments of the system call */
	FOLD_COARSE = 2, /* also the system call, the condition, the denial before it, and all
			    return addresses except the first COARSE_DEPTH */
	FOLD_MAX = 3,
};

/* The shares into which the maps are divided. Each share has a capacity of its own. The checks map
 * has one share for each level of enum fold, with the same number: *_NAMELESS is for entries
 * without a process name (FOLD_NAMELESS). */
enum share {
	SHARE_CHECKS = FOLD_NONE, /* checks map */
	SHARE_CHECKS_NAMELESS = FOLD_NAMELESS,
	SHARE_CHECKS_COARSE = FOLD_COARSE,
	SHARE_EXECUTIONS = 3,
	SHARE_CALLS = 4, /* calls map */
	SHARE_CALLS_NAMELESS = 5, /* entries without a process name */
	SHARE_FILES = 6,
	SHARE_EXECUTIONS_FOLDED = 7, /* executions map */
	SHARE_MAX = 8, /* a power of two */
};

/* One kind of check: the details of a pattern of use, and all that can change the class. */
struct check_key {
	__u64 container; /* kernfs id of the container's topmost cgroup */
	__u64 site[SITE_DEPTH]; /* return addresses, starting with cap_capable's caller */
	__u64 args[CALL_ARGS]; /* the arguments that call_rule selects; others for capset
				  (store_capset) and for writes of maps of user namespaces
				  (store_userns_map) */
	/* mount: file system type; bind: first bytes of the address; capset: see store_raised */
	__u8 detail[DETAIL_LEN];
	__u8 comm[COMM_LEN]; /* name of the thread group leader; see enum fold */
	__s32 syscall; /* -1: not in a system call */
	__u8 compat; /* 1: a 32-bit system call on a 64-bit kernel */
	__u8 capability;
	__u8 answer; /* enum answer */
	__u8 subject; /* enum subject */
	__u8 namespace; /* enum namespace_kind */
	__u8 phase; /* enum phase */
	__u8 condition; /* enum condition */
	__u8 denied_first; /* 1 + the capability that the same kernel code checked just before and
			      that was denied; 0: none */
	__u8 cap_opts; /* cap_capable's opts, or CAP_OPTS_UNKNOWN; only tests use it */
	__u8 setup_execve; /* 1: made inside an execve of the runtime setup; with PHASE_WORKLOAD,
			      the execve that started the workload */
	__u8 host_root; /* 1: the effective user is the host's user 0 */
	__u8 excess; /* enum excess: the task's bounding set compared with the container's grant */
	__u8 alternative; /* enum alternative */
	__u8 pad[7];
};

struct check_value {
	__u64 count;
	/* How denied checks ended. overruled: the kernel then granted a check of another
	 * capability. Otherwise the system call of the check succeeded, failed with EPERM or EACCES
	 * (forbidden), or failed with another error (failed). These four count only denied checks
	 * whose outcome is known. */
	__u64 overruled, succeeded, forbidden, failed;
	__u64 first_ns; /* CLOCK_BOOTTIME */
	__u64 last_ns; /* accurate to a tick of the kernel's clock */
	__u32 pid; /* thread group of the first check, in the initial pid namespace */
	__u32 uid; /* effective user of the first check, in the initial user namespace */
};

/* A call chain: the return addresses of the functions that led to a check, and their positions on
 * the stack.
 *
 * A position is a distance from an origin. The origin of the first part of a chain is the program's
 * context. A frame that its function addresses with the base pointer may have a variable size. The
 * chain has a new part after the return address into such a function. The origin of this part is
 * the address in the saved base pointer. A chain has at most CHAIN_PARTS parts.
 * call_chain.h has a drawing. */
struct call_chain {
	__u64 address[CHAIN_MAX]; /* starting with the innermost function in the kernel text;
				     address[0] is 0 if there is no chain */
	__s16 offset[CHAIN_MAX]; /* position of each address: in bytes, from its part's origin */
	/* position of the saved base pointer that has the origin of a part: in bytes, from the
	 * origin of the part before. Not used for the first part */
	__s16 saved_bp_offset[CHAIN_PARTS];
	/* index of the first address of each part; CHAIN_MAX: the chain does not have this part */
	__u8 part_start[CHAIN_PARTS];
	__u8 reaches_entry; /* 1: the last address is the entry from user space */
	__u8 has_module_code; /* 1: the chain has addresses in modules */
	__u8 pad[1];
	__u32 epoch; /* module_epoch when capmon learned the chain */
};

/* A kind of check that a CPU has counted recently, with the number of its checks that are not
 * counted in the checks map yet. */
struct cached_check {
	__u64 version; /* incremented before and after the key changes; odd while the key changes */
	struct check_key key;
	struct call_chain chain;
	__s64 misses; /* consecutive checks of the same cache set that had another key; below 0:
			 capmon could not learn the chain */
	__u64 count;
	__u64 last_ns; /* accurate to a tick of the kernel's clock */
	__u64 tick;
};

/* The cached checks of one CPU. */
struct check_cache {
	/* Position of the first return address: in bytes, from the program's context. It is the
	 * same for all chains, because it depends only on the stack frame that the compiler has
	 * made for the program. capmon finds it by trial (learn_first_offset). */
	__s32 first_offset;
	/* number of positions that the trial found possible; 1: first_offset is certain */
	__u32 first_offset_candidates;
	struct cached_check checks[CACHED_CHECKS];
};

struct container {
	__u64 first_ns; /* CLOCK_BOOTTIME when capmon first saw the container */
	__u64 workload_ns; /* when capmon first saw the workload; 0: not yet */
	__u64 last_ns; /* last exec, fork or exit of a workload process */
	/* Sets of the first workload process at its start. If the workload ran before capmon: the
	 * union over all its processes; bounding also gets the engine's grant, if it is known. */
	__u64 bounding;
	__u64 permitted;
	__u64 keyring; /* session keyring of the first workload process; 0: none */
	__u64 used; /* capabilities that the kernel granted to threads of the workload */
	__u64 kept; /* used capabilities that some thread still held when it ended */
	__u64 lost; /* checks that did not fit in the checks map */
	/* Number of recorded files, and of checks or executions whose files were not recorded
	 * (unlisted). Each array has one element for each granted capability, one for each denied
	 * capability, and a last one for failed executions. */
	__u32 files[FILE_KINDS];
	__u64 unlisted[FILE_KINDS];
	__u32 base_userns; /* inode number of the base user namespace; 0: not known yet */
	__u32 processes; /* workload processes that capmon has seen */
	__u32 uid; /* effective user of the first workload process */
	__u32 existed; /* 1: it had a workload when capmon first saw it */
	__u32 grant_confirmed; /* 1: bounding includes the engine's grant */
	__u32 setfcap_uses; /* number of times the workload used CAP_SETFCAP: the capabilities of
			       files may have changed */
	__u8 name[CGROUP_NAME_LEN]; /* name of the container's topmost cgroup */
	__u32 entries[SHARE_MAX]; /* the container's entries in the maps, by enum share */
	__u64 unrecorded_executions; /* executions that did not fit in the executions map */
	__u64 unrecorded_calls; /* system calls that did not fit in the calls map */
	__u64 announced_granted, announced_denied; /* capabilities for which an event was sent */
	__u64 events_ns; /* limits the rate of events: each event adds to this CLOCK_BOOTTIME
			    (may_send_event) */
	/* kernfs id of the topmost ancestor cgroup in which users other than root can create
	 * cgroups; 0: only root can have created the container's cgroup */
	__u64 delegated;
	__u32 folded; /* not 0: this entry is for all cgroups below the cgroup name that look like
			 containers but got no slot; it counts how often that happened. 0: the entry
			 is one container */
	__u32 pidns; /* enum pidns */
	__u32 no_runtime; /* 1: no container runtime prepares the workload. It begins with the first
			     execve. All its descendants belong to it, in any cgroup */
	__u32 moved; /* 1: a descendant has moved to another cgroup (only with no_runtime) */
	__u32 of_command; /* 1: a descendant of the command was the first task in the cgroup, see
			     command.h */
	__u32 pad;
};

/* Whether a container shares its pid namespace with other containers or the host. */
enum pidns {
	PIDNS_UNKNOWN = 0,
	PIDNS_OWN = 1,
	PIDNS_SHARED = 2,
};

enum slot_limit {
	SLOTS_PER_DELEGATION = 64, /* slots for containers below one delegated cgroup */
	/* container_slot_key.index that marks a delegated cgroup without a limit on slots */
	SLOT_UNLIMITED = 0xffffffff,
};

/* The unit of systemd that capmon records. Each new cgroup at its place is a run of the unit. */
struct unit {
	__u64 parent; /* kernfs id of the cgroup above that of the unit; 0: no unit */
	__u8 cgroup[CGROUP_NAME_LEN]; /* name of the unit's cgroup */
	__u8 id[CGROUP_NAME_LEN]; /* the ID of the unit */
};

/* The path of a cgroup below the root of its hierarchy, with zeros up to the end. */
struct cgroup_path {
	__u8 path[PATH_LEN];
};

/* A container that an engine has announced before its cgroup exists. */
struct expected_container {
	__u8 id[CGROUP_NAME_LEN];
};

/* The key of a slot. Each container that a user other than root can have created needs one of the
 * limited number of slots to get its own entry in the containers map. */
struct container_slot_key {
	__u64 delegated; /* as in container */
	__u32 index; /* of the slot, below SLOTS_PER_DELEGATION. SLOT_UNLIMITED: not a slot, but the
			mark of user space that slots below this cgroup are not limited; then the
			index of a slot can be larger (take_container_slot) */
	__u32 pad;
};

/* One program file that a container's workload executed. */
struct execution_key {
	__u64 container; /* as in check_key */
	__u64 inode; /* inode number; on stacked file systems, of the topmost one's inode */
	__u64 ambient; /* ambient set at the start of the execution */
	__s64 ctime_ns; /* ctime of the inode in nanoseconds: every change of the file's
			   capabilities updates it. 0: recorded by an earlier version */
	__u32 device; /* device number of the file system, in the kernel's encoding */
	__u32 generation; /* generation of the inode: another file can have the same inode number
			     later */
	__u16 nosuid; /* 1: the mount ignores file capabilities */
	__u16 overlay; /* 1: on an overlay, as the root file systems of most containers */
	__u16 folded; /* 1: the sum of all programs beyond the container's quota. The key has no
			 file, but it has nosuid, nested and ambient */
	__u16 nested; /* 1: in a user namespace that the workload created */
};

struct execution_value {
	__u64 count;
	__u64 first_ns; /* CLOCK_BOOTTIME */
	__u64 last_ns;
	__u32 pid; /* as in check_value */
	__u32 uid;
	/* Names from the file up to the root of its file system, each with a NUL. A path that does
	 * not fit ends in the middle of a name. */
	__u8 path[PATH_LEN];
};

/* How a system call names its file. */
enum naming {
	NAMING_NONE = 0, /* not at all, or capmon could not read it */
	NAMING_PATH = 1,
	NAMING_DESCRIPTOR = 2, /* of an open file */
};

/* Which arguments name the files of a system call: 1 + the index of the argument, 0 for none. Go
 * fills the tables of rules by name. */
struct file_rule {
	__u8 path_arg, base_arg; /* base: the directory where the path starts, or the file if there
				    is no path */
	__u8 other_path_arg, other_base_arg; /* of the second file, for calls with two files */
	__u8 is_sockaddr; /* 1: path_arg points to a socket address */
	__u8 flags_arg; /* argument that decides whether the call follows a link at the end of the
			   path */
	__u8 pad[2];
	__u32 nofollow_mask, nofollow_flags; /* if (flags & nofollow_mask) == nofollow_flags, the
						call does not follow the link */
};

/* A file, as a system call names it, for which the kernel checked a capability, or which could not
 * be executed. */
struct file_key {
	__u64 container; /* as in check_key */
	__u64 site[SITE_DEPTH]; /* as in check_key */
	__u64 inode; /* of the base: the directory where the path starts, or the open file */
	__u32 device; /* file system of the inode, in the kernel's encoding */
	__s32 syscall; /* as in check_key */
	__u8 comm[COMM_LEN];
	__u8 compat;
	__u8 capability; /* or FAILED_EXECVE */
	__u8 granted;
	__u8 naming; /* enum naming */
	__u8 truncated; /* 1: the path is longer */
	__u8 which_of_two; /* the call has two files: 1, this is the first, 2, the second; 0: one
			      file */
	__u8 nofollow; /* 1: its flags make the call use a link at the end of the path itself */
	__u8 pad;
	__u8 path[NAME_LEN]; /* for NAMING_PATH */
};

struct file_value {
	__u64 count;
	__u64 first_ns; /* CLOCK_BOOTTIME */
	__u64 last_ns;
	__u32 pid; /* as in check_value */
	/* file system ids (fsuid, fsgid) of the task, in the initial user namespace */
	__u32 uid, gid;
	__u32 owner, group, mode; /* of the base, at the first check */
	__u32 base_complete; /* 1: base has the whole path */
	__u32 pad;
	/* For failed executions: the intersection of the bounding sets of all processes, and the
	 * intersection of their inheritable sets. */
	__u64 bounding, inheritable;
	__u8 base[PATH_LEN]; /* path of the base in its mount namespace, in the format of
				execution_value */
};

enum seccomp_call_kind {
	SECCOMP_CALL_NONE = 0,
	SECCOMP_CALL_PLAIN = 1,
	SECCOMP_CALL_CLONE = 2, /* also returns in the child */
	/* as SECCOMP_CALL_CLONE; the first argument points to the arguments */
	SECCOMP_CALL_CLONE3 = 3,
};

/* How to record a system call that a seccomp profile allows only with a capability. */
struct seccomp_call {
	__u64 masks[6]; /* which bits of each argument to record */
	__u64 kind; /* enum seccomp_call_kind */
};

/* One kind of recorded system call. It is recorded for the seccomp profile, for a lifted limit
 * (lifted), or because of an unchecked use (unchecked_use). */
struct call_key {
	__u64 container; /* as in check_key */
	__u64 args[6]; /* the selected bits of the arguments. If lifted is set: address family and,
			  for LIFTED_PORT, protocol and port. UNCHECKED_PRESSURE: enum pressure */
	__u8 comm[COMM_LEN]; /* as in check_key; beyond the quota, folded as with
				FOLD_NAMELESS: then args is also 0 if lifted or
				unchecked_use is set */
	__s32 syscall;
	__u16 error; /* error that the call returned; 0: none */
	__u8 compat;
	__u8 lifted; /* enum lifted_limit: the limit that the call passed */
	__u8 unchecked_use; /* enum unchecked_use */
	__u8 pad[7];
};

struct call_value {
	__u64 count;
	__u64 sets; /* for unchecked_use: union of the capabilities that the calls needed */
	__u64 first_ns; /* CLOCK_BOOTTIME */
	__u64 last_ns;
	__u32 pid; /* as in check_value */
	__u32 uid;
};

enum event_kind {
	EVENT_CONTAINER = 1, /* capmon saw a container for the first time */
	EVENT_CHECK = 2, /* first check with a check_key; sent as struct check_event or, for some
			    checks, as struct event only */
	EVENT_EXECUTION = 3, /* first use of an execution_key */
	EVENT_FILE = 4, /* first use of a file_key: a file_event */
	/* a descendant of the command executes Podman's monitor of a container: a monitor_event */
	EVENT_MONITOR = 5,
};

/* Announces that a map has a new entry. */
struct event {
	__u32 kind; /* enum event_kind */
	__u32 pid;
	__u64 container;
	__u64 time_ns;
	struct execution_key execution; /* for EVENT_EXECUTION */
	__u8 capability; /* for EVENT_CHECK */
	__u8 answer;
	__u8 phase;
	__u8 pad[5];
};

struct parent {
	__u32 pid; /* as in check_value */
	__u8 comm[COMM_LEN]; /* as in check_key */
};

/* The event EVENT_CHECK of a workload. For checks of the runtime setup, and checks that the kernel
 * makes when memory changes its size, capmon sends only a struct event, because they are too
 * many. */
struct check_event {
	struct event event;
	struct check_key key;
	struct parent parents[PARENTS_MAX]; /* in the container, the nearest one first; pid 0: end
					       of the list */
	__u64 inode; /* of the process's executable, as in execution_key */
	__u32 device;
	__u32 uid; /* as in check_value */
	__u32 inner_pid; /* event.pid in the process's own pid namespace */
	__u32 pad;
};

struct file_event {
	struct event event;
	struct file_key key;
	struct file_value value;
};

struct monitor_event {
	struct event event;
	__u32 uid; /* effective user, in the initial user namespace */
	__u32 size; /* of the arguments, each with a NUL; the last one may be truncated */
	__u8 arguments[ARGUMENTS_LEN];
};

/* The per-CPU counters of what capmon could not record. */
enum counter {
	COUNTER_CHECKS_FULL = 0, /* checks that did not fit in the checks map */
	/* checks of containers that did not fit in the containers map */
	COUNTER_CONTAINERS_FULL = 1,
	COUNTER_CGROUP_DEPTH = 2, /* checks from cgroups too deep to follow to the root */
	COUNTER_TASK_STATE_FULL = 3, /* tasks whose phase could not be stored */
	COUNTER_EVENTS_NOT_SENT = 4, /* events that were not sent: ring buffer full, or quota used
				    up. The maps have the data */
	COUNTER_NO_CALL_SITE = 5, /* checks whose call site could not be read */
	COUNTER_ANSWER_MISMATCH = 6, /* the kernel's answer differs from the computed one */
	COUNTER_EXECUTIONS_FULL = 7, /* executions that did not fit in the executions map */
	COUNTER_CALLS_FULL = 8, /* system calls that did not fit in the calls map */
	COUNTER_FALLBACK_RUNS = 9, /* runs of fallback programs; not a loss (preempt.h) */
	COUNTER_WRONG_CHAINS = 10, /* cached call chains that differ from a real stack walk */
	COUNTER_MAX = 11,
};

struct config {
	__u64 cap_capable_start, cap_capable_end; /* address range of cap_capable */
	__u64 capset_site, task_prctl_site; /* addresses in cap_capset and cap_task_prctl */
	/* address range of security_vm_enough_memory_mm */
	__u64 enough_memory_start, enough_memory_end;
	__u64 known_caps; /* capabilities that this kernel knows */
	__u64 host_caps; /* capabilities that root on the host has: a machine may lack some */
	__u64 text_start, text_end; /* kernel text, without modules */
	__u64 orc_ips, orc_entries; /* the kernel's ORC tables, see orc.h */
	/* the kernel's list of modules, which also have ORC tables; 0: not used */
	__u64 module_list;
	__u32 orc_count; /* entries of the ORC tables; 0: do not cache call chains */
	__u32 outcomes; /* 1: record how the system calls with denied checks end */
	__s32 subsys; /* index of the cgroup v1 controller that distinguishes containers; -1: cgroup
			 v2 */
	__u32 page_size;
	__u32 preemptible; /* 1: the kernel can preempt programs, and they can disable that: they
			      have fallbacks (preempt.h) */
	__u32 cpu_exclusive; /* 1: while a program runs, no other task runs on its CPU. So no other
				task can change the per-CPU data that the program uses */
	__u32 has_rdonly_cast; /* 1: the kernel has bpf_rdonly_cast */
	__u32 follow_descendants; /* 1: there are workloads without a runtime (no_runtime) */
	/* The program that prepares the processes of units (systemd-executor, since systemd 255).
	 * 0: none. The device is in the kernel's encoding. */
	__u64 executor_inode;
	__u32 executor_device;
	__u32 follow_command; /* 1: record which containers belong to a command (command.h) */
	__u32 capacity[SHARE_MAX]; /* entries of each share, by enum share */
};

#endif
