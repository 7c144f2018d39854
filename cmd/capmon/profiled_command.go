package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/launch"
)

// profiledCommand is the command that capmon profile runs: in the same terminal and the same process group. capmon
// forwards signals to it.
type profiledCommand struct {
	path    string
	args    []string
	env     []string
	stdout  io.Writer
	signals chan os.Signal
	// prepare prepares the process with this PID before it executes the command. It may be nil.
	prepare func(pid int) error
}

// newProfiledCommand looks the command up and starts to catch the signals for it.
func newProfiledCommand(args, env []string, stdout io.Writer) (*profiledCommand, error) {
	path, err := exec.LookPath(args[0])
	if err != nil {
		return nil, fmt.Errorf("cannot run %s: %w", args[0], err)
	}
	c := &profiledCommand{path: path, args: args, env: env, stdout: stdout, signals: make(chan os.Signal, 16)}
	signal.Notify(c.signals, caughtSignals(unix.SIGINT, unix.SIGTERM, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2)...)
	return c, nil
}

// release stops catching signals.
func (c *profiledCommand) release() { signal.Stop(c.signals) }

// run runs the command. It returns the exit code that a shell would return.
func (c *profiledCommand) run() (code int, err error) {
	cmd := &exec.Cmd{Path: c.path, Args: c.args, Env: c.env, Stdin: os.Stdin, Stdout: c.stdout, Stderr: os.Stderr}
	if err := c.start(cmd); err != nil {
		return 0, err
	}
	ended := make(chan struct{})
	go c.forwardSignals(cmd.Process, ended)
	err = cmd.Wait()
	close(ended)

	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 0, fmt.Errorf("running %s: %w", c.args[0], err)
	}
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return signalExitCode(status.Signal()), nil
	}
	return cmd.ProcessState.ExitCode(), nil
}

// start starts the command, after prepare.
func (c *profiledCommand) start(cmd *exec.Cmd) error {
	if c.prepare == nil {
		if err := cmd.Start(); err != nil {
			return fmt.Errorf("starting %s: %w", c.args[0], err)
		}
		return nil
	}
	waiting, err := launch.Start(cmd)
	if err != nil {
		return err
	}
	if err = c.prepare(cmd.Process.Pid); err != nil {
		waiting.Cancel()
	} else {
		err = waiting.Execute()
	}
	if err != nil {
		_ = cmd.Wait() // it has not executed the command
	}
	return err
}

// signalExitCode returns a shell's exit code for a process that a signal has ended.
func signalExitCode(s syscall.Signal) int { return 128 + int(s) }

// forwardSignals sends signals to the command, except those that the terminal has already sent to the whole process
// group.
func (c *profiledCommand) forwardSignals(process *os.Process, ended <-chan struct{}) {
	for {
		select {
		case <-ended:
			return
		case s := <-c.signals:
			if (s == unix.SIGINT || s == unix.SIGQUIT) && inForeground() {
				continue
			}
			_ = process.Signal(s) // the process may have ended
		}
	}
}

// inForeground reports whether the terminal sends its signals to capmon's process group. Redirected input and output do
// not matter.
func inForeground() bool {
	terminal, err := os.Open("/dev/tty")
	if err != nil {
		return false // no terminal
	}
	defer terminal.Close()
	group, err := unix.IoctlGetInt(int(terminal.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}
