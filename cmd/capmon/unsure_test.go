package main

import (
	"path/filepath"
	"slices"
	"testing"
)

// The file of a need can show that the program most likely works without the capability. The need is certain if the
// same pattern of use has another file.
func TestNeedsThatMayBeUnnecessaryAreUnsure(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, script     string
		required, unsure []string
		options          []string
	}{
		{"pid-file", "echo 1 >/tmp/a.pid && chown 1000 /tmp/a.pid", caps("CHOWN"), caps("CHOWN"), nil},
		{"pid-file-and-other", "echo 1 >/tmp/a.pid && chown 1000 /tmp/a.pid && mkdir /tmp/a && chown 1000 /tmp/a", caps("CHOWN"), nil, nil},
		{"pid-of-nothing", "mkdir /tmp/.pid && chown 1000 /tmp/.pid", caps("CHOWN"), nil, nil},
		{"mode-of-pid-file", "echo 1 >/tmp/a.pid && chown 1000 /tmp/a.pid && chmod 600 /tmp/a.pid", caps("CHOWN", "FOWNER"), caps("CHOWN", "FOWNER"), nil},
		{"raw-echo", "cp /bin/probe /tmp/ping && /tmp/ping rawsock", caps("NET_RAW"), caps("NET_RAW"), nil},
		{"raw-echo-no-other", "cp /bin/probe /tmp/ping && /tmp/ping rawsock", caps("NET_RAW"), nil, []string{"--sysctl=net.ipv4.ping_group_range=1 0"}},
		{"raw-echo-other-group", "cp /bin/probe /tmp/ping && /tmp/ping rawsock", caps("NET_RAW"), nil, []string{"--sysctl=net.ipv4.ping_group_range=5 6"}},
		{"raw-of-others", "probe rawsock", caps("NET_RAW"), nil, nil},
		{"same-mode", "chmod 755 /home/user", caps("FOWNER"), caps("FOWNER"), nil},
		{"other-mode", "chmod 700 /home/user", caps("FOWNER"), nil, nil},
		{"same-owner", "chown 1000:1000 /home/user", caps("CHOWN"), caps("CHOWN"), nil},
		{"same-owner-of-volume", "chown -R 1000:1000 /home/user", caps("CHOWN"), caps("CHOWN"), []string{"--tmpfs=/home/user:uid=1000,gid=1000,mode=755"}},
		{"other-owner", "chown 1000:5 /home/user", caps("CHOWN"), nil, nil},
		{"same-and-other-owner", "chown 1000:1000 /home/user && chown 1000:5 /home/user", caps("CHOWN"), nil, nil},
		{"back-to-the-owner", "chown 5 /home/user && chown 1000 /home/user", caps("CHOWN"), nil, nil},
		{"mem-of-another", "su -s /bin/sleep user 600 & until grep -q sleep /proc/$!/comm; do :; done; : </proc/$!/mem; : </proc/$!/auxv; kill -9 $!", caps("DAC_OVERRIDE", "KILL", "SETGID", "SETUID", "SYS_PTRACE"), caps("DAC_OVERRIDE"), nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			saved := filepath.Join(t.TempDir(), "profile.json")
			mustExecute(t, slices.Concat([]string{binary, "profile", "--save", saved, "--", "docker", "run", "--rm", "--name", test.name, "--cap-add=SYS_PTRACE"}, test.options, []string{"bb", "sh", "-ec", test.script})...)
			got := only(t, parseReport(t, execute(t, binary, "report", "-o", "json", saved)), test.name)
			same(t, "required", got.Required, test.required)
			same(t, "unsure", got.Unsure, test.unsure)
		})
	}
}
