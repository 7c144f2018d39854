package main

import (
	"strings"
	"testing"
)

// A program can read its own capabilities and give up without a check.
func TestReportExplainsFailuresWithoutDeniedChecks(t *testing.T) {
	t.Parallel()
	const (
		unnamed = "note: the container ended with exit status 3, although the kernel denied no check. A program may have read its own capabilities " +
			"(/proc/self/status) and ended because one is missing, or the seccomp profile may have denied a system call. The kernel makes no check in either case\n"
		named = "note: the container ended with exit status 3, although the kernel denied no check. These programs read their own capabilities " +
			"(capget, PR_CAPBSET_READ) and may have ended because one is missing: "
	)
	for name, test := range map[string]struct {
		script  string
		options []string
		note    string // "" if the report has no such note
	}{
		"exit-status-file": {"grep -q '^CapEff.*ffff' /proc/self/status || exit 3", nil, unnamed},
		"exit-capget":      {"probe capget 25; probe named reader capbset-read 25 || exit 3", nil, named + "probe, reader. To find out, run the container with --cap-add=ALL\n"},
		"exit-libcap":      {"probe capbset-read 40; exit 3", nil, unnamed}, // as every program with libcap does
		"exit-libcap-ng":   {"probe capbset-read 0; exit 3", nil, unnamed},  // as every program with libcap-ng does
		"exit-denied":      {"chown 5 /tmp || exit 3", []string{"--cap-drop=ALL"}, ""},
		"exit-success":     {"probe capget 25; true", nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			line := append([]string{binary, "profile", "--", "docker", "run", "--rm", "--name", name}, test.options...)
			r := execute(t, append(line, "bb", "sh", "-c", test.script)...)
			if got := strings.Contains(r.stdout, "exit status"); got != (test.note != "") || !strings.Contains(r.stdout, test.note) {
				t.Errorf("%+v", r)
			}
		})
	}
}
