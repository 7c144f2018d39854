package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// load is a kind of work that makes capability checks.
type load struct {
	kind      string // its name in scripts/workloads/load.c
	inside    bool   // in a container
	processes int
}

// loads returns the loads to measure, in the order of the table.
func loads() []load {
	var all []load
	for _, kind := range []string{"mmap", "setuid", "open", "rawsock", "exec", "getppid"} {
		all = append(all, load{kind, true, 1})
	}
	for _, kind := range []string{"mmap", "exec", "getppid"} {
		all = append(all, load{kind, false, 1})
	}
	for _, kind := range []string{"mmap", "setuid"} {
		all = append(all, load{kind, true, runtime.NumCPU()})
	}
	return all
}

// loadKinds returns the kinds of the loads.
func loadKinds() []string {
	var kinds []string
	for _, l := range loads() {
		if !slices.Contains(kinds, l.kind) {
			kinds = append(kinds, l.kind)
		}
	}
	return kinds
}

func (l load) String() string {
	name := l.kind
	if l.processes > 1 {
		name += fmt.Sprintf(" ×%d", l.processes)
	}
	if !l.inside {
		name += ", outside"
	}
	return name
}

// generator makes loads on request: it runs the program load, in a container or outside.
type generator struct {
	name   string // the name of its container, "" without one
	cmd    *exec.Cmd
	orders io.WriteCloser
	times  *bufio.Reader
}

// buildLoad compiles the program into a directory.
func buildLoad(directory string) (string, error) {
	program := filepath.Join(directory, "load")
	out, err := exec.Command("gcc", "-O2", "-static", "-o", program, "scripts/workloads/load.c").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("compiling scripts/workloads/load.c: %w\n%s", err, out)
	}
	return program, nil
}

// startOutside starts the program without a container.
func startOutside(program string) (*generator, error) {
	return start("", exec.Command(program))
}

// startInside starts the program in a new container, with the capabilities that Docker grants by default.
func startInside(program, name string) (*generator, error) {
	return start(name, exec.Command("docker", "run", "--rm", "-i", "--name", name, "-v", program+":/load:ro", "bb", "/load"))
}

func start(name string, cmd *exec.Cmd) (*generator, error) {
	cmd.Stderr = os.Stderr
	orders, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	times, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	g := &generator{name, cmd, orders, bufio.NewReader(times)}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", cmd, err)
	}
	_, err = g.make("getppid", 1, 1) // wait until it runs
	return g, err
}

// make makes a kind of load this many times in each process, and returns the duration.
func (g *generator) make(kind string, times, processes int) (time.Duration, error) {
	if _, err := fmt.Fprintln(g.orders, kind, times, processes); err != nil {
		return 0, fmt.Errorf("sending %s to the load generator: %w", kind, err)
	}
	line, err := g.times.ReadString('\n')
	if err != nil {
		return 0, fmt.Errorf("the load generator did not respond to %s: %w", kind, err)
	}
	nanoseconds, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
	return time.Duration(nanoseconds), err
}

// calibrate returns the number of times that takes make about 200 ms.
func (g *generator) calibrate(l load) (times int, err error) {
	const wanted = 200 * time.Millisecond
	for times = 10; ; times *= 4 {
		took, err := g.make(l.kind, times, l.processes)
		if err != nil {
			return 0, err
		}
		if took > wanted/4 {
			return max(1, int(int64(times)*int64(wanted)/int64(took))), nil
		}
	}
}

func (g *generator) end() error {
	return errors.Join(g.orders.Close(), g.cmd.Wait())
}
