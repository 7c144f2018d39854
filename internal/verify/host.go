package verify

import (
	"fmt"
	"slices"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/profile"
)

// hostRepeats is the number of repetitions of a trial that the host may have decided.
const hostRepeats = 2

// perUser and perHost are kernel functions that check a capability only when a limit is reached: a limit of all
// processes of the user on the host, or of the whole host. The kernel may thus check the same workload in one run and
// not in the next.
var (
	// fs.pipe-user-pages-soft, RLIMIT_NPROC, and RLIMIT_NOFILE for file descriptors in transit through sockets.
	perUser = []string{
		"pipe_is_unprivileged_user", "alloc_pipe_info", "copy_process",
		"too_many_unix_fds", "unix_attach_fds", "unix_prepare_fpl", "unix_scm_to_skb",
	}
	// fs.file-max, and the blocks that file systems and quotas reserve for privileged users.
	perHost = []string{"alloc_empty_file", "ext4_has_free_clusters", "ignore_hardlimit", "dquot_add_space", "dquot_add_inodes"}
)

// hostDependence returns what else on the host a check depends on; "" if it does not.
func hostDependence(use profile.UsePattern) string {
	in := func(functions []string) bool { return slices.Contains(functions, use.Site) }
	switch {
	case in(perUser):
		return fmt.Sprintf("depends on what else user %d does on the host", use.User)
	case in(perHost):
		return "depends on what else the host does"
	}
	return ""
}

// decidedByHost returns why a trial may have failed because of other activity on the host: the kernel newly denied only
// such checks. It returns "" if the trial did not fail, or not for that reason.
func decidedByHost(a attempt, before capability.Set) (reason string) {
	untouched := a.Without.Empty() && a.With.Empty()
	switch {
	case a.Same && !untouched:
		return "" // only the full list fails if a check is denied
	case !a.Denied.Intersect(a.Without).Empty():
		return "" // the capability that was left out was denied, which explains the failure
	}
	missing := newlyDenied(a, before)
	for _, use := range a.DeniedChecks {
		if !missing.Has(use.Capability) {
			continue
		}
		dependence := hostDependence(use)
		if dependence == "" {
			return ""
		}
		reason = fmt.Sprintf("%s was denied in %s, which %s", use.Capability, use.Site, dependence)
	}
	return reason
}
