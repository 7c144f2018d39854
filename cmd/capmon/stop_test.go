package main

import (
	"bufio"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

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
