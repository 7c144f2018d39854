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
	"strconv"
	"strings"
	"time"
)

// load is one way of making capability checks.
type load struct {
	kind      string // as scripts/workloads/load.c names it
	inside    bool   // in a container
	processes int
}

// loads are what is measured, in the order of the table.
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

// generator makes loads when told to: the program load, in a container or not.
type generator struct {
	name   string // of its container, "" for none
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

// startOutside starts the program by itself.
func startOutside(program string) (*generator, error) {
	return start("", exec.Command(program))
}

// startInside starts it in a container of its own, with the capabilities that Docker
// grants by default.
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
	_, err = g.make("getppid", 1, 1) // it is there
	return g, err
}

// make makes a kind of load so many times in each process, and returns how long that
// took.
func (g *generator) make(kind string, times, processes int) (time.Duration, error) {
	if _, err := fmt.Fprintln(g.orders, kind, times, processes); err != nil {
		return 0, fmt.Errorf("telling the load generator: %w", err)
	}
	line, err := g.times.ReadString('\n')
	if err != nil {
		return 0, fmt.Errorf("the load generator has not answered to %s: %w", kind, err)
	}
	nanoseconds, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
	return time.Duration(nanoseconds), err
}

// calibrate finds how many times make some fifth of a second.
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
