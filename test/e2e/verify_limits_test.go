package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestVerifyEndsARunThatHangs(t *testing.T) {
	t.Parallel()
	p, r := prove(t, "--", "docker", "run", "--rm", "bb", "sh", "-c", "chroot / true || sleep 1000")
	same(t, "the set", p.Set, caps("SYS_CHROOT"))
	// The limit is ten times the first run, but at least 30 seconds.
	waits := regexp.MustCompile(`capmon: without SYS_CHROOT: still running after \d+s; verify ends it after (3\ds|[4-9]\ds|\d+m\d+s)\n`)
	if found := waits.FindStringSubmatch(r.stderr); r.code != exitDone || found == nil || !strings.Contains(r.stderr, "without SYS_CHROOT: no end within "+found[1]+"\n") {
		t.Errorf("exit code %d: %+v\n%s", r.code, p, r.stderr)
	}
}

// The last but one trial waits. verify keeps the results of the other trials.
func TestVerifyInterruptedPrintsItsResults(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	saved := filepath.Join(dir, "saved.json")
	waits := filepath.Join(dir, "waits")
	if err := syscall.Mkfifo(waits, 0o600); err != nil {
		t.Fatal(err)
	}
	// Ordered by number: CHOWN (0), NET_RAW (13), SYS_CHROOT (18).
	script := "touch /f && chown 5 /f && ping -c1 127.0.0.1 && { chroot / true || { echo >/state/waits; sleep 1000; }; }"
	v := startCapmon(t, "verify", "--save", saved, "--second-start=false", "--", "docker", "run", "--rm", "-v", dir+":/state", "bb", "sh", "-c", script)
	hangs := make(chan error, 1)
	go func() {
		_, err := os.ReadFile(waits)
		hangs <- err
	}()
	select {
	case err := <-hangs:
		if err != nil {
			t.Fatal(err)
		}
	case <-v.ended:
		t.Fatalf("it ended too early: %+v", v.wait())
	}
	if err := v.cmd.Process.Signal(unix.SIGINT); err != nil {
		t.Fatal(err)
	}
	r := v.wait()
	nothingLeft(t)
	for _, text := range []string{
		"  proved sufficient, not proved minimal\n", "CHOWN       required  proved needed  without it: exit status 1\n", "NET_RAW     required  proved needed  ",
		"SYS_CHROOT  required  unsure         not tried\n", "note: interrupted: not tried without SYS_CHROOT\n", "--cap-drop=ALL --cap-add=CHOWN --cap-add=NET_RAW --cap-add=SYS_CHROOT",
	} {
		if !strings.Contains(r.stdout, text) {
			t.Errorf("%q is not in\n%s", text, r.stdout)
		}
	}
	if r.code != signalExitCode(unix.SIGINT) || !strings.Contains(r.stderr, "interrupted") {
		t.Errorf("%+v", r)
	}
	if table := mustExecute(t, binary, "report", saved); !strings.Contains(table, "proved sufficient, not proved minimal; needed: CHOWN, NET_RAW; unsure: SYS_CHROOT") {
		t.Error(table)
	}
}
