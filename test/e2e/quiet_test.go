package e2e

import (
	"strings"
	"testing"
)

// --quiet leaves out the notes that do not change the meaning of the output, and keeps cautions and errors.
func TestQuiet(t *testing.T) {
	t.Parallel()
	startSleeper(t, "quiet-web")

	r := execute(t, binary, "verify", "--quiet", "--", "docker", "run", "--rm", "bb", "chroot", "/", "true")
	if r.code != 0 || r.stderr != "" || !strings.Contains(r.stdout, "proved minimal") {
		t.Errorf("verify: %+v", r)
	}
	r = execute(t, binary, "verify", "--quiet", "--", "docker", "run", "--rm", "bb", "false")
	if r.code != exitUsage || !strings.Contains(r.stderr, "fails under its own flags") {
		t.Errorf("an error of verify: %+v", r)
	}
	start := "docker run --rm --name quiet-other bb true; docker run --rm --name quiet-mine bb true"
	for quiet, wanted := range map[string]bool{"--quiet=false": true, "--quiet": false} {
		r = execute(t, binary, "profile", quiet, "--container", "quiet-mine", "--", "bash", "-c", start)
		if r.code != 0 || strings.Contains(r.stderr, "left out because others started them") != wanted {
			t.Errorf("profile %s: %+v", quiet, r)
		}
	}
	r = execute(t, binary, "profile", "--quiet", "--for", "100ms", "-o", "flags", "--even-if-start-unseen", "quiet-web")
	if r.code != 0 || r.stdout != "--cap-drop=ALL\n" || !strings.Contains(r.stderr, "capmon did not see the start of the container") {
		t.Errorf("a caution: %+v", r)
	}
	cmd, screen := terminal(t, binary, "profile", "--quiet", "--for", "2s", "quiet-web")
	output := remaining(screen)
	if err := cmd.Wait(); err != nil || strings.Contains(output, "press Ctrl-C") || strings.Contains(output, "left of") || !strings.Contains(output, "START NOT SEEN") {
		t.Errorf("on a terminal: %v\n%q", err, output)
	}
}
