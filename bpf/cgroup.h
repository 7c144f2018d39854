/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Container identity: which container, if any, a task's cgroup belongs to. */
#ifndef CAPMON_CGROUP_H
#define CAPMON_CGROUP_H

#include "load.h"

#define CONTAINER_ID_LEN 64
#define SCOPE_LEN 6 /* ".scope" */
#define CONMON_LEN 7 /* "conmon-" */
#define CGROUP_DEPTH 64
#define MODE_OTHERS_WRITE 022

/* Too large for a program's stack. */
struct walk {
	char name[CGROUP_NAME_LEN]; /* of the node being looked at */
	struct container found; /* the topmost container so far */
	char delegated[CGROUP_NAME_LEN]; /* name of the cgroup that found.delegated is the id of */
	struct event event;
};

/* By this a user who may make cgroups cannot take the room of others: all containers that
 * somebody else than root may have made share half of the map of containers, and those below one
 * cgroup that was given to a user share SLOTS_EACH of it, until user space knows that an engine
 * makes containers there. The value is the container. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2048);
	__type(key, struct slot_key);
	__type(value, __u64);
} slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct walk);
} walks SEC(".maps");

/* The mask is the verifier's: no caller asks for what is behind the buffer. The
 * compiler knows that, and must not use it: before 6.2 the verifier does not. */
static __always_inline bool is_at(const char *name, __u32 i, char c)
{
	barrier_var(i);
	return name[i & (CGROUP_NAME_LEN - 1)] == c;
}

static __always_inline bool is_scope(const char *name, __u32 i)
{
	return is_at(name, i, '.') && is_at(name, i + 1, 's') && is_at(name, i + 2, 'c') &&
	       is_at(name, i + 3, 'o') && is_at(name, i + 4, 'p') && is_at(name, i + 5, 'e');
}

static __always_inline bool is_conmon(const char *name, __u32 i)
{
	return is_at(name, i, 'c') && is_at(name, i + 1, 'o') && is_at(name, i + 2, 'n') &&
	       is_at(name, i + 3, 'm') && is_at(name, i + 4, 'o') && is_at(name, i + 5, 'n');
}

static __always_inline bool is_hex(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

/*
 * Whether the walk's name (of len bytes without the NUL) is how an engine names a
 * container's cgroup: 64 hex digits, or ENGINE-<64 hex digits>.scope. Podman's
 * and CRI-O's monitors (…conmon-<id>.scope) live outside their container.
 * The same rule stands in Go, in internal/container. A global function, as are
 * others here, so that the verifier looks at it once and not at every caller.
 */
__noinline int is_container_name(__u32 len)
{
	__u32 zero = 0, start = 0;
	struct walk *walk = bpf_map_lookup_elem(&walks, &zero);

	/* one that fills the buffer may have been cut */
	if (!walk || len >= CGROUP_NAME_LEN - 1)
		return false;
	const char *name = walk->name;
	if (len != CONTAINER_ID_LEN) {
		if (len < CONTAINER_ID_LEN + SCOPE_LEN + 2)
			return false;
		start = len - SCOPE_LEN - CONTAINER_ID_LEN;
		if (!is_scope(name, len - SCOPE_LEN) || !is_at(name, start - 1, '-'))
			return false;
		if (start >= CONMON_LEN && is_conmon(name, start - CONMON_LEN))
			return false;
	}
	for (__u32 i = 0; i < CONTAINER_ID_LEN; i++)
		if (!is_hex(name[(start + i) & (CGROUP_NAME_LEN - 1)]))
			return false;
	return true;
}

static __always_inline struct kernfs_node *kernfs_parent(struct kernfs_node *node)
{
	if (bpf_core_field_exists(node->__parent))
		return BPF_CORE_READ(node, __parent);
	return BPF_CORE_READ((struct kernfs_node___before_6_15 *)node, parent);
}

/* The task's cgroup in the hierarchy that tells containers apart. Of an array
 * the verifier lets a constant element be loaded; the branches not taken it removes. */
static __always_inline struct cgroup *cgroup_of(struct task_struct *task)
{
	struct css_set *set = plain(task)->cgroups;

#define SUBSYS(n)                   \
	if (settings.subsys == (n)) \
		return set->subsys[n]->cgroup;
	SUBSYS(0)
	SUBSYS(1)
	SUBSYS(2)
	SUBSYS(3)
	SUBSYS(4)
	SUBSYS(5)
	SUBSYS(6)
	SUBSYS(7)
	SUBSYS(8)
	SUBSYS(9)
	SUBSYS(10)
	SUBSYS(11)
	SUBSYS(12)
	SUBSYS(13)
	SUBSYS(14)
	SUBSYS(15)
#undef SUBSYS
	return set->dfl_cgrp;
}

/* Whether only root may make cgroups in a cgroup (kernfs_iop_permission, fs/kernfs/inode.c). */
static __always_inline bool is_roots(struct kernfs_node *node)
{
	struct kernfs_iattrs *attributes = BPF_CORE_READ(node, iattr);

	if (attributes && BPF_CORE_READ(attributes, ia_uid.val))
		return false;
	return !(BPF_CORE_READ(node, mode) & MODE_OTHERS_WRITE);
}

/* Takes a slot for a container below a cgroup that is not root's; false if there is none. */
__noinline int take_slot(__u64 delegated, __u64 container)
{
	struct slot_key key = { .delegated = delegated, .index = SLOT_FREE };

	if (bpf_map_lookup_elem(&slots, &key)) {
		key.index = SLOTS_EACH + (container & ~(__u32)0) % (SLOT_FREE - SLOTS_EACH);
		return bpf_map_update_elem(&slots, &key, &container, BPF_ANY) == 0;
	}
	/* The verifier of 6.1 does not follow a number of 32 bits on the stack. */
	for (__u32 i = 0; i < SLOTS_EACH; i++) {
		barrier_var(i);
		key.index = i;
		if (bpf_map_update_elem(&slots, &key, &container, BPF_NOEXIST) == 0)
			return true;
	}
	return false;
}

static __always_inline void enter_container(__u64 id, struct walk *walk)
{
	struct event *event = &walk->event;

	walk->found.first_ns = bpf_ktime_get_boot_ns();
	if (bpf_map_update_elem(&containers, &id, &walk->found, BPF_NOEXIST))
		return;
	__builtin_memset(event, 0, sizeof(*event));
	event->kind = EVENT_CONTAINER;
	event->pid = bpf_get_current_pid_tgid() >> 32;
	event->container = id;
	event->time_ns = walk->found.first_ns;
	tell(event);
}

/* Puts what the walk has found into the map of containers: what finds no slot into one entry for
 * all such below the cgroup that was given to a user. Returns the key of the entry. */
static __always_inline __u64 container_seen(__u64 id, struct walk *walk)
{
	__u64 delegated = walk->found.delegated;

	if (id && bpf_map_lookup_elem(&containers, &id))
		return id;
	if (!id || (delegated && !take_slot(delegated, id))) {
		id = delegated;
		__builtin_memcpy(walk->found.name, walk->delegated, CGROUP_NAME_LEN);
		struct container *known = bpf_map_lookup_elem(&containers, &id);
		if (known) {
			__sync_fetch_and_add(&known->folded, 1);
			return id;
		}
		walk->found.folded = 1;
	}
	enter_container(id, walk);
	return id;
}

/* Whether a cgroup is known as a container's, whatever its name is by now (cgroup1_rename). */
static __always_inline bool is_container(__u64 id)
{
	struct container *known = bpf_map_lookup_elem(&containers, &id);
	return known && !known->folded;
}

/* Of a cgroup that is too deep for a walk, the ancestor that the walk begins at: only what lies
 * in a container can be deeper, or what is none. NULL before 6.1, which has no more than the
 * ancestors' ids. */
static __always_inline struct kernfs_node *walk_from(struct cgroup *leaf, int level)
{
	struct cgroup *from = leaf;

	if (level >= CGROUP_DEPTH) {
		if (!bpf_core_field_exists(leaf->ancestors))
			return NULL;
		__u64 place = (__u64)leaf + bpf_core_field_offset(leaf->ancestors) +
			      (CGROUP_DEPTH - 1) * sizeof(from);
		if (bpf_probe_read_kernel(&from, sizeof(from), (void *)place))
			return NULL;
	}
	return BPF_CORE_READ(from, kn);
}

/* The topmost ancestor that is known as a container's, by the ids alone. */
static __always_inline __u64 container_above(struct cgroup___before_6_1 *leaf)
{
	if (!bpf_core_field_exists(leaf->ancestor_ids))
		return 0;
	for (int i = 0; i < CGROUP_DEPTH; i++) {
		__u64 id = 0, place = (__u64)leaf + bpf_core_field_offset(leaf->ancestor_ids);
		bpf_probe_read_kernel(&id, sizeof(id), (void *)(place + i * sizeof(id)));
		if (is_container(id))
			return id;
	}
	return 0;
}

/* Looks at a node on the way to the root, and sets container if the node is one or is known to be
 * in one. Returns the parent, or 0 at the end of the walk. A function of its own, so that the
 * verifier follows it once and not CGROUP_DEPTH times. */
__noinline __u64 walk_node(__u64 address, bool is_leaf, __u64 *container)
{
	__u32 zero = 0;
	struct walk *walk = bpf_map_lookup_elem(&walks, &zero);
	struct kernfs_node *node = (void *)address;

	if (!walk || !container)
		return 0;
	__u64 id = BPF_CORE_READ(node, id);
	__u64 *above = is_leaf ? NULL : bpf_map_lookup_elem(&cgroups, &id);
	if (above && *above) {
		*container = *above;
		return 0;
	}
	long len =
		bpf_probe_read_kernel_str(walk->name, CGROUP_NAME_LEN, BPF_CORE_READ(node, name));
	if ((len > 1 && is_container_name(len - 1)) || is_container(id)) {
		*container = id;
		walk->found.delegated = 0; /* it tells of those above */
		__builtin_memcpy(walk->found.name, walk->name, CGROUP_NAME_LEN);
	} else if (!is_roots(node)) {
		walk->found.delegated = id;
		__builtin_memcpy(walk->delegated, walk->name, CGROUP_NAME_LEN);
	}
	return (__u64)kernfs_parent(node);
}

/*
 * Walks to the root from a cgroup not seen before, or from its ancestor that is CGROUP_DEPTH
 * levels below the root; the topmost container wins, since a container inside a container belongs
 * to the outer one. What is deeper and in no container that the walk could see, where somebody
 * else than root may have made it, is put with those that found no slot: it may be one.
 */
__noinline __u64 resolve_container(__u64 address)
{
	__u32 zero = 0;
	struct walk *walk = bpf_map_lookup_elem(&walks, &zero);
	struct cgroup *leaf = (void *)address;
	__u64 leaf_id, container = 0;

	if (!walk)
		return 0;
	__builtin_memset(&walk->found, 0, sizeof(walk->found));
	leaf_id = BPF_CORE_READ(leaf, kn, id);
	int level = BPF_CORE_READ(leaf, level);
	__u64 node = (__u64)walk_from(leaf, level);
	if (!node)
		container = container_above((void *)leaf);
	for (int depth = 0; depth < CGROUP_DEPTH && node; depth++)
		node = walk_node(node, !depth, &container);
	if (!container && level >= CGROUP_DEPTH && !walk->found.delegated) {
		count(COUNTER_CGROUP_DEPTH);
		return 0;
	}
	if (container || level >= CGROUP_DEPTH)
		container = container_seen(container, walk);
	bpf_map_update_elem(&cgroups, &leaf_id, &container, BPF_ANY);
	return container;
}

/* The cgroup that was looked at last on this CPU, and its container. */
struct recent {
	__u64 cgroup, container;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct recent);
} recents SEC(".maps");

/* The kernfs id of the task's container, 0 outside containers. */
static __always_inline __u64 container_of_task(struct task_struct *task)
{
	struct cgroup *cgroup = cgroup_of(task);
	if (!cgroup)
		return 0;
	__u32 zero = 0;
	__u64 id = cgroup->kn->id;
	struct recent *recent = bpf_map_lookup_elem(&recents, &zero);
	if (!recent)
		return 0;
	if (settings.per_cpu && recent->cgroup == id)
		return recent->container;
	__u64 *known = bpf_map_lookup_elem(&cgroups, &id);
	/* by its own pointer to itself: a global function takes none that the verifier knows */
	__u64 container = known ? *known :
				  resolve_container((__u64)BPF_CORE_READ(cgroup, self.cgroup));
	if (settings.per_cpu)
		*recent = (struct recent){ id, container };
	return container;
}

/* The cgroup of a task that is not the current one, by loads of helpers', of which the verifier
 * has nothing to follow. */
static __always_inline struct cgroup *cgroup_of_other(struct task_struct *task)
{
	struct css_set *set = BPF_CORE_READ(task, cgroups);
	struct cgroup *cgroup = NULL;

	if (settings.subsys < 0) {
		cgroup = BPF_CORE_READ(set, dfl_cgrp);
	} else {
		struct cgroup_subsys_state *state = NULL;
		__u64 place = (__u64)set + bpf_core_field_offset(set->subsys) +
			      settings.subsys * sizeof(state);
		bpf_probe_read_kernel(&state, sizeof(state), (void *)place);
		cgroup = BPF_CORE_READ(state, cgroup);
	}
	return cgroup;
}

/* The same as container_of_task, of a task that is not the current one, whose address this
 * is. For what is done once for a task. */
__noinline __u64 container_of_other(__u64 address)
{
	struct cgroup *cgroup = cgroup_of_other((void *)address);
	if (!cgroup)
		return 0;
	__u64 id = BPF_CORE_READ(cgroup, kn, id);
	__u64 *known = bpf_map_lookup_elem(&cgroups, &id);
	return known ? *known : resolve_container((__u64)cgroup);
}

/* The same where the stack has no room for a walk up the tree: 0 also of a container whose
 * cgroup has not been looked at lately. */
static __always_inline __u64 container_remembered(struct task_struct *task)
{
	__u64 id = BPF_CORE_READ(cgroup_of_other(task), kn, id);
	__u64 *known = bpf_map_lookup_elem(&cgroups, &id);

	return known ? *known : 0;
}

#define CGROUP_LEVELS 24 /* deeper cgroups do not count as the container's */

/* Whether the task at an address is in the cgroup of a container or below it. */
__noinline int is_of_container(__u64 address, __u64 id)
{
	struct cgroup *cgroup = cgroup_of_other((void *)address);

	for (int i = 0; i < CGROUP_LEVELS && cgroup; i++) {
		if (BPF_CORE_READ(cgroup, kn, id) == id)
			return 1;
		cgroup = BPF_CORE_READ(cgroup, self.parent, cgroup);
	}
	return 0;
}

#endif
