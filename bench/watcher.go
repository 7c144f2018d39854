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

// watcher is a program that observes the checks while a load runs.
type watcher struct {
	name string
	// start starts the watcher. The returned function ends it, and returns the number of recorded checks of a
	// container, or 0 if the watcher cannot count them by container.
	start func(container string) (end func() (checks uint64, err error), err error)
}

// baseline is a measurement without a watcher.
var baseline = watcher{"nothing", func(string) (func() (uint64, error), error) {
	return func() (uint64, error) { return 0, nil }, nil
}}

// counting is the bpftrace program of a user who only wants numbers: the reference for all other watchers.
const counting = `BEGIN { printf("ready\n") } tracepoint:capability:cap_capable { @[cgroup, args->cap] = count(); }`

// showTracepoints mounts tracefs, from which bpftrace reads the kernel's tracepoints, if it is not mounted.
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
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
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
	return nil, fmt.Errorf("bpftrace did not start to count: %w\n%s", cmd.Wait(), &stderr)
}}

// capmon returns a watcher that profiles with this capmon and these options.
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

// checksOf reads the number of recorded checks of a container from a report. It fails if checks were lost.
func checksOf(report []byte, name string) (uint64, error) {
	var parsed struct {
		Containers []struct {
			Name         string
			Checks, Lost uint64
			Incomplete   []string
		}
	}
	if err := json.Unmarshal(report, &parsed); err != nil {
		return 0, err
	}
	for _, c := range parsed.Containers {
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
	return 0, fmt.Errorf("the report does not have %s", name)
}
