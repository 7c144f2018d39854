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
)

// child is a command that runs in our place: same terminal, same process group,
// signals passed on.
type child struct {
	path    string
	args    []string
	env     []string
	stdout  io.Writer
	signals chan os.Signal
}

// newChild finds the command and begins to catch the signals meant for it.
func newChild(args, env []string, stdout io.Writer) (*child, error) {
	path, err := exec.LookPath(args[0])
	if err != nil {
		return nil, fmt.Errorf("cannot run %s: %w", args[0], err)
	}
	c := &child{path: path, args: args, env: env, stdout: stdout, signals: make(chan os.Signal, 16)}
	signal.Notify(c.signals, caught(unix.SIGINT, unix.SIGTERM, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2)...)
	return c, nil
}

// release gives the signals back.
func (c *child) release() { signal.Stop(c.signals) }

// run returns the exit code that a shell would.
func (c *child) run() (code int, err error) {
	cmd := &exec.Cmd{Path: c.path, Args: c.args, Env: c.env, Stdin: os.Stdin, Stdout: c.stdout, Stderr: os.Stderr}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("starting %s: %w", c.args[0], err)
	}
	ended := make(chan struct{})
	go c.passOn(cmd.Process, ended)
	err = cmd.Wait()
	close(ended)

	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 0, fmt.Errorf("running %s: %w", c.args[0], err)
	}
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return signalled(status.Signal()), nil
	}
	return cmd.ProcessState.ExitCode(), nil
}

// signalled is a shell's exit code for what a signal has ended.
func signalled(s syscall.Signal) int { return 128 + int(s) }

// passOn hands signals to the command, but for those that a terminal has sent to
// the whole process group already.
func (c *child) passOn(process *os.Process, ended <-chan struct{}) {
	for {
		select {
		case <-ended:
			return
		case s := <-c.signals:
			if (s == unix.SIGINT || s == unix.SIGQUIT) && inForeground() {
				continue
			}
			_ = process.Signal(s) // it may just have ended
		}
	}
}

// inForeground reports whether our process group is the one that the terminal
// sends its signals to, wherever our input and output go.
func inForeground() bool {
	terminal, err := os.Open("/dev/tty")
	if err != nil {
		return false // there is none
	}
	defer terminal.Close()
	group, err := unix.IoctlGetInt(int(terminal.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}
