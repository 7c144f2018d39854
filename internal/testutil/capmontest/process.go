// Package capmontest runs the built capmon, and engines and containers for it, in tests.
package capmontest

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/capmon/capmon/internal/testutil"
)

// Process is a capmon that records.
type Process struct {
	T      *testing.T
	Cmd    *exec.Cmd
	Child  *os.Process  // the process of capmon, which may differ from Cmd's
	Stdout bytes.Buffer // complete when Ended is closed
	Stderr testutil.Transcript
	Ended  chan struct{}
	Err    error // once Ended is closed
}

// Record runs a command of capmon that records, and returns once it records every check. start starts the command.
// Record appends the option --ready-file.
func Record(t *testing.T, start func(*exec.Cmd) error, command ...string) *Process {
	t.Helper()
	ready := filepath.Join(testutil.OpenDirectory(t), "ready")
	if err := errors.Join(syscall.Mkfifo(ready, 0o600), os.Chmod(ready, 0o666)); err != nil {
		t.Fatal(err)
	}
	p := &Process{T: t, Cmd: exec.Command(command[0], append(command[1:], "--ready-file", ready)...), Ended: make(chan struct{})}
	p.Cmd.Stdout, p.Cmd.Stderr = &p.Stdout, &p.Stderr
	if err := start(p.Cmd); err != nil {
		t.Fatal(err)
	}
	p.Child = p.Cmd.Process
	t.Cleanup(func() { _ = p.Cmd.Process.Kill() }) // it has ended, unless the test failed
	go func() {
		p.Err = p.Cmd.Wait()
		close(p.Ended)
	}()
	opened := make(chan error, 1)
	go func() {
		_, err := os.ReadFile(ready) // returns when capmon opens it for writing
		opened <- err
	}()
	select {
	case err := <-opened:
		if err != nil {
			t.Fatal(err)
		}
	case <-p.Ended:
		t.Fatalf("it ended before it recorded: %v\n%s", p.Err, p.Stderr.String())
	}
	return p
}
