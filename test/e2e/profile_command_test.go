package e2e

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

func TestOutputInputAndExitCodePassThrough(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(binary, "profile", "--", "docker", "run", "-i", "--rm", "--name", "passing", "bb",
		"sh", "-c", "cat; echo problem >&2; exit 7")
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader("from stdin\n"), &stdout, &stderr
	_ = cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != 7 {
		t.Errorf("exit code %d, wanted the command's 7", code)
	}
	output, report, _ := strings.Cut(stdout.String(), "\n")
	if output != "from stdin" || !strings.HasPrefix(report, "\nhost ") || !strings.Contains(report, "\n\npassing  bb:latest") {
		t.Errorf("stdout is not the command's output followed by the report:\n%s", stdout.String())
	}
	if !strings.Contains(stderr.String(), "problem\n") {
		t.Errorf("stderr lacks the command's:\n%s", stderr.String())
	}
}

// docker run $(capmon profile -o flags -- docker run …) needs an output that has only flags.
func TestStdoutHasOnlyFlags(t *testing.T) {
	t.Parallel()
	r := execute(t, binary, "profile", "-o", "flags", "--", "docker", "run", "--rm", "bb", "sh", "-c", "echo output; chroot / true")
	if r.stdout != "--cap-drop=ALL --cap-add=SYS_CHROOT\n" {
		t.Errorf("got %q", r.stdout)
	}
	if !strings.Contains(r.stderr, "output\n") {
		t.Errorf("the command's output is not on stderr: %q", r.stderr)
	}
	out := mustExecute(t, "sh", "-c", "docker run --rm "+strings.TrimSpace(r.stdout)+" bb chroot / echo works")
	if out != "works\n" {
		t.Errorf("under the flags: %q", out)
	}
}

func TestSignalsPassThrough(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(binary, "profile", "--", "docker", "run", "--rm", "--name", "signalled", "bb",
		"sh", "-c", "trap 'echo got it; exit 9' TERM; echo ready; while :; do sleep 0.05; done")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(stdout)
	awaitLine(t, lines, "ready")
	if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(lines)
	if err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 9 || !strings.HasPrefix(string(rest), "got it\n\nhost ") || !strings.Contains(string(rest), "\n\nsignalled  bb:latest") {
		t.Errorf("exit code %d, output:\n%s", code, rest)
	}
}

func awaitLine(t *testing.T, lines *bufio.Reader, wanted string) {
	t.Helper()
	for {
		line, err := lines.ReadString('\n')
		if strings.Contains(line, wanted) {
			return
		}
		if err != nil {
			t.Fatalf("%q was not printed: %v", wanted, err)
		}
	}
}

func TestExitCodeOfCommandEndedBySignal(t *testing.T) {
	t.Parallel()
	r := execute(t, binary, "profile", "--", "sh", "-c", "kill -KILL $$")
	if r.code != signalExitCode(unix.SIGKILL) {
		t.Errorf("exit code %d, wanted the code that a shell returns", r.code)
	}
}

// terminal runs a command on a new terminal, as the terminal's only session.
func terminal(t *testing.T, command ...string) (*exec.Cmd, *os.File) {
	t.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "TERM=xterm")
	screen, err := pty.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = screen.Close() })
	return cmd, screen
}

// remaining reads from a terminal until all processes have closed it. The kernel reports that as an error (EIO).
func remaining(r io.Reader) string {
	rest, _ := io.ReadAll(r)
	return string(rest)
}

func TestContainerHasTheTerminal(t *testing.T) {
	t.Parallel()
	cmd, screen := terminal(t, binary, "profile", "--", "docker", "run", "-it", "--rm", "--name", "on-terminal", "bb", "tty")
	output := remaining(screen)
	if err := cmd.Wait(); err != nil || !strings.Contains(output, "/dev/pts/0") {
		t.Errorf("%v\n%s", err, output)
	}
}

// A terminal sends Ctrl-C to the whole process group. If capmon forwarded it, the command would receive it twice.
func TestCtrlCReachesTheCommandOnce(t *testing.T) {
	t.Parallel()
	ctrlCReachesOnce(t, "capmon saw no containers")
}

// ctrlCReachesOnce profiles a command with these options, presses Ctrl-C once, and then ends the command. The report
// must have the text.
func ctrlCReachesOnce(t *testing.T, reported string, options ...string) {
	t.Helper()
	const script = `trap 'echo got it' INT; trap 'exit 3' USR1; echo ready; while :; do sleep 0.05; done`
	cmd, screen := terminal(t, slices.Concat([]string{binary, "profile"}, options, []string{"--", "sh", "-c", script})...)
	lines := bufio.NewReader(screen)
	awaitLine(t, lines, "ready")
	if _, err := screen.WriteString("\x03"); err != nil {
		t.Fatal(err)
	}
	awaitLine(t, lines, "got it")
	if err := cmd.Process.Signal(unix.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	rest := remaining(lines)
	_ = cmd.Wait()
	if strings.Contains(rest, "got it") || cmd.ProcessState.ExitCode() != 3 || !strings.Contains(rest, reported) {
		t.Errorf("exit code %d, after the first Ctrl-C:\n%s", cmd.ProcessState.ExitCode(), rest)
	}
}

func TestCommandWithoutContainersIsReported(t *testing.T) {
	t.Parallel()
	r := execute(t, binary, "profile", "--", "true")
	if r.code != exitUsage || r.stdout != "" || !strings.Contains(r.stderr, "started while the command ran") {
		t.Errorf("%+v", r)
	}
	saved := filepath.Join(t.TempDir(), "saved.json")
	if r = execute(t, binary, "profile", "--save", saved, "--container=none-*", "--all-containers", "--", "true"); r.code != exitUsage {
		t.Errorf("%+v", r)
	}
	if _, err := os.Stat(saved); !os.IsNotExist(err) {
		t.Errorf("capmon saved a profile without containers: %v", err)
	}
	if r = execute(t, binary, "profile", "--", "sh", "-c", "exit 5"); r.code != 5 || !strings.Contains(r.stderr, "started while the command ran") {
		t.Errorf("%+v", r)
	}
}

// capmon changes no variable except those that point the command to its proxy.
func TestEnvironmentPassesThrough(t *testing.T) {
	t.Setenv("CAPMON_TEST_VALUE", "kept")
	r := execute(t, binary, "profile", "--", "env")
	lines := strings.Split(r.stdout, "\n")
	if !slices.Contains(lines, "CAPMON_TEST_VALUE=kept") {
		t.Errorf("the command lacks a variable of the caller:\n%s", r.stdout)
	}
	if slices.ContainsFunc(lines, func(line string) bool { return line == "DOCKER_HOST="+os.Getenv("DOCKER_HOST") }) {
		t.Error("the command talks to the engine directly")
	}
}
