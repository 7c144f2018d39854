package classify

import (
	"strings"
	"testing"

	"github.com/capmon/capmon/capability"
)

func TestChecksBeyondSharedLimitsAreUnsure(t *testing.T) {
	for _, test := range []struct {
		stack, reason string
		c             capability.Capability
	}{
		{"security_capable capable pipe_is_unprivileged_user alloc_pipe_info", "all processes of the user", capability.SysAdmin},
		{"security_capable capable copy_process kernel_clone", "all processes of the user", capability.SysResource},
		{"security_capable capable too_many_unix_fds unix_attach_fds", "all processes of the user", capability.SysResource},
		{"security_capable capable alloc_empty_file path_openat", "all processes of the host", capability.SysAdmin},
		{"security_capable capable do_prlimit", "", capability.SysResource},
	} {
		verdict := Classify(granted(test.c, strings.Fields(test.stack)...))
		if !verdict.Class.Need() || (verdict.Unsure == "") != (test.reason == "") || !strings.Contains(verdict.Unsure, test.reason) {
			t.Errorf("%s: %s", test.stack, verdict)
		}
	}
}
