package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/capmon/capmon/capability"
)

// testLimit is the time limit of a test. It ends tests that hang: even on a busy machine, no test takes half of it.
const testLimit = 2 * time.Minute

// engineFailed is the exit code of docker run if the engine failed, and not the container's software.
const engineFailed = 125

// failure is an error of a workload that does not work. Any other error says nothing about the workload.
type failure struct{ reason string }

func (f failure) Error() string { return f.reason }

var containers atomic.Int64

// run runs the workload with only these capabilities. It starts the container, runs the test, and stops the container.
// A workload with Restart is then started, tested and stopped a second time. The error is a failure if the workload
// does not work or does not stop as expected.
func (w workload) run(ctx context.Context, granted capability.Set) error {
	container := fmt.Sprintf("corpus-%s-%d-%d", w.name, os.Getpid(), containers.Add(1))
	defer docker(context.WithoutCancel(ctx), "rm", "--force", "--volumes", container)

	args := []string{"run", "--detach", "--name", container, "--cap-drop=ALL"}
	for _, c := range granted.Sorted() {
		args = append(args, "--cap-add="+c.String())
	}
	args = append(append(append(args, w.Options...), "corpus-"+w.name), w.Command...)
	if out, code := docker(ctx, args...); code != 0 {
		return runError(code, out)
	}
	if err := w.testAndStop(ctx, container); err != nil || !w.Restart {
		return err
	}
	if out, code := docker(ctx, "start", container); code != 0 {
		return fmt.Errorf("docker start: %s", out)
	}
	return w.testAndStop(ctx, container)
}

func (w workload) testAndStop(ctx context.Context, container string) error {
	tested := w.test(ctx, container)
	stopped, err := w.stop(ctx, container)
	if err != nil {
		return errors.Join(ctx.Err(), err)
	}
	if err := errors.Join(tested, stopped); err != nil {
		logs, _ := docker(ctx, "logs", "--tail=20", container)
		return failure{fmt.Sprintf("%v\n%s", err, logs)}
	}
	return nil
}

func runError(code int, text string) error {
	if code == engineFailed {
		return fmt.Errorf("docker run: %s", text)
	}
	return failure{"docker run: " + text}
}

func (w workload) test(ctx context.Context, container string) error {
	ctx, cancel := context.WithTimeout(ctx, testLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(w.directory, "test.sh"))
	cmd.Env = append(os.Environ(), "CONTAINER="+container)
	cmd.WaitDelay = time.Second // processes that the test started may keep its output open
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("test.sh: %w: %s", err, out)
	}
	return nil
}

// stop stops the container. wrong describes an unexpected end of the container; nil if there is none. err is an error
// of the engine: then it is not known how the container ended.
func (w workload) stop(ctx context.Context, container string) (wrong, err error) {
	running, err := inspect(ctx, container, "{{.State.Running}}")
	if err != nil {
		return nil, err
	}
	docker(ctx, "stop", container)
	code, err := inspect(ctx, container, "{{.State.ExitCode}}")
	switch {
	case err != nil:
		return nil, err
	case running == "false" && !w.Ends:
		return fmt.Errorf("the container ended by itself, with exit status %s", code), nil
	case code != strconv.Itoa(w.Exit):
		return fmt.Errorf("the container ended with exit status %s, not with %d", code, w.Exit), nil
	}
	return nil, nil
}

func inspect(ctx context.Context, container, format string) (string, error) {
	out, code := docker(ctx, "inspect", "--format="+format, container)
	if code != 0 {
		return "", fmt.Errorf("docker inspect: %s", out)
	}
	return strings.TrimSpace(out), nil
}

// docker runs a docker command and returns its output and its exit code.
func docker(ctx context.Context, args ...string) (string, int) {
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, "docker", args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if cmd.ProcessState == nil || !cmd.ProcessState.Exited() {
		return fmt.Sprint(err), engineFailed
	}
	return out.String(), cmd.ProcessState.ExitCode()
}
