package classify

import (
	"strings"
	"testing"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/monitor"
)

// Where the credential does not tell whose it is, the call site decides, and what it does not show
// is listed.
func TestTheCallSiteDecidesWhoseAnUncertainCredentialIs(t *testing.T) {
	for stack, want := range map[string]Class{
		"security_capable capable_wrt_inode_uidgid generic_permission inode_permission ovl_permission inode_permission": OtherCredential,
		"security_capable capable_wrt_inode_uidgid setattr_prepare ext4_setattr notify_change ovl_setattr":              OtherCredential,
		"security_capable capable_wrt_inode_uidgid generic_permission ovl_permission inode_permission":                  Required,
		"security_capable ns_capable inet_create __sock_create io_socket io_issue_sqe":                                  Required,
	} {
		check := monitor.Check{
			Capability: capability.DACOverride, Subject: monitor.Uncertain, Phase: monitor.Workload,
			Answer: monitor.Held, Stack: strings.Fields(stack),
		}
		got := Classify(check)
		if got.Class != want || (got.Unsure == "") != (want == OtherCredential) {
			t.Errorf("%s: %v, wanted %s", stack, got, want)
		}
		check.Answer = monitor.Missing
		if got := Classify(check); got.Class != OtherCredential {
			t.Errorf("%s, refused: %v", stack, got)
		}
	}
}
