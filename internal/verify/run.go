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

// ended is how one run of the workload came out.
type ended struct {
	// outcome in words, and the container's ending if that is known, too: runs whose
	// words are the same came out the same.
	outcome string
	ending  ending
	// broken says that the run is no measure: the container did not start, or did
	// not end. A command as the user gave it must not be.
	broken bool
	// second is how a second start came out, nil if there was none.
	second *ended
	// output is the last line of what was written, to stderr if possible.
	output string
	// runs are what capmon has recorded, one for each start.
	runs    []profile.Run
	seconds float64
	stopped time.Duration // how much of that it took to stop the container
}

// words are the outcome and the ending, of both starts if there were two.
func (e ended) words() string {
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

// exited is the outcome of a workload or test that ended by itself.
func exited(what string, status int64) string { return fmt.Sprintf("%sexit status %d", what, status) }

// passed is the outcome of a test that passed.
var passed = exited("test: ", 0)

// execute runs a docker command to its end and returns what it printed. The error is
// its complaint.
func execute(ctx context.Context, line []string, input []byte, environment ...string) (string, error) {
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.Env = append(os.Environ(), environment...)
	// A creation under way is waited for, so that no container appears after the
	// end. Only pulling an image takes longer.
	cmd.Cancel = func() error {
		time.AfterFunc(patience, func() { _ = cmd.Process.Signal(unix.SIGTERM) })
		return nil
	}
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true} // Ctrl-C is ours to handle
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case errors.As(err, &exit):
		return "", errors.New(complaint(stderr.String()))
	case err != nil:
		return "", fmt.Errorf("cannot run %s: %w", line[0], err)
	}
	return stdout.String(), nil
}

// patience is how long a request to the engine may go on after Ctrl-C.
const patience = 2 * time.Second

// complaint is what the docker command has to say: its last line before the advice
// to read its help.
func complaint(stderr string) string {
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

// execute runs the workload once, with a second start if that is to be tried and the first one
// was a success, and removes all containers, whatever happens.
func (b *bench) execute(ctx context.Context, how creation) (result ended, err error) {
	how = b.complete(how)
	defer func() { err = b.reason(ctx, errors.Join(err, b.remove(ctx, how.name))) }()
	id, result, err := b.live(ctx, how, "")
	if err != nil || b.second == none || result.outcome != b.success {
		return result, err
	}
	second, err := b.startAgain(ctx, how, id, len(result.runs))
	if err != nil {
		return ended{}, err
	}
	result.second = &second
	return result, nil
}

// startAgain makes the second start of a container that had some runs before.
func (b *bench) startAgain(ctx context.Context, how creation, id string, before int) (second ended, err error) {
	if b.second == otherContainer {
		id, how.second, before = "", true, 0
	}
	_, second, err = b.live(ctx, how, id)
	var refused *notStartedError
	if errors.As(err, &refused) {
		return ended{outcome: "did not start", broken: true, output: refused.text}, nil
	}
	second.runs = second.runs[min(before, len(second.runs)):]
	return second, err
}

// live starts the container with the ID, or a new one if there is none, and waits for its end.
func (b *bench) live(ctx context.Context, how creation, id string) (_ string, result ended, err error) {
	limit, hanging := b.limits.of()
	timer := time.AfterFunc(hanging, func() { how.hanging(hanging, limit) })
	defer timer.Stop()
	begin := time.Now()
	longest := limit
	if b.test != "" && !b.kills {
		longest += b.stopping.grace
	}
	ctx, cancel := context.WithTimeoutCause(ctx, longest, errTimeout)
	defer cancel()
	defer func() { err = b.reason(ctx, err) }()
	start := func() error { return b.command.start(ctx, b.api, id, how) }
	if id != "" { // what compose starts the service with runs still
		start = func() error { return b.api.ContainerStart(ctx, id, container.StartOptions{}) }
	} else if id, err = b.command.create(ctx, b.api, how); err != nil {
		return "", ended{}, err
	}
	b.observer.Learn(ctx, id)
	started := time.Now()
	if result, err = b.start(ctx, id, start); err != nil {
		return id, ended{}, err
	}
	result.seconds = time.Since(started).Seconds()
	if how.grants == nil {
		b.limits.took = max(b.limits.took, time.Since(begin)-result.stopped)
	}
	// Only when the last process has gone all its checks are there.
	if err := b.end(ctx, id); err != nil {
		return id, ended{}, err
	}
	result.runs, err = b.seen(id)
	return id, result, err
}

// errTimeout tells the end of one run's time from Ctrl-C.
var errTimeout = errors.New("the time for one run is up")

// reason is why something failed: Ctrl-C before what it has led to, and an engine
// that has gone before all that does not work without.
func (b *bench) reason(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(context.Cause(ctx), errTimeout):
		return fmt.Errorf("%w: see --timeout", errTimeout)
	case ctx.Err() != nil:
		return ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, endTimeout)
	defer cancel()
	if _, gone := b.api.Ping(ctx); gone != nil {
		return fmt.Errorf("the Docker engine has gone: %w; when it is back, the next capmon verify removes what this one has left", gone)
	}
	return err
}

// start starts a container and waits until its outcome is known.
func (b *bench) start(ctx context.Context, id string, start func() error) (ended, error) {
	output, err := b.attach(ctx, id)
	if err != nil {
		return ended{}, err
	}
	defer output.close()
	var events happening
	if b.test != "" && b.healthcheck {
		events = b.follow(ctx, id)
	}
	var exit exiting
	exit.exits, exit.failed = b.api.ContainerWait(ctx, id, container.WaitConditionNextExit)
	if err := start(); err != nil {
		return b.notStarted(ctx, id, err)
	}
	var result ended
	if b.test == "" {
		var status int64
		status, err = exit.await(ctx)
		result.outcome = exited("", status)
	} else {
		result, err = b.runTest(ctx, id, events)
	}
	if err == nil && result.outcome == passed && !b.kills {
		result.output = "" // what the container writes tells why it does not end
		begin := time.Now()
		result.ending, err = b.stop(ctx, id, exit)
		result.stopped = time.Since(begin)
	}
	if errors.Is(context.Cause(ctx), errTimeout) {
		limit, _ := b.limits.of()
		return ended{outcome: fmt.Sprintf("no end within %s", limit), broken: true, output: output.last()}, nil
	}
	if err = errors.Join(err, ctx.Err()); err != nil {
		return ended{}, err
	}
	if b.test == "" {
		output.wait()
	}
	if result.output == "" {
		result.output = output.last()
	}
	return result, nil
}

// closed is why an answer of the engine ended early.
func closed(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return errors.New("the engine has closed the connection")
	}
	return err
}

// notStarted tells a refusal, which may be for want of a capability, from an engine
// in trouble.
func (b *bench) notStarted(ctx context.Context, id string, err error) (ended, error) {
	text := strings.TrimPrefix(err.Error(), "Error response from daemon: ")
	if ctx.Err() != nil || client.IsErrConnectionFailed(err) {
		return ended{}, err
	}
	for _, refusal := range []error{unix.EACCES, unix.EPERM} {
		if strings.Contains(text, refusal.Error()) {
			return ended{outcome: "did not start", broken: true, output: text}, nil
		}
	}
	return ended{}, &notStartedError{text}
}

// notStartedError is why the engine cannot start a container, for another reason than a refusal.
type notStartedError struct{ text string }

func (e *notStartedError) Error() string { return "the container does not start: " + e.text }

// end kills what still runs in the container, and returns when it has gone.
func (b *bench) end(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	if err := b.api.ContainerKill(ctx, id, "KILL"); err != nil {
		return nil // it does not run any more; an engine that is away will be noticed
	}
	exits, failed := b.api.ContainerWait(ctx, id, container.WaitConditionNotRunning)
	select {
	case <-exits:
		return nil
	case err := <-failed:
		return fmt.Errorf("waiting for the killed container's end: %w", err)
	}
}

// endTimeout bounds what is done with the engine when everything else is over.
const endTimeout = 30 * time.Second

// output keeps the end of what a container writes.
type output struct {
	stdout, stderr tail
	connection     io.Closer
	done           chan struct{}
}

// attach must be called before the container starts. A container that reads its
// standard input finds it at its end: it cannot be read once for each run.
func (b *bench) attach(ctx context.Context, id string) (*output, error) {
	stream, err := b.api.ContainerAttach(ctx, id, container.AttachOptions{Stream: true, Stdin: b.command.input(), Stdout: true, Stderr: true})
	if err != nil {
		return nil, fmt.Errorf("attaching to the container: %w", err)
	}
	if b.command.input() {
		if err := stream.CloseWrite(); err != nil {
			return nil, fmt.Errorf("ending the container's input: %w", err)
		}
	}
	o := &output{connection: stream.Conn, done: make(chan struct{})}
	go func() {
		defer close(o.done)
		if b.tty {
			_, _ = io.Copy(&o.stdout, stream.Reader)
		} else {
			_, _ = stdcopy.StdCopy(&o.stdout, &o.stderr, stream.Reader)
		}
	}()
	return o, nil
}

// wait returns when the container has closed its output.
func (o *output) wait() { <-o.done }

func (o *output) close() {
	_ = o.connection.Close()
	<-o.done
}

// last is the last line. It ends the reading.
func (o *output) last() string {
	o.close()
	if line := o.stderr.lastLine(); line != "" {
		return line
	}
	return o.stdout.lastLine()
}

// tail is the end of what is written to it.
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
func (b *bench) shell(ctx context.Context, variables []string) (ended, error) {
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", b.test)
	cmd.Env = append(os.Environ(), variables...)
	// In a process group of its own, so that nothing of it stays.
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = patience
	var written tail
	cmd.Stdout, cmd.Stderr = &written, &written
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		return ended{}, fmt.Errorf("running the test: %w", err)
	}
	return ended{outcome: exited("test: ", int64(cmd.ProcessState.ExitCode())), output: written.lastLine()}, nil
}
