package classify

import (
	"slices"
	"strings"
)

// overriding begins the names of the kernel functions that work under another credential
// (override_creds): that of whoever mounted or opened what they serve.
var overriding = []string{"ovl_", "backing_file_", "backing_tmpfile_", "cachefiles_", "nfsd_", "ksmbd_", "nfs_idmap_"}

// before are the functions that an overriding one calls before it puts the other credential on, or
// after it has put that off: they ask the task's own (ovl_permission and ovl_setattr, fs/overlayfs/inode.c;
// backing_file_write_iter, fs/backing-file.c).
var before = []string{
	"generic_permission", "setattr_prepare", "inode_owner_or_capable", "file_remove_privs", "file_remove_privs_flags",
	"security_capable", "capable", "ns_capable", "ns_capable_noaudit", "capable_wrt_inode_uidgid",
}

// overrides reports whether the stack, innermost first, shows that the check was made under a
// credential that the kernel had put on for a moment. It is false if that is too far out to be seen.
func overrides(stack []string) bool {
	for i, function := range stack {
		begins := func(prefix string) bool { return strings.HasPrefix(function, prefix) }
		if slices.ContainsFunc(overriding, begins) && (i == 0 || !slices.Contains(before, stack[i-1])) {
			return true
		}
	}
	return false
}
