// Package launch starts a program in two steps: first a process that waits, then, in the same process, the program. In
// between, the caller can prepare the process, for example move it to a cgroup.
package launch

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// processName is argv[0] of a process that waits.
const processName = "capmon-launch"

// streamFD is the file descriptor at which a process that waits has its end of the stream.
const streamFD = 3

// Main waits and then executes the program, if this process was started as a process that waits. Otherwise it does
// nothing. A program that calls [Start] must call Main before anything else.
func Main() {
	if len(os.Args) < 3 || os.Args[0] != processName {
		return
	}
	unix.CloseOnExec(streamFD)
	stream := os.NewFile(streamFD, "capmon")
	if _, err := io.ReadFull(stream, make([]byte, 1)); err != nil {
		os.Exit(1) // the parent does not want the program any longer
	}
	err := unix.Exec(os.Args[1], os.Args[2:], os.Environ())
	fmt.Fprint(stream, err)
	os.Exit(1)
}

// Waiting is a process that waits until it may execute its program.
type Waiting struct {
	program string
	process *os.Process
	stream  net.Conn
}

// Start starts a process that waits. It changes cmd such that this process, which has the PID of the later program,
// belongs to cmd. cmd must not have ExtraFiles. The caller must call [Waiting.Execute] or [Waiting.Cancel], and then
// cmd.Wait.
func Start(cmd *exec.Cmd) (*Waiting, error) {
	w := &Waiting{program: cmd.Args[0]}
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", w.program, err)
	}
	own, others := os.NewFile(uintptr(ends[0]), "process"), os.NewFile(uintptr(ends[1]), "capmon")
	defer own.Close()
	defer others.Close()
	if w.stream, err = net.FileConn(own); err != nil {
		return nil, fmt.Errorf("starting %s: %w", w.program, err)
	}
	cmd.Args = append([]string{processName, cmd.Path}, cmd.Args...)
	cmd.Path = "/proc/self/exe"
	cmd.ExtraFiles = []*os.File{others}
	if err := cmd.Start(); err != nil {
		w.stream.Close()
		return nil, fmt.Errorf("starting %s: %w", w.program, err)
	}
	w.process = cmd.Process
	return w, nil
}

// Execute makes the process execute its program. The error is the reason why it cannot. If a signal ends the process
// before that, Execute returns nil, as if the signal had ended the program.
func (w *Waiting) Execute() error {
	defer w.stream.Close()
	if _, err := w.stream.Write([]byte{1}); err != nil && !errors.Is(err, unix.EPIPE) {
		return fmt.Errorf("starting %s: %w", w.program, err)
	}
	failure, err := io.ReadAll(w.stream) // it ends with the execve or with the process
	if err != nil && !errors.Is(err, unix.ECONNRESET) {
		return fmt.Errorf("starting %s: %w", w.program, err)
	}
	if text := strings.TrimSpace(string(failure)); text != "" {
		return fmt.Errorf("starting %s: %s", w.program, text)
	}
	return nil
}

// Cancel ends the process.
func (w *Waiting) Cancel() {
	w.stream.Close()
	_ = w.process.Kill() // it may have ended
}
