package classify

import (
	"strings"
	"testing"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/monitor"
)

// If it is uncertain whether a credential is the task's own, the call site decides. If the call site does not decide
// either, the capability is listed and marked unsure.
func TestCallSiteDecidesForUncertainCredentials(t *testing.T) {
	for stack, want := range map[string]Class{
		"security_capable capable_wrt_inode_uidgid generic_permission inode_permission ovl_permission inode_permission": OtherCredential,
		"security_capable capable_wrt_inode_uidgid setattr_prepare ext4_setattr notify_change ovl_setattr":              OtherCredential,
		"security_capable capable_wrt_inode_uidgid generic_permission ovl_permission inode_permission":                  Required,
		"security_capable ns_capable inet_create __sock_create io_socket io_issue_sqe":                                  Required,
	} {
		check := monitor.Check{
			Capability: capability.DACOverride, Credential: monitor.UncertainCredential, Phase: monitor.Workload,
			Answer: monitor.Held, Stack: strings.Fields(stack),
		}
		got := Classify(check)
		if got.Class != want || (got.Unsure == "") != (want == OtherCredential) {
			t.Errorf("%s: %v, want %s", stack, got, want)
		}
		check.Answer = monitor.NotHeld
		if got := Classify(check); got.Class != OtherCredential {
			t.Errorf("%s, denied: %v", stack, got)
		}
	}
}
