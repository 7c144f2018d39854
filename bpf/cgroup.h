/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Finds the container, if any, to which a task's cgroup belongs. Caches the result for each cgroup,
 * and limits how many containers the owner of a delegated cgroup can create in the maps.
 */
#ifndef CAPMON_CGROUP_H
#define CAPMON_CGROUP_H

#include "command.h"
#include "task_state.h"
#include "untrusted_read.h"

#define CONTAINER_ID_LEN 64
#define SCOPE_LEN 6 /* ".scope" */
#define CONMON_LEN 7 /* "conmon-" */
#define LIBPOD_LEN 7 /* "libpod-" */
#define PAYLOAD_LEN 15 /* "libpod-payload-" */
#define LIBPOD_PARENT_LEN 13 /* "libpod_parent" */
#define CGROUP_DEPTH 64
#define MODE_OTHERS_WRITE 022

/* Scratch space of a walk up the cgroup tree. It is too large for the stack of a program. */
struct cgroup_walk {
	char name[CGROUP_NAME_LEN]; /* of the current node */
	char parent[CGROUP_NAME_LEN]; /* of its parent, set by is_pod */
	struct container found; /* the topmost container so far */
	char delegated[CGROUP_NAME_LEN]; /* name of the cgroup with the id found.delegated */
	struct event event;
};

/* The slots. A user who can create cgroups must not use up the containers map, so all containers
 * that users other than root can have created share half of that map. Each of them needs a slot.
 * There are SLOTS_PER_DELEGATION slots below one delegated cgroup, until user space knows that an
 * engine creates containers there. The value is the id of the container. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2048);
	__type(key, struct container_slot_key);
	__type(value, __u64);
} container_slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct cgroup_walk);
} cgroup_walk SEC(".maps");

/* The mask is for the verifier: no caller reads beyond the buffer. barrier_var keeps the compiler
 * from removing the mask, since before 6.2 the verifier cannot know what the compiler knows. */
static __always_inline bool has_char(const char *name, __u32 i, char c)
{
	barrier_var(i);
	return name[i & (CGROUP_NAME_LEN - 1)] == c;
}

static __always_inline bool is_scope(const char *name, __u32 i)
{
	return has_char(name, i, '.') && has_char(name, i + 1, 's') && has_char(name, i + 2, 'c') &&
	       has_char(name, i + 3, 'o') && has_char(name, i + 4, 'p') &&
	       has_char(name, i + 5, 'e');
}

static __always_inline bool is_conmon(const char *name, __u32 i)
{
	return has_char(name, i, 'c') && has_char(name, i + 1, 'o') && has_char(name, i + 2, 'n') &&
	       has_char(name, i + 3, 'm') && has_char(name, i + 4, 'o') &&
	       has_char(name, i + 5, 'n');
}

static __always_inline bool is_libpod(const char *name)
{
	return has_char(name, 0, 'l') && has_char(name, 1, 'i') && has_char(name, 2, 'b') &&
	       has_char(name, 3, 'p') && has_char(name, 4, 'o') && has_char(name, 5, 'd');
}

/* The names of a container without systemd are libpod-ID and libpod-payload-ID. len is the length
 * of what is before the ID. */
static __always_inline bool is_libpod_prefix(const char *name, __u32 len)
{
	if (!is_libpod(name) || !has_char(name, 6, '-'))
		return false;
	return len == LIBPOD_LEN ||
	       (len == PAYLOAD_LEN && has_char(name, 7, 'p') && has_char(name, 8, 'a') &&
		has_char(name, 9, 'y') && has_char(name, 10, 'l') && has_char(name, 11, 'o') &&
		has_char(name, 12, 'a') && has_char(name, 13, 'd') && has_char(name, 14, '-'));
}

static __always_inline bool is_libpod_parent(const char *name, __u32 len)
{
	return len == LIBPOD_PARENT_LEN && is_libpod(name) && has_char(name, 6, '_') &&
	       has_char(name, 7, 'p') && has_char(name, 8, 'a') && has_char(name, 9, 'r') &&
	       has_char(name, 10, 'e') && has_char(name, 11, 'n') && has_char(name, 12, 't');
}

static __always_inline bool is_hex(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

/*
 * Whether walk->name (len bytes without the NUL) is a name that engines give the cgroup of a
 * container: 64 hex digits, ENGINE-<64 hex digits>.scope, or libpod-<64 hex digits> and
 * libpod-payload-<64 hex digits> from Podman without systemd. The monitors of Podman and CRI-O
 * (…conmon-<id>.scope) are outside their container. internal/containerid has the same rule in Go. A
 * global function, as are others here, so that the verifier checks it once and not for each caller.
 */
__noinline int is_container_name(__u32 len)
{
	__u32 zero = 0, start = 0;
	struct cgroup_walk *walk = bpf_map_lookup_elem(&cgroup_walk, &zero);

	/* a name that fills the buffer may be truncated */
	if (!walk || len >= CGROUP_NAME_LEN - 1)
		return false;
	const char *name = walk->name;
	if (len != CONTAINER_ID_LEN) {
		if (len < CONTAINER_ID_LEN + LIBPOD_LEN)
			return false;
		start = len - CONTAINER_ID_LEN;
		if (is_scope(name, len - SCOPE_LEN)) {
			start -= SCOPE_LEN;
			if (start < 2 || !has_char(name, start - 1, '-'))
				return false;
			if (start >= CONMON_LEN && is_conmon(name, start - CONMON_LEN))
				return false;
		} else if (!is_libpod_prefix(name, start)) {
			return false;
		}
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

/* The task's cgroup in the hierarchy that distinguishes containers. The verifier allows loads of an
 * array only at constant indexes, hence SUBSYS. It removes the branches for the other values. */
static __always_inline struct cgroup *cgroup_of(struct task_struct *task)
{
	struct css_set *set = untrusted_task(task)->cgroups;

#define SUBSYS(n)                 \
	if (config.subsys == (n)) \
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

/* Whether only root can create cgroups in a cgroup (kernfs_iop_permission, fs/kernfs/inode.c). */
static __always_inline bool is_root_only(struct kernfs_node *node)
{
	struct kernfs_iattrs *attributes = BPF_CORE_READ(node, iattr);

	if (attributes && BPF_CORE_READ(attributes, ia_uid.val))
		return false;
	return !(BPF_CORE_READ(node, mode) & MODE_OTHERS_WRITE);
}

/* Takes a slot for a container below a delegated cgroup. Returns false if no slot is free. */
__noinline int take_container_slot(__u64 delegated, __u64 container)
{
	struct container_slot_key key = { .delegated = delegated, .index = SLOT_UNLIMITED };

	if (bpf_map_lookup_elem(&container_slots, &key)) {
		key.index = SLOTS_PER_DELEGATION +
			    (container & ~(__u32)0) % (SLOT_UNLIMITED - SLOTS_PER_DELEGATION);
		return bpf_map_update_elem(&container_slots, &key, &container, BPF_ANY) == 0;
	}
	/* The verifier of 6.1 does not track a 32-bit number on the stack. */
	for (__u32 i = 0; i < SLOTS_PER_DELEGATION; i++) {
		barrier_var(i);
		key.index = i;
		if (bpf_map_update_elem(&container_slots, &key, &container, BPF_NOEXIST) == 0)
			return true;
	}
	return false;
}

static __always_inline void add_container(__u64 id, struct cgroup_walk *walk)
{
	struct event *event = &walk->event;

	walk->found.first_ns = bpf_ktime_get_boot_ns();
	walk->found.of_command = is_of_command(bpf_get_current_task_btf());
	if (bpf_map_update_elem(&containers, &id, &walk->found, BPF_NOEXIST))
		return;
	__builtin_memset(event, 0, sizeof(*event));
	event->kind = EVENT_CONTAINER;
	event->pid = bpf_get_current_pid_tgid() >> 32;
	event->container = id;
	event->time_ns = walk->found.first_ns;
	send_event(event);
}

/* Adds the container that a walk found to the containers map, unless it is there. id is 0 if the
 * cgroup is too deep to find its container. A container without a slot and a too deep cgroup get
 * one common entry for everything below their delegated cgroup. Returns the key of the entry. */
static __always_inline __u64 find_or_add_container(__u64 id, struct cgroup_walk *walk)
{
	__u64 delegated = walk->found.delegated;

	if (id && bpf_map_lookup_elem(&containers, &id))
		return id;
	if (!id || (delegated && !take_container_slot(delegated, id))) {
		id = delegated;
		__builtin_memcpy(walk->found.name, walk->delegated, CGROUP_NAME_LEN);
		struct container *known = bpf_map_lookup_elem(&containers, &id);
		if (known) {
			__sync_fetch_and_add(&known->folded, 1);
			return id;
		}
		walk->found.folded = 1;
	}
	add_container(id, walk);
	return id;
}

/*
 * Whether a cgroup whose name is an ID alone is a pod of Podman without systemd. The containers of
 * a pod are in libpod_parent/<ID of the pod>. No process is in the pod's cgroup itself: if one is,
 * an engine was told to make its container below libpod_parent, and cgroup_walk_node does not call
 * this function. A container cannot choose what is above its cgroup, so it cannot pass for a pod.
 */
__noinline int is_pod(__u64 address)
{
	__u32 zero = 0;
	struct cgroup_walk *walk = bpf_map_lookup_elem(&cgroup_walk, &zero);
	struct kernfs_node *parent = kernfs_parent((void *)address);

	if (!walk || !parent)
		return false;
	long len = bpf_probe_read_kernel_str(walk->parent, CGROUP_NAME_LEN,
					     BPF_CORE_READ(parent, name));
	return len > 1 && is_libpod_parent(walk->parent, len - 1);
}

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct unit);
} recorded_unit SEC(".maps");

/* Whether a cgroup with the name walk->name is that of the recorded unit. Then it sets walk->found.
 */
__noinline int find_unit(__u64 address)
{
	__u32 zero = 0;
	struct cgroup_walk *walk = bpf_map_lookup_elem(&cgroup_walk, &zero);
	struct unit *unit = bpf_map_lookup_elem(&recorded_unit, &zero);
	struct kernfs_node *parent = kernfs_parent((void *)address);

	if (!walk || !unit || !unit->parent || !parent || BPF_CORE_READ(parent, id) != unit->parent)
		return false;
	for (__u32 i = 0; i < CGROUP_NAME_LEN; i++) {
		if (walk->name[i] != unit->cgroup[i])
			return false;
		if (!unit->cgroup[i])
			break;
	}
	walk->found.delegated = 0;
	walk->found.no_runtime = 1;
	__builtin_memcpy(walk->found.name, unit->id, CGROUP_NAME_LEN);
	return true;
}

/* Whether a cgroup is in the map as a container, even if it was renamed since (cgroup1_rename). */
static __always_inline bool is_known_container(__u64 id)
{
	struct container *known = bpf_map_lookup_elem(&containers, &id);
	return known && !known->folded;
}

/* The node where a walk starts: the cgroup or, if it is too deep for a walk, its ancestor at level
 * CGROUP_DEPTH - 1. Deeper cgroups either are inside a container or belong to none. Returns NULL
 * for too deep a cgroup before 6.1, where a cgroup has only the ids of its ancestors. */
static __always_inline struct kernfs_node *cgroup_walk_start(struct cgroup *leaf, int level)
{
	struct cgroup *from = leaf;

	if (level >= CGROUP_DEPTH) {
		if (!bpf_core_field_exists(leaf->ancestors))
			return NULL;
		__u64 address = (__u64)leaf + bpf_core_field_offset(leaf->ancestors) +
				(CGROUP_DEPTH - 1) * sizeof(from);
		if (bpf_probe_read_kernel(&from, sizeof(from), (void *)address))
			return NULL;
	}
	return BPF_CORE_READ(from, kn);
}

/* The topmost ancestor that is in the map as a container, found by ids alone. */
static __always_inline __u64 known_ancestor_container(struct cgroup___before_6_1 *leaf)
{
	if (!bpf_core_field_exists(leaf->ancestor_ids))
		return 0;
	for (int i = 0; i < CGROUP_DEPTH; i++) {
		__u64 id = 0, address = (__u64)leaf + bpf_core_field_offset(leaf->ancestor_ids);
		bpf_probe_read_kernel(&id, sizeof(id), (void *)(address + i * sizeof(id)));
		if (is_known_container(id))
			return id;
	}
	return 0;
}

/* Examines one node on the way to the root. Sets container if the node is a container, or if the
 * cache has its container. Returns the parent, or 0 to end the walk. A separate function, so that
 * the verifier checks it once and not CGROUP_DEPTH times. */
__noinline __u64 cgroup_walk_node(__u64 address, bool is_leaf, __u64 *container)
{
	__u32 zero = 0;
	struct cgroup_walk *walk = bpf_map_lookup_elem(&cgroup_walk, &zero);
	struct kernfs_node *node = (void *)address;

	if (!walk || !container)
		return 0;
	__u64 id = BPF_CORE_READ(node, id);
	__u64 *above = is_leaf ? NULL : bpf_map_lookup_elem(&cgroup_cache, &id);
	if (above && *above) {
		*container = *above;
		return 0;
	}
	long len =
		bpf_probe_read_kernel_str(walk->name, CGROUP_NAME_LEN, BPF_CORE_READ(node, name));
	bool named = len > 1 && is_container_name(len - 1);
	if (named && len - 1 == CONTAINER_ID_LEN && !is_leaf)
		named = !is_pod(address);
	if (named || is_known_container(id)) {
		*container = id;
		walk->found.no_runtime = 0;
		walk->found.delegated = 0; /* only delegated cgroups above the container count */
		__builtin_memcpy(walk->found.name, walk->name, CGROUP_NAME_LEN);
	} else if (config.follow_descendants && find_unit(address)) {
		*container = id;
	} else if (!is_root_only(node)) {
		walk->found.delegated = id;
		__builtin_memcpy(walk->delegated, walk->name, CGROUP_NAME_LEN);
	}
	return (__u64)kernfs_parent(node);
}

/*
 * Finds the container of a new cgroup with a walk to the root of the cgroup tree. The topmost
 * container on the way is the result, since a container inside a container belongs to the outer
 * one.
 *
 * The walk from a very deep cgroup starts CGROUP_DEPTH levels below the root. If it finds no
 * container, the cgroup may still be in a deeper one. If a user other than root can have created
 * the cgroup, it gets the common entry for containers without a slot (find_or_add_container).
 * Otherwise the check is lost.
 */
__noinline __u64 resolve_container(__u64 address)
{
	__u32 zero = 0;
	struct cgroup_walk *walk = bpf_map_lookup_elem(&cgroup_walk, &zero);
	struct cgroup *leaf = (void *)address;
	__u64 leaf_id, container = 0;

	if (!walk)
		return 0;
	__builtin_memset(&walk->found, 0, sizeof(walk->found));
	leaf_id = BPF_CORE_READ(leaf, kn, id);
	int level = BPF_CORE_READ(leaf, level);
	__u64 node = (__u64)cgroup_walk_start(leaf, level);
	if (!node)
		container = known_ancestor_container((void *)leaf);
	for (int depth = 0; depth < CGROUP_DEPTH && node; depth++)
		node = cgroup_walk_node(node, !depth, &container);
	if (!container && level >= CGROUP_DEPTH && !walk->found.delegated) {
		increment_counter(COUNTER_CGROUP_DEPTH);
		return 0;
	}
	if (container || level >= CGROUP_DEPTH)
		container = find_or_add_container(container, walk);
	bpf_map_update_elem(&cgroup_cache, &leaf_id, &container, BPF_ANY);
	return container;
}

/* The cgroup of the last task on this CPU, and its container. */
struct last_cgroup {
	__u64 cgroup, container;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct last_cgroup);
} last_cgroup SEC(".maps");

/* The kernfs id of the container to which a task's cgroup belongs, 0 outside containers. */
static __always_inline __u64 container_of_cgroup(struct task_struct *task)
{
	struct cgroup *cgroup = cgroup_of(task);
	if (!cgroup)
		return 0;
	__u32 zero = 0;
	__u64 id = cgroup->kn->id;
	struct last_cgroup *last = bpf_map_lookup_elem(&last_cgroup, &zero);
	if (!last)
		return 0;
	if (config.cpu_exclusive && last->cgroup == id)
		return last->container;
	__u64 *known = bpf_map_lookup_elem(&cgroup_cache, &id);
	/* reads the pointer from cgroup->self: global functions do not accept typed pointers */
	__u64 container = known ? *known :
				  resolve_container((__u64)BPF_CORE_READ(cgroup, self.cgroup));
	if (config.cpu_exclusive)
		*last = (struct last_cgroup){ id, container };
	return container;
}

/* The kernfs id of the container of the current task, 0 outside containers. */
static __always_inline __u64 container_of_task(struct task_struct *task)
{
	__u64 id = container_of_cgroup(task);

	return config.follow_descendants ? container_by_descent(id) : id;
}

/* The cgroup of a task other than the current one. Reads with helpers, so that the verifier has no
 * types to track. */
static __always_inline struct cgroup *cgroup_of_other(struct task_struct *task)
{
	struct css_set *set = BPF_CORE_READ(task, cgroups);
	struct cgroup *cgroup = NULL;

	if (config.subsys < 0) {
		cgroup = BPF_CORE_READ(set, dfl_cgrp);
	} else {
		struct cgroup_subsys_state *state = NULL;
		__u64 address = (__u64)set + bpf_core_field_offset(set->subsys) +
				config.subsys * sizeof(state);
		bpf_probe_read_kernel(&state, sizeof(state), (void *)address);
		cgroup = BPF_CORE_READ(state, cgroup);
	}
	return cgroup;
}

/* As container_of_task, for the task at an address, which need not be the current task. Slower:
 * only for work that is done once for each task. */
__noinline __u64 container_of_other(__u64 address)
{
	struct cgroup *cgroup = cgroup_of_other((void *)address);
	if (!cgroup)
		return 0;
	__u64 id = BPF_CORE_READ(cgroup, kn, id);
	__u64 *known = bpf_map_lookup_elem(&cgroup_cache, &id);
	return known ? *known : resolve_container((__u64)cgroup);
}

/* As container_of_other, but reads only the cache, for callers that do not have enough stack for a
 * walk. Also returns 0 for containers whose cgroup is not in the cache. */
static __always_inline __u64 cached_container(struct task_struct *task)
{
	__u64 id = BPF_CORE_READ(cgroup_of_other(task), kn, id);
	__u64 *known = bpf_map_lookup_elem(&cgroup_cache, &id);

	return known ? *known : 0;
}

#define CGROUP_LEVELS_MAX 24 /* deeper cgroups do not count as the container's */

/* Whether the task at an address is in the cgroup of a container or below it. */
__noinline int is_below_container(__u64 address, __u64 id)
{
	struct cgroup *cgroup = cgroup_of_other((void *)address);

	for (int i = 0; i < CGROUP_LEVELS_MAX && cgroup; i++) {
		if (BPF_CORE_READ(cgroup, kn, id) == id)
			return 1;
		cgroup = BPF_CORE_READ(cgroup, self.parent, cgroup);
	}
	return 0;
}

#endif
