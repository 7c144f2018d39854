package verify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"
	"github.com/docker/docker/pkg/stdcopy"
	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/profile"
)

// runResult is the result of one run of the workload.
type runResult struct {
	// outcome is the outcome in words. ending is how the container ended, if that is known. Two runs with the same
	// words had the same outcome.
	outcome string
	ending  containerEnd
	// broken: the run cannot serve as the baseline, because the container did not start or did not end.
	broken bool
	// second is the result of the second start, nil if there was none.
	second *runResult
	// output is the last line of the output, from stderr if possible.
	output string
	// runs are the recorded runs, one for each start.
	runs    []profile.Run
	seconds float64
	stopped time.Duration // the part of the time that stopping the container took
}

// words returns the outcome and the end of the container, for both starts if there were two.
func (e runResult) words() string {
	words := e.outcome
	if e.ending.words != "" {
		words += "; " + e.ending.words
	}
	if e.second == nil {
		return words
	}
	if second := e.second.words(); second != words {
		return words + "; second start: " + second
	}
	return words + ", on both starts"
}

// exited returns the outcome of a workload or test that ended by itself.
func exited(what string, status int64) string { return fmt.Sprintf("%sexit status %d", what, status) }

// passed is the outcome of a passed test.
var passed = exited("test: ", 0)

// execute runs a docker command to its end and returns its output. The error is the command's error message.
func execute(ctx context.Context, line []string, input []byte, environment ...string) (string, error) {
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.Env = append(os.Environ(), environment...)
	// If the command is creating a container, wait for it, so that no container appears after verify's end. Only
	// pulling an image takes longer.
	cmd.Cancel = func() error {
		time.AfterFunc(cancelDelay, func() { _ = cmd.Process.Signal(unix.SIGTERM) })
		return nil
	}
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true} // verify handles Ctrl-C itself
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case errors.As(err, &exit):
		return "", errors.New(lastError(stderr.String()))
	case err != nil:
		return "", fmt.Errorf("cannot run %s: %w", line[0], err)
	}
	return stdout.String(), nil
}

// cancelDelay is the time for which a request to the engine may continue after Ctrl-C.
const cancelDelay = 2 * time.Second

// lastError returns the error message of the docker command: its last line before the advice to read the help.
func lastError(stderr string) string {
	var last string
	for line := range strings.Lines(stderr) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "See '") || strings.HasPrefix(line, "Run '") || strings.HasPrefix(line, "Usage:") {
			break
		}
		if line != "" {
			last = line
		}
	}
	return strings.TrimPrefix(strings.TrimPrefix(last, "docker: "), "Error response from daemon: ")
}

// run runs the workload once, with a second start if that is wanted and the first one was a success. It removes all
// containers in any case.
func (x *executor) run(ctx context.Context, spec containerSpec) (result runResult, err error) {
	spec = x.complete(spec)
	defer func() { err = x.explain(ctx, errors.Join(err, x.remove(ctx, spec.name))) }()
	id, result, err := x.runOnce(ctx, spec, "")
	if err != nil || x.second == none || result.outcome != x.success {
		return result, err
	}
	second, err := x.runSecond(ctx, spec, id, len(result.runs))
	if err != nil {
		return runResult{}, err
	}
	result.second = &second
	return result, nil
}

// runSecond makes the second start of a container that has been started before. before is the number of its runs.
func (x *executor) runSecond(ctx context.Context, spec containerSpec, id string, before int) (second runResult, err error) {
	if x.second == otherContainer {
		id, spec.second, before = "", true, 0
	}
	_, second, err = x.runOnce(ctx, spec, id)
	var notStarted *notStartedError
	if errors.As(err, &notStarted) {
		return runResult{outcome: "did not start", broken: true, output: notStarted.text}, nil
	}
	second.runs = second.runs[min(before, len(second.runs)):]
	return second, err
}

// runOnce starts the container with the ID, or a new one if the ID is empty, and waits for its end.
func (x *executor) runOnce(ctx context.Context, spec containerSpec, id string) (_ string, result runResult, err error) {
	limit, slow := x.limits.next()
	timer := time.AfterFunc(slow, func() { spec.slow(slow, limit) })
	defer timer.Stop()
	begin := time.Now()
	longest := limit
	if x.test != "" && !x.skipsStop {
		longest += x.stopping.grace
	}
	ctx, cancel := context.WithTimeoutCause(ctx, longest, errTimeout)
	defer cancel()
	defer func() { err = x.explain(ctx, err) }()
	start := func() error { return x.command.start(ctx, x.api, id, spec) }
	if id != "" { // the services that compose has started for it are still running
		start = func() error { return x.api.ContainerStart(ctx, id, container.StartOptions{}) }
	} else if id, err = x.command.create(ctx, x.api, spec); err != nil {
		return "", runResult{}, err
	}
	x.observer.Inspect(ctx, id)
	started := time.Now()
	if result, err = x.start(ctx, id, start); err != nil {
		return id, runResult{}, err
	}
	result.seconds = time.Since(started).Seconds()
	if spec.grants == nil {
		x.limits.took = max(x.limits.took, time.Since(begin)-result.stopped)
	}
	// All checks are recorded only when the last process has ended.
	if err := x.end(ctx, id); err != nil {
		return id, runResult{}, err
	}
	result.runs, err = x.recordedRuns(id)
	return id, result, err
}

// errTimeout is the cause of the context if a run reaches its time limit. It distinguishes that from Ctrl-C.
var errTimeout = errors.New("a run has reached its time limit")

// explain returns the most useful error for a failure: Ctrl-C rather than its consequences, and an unreachable engine
// rather than the requests that failed because of it.
func (x *executor) explain(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(context.Cause(ctx), errTimeout):
		return fmt.Errorf("%w: set a longer --timeout", errTimeout)
	case ctx.Err() != nil:
		return ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, endTimeout)
	defer cancel()
	if _, gone := x.api.Ping(ctx); gone != nil {
		return fmt.Errorf("the Docker engine does not answer: %w; when it answers again, the next capmon verify removes the containers that this one has left", gone)
	}
	return err
}

// start starts a container and waits until its outcome is known.
func (x *executor) start(ctx context.Context, id string, start func() error) (runResult, error) {
	output, err := x.attach(ctx, id)
	if err != nil {
		return runResult{}, err
	}
	defer output.close()
	var events eventStream
	if x.test != "" && x.healthcheck {
		events = x.follow(ctx, id)
	}
	var exit exitWaiter
	exit.exits, exit.failed = x.api.ContainerWait(ctx, id, container.WaitConditionNextExit)
	if err := start(); err != nil {
		return x.notStarted(ctx, id, err)
	}
	var result runResult
	if x.test == "" {
		var status int64
		status, err = exit.await(ctx)
		result.outcome = exited("", status)
	} else {
		result, err = x.runTest(ctx, id, events)
	}
	if err == nil && result.outcome == passed && !x.skipsStop {
		result.output = "" // from now on, the output explains how the container ends
		begin := time.Now()
		result.ending, err = x.stop(ctx, id, exit)
		result.stopped = time.Since(begin)
	}
	if errors.Is(context.Cause(ctx), errTimeout) {
		limit, _ := x.limits.next()
		return runResult{outcome: fmt.Sprintf("no end within %s", limit), broken: true, output: output.last()}, nil
	}
	if err = errors.Join(err, ctx.Err()); err != nil {
		return runResult{}, err
	}
	if x.test == "" {
		output.wait()
	}
	if result.output == "" {
		result.output = output.last()
	}
	return result, nil
}

// closed returns the error of an answer of the engine that ended early.
func closed(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return errors.New("the engine has closed the connection")
	}
	return err
}

// notStarted distinguishes a denied start, which may be due to a missing capability, from an engine that fails.
func (x *executor) notStarted(ctx context.Context, id string, err error) (runResult, error) {
	text := strings.TrimPrefix(err.Error(), "Error response from daemon: ")
	if ctx.Err() != nil || client.IsErrConnectionFailed(err) {
		return runResult{}, err
	}
	for _, denial := range []error{unix.EACCES, unix.EPERM} {
		if strings.Contains(text, denial.Error()) {
			return runResult{outcome: "did not start", broken: true, output: text}, nil
		}
	}
	return runResult{}, &notStartedError{text}
}

// notStartedError means that the engine cannot start a container, for another reason than a denial.
type notStartedError struct{ text string }

func (e *notStartedError) Error() string { return "the container does not start: " + e.text }

// end kills the processes that still run in the container, and returns when they have ended.
func (x *executor) end(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	if err := x.api.ContainerKill(ctx, id, "KILL"); err != nil {
		return nil // it no longer runs; if the engine does not answer, the next request fails
	}
	exits, failed := x.api.ContainerWait(ctx, id, container.WaitConditionNotRunning)
	select {
	case <-exits:
		return nil
	case err := <-failed:
		return fmt.Errorf("waiting for the killed container's end: %w", err)
	}
}

// endTimeout is the time limit of the requests to the engine after the end of a run.
const endTimeout = 30 * time.Second

// output has the last part of a container's output.
type output struct {
	stdout, stderr tail
	connection     io.Closer
	done           chan struct{}
}

// attach attaches to a container. It must be called before the start. For a container that reads its standard input,
// the input is at its end: verify cannot read it once for each run.
func (x *executor) attach(ctx context.Context, id string) (*output, error) {
	stream, err := x.api.ContainerAttach(ctx, id, container.AttachOptions{Stream: true, Stdin: x.command.hasInput(), Stdout: true, Stderr: true})
	if err != nil {
		return nil, fmt.Errorf("attaching to the container: %w", err)
	}
	if x.command.hasInput() {
		if err := stream.CloseWrite(); err != nil {
			return nil, fmt.Errorf("ending the container's input: %w", err)
		}
	}
	o := &output{connection: stream.Conn, done: make(chan struct{})}
	go func() {
		defer close(o.done)
		if x.tty {
			_, _ = io.Copy(&o.stdout, stream.Reader)
		} else {
			_, _ = stdcopy.StdCopy(&o.stdout, &o.stderr, stream.Reader)
		}
	}()
	return o, nil
}

// wait waits until the container has closed its output.
func (o *output) wait() { <-o.done }

func (o *output) close() {
	_ = o.connection.Close()
	<-o.done
}

// last returns the last line, and stops reading.
func (o *output) last() string {
	o.close()
	if line := o.stderr.lastLine(); line != "" {
		return line
	}
	return o.stdout.lastLine()
}

// tail has the last bytes that were written to it.
type tail struct{ kept []byte }

const tailSize = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p...)
	t.kept = t.kept[max(0, len(t.kept)-tailSize):]
	return len(p), nil
}

func (t *tail) lastLine() string {
	lines := strings.Split(strings.TrimSpace(string(t.kept)), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}

// shell runs the test on the host.
func (x *executor) shell(ctx context.Context, variables []string) (runResult, error) {
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", x.test)
	cmd.Env = append(os.Environ(), variables...)
	// The test has a process group of its own, so that all of its processes can be killed.
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = cancelDelay
	var written tail
	cmd.Stdout, cmd.Stderr = &written, &written
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		return runResult{}, fmt.Errorf("running the test: %w", err)
	}
	return runResult{outcome: exited("test: ", int64(cmd.ProcessState.ExitCode())), output: written.lastLine()}, nil
}
