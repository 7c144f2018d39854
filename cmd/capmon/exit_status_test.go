package main

import (
	"strings"
	"testing"
)

// A program may look at its own capabilities, and give up without asking for anything.
func TestTheReportTellsOfAnExitStatusThatNothingDeniedExplains(t *testing.T) {
	t.Parallel()
	const note = "note: it ended with exit status 3, and no check was denied: a program may read its own capabilities " +
		"(capget, /proc/self/status, PR_CAPBSET_READ) and give up, or the seccomp profile may refuse a system call; neither makes a check\n"
	for name, test := range map[string]struct {
		script  string
		options []string
		want    bool
	}{
		"exit-looks":   {"grep -q '^CapEff.*ffff' /proc/self/status || exit 3", nil, true},
		"exit-denied":  {"chown 5 /tmp || exit 3", []string{"--cap-drop=ALL"}, false},
		"exit-success": {"true", nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			line := append([]string{binary, "profile", "--", "docker", "run", "--rm", "--name", name}, test.options...)
			r := execute(t, append(line, "bb", "sh", "-c", test.script)...)
			if strings.Contains(r.stdout, note) != test.want {
				t.Errorf("%+v", r)
			}
		})
	}
}
