package classify

import (
	"slices"
	"strings"
)

// overridePrefixes are the prefixes of the kernel functions that use an override credential (override_creds): the
// credential of the process that mounted or opened the object.
var overridePrefixes = []string{"ovl_", "backing_file_", "backing_tmpfile_", "cachefiles_", "nfsd_", "ksmbd_", "nfs_idmap_"}

// outsideOverride are the functions that an overriding function calls before it overrides the credentials or after it
// reverts them. They check the task's own credential (ovl_permission and ovl_setattr, fs/overlayfs/inode.c;
// backing_file_write_iter, fs/backing-file.c).
var outsideOverride = []string{
	"generic_permission", "setattr_prepare", "inode_owner_or_capable", "file_remove_privs", "file_remove_privs_flags",
	"security_capable", "capable", "ns_capable", "ns_capable_noaudit", "capable_wrt_inode_uidgid",
}

// overrides reports whether the stack, innermost function first, shows that the check used an override credential. It
// is false if the stack is too short to contain the overriding function.
func overrides(stack []string) bool {
	for i, function := range stack {
		hasPrefix := func(prefix string) bool { return strings.HasPrefix(function, prefix) }
		if slices.ContainsFunc(overridePrefixes, hasPrefix) && (i == 0 || !slices.Contains(outsideOverride, stack[i-1])) {
			return true
		}
	}
	return false
}
