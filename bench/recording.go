package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// recording is a capmon process that profiles, watches or serves.
type recording struct {
	cmd         *exec.Cmd
	out, stderr bytes.Buffer
	ended       chan error
}

// startRecording starts capmon profile with these options, and returns when it records.
func startRecording(program string, options ...string) (*recording, error) {
	return startCapmon(program, nil, append([]string{"profile", "-o", "json"}, options...)...)
}

// startCapmon starts a command of capmon that writes to out, or to the recording's buffer if out is nil, and returns
// when it records.
func startCapmon(program string, out *os.File, command ...string) (*recording, error) {
	directory, err := os.MkdirTemp("", "capmon-bench.")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(directory)
	ready := filepath.Join(directory, "ready")
	if err := syscall.Mkfifo(ready, 0o600); err != nil {
		return nil, err
	}
	r := &recording{
		cmd:   exec.Command(program, append(command, "--ready-file", ready)...),
		ended: make(chan error, 1),
	}
	r.cmd.Stdout, r.cmd.Stderr = &r.out, &r.stderr
	if out != nil {
		r.cmd.Stdout = out
	}
	if err := r.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting capmon: %w", err)
	}
	go func() { r.ended <- r.cmd.Wait() }()
	opened := make(chan error, 1)
	go func() {
		_, err := os.ReadFile(ready)
		opened <- err
	}()
	select {
	case err := <-opened:
		return r, err
	case err := <-r.ended:
		return nil, fmt.Errorf("capmon has ended: %w\n%s", err, &r.stderr)
	}
}

// mostMemory returns the peak memory of a recording that has ended, in bytes.
func (r *recording) mostMemory() int64 {
	return r.cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss * 1024 // getrusage(2): kilobytes
}

// end ends the recording and returns its report.
func (r *recording) end() ([]byte, error) {
	if err := r.cmd.Process.Signal(syscall.SIGINT); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return nil, err
	}
	if err := <-r.ended; err != nil {
		return nil, fmt.Errorf("capmon: %w\n%s", err, &r.stderr)
	}
	return r.out.Bytes(), nil
}
