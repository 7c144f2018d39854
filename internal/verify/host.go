package verify

import (
	"fmt"
	"slices"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/profile"
)

// hostRepeats is how often a trial is run again if the host may have decided it.
const hostRepeats = 2

// ofUser and ofHost are kernel functions that ask for a capability only when something is used up:
// by all processes of the user on the host, or by the whole host. So the same workload may be asked
// in one run and not in the next.
var (
	// fs.pipe-user-pages-soft, RLIMIT_NPROC, and RLIMIT_NOFILE for file descriptors on their way
	// through sockets.
	ofUser = []string{
		"pipe_is_unprivileged_user", "alloc_pipe_info", "copy_process",
		"too_many_unix_fds", "unix_attach_fds", "unix_prepare_fpl", "unix_scm_to_skb",
	}
	// fs.file-max, and the blocks that file systems and quotas keep for privileged users.
	ofHost = []string{"alloc_empty_file", "ext4_has_free_clusters", "ignore_hardlimit", "dquot_add_space", "dquot_add_inodes"}
)

// hostDependence says on what else on the host a check depends; "" if on nothing.
func hostDependence(use profile.Use) string {
	asked := func(functions []string) bool { return slices.Contains(functions, use.Site) }
	switch {
	case asked(ofUser):
		return fmt.Sprintf("depends on what else user %d does on the host", use.User)
	case asked(ofHost):
		return "depends on what else the host does"
	}
	return ""
}

// decidedByHost says why a trial may have failed for what else the host does: nothing else was
// refused that was granted before. It returns "" if the trial did not fail, or not for that.
func decidedByHost(a attempt, before capability.Set) (reason string) {
	untouched := a.Without.Empty() && a.With.Empty()
	switch {
	case a.Same && !untouched:
		return "" // only the list itself fails if something is refused
	case !a.Denied.Intersect(a.Without).Empty():
		return "" // what was left out was refused, which explains it
	}
	missing := unseen(a, before)
	for _, use := range a.DeniedChecks {
		if !missing.Has(use.Capability) {
			continue
		}
		dependence := hostDependence(use)
		if dependence == "" {
			return ""
		}
		reason = fmt.Sprintf("%s was refused in %s, which %s", use.Capability, use.Site, dependence)
	}
	return reason
}
