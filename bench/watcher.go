package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// watcher is what looks on while a load is made.
type watcher struct {
	name string
	// start begins; the function that it returns ends that, and tells how many checks of
	// a container were recorded, if it can.
	start func(container string) (end func() (checks uint64, err error), err error)
}

// nobody looks on.
var nobody = watcher{"nothing", func(string) (func() (uint64, error), error) {
	return func() (uint64, error) { return 0, nil }, nil
}}

// counting is what a user would write who only wants numbers: the measure of all others.
const counting = `BEGIN { printf("ready\n") } tracepoint:capability:cap_capable { @[cgroup, args->cap] = count(); }`

// showTracepoints mounts what bpftrace reads the kernel's tracepoints from, where the
// system has not.
func showTracepoints() error {
	const directory = "/sys/kernel/tracing"
	if _, err := os.Stat(directory + "/events"); err == nil {
		return nil
	}
	if err := unix.Mount("tracefs", directory, "tracefs", 0, ""); err != nil {
		return fmt.Errorf("mounting tracefs at %s, for bpftrace: %w", directory, err)
	}
	return nil
}

var bpftrace = watcher{"bpftrace", func(string) (func() (uint64, error), error) {
	cmd := exec.Command("bpftrace", "-e", counting)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting bpftrace: %w", err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if lines.Text() == "ready" {
			return func() (uint64, error) {
				if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
					return 0, err
				}
				for lines.Scan() {
				}
				return 0, errors.Join(lines.Err(), cmd.Wait())
			}, nil
		}
	}
	return nil, fmt.Errorf("bpftrace does not count: %w\n%s", cmd.Wait(), &complaints)
}}

// capmon profiles, by its program and with these options.
func capmon(name, program string, options ...string) watcher {
	return watcher{name, func(container string) (func() (uint64, error), error) {
		r, err := startRecording(program, options...)
		if err != nil {
			return nil, err
		}
		return func() (uint64, error) {
			report, err := r.end()
			if err != nil {
				return 0, err
			}
			return checksOf(report, container)
		}, nil
	}}
}

// checksOf reads from a report how many checks of a container were recorded, and fails
// if any was lost.
func checksOf(report []byte, name string) (uint64, error) {
	var said struct {
		Containers []struct {
			Name         string
			Checks, Lost uint64
			Incomplete   []string
		}
	}
	if err := json.Unmarshal(report, &said); err != nil {
		return 0, err
	}
	for _, c := range said.Containers {
		if len(c.Incomplete) > 0 {
			return 0, fmt.Errorf("%s: %s", c.Name, strings.Join(c.Incomplete, "; "))
		}
		if c.Name == name {
			return c.Checks, nil
		}
	}
	if name == "" {
		return 0, nil
	}
	return 0, fmt.Errorf("capmon has not seen %s", name)
}
