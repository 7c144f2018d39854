package launch

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	Main()
	os.Exit(m.Run())
}

func TestProgramReplacesTheProcessThatWaits(t *testing.T) {
	t.Parallel()
	command := func(out *bytes.Buffer) *exec.Cmd {
		cmd := exec.Command("/bin/sh", "-c", `echo "$$ $0 $1"; ls /proc/$$/fd; exit 7`, "name", "with space")
		cmd.Stdout = out
		return cmd
	}
	var plain, launched bytes.Buffer
	reference := command(&plain)
	_ = reference.Run()
	cmd := command(&launched)
	w, err := Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Execute(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	want := strings.Replace(plain.String(), strconv.Itoa(reference.Process.Pid), strconv.Itoa(cmd.Process.Pid), 1)
	if got := launched.String(); got != want || cmd.ProcessState.ExitCode() != 7 {
		t.Errorf("got %q and exit code %d, wanted %q and 7", got, cmd.ProcessState.ExitCode(), want)
	}
}

func TestProgramThatCannotBeExecuted(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(program, []byte("\x7fELF"), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program)
	w, err := Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Execute(); err == nil || !strings.Contains(err.Error(), "exec format error") {
		t.Errorf("got %v", err)
	}
	_ = cmd.Wait()
}

func TestCancelledProgramDoesNotRun(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	cmd := exec.Command("touch", file)
	w, err := Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	w.Cancel()
	_ = cmd.Wait()
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("the program ran: %v", err)
	}
}

// A signal from a terminal ends a process that waits as it would end the program.
func TestSignalEndsAProcessThatWaits(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("sleep", "100")
	w, err := Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	err = cmd.Wait()
	if executeErr := w.Execute(); executeErr != nil || err == nil {
		t.Errorf("got %v and %v", executeErr, err)
	}
}
