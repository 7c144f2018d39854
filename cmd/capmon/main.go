// Command capmon tells which Linux capabilities containers really use.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/untrustedfs"
)

// Exit codes.
const (
	exitDone  = 0 // and nothing to complain about
	exitFound = 1 // what was to be proved is not so or not certain, a container fails the audit, or a rule would alert
	exitUsage = 2 // usage or environment error
)

// interrupted is what capmon prints when a signal ends it.
const interrupted = "interrupted before it was done"

// exitError ends the program with a code of its own; all that is to be said has
// been said.
type exitError struct{ code int }

func (e *exitError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

func main() {
	untrustedfs.Main()
	os.Exit(run())
}

func run() int {
	logging := newLogging(os.Args[1:])
	stderr := notices{logging}
	ctx, stop := interruptible(stderr)
	defer stop()
	err := newRootLogging(logging).ExecuteContext(ctx)
	var exit *exitError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &exit):
		return exit.code
	case errors.Is(err, context.Canceled):
		stderr.complain(interrupted)
		return signalled(unix.SIGINT)
	}
	stderr.complain(err.Error())
	return exitUsage
}

// interruptible is a context that ends with the first signal that asks the program to end. The
// second signal ends the program at once, whatever it is waiting for. Signals that come while a
// command runs in the foreground (child) are the command's and do not count as a second one.
func interruptible(stderr notices) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	commands := &foreground{}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, caught(unix.SIGINT, unix.SIGTERM)...)
	go func() {
		for again := false; ; again = true {
			if s := <-signals; again && !commands.running.Load() {
				stderr.complain(interrupted)
				os.Exit(signalled(s.(unix.Signal)))
			}
			cancel()
		}
	}()
	return context.WithValue(ctx, foregroundKey{}, commands), cancel
}

// foreground tells whether a command runs that signals are passed on to.
type foreground struct{ running atomic.Bool }

type foregroundKey struct{}

// inForegroundOf notes that a command begins to run, until the function that it returns is called.
func inForegroundOf(ctx context.Context) (over func()) {
	commands, ok := ctx.Value(foregroundKey{}).(*foreground)
	if !ok {
		return func() {}
	}
	commands.running.Store(true)
	return func() { commands.running.Store(false) }
}

// caught adds SIGHUP to signals that are to be caught, unless nohup wants it
// ignored. Other signals are caught even if they are ignored, as a shell makes
// SIGINT for what its scripts run in the background.
func caught(signals ...os.Signal) []os.Signal {
	if !signal.Ignored(unix.SIGHUP) {
		signals = append(signals, unix.SIGHUP)
	}
	return signals
}
