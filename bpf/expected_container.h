/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Containers that an engine has announced before their cgroups exist. The names of such cgroups can
 * be free text. So capmon recognizes the cgroup by its whole path, when the kernel makes it.
 */
#ifndef CAPMON_EXPECTED_CONTAINER_H
#define CAPMON_EXPECTED_CONTAINER_H

#include "cgroup.h"

/* The announced containers by the paths of their cgroups. Only user space changes the map. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, struct cgroup_path);
	__type(value, struct expected_container);
} expected_containers SEC(".maps");

/* Scratch space: a path is too large for the stack of a program. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct cgroup_path);
} new_cgroup_path SEC(".maps");

/* The announced container with a path, or NULL. */
static __always_inline struct expected_container *find_expected(const char *path)
{
	__u32 zero = 0;
	struct cgroup_path *key = bpf_map_lookup_elem(&new_cgroup_path, &zero);

	if (!key)
		return NULL;
	__builtin_memset(key, 0, sizeof(*key));
	long len = bpf_probe_read_kernel_str(key->path, PATH_LEN, path);
	if (len <= 1 || len >= PATH_LEN) /* a path that fills the buffer may be truncated */
		return NULL;
	return bpf_map_lookup_elem(&expected_containers, key);
}

/* Adds the announced container of a new cgroup, unless the cgroup is inside another container: then
 * it belongs to that one. */
static __always_inline void add_expected(__u64 address, const struct expected_container *expected)
{
	__u32 zero = 0;
	struct cgroup_walk *walk = bpf_map_lookup_elem(&cgroup_walk, &zero);
	struct cgroup *cgroup = (void *)address;
	__u64 outer = 0;

	if (!walk)
		return;
	__builtin_memset(&walk->found, 0, sizeof(walk->found));
	struct kernfs_node *leaf = BPF_CORE_READ(cgroup, kn);
	__u64 id = BPF_CORE_READ(leaf, id);
	__u64 node = (__u64)kernfs_parent(leaf);
	for (int depth = 0; depth < CGROUP_DEPTH && node; depth++)
		node = cgroup_walk_node(node, false, &outer);
	if (outer || node) /* or too deep to know */
		return;
	__builtin_memcpy(walk->found.name, expected->id, CGROUP_NAME_LEN);
	__u64 container = find_or_add_container(id, walk);
	bpf_map_update_elem(&cgroup_cache, &id, &container, BPF_ANY);
}

/* Adds the container of a new cgroup, if an engine has announced it. The path is that below the
 * root of the hierarchy. A container or a user can make a cgroup with the same name only at another
 * path. */
static __always_inline void add_if_expected(struct cgroup *cgroup, const char *path)
{
	struct cgroup *own = cgroup_of(bpf_get_current_task_btf());

	if (!own || own->root != cgroup->root) /* of another hierarchy */
		return;
	struct expected_container *expected = find_expected(path);
	if (expected)
		add_expected((__u64)BPF_CORE_READ(cgroup, self.cgroup), expected);
}

#endif
