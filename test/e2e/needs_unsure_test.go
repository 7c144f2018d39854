package e2e

import (
	"bufio"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
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

// A signal to another user's process that a container sent only because the engine stopped it may not be needed. A
// signal that it sent earlier, or because of another signal, is needed.
func TestSignalsAtTheStopAreUnsure(t *testing.T) {
	t.Parallel()
	const script = `trap "probe kill-user; echo reloaded" HUP; trap "probe kill-user; exit 0" TERM; echo ready; while :; do sleep 0.05; done`
	for _, test := range []struct {
		name    string
		reloads bool
		unsure  []string
	}{
		{"stop-only", false, caps("KILL")},
		{"stop-after-reload", true, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			saved := filepath.Join(t.TempDir(), "profile.json")
			cmd := exec.Command(binary, "profile", "--save", saved, "--", "docker", "run", "--rm", "--name", test.name, "bb", "sh", "-c", script)
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewReader(stdout)
			awaitLine(t, lines, "ready")
			// The engine does not report the exact time when it sends a signal.
			for began := time.Now(); test.reloads && time.Since(began) < 3*time.Second; {
				mustExecute(t, "docker", "kill", "-s", "HUP", test.name)
				awaitLine(t, lines, "reloaded")
			}
			mustExecute(t, "docker", "stop", test.name)
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
			got := only(t, parseReport(t, execute(t, binary, "report", "-o", "json", saved)), test.name)
			same(t, "required", got.Required, caps("KILL", "SETUID"))
			same(t, "unsure", got.Unsure, test.unsure)
		})
	}
}

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
