package classify

import "slices"

// Sharing says whose other processes count for a limit.
type Sharing int

// The kinds of sharing.
const (
	NotShared Sharing = iota
	PerUser           // all processes of the user on the host, in any container
	PerHost           // all processes of the host
)

// perUser and perHost are kernel functions that check a capability only beyond a limit that processes share. The kernel
// may thus check the same workload in one run and not in the next.
var (
	// fs.pipe-user-pages-soft, RLIMIT_NPROC, and RLIMIT_NOFILE for file descriptors in transit through sockets.
	perUser = []string{
		"pipe_is_unprivileged_user", "alloc_pipe_info", "copy_process",
		"too_many_unix_fds", "unix_attach_fds", "unix_prepare_fpl", "unix_scm_to_skb",
	}
	// fs.file-max, and the blocks that file systems and quotas reserve for privileged users.
	perHost = []string{"alloc_empty_file", "ext4_has_free_clusters", "ignore_hardlimit", "dquot_add_space", "dquot_add_inodes"}
)

// SharedLimit returns whether a call site checks a capability only beyond a limit that other processes share.
func SharedLimit(site string) Sharing {
	switch {
	case slices.Contains(perUser, site):
		return PerUser
	case slices.Contains(perHost, site):
		return PerHost
	}
	return NotShared
}

// beyondSharedLimit returns the reason why a check at a call site may be due to other processes; "" if it is not.
func beyondSharedLimit(site string) string {
	switch SharedLimit(site) {
	case PerUser:
		return "checked only beyond a limit for all processes of the user on the host: without the others, the container may not need it"
	case PerHost:
		return "checked only beyond a limit for all processes of the host: without the others, the container may not need it"
	}
	return ""
}
