/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Conditions: what a denial would have changed (enum condition). Some kernel functions make the
 * check first, and make a second test only after a denial, for example of ids or modes. The
 * condition says whether the second test would have passed.
 *
 * capmon evaluates the condition when the kernel makes the check. It uses the system call and does
 * not examine the call site. internal/classify uses a condition only for the call sites to which it
 * applies.
 */
#ifndef CAPMON_CONDITION_H
#define CAPMON_CONDITION_H

#include "syscall.h"
#include "cred.h"

#define S_ISUID 04000
#define S_ISGID 02000
#define RLIMIT_MEMLOCK 8
#define RLIM_INFINITY (~0ULL)
#define MAP_ANONYMOUS 0x20
#define MAP_HUGETLB 0x40000
#define HUGETLBFS_MAGIC 0x958458f6
#define AF_INET 2
#define AF_INET6 10
#define SOCK_DGRAM 2
#define SOCK_RAW 3
#define SOCK_TYPE_MASK 0xf /* include/linux/net.h */
#define IPPROTO_ICMP 1
#define IPPROTO_ICMPV6 58

#ifndef CAP_SETGID
enum {
	CAP_CHOWN = 0,
	CAP_FOWNER = 3,
	CAP_FSETID = 4,
	CAP_SETGID = 6,
	CAP_SETUID = 7,
	CAP_SETPCAP = 8,
	CAP_NET_RAW = 13,
	CAP_IPC_LOCK = 14,
	CAP_SYS_RESOURCE = 24
};
#endif

/* The file of one of the task's descriptors, NULL if the descriptor is not open. */
static __always_inline struct file *file_of_descriptor(struct task_struct *task, __u32 descriptor)
{
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file *file = NULL;

	if (descriptor >= BPF_CORE_READ(table, max_fds))
		return NULL;
	struct file **files = BPF_CORE_READ(table, fd);
	bpf_probe_read_kernel(&file, sizeof(file), files + descriptor);
	return file;
}

/* The inode of one of the task's descriptors, NULL if the descriptor is not open. */
static __always_inline struct inode *inode_of_descriptor(struct task_struct *task, __u32 descriptor)
{
	struct file *file = file_of_descriptor(task, descriptor);

	return BPF_CORE_READ(file, f_inode);
}

/* Translates an id of a user namespace into the kernel's own id (map_id_down,
 * kernel/user_namespace.c). Returns false if the map is too long to be read here. An id without a
 * mapping stays unchanged: the kernel makes no check for it. */
static __always_inline bool map_id(const struct uid_gid_map *map, __u32 *id)
{
	__u32 extents = BPF_CORE_READ(map, nr_extents);
	__u64 at = (__u64)map + bpf_core_field_offset(struct uid_gid_map, extent);
	struct uid_gid_extent extent = {};

	for (int i = 0; i < ID_EXTENTS && i < extents; i++, at += sizeof(extent)) {
		bpf_probe_read_kernel(&extent, sizeof(extent), (void *)at);
		if (*id - extent.first < extent.count) {
			*id += extent.lower_first - extent.first;
			break;
		}
	}
	return extents <= ID_EXTENTS;
}

/*
 * __sys_setuid and __sys_setgid (kernel/sys.c) make the check first. With the capability, they set
 * the real, saved and effective id. Without it, they set only the effective id, and only to the
 * real or the saved id.
 */
static __always_inline enum condition set_id_condition(const struct uid_gid_map *map, __u32 id,
						       __u32 real, __u32 saved)
{
	if (!map_id(map, &id))
		return CONDITION_UNREADABLE;
	if (id == real && id == saved)
		return CONDITION_NO_EFFECT;
	return id == real || id == saved ? CONDITION_CHANGES_RESULT : CONDITION_CAUSES_ERROR;
}

/* cap_capset checks CAP_SETPCAP on every call, but needs it only to make capabilities inheritable
 * that are neither inheritable nor permitted (security/commoncap.c). */
static __always_inline enum condition capset_condition(const struct call *call,
						       const struct cred_info *checked_cred)
{
	struct capability_sets wanted = {};

	if (!read_capset(call, &wanted))
		return CONDITION_UNREADABLE;
	__u64 allowed = checked_cred->inheritable | checked_cred->permitted;
	return wanted.inheritable & config.known_caps & ~allowed ? CONDITION_CAUSES_ERROR :
								   CONDITION_NO_EFFECT;
}

/*
 * setattr_prepare, setattr_copy (fs/attr.c) and posix_acl_update_mode (fs/posix_acl.c) make the
 * check whenever the caller is not in the file's group. A denial clears the set-group-ID bit, if
 * the file has it. FUSE makes the check on every write, which also clears the set-user-ID bit.
 */
static __always_inline enum condition
fsetid_condition(const struct call *call, struct call_rule rule, struct task_struct *task)
{
	__u64 mode = rule.mode_arg == 1 ? call->args[1] : call->args[2];

	if (rule.kind == CALL_FD || rule.kind == CALL_WRITE) {
		struct inode *inode = inode_of_descriptor(task, call->args[0]);
		if (!inode)
			return CONDITION_UNREADABLE;
		return BPF_CORE_READ(inode, i_mode) & (S_ISUID | S_ISGID) ?
			       CONDITION_CHANGES_RESULT :
			       CONDITION_NO_EFFECT;
	} else if (rule.kind != CALL_CHMOD && rule.kind != CALL_FCHMOD) {
		return CONDITION_UNREADABLE;
	}
	return mode & S_ISGID ? CONDITION_CHANGES_RESULT : CONDITION_NO_EFFECT;
}

#define GROUPS_MAX 8 /* longer lists are not compared */
#define MODE_BITS 07777

/*
 * CONDITION_CALL_UNNECESSARY if a task sets the groups that it already has. After a denial,
 * setgroups (kernel/groups.c), fchown and fchmod (fs/attr.c) fail even if they would change
 * nothing. The kernel's list is sorted. capmon compares the lists element by element, so an
 * unsorted list counts as a change.
 */
static __noinline int setgroups_condition(const struct call *call,
					  const struct cred_info *checked_cred)
{
	const struct group_info *groups = (void *)checked_cred->groups;
	const struct user_namespace *ns = (void *)checked_cred->ns;
	__u32 wanted = 0;

	if (!call || !checked_cred || call->compat || call->args[0] > GROUPS_MAX ||
	    BPF_CORE_READ(ns, level) || BPF_CORE_READ(groups, ngroups) != call->args[0])
		return CONDITION_UNTESTED;
	for (__u32 i = 0; i < GROUPS_MAX && i < call->args[0]; i++) {
		kgid_t present = {};
		bpf_core_read(&present, sizeof(present), &groups->gid[i]);
		if (bpf_probe_read_user(&wanted, sizeof(wanted),
					(void *)(call->args[1] + i * sizeof(wanted))) ||
		    wanted != present.val)
			return CONDITION_UNTESTED;
	}
	return CONDITION_CALL_UNNECESSARY;
}

#define SCANNED_WORDS 128

/*
 * The address of the inode that setattr_prepare (fs/attr.c) changes, 0 if none is found. The
 * functions on the way to the check have saved the address in their frames. So this function
 * searches the stack, from the call site on, for the address of an inode. It recognizes an inode by
 * its pointer to a part of itself (i_mapping). The stack may still have the address of another
 * inode, so the result may mark a need as unsure, but never remove one.
 */
__noinline __u64 inode_on_stack(__u64 context, __u64 site)
{
	bool begun = false;

	for (int i = 0; i < SCANNED_WORDS; i++) {
		__u64 word = read_kernel_word(context + i * sizeof(word));
		struct inode *inode = (void *)word;
		begun |= word == site;
		if (begun && (__s64)word < 0 &&
		    (__u64)BPF_CORE_READ(inode, i_mapping) ==
			    word + bpf_core_field_offset(struct inode, i_data))
			return word;
	}
	return 0;
}

static __always_inline bool is_same_owner(const struct inode *inode, __u32 uid, __u32 gid,
					  const struct user_namespace *ns)
{
	return inode && !BPF_CORE_READ(ns, level) &&
	       (uid == (__u32)-1 || uid == BPF_CORE_READ(inode, i_uid.val)) &&
	       (gid == (__u32)-1 || gid == BPF_CORE_READ(inode, i_gid.val));
}

static __always_inline bool is_same_mode(const struct inode *inode, __u64 mode)
{
	return inode && !((BPF_CORE_READ(inode, i_mode) ^ mode) & MODE_BITS);
}

/* Whether a call sets the owner or mode that the file already has. context is the address of the
 * BPF program's context on the stack. */
static __always_inline enum condition
unchanged_condition(const struct check_key *key, const struct call *call, struct call_rule rule,
		    const struct user_namespace *ns, struct task_struct *task, __u64 context)
{
	bool chown = key->capability == CAP_CHOWN;
	struct inode *inode;

	if (rule.kind == (chown ? CALL_FD : CALL_FCHMOD))
		inode = inode_of_descriptor(task, call->args[0]);
	else if (rule.kind == (chown ? CALL_CHOWN : CALL_CHMOD))
		inode = (void *)inode_on_stack(context, key->site[0]);
	else
		return CONDITION_UNTESTED;
	__u64 first = rule.mode_arg == 2 ? call->args[2] : call->args[1];
	__u64 second = rule.mode_arg == 2 ? call->args[3] : call->args[2];
	bool same = chown ? is_same_owner(inode, first, second, ns) : is_same_mode(inode, first);
	return same ? CONDITION_CALL_UNNECESSARY : CONDITION_UNTESTED;
}

static __always_inline __u64 to_pages(__u64 bytes)
{
	return (bytes + config.page_size - 1) / config.page_size;
}

/* Whether mmap rounds the length up to huge pages (ksys_mmap_pgoff, mm/mmap.c). */
static __always_inline bool maps_huge_pages(const struct call *call, struct task_struct *task)
{
	if (call->args[3] & MAP_HUGETLB)
		return true;
	if (call->args[3] & MAP_ANONYMOUS)
		return false;
	struct inode *inode = inode_of_descriptor(task, call->args[4]);
	return BPF_CORE_READ(inode, i_sb, s_magic) == HUGETLBFS_MAGIC;
}

/*
 * mlock_future_ok (mm/mmap.c), mm_account_pinned_pages (net/core/skbuff.c) and others make the
 * check first. After a denial they compare the locked memory with RLIMIT_MEMLOCK. For mmap, brk and
 * mremap, capmon knows how much they lock. If RLIMIT_MEMLOCK is unlimited, the amount does not
 * matter.
 */
static __always_inline enum condition
memlock_condition(const struct call *call, struct call_rule rule, struct task_struct *task)
{
	__u64 limit = BPF_CORE_READ(task, signal, rlim[RLIMIT_MEMLOCK].rlim_cur);
	__u64 locked = BPF_CORE_READ(task, mm, locked_vm);

	if (limit == RLIM_INFINITY)
		return CONDITION_NO_EFFECT;
	if (call->compat || !config.page_size)
		return CONDITION_UNREADABLE;
	switch (rule.kind) {
	case CALL_MMAP:
		if (maps_huge_pages(call, task))
			return CONDITION_UNREADABLE;
		locked += to_pages(call->args[1]);
		break;
	case CALL_BRK:
		locked += to_pages(call->args[0]) - to_pages(BPF_CORE_READ(task, mm, brk));
		break;
	case CALL_MREMAP:
		locked += to_pages(call->args[2]) - to_pages(call->args[1]);
		break;
	default:
		return CONDITION_UNREADABLE;
	}
	return locked <= limit / config.page_size ? CONDITION_NO_EFFECT : CONDITION_CAUSES_ERROR;
}

/*
 * mqueue_get_inode (ipc/mqueue.c) makes the check for every queue. After a denial it compares the
 * queue's size with the limits of fs.mqueue. The kernel makes an earlier check in
 * mqueue_create_attr only if there are already as many queues as allowed, so that check always
 * matters.
 */
static __always_inline enum condition mq_open_condition(const struct call *call,
							struct task_struct *task)
{
	struct ipc_namespace *ns = BPF_CORE_READ(task, nsproxy, ipc_ns);
	struct {
		long flags, maxmsg, msgsize;
	} attr;

	if (call->compat)
		return CONDITION_UNREADABLE;
	if (!call->args[3]) /* a queue of the default size, which is never above the limits */
		return CONDITION_NO_EFFECT;
	if (bpf_probe_read_user(&attr, sizeof(attr), (void *)call->args[3]))
		return CONDITION_UNREADABLE;
	return attr.maxmsg > BPF_CORE_READ(ns, mq_msg_max) ||
			       attr.msgsize > BPF_CORE_READ(ns, mq_msgsize_max) ?
		       CONDITION_CAUSES_ERROR :
		       CONDITION_NO_EFFECT;
}

static __always_inline bool is_inet(__u64 family)
{
	return family == AF_INET || family == AF_INET6;
}

static __always_inline bool is_icmp(__u64 family, __u64 protocol)
{
	return protocol == (family == AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6);
}

/* Whether a task that opens a raw socket for ICMP may open a datagram socket for ICMP without a
 * capability (ping_init_sock, net/ipv4/ping.c). Ignores the supplementary groups of the task. */
static __noinline int may_ping(const struct call *call)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct net *net = BPF_CORE_READ(task, nsproxy, net_ns);
	__u32 group = BPF_CORE_READ(task, cred, egid.val);

	return call && (call->args[1] & SOCK_TYPE_MASK) == SOCK_RAW && is_inet(call->args[0]) &&
	       is_icmp(call->args[0], call->args[2]) &&
	       group >= BPF_CORE_READ(net, ipv4.ping_group_range.range[0].val) &&
	       group <= BPF_CORE_READ(net, ipv4.ping_group_range.range[1].val);
}

static __always_inline enum condition condition_of(const struct check_key *key,
						   const struct call *call, struct call_rule rule,
						   const struct cred_info *checked_cred,
						   struct task_struct *task, __u64 context)
{
	const struct user_namespace *ns = (void *)checked_cred->ns;

	switch (key->capability) {
	case CAP_CHOWN:
	case CAP_FOWNER:
		return unchanged_condition(key, call, rule, ns, task, context);
	case CAP_SETUID:
		if (rule.kind != CALL_SETUID)
			return CONDITION_UNTESTED;
		return set_id_condition(&ns->uid_map, call->args[0], checked_cred->uid,
					checked_cred->suid);
	case CAP_SETGID:
		if (rule.kind == CALL_SETGROUPS)
			return setgroups_condition(call, checked_cred);
		if (rule.kind != CALL_SETGID)
			return CONDITION_UNTESTED;
		return set_id_condition(&ns->gid_map, call->args[0], checked_cred->gid,
					checked_cred->sgid);
	case CAP_SETPCAP:
		return rule.kind == CALL_CAPSET ? capset_condition(call, checked_cred) :
						  CONDITION_UNTESTED;
	case CAP_FSETID:
		return fsetid_condition(call, rule, task);
	case CAP_NET_RAW:
		return rule.lifted == LIFTED_PING && may_ping(call) ? CONDITION_CALL_UNNECESSARY :
								      CONDITION_UNTESTED;
	case CAP_IPC_LOCK:
		return memlock_condition(call, rule, task);
	case CAP_SYS_RESOURCE:
		return rule.kind == CALL_MQ_OPEN ? mq_open_condition(call, task) :
						   CONDITION_UNTESTED;
	}
	return CONDITION_UNTESTED;
}

#endif
