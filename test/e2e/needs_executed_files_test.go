package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/capmon/capmon/internal/testutil"
)

// Programs of a volume are not in a layer of the image. Most of these have ended before capmon could inspect the
// process.
func TestShortProgramsOfAVolumeAreExamined(t *testing.T) {
	t.Parallel()
	volume := t.TempDir()
	path, err := filepath.EvalSymlinks("/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	busybox, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		program := filepath.Join(volume, fmt.Sprintf("busybox-%d", i))
		if err := os.WriteFile(program, busybox, 0o700); err != nil {
			t.Fatal(err)
		}
		mustExecute(t, "setcap", "cap_net_raw=ep", program)
	}
	w := workload{
		options:  []string{"--volume=" + volume + ":/volume"},
		command:  sh("for program in /volume/*; do $program true; done"),
		implicit: caps("NET_RAW"),
	}
	r := execute(t, append([]string{binary, "profile", "-o", "json", "--"}, w.dockerRun("of-a-volume")...)...)
	got := only(t, parseReport(t, r), "of-a-volume")
	w.check(t, got)
	mustExecute(t, w.dockerRun("of-a-volume", got.Flags...)...)
}

// A program that has been deleted everywhere may have carried any file capabilities. The report says so.
func TestProgramsThatAreGoneAreReported(t *testing.T) {
	t.Parallel()
	const name = "gone"
	startSleeper(t, name, "--tmpfs=/gone:exec,suid")
	observation := watch(t, name)
	signal := func(signal os.Signal) {
		if err := observation.Cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
	}
	signal(syscall.SIGSTOP) // so that capmon cannot inspect it before it ends
	mustExecute(t, "docker", "exec", name, "sh", "-c", "cp /bin/busybox /gone/busybox && /gone/busybox true && rm /gone/busybox")
	signal(syscall.SIGCONT)
	got := only(t, parseReport(t, observation.interrupt()), name)
	same(t, "unexamined", got.Unexamined, []string{"/busybox"})
	if !strings.Contains(strings.Join(got.Cautions, "\n"), "could not read the file capabilities of these programs in time") {
		t.Errorf("cautions %v", got.Cautions)
	}
}

// Files that a container wrote lie above the layers of its image.
func TestShortProgramsThatWereWrittenAreExamined(t *testing.T) {
	t.Parallel()
	startSleeper(t, "writes-programs")
	observation := watch(t, "writes-programs")
	mustExecute(t, "docker", "exec", "writes-programs", "sh", "-c",
		"for i in $(seq 50); do cp /bin/busybox /tmp/busybox-$i && /tmp/busybox-$i true; done")
	workload{}.check(t, only(t, parseReport(t, observation.interrupt()), "writes-programs"))
}

// With the flag C of binfmt_misc, the kernel uses the capabilities of the program and ignores the capabilities of its
// interpreter.
func TestCapabilitiesOfInterpretedProgramsAreImplicitNeeds(t *testing.T) {
	t.Parallel()
	const magic = "capmon-emulated"
	registerFormat(t, "capmon-credentials", magic, "/bin/true", "C")
	program := filepath.Join(testutil.OpenDirectory(t), "program")
	if err := os.WriteFile(program, []byte(magic), 0o755); err != nil {
		t.Fatal(err)
	}
	mustExecute(t, "setcap", "cap_net_raw=ep", program)
	w := workload{options: []string{"--volume=" + program + ":/program"}, command: sh("/program; /program"), implicit: caps("NET_RAW")}
	r := execute(t, append([]string{binary, "profile", "-o", "json", "--"}, w.dockerRun("interpreted")...)...)
	got := only(t, parseReport(t, r), "interpreted")
	w.check(t, got)
	mustExecute(t, w.dockerRun("interpreted", got.Flags...)...)
}
