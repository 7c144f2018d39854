package main

import (
	"path/filepath"
	"testing"
)

// What the file is can say that a program most likely goes on without the capability. Another file
// of the same pattern of use takes the doubt away.
func TestFilesThatMakeANeedUnsure(t *testing.T) {
	for _, test := range []struct {
		name, script     string
		required, unsure []string
	}{
		{"pid-file", "echo 1 >/tmp/a.pid && chown 1000 /tmp/a.pid", caps("CHOWN"), caps("CHOWN")},
		{"pid-file-and-other", "echo 1 >/tmp/a.pid && chown 1000 /tmp/a.pid && mkdir /tmp/a && chown 1000 /tmp/a", caps("CHOWN"), nil},
		{"pid-of-nothing", "mkdir /tmp/.pid && chown 1000 /tmp/.pid", caps("CHOWN"), nil},
		{"mode-of-pid-file", "echo 1 >/tmp/a.pid && chown 1000 /tmp/a.pid && chmod 600 /tmp/a.pid", caps("CHOWN", "FOWNER"), caps("CHOWN", "FOWNER")},
		{"mem-of-another", "su -s /bin/sleep user 600 & until grep -q Uid:.1000 /proc/$!/status; do :; done; : </proc/$!/mem; : </proc/$!/auxv; kill -9 $!", caps("DAC_OVERRIDE", "KILL", "SETGID", "SETUID", "SYS_PTRACE"), caps("DAC_OVERRIDE")},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			saved := filepath.Join(t.TempDir(), "profile.json")
			mustExecute(t, binary, "profile", "--save", saved, "--", "docker", "run", "--rm", "--name", test.name, "--cap-add=SYS_PTRACE", "bb", "sh", "-ec", test.script)
			got := only(t, parseReport(t, execute(t, binary, "report", "-o", "json", saved)), test.name)
			same(t, "required", got.Required, test.required)
			same(t, "unsure", got.Unsure, test.unsure)
		})
	}
}
