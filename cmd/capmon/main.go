// Command capmon tells which Linux capabilities containers really use.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/printable"
)

// Exit codes.
const (
	exitDone  = 0 // and nothing to complain about
	exitFound = 1 // what was to be proved is not so or not certain, a container fails the audit, or a rule would alert
	exitUsage = 2 // usage or environment error
)

// exitError ends the program with a code of its own; all that is to be said has
// been said.
type exitError struct{ code int }

func (e *exitError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := interruptible()
	defer stop()
	err := newRoot().ExecuteContext(ctx)
	var exit *exitError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &exit):
		return exit.code
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "capmon: interrupted before it was done")
		return signalled(unix.SIGINT)
	}
	fmt.Fprintln(os.Stderr, "capmon:", printable.Lines(err.Error()))
	return exitUsage
}

// interruptible is a context that ends with the signals that ask a program to.
func interruptible() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), caught(unix.SIGINT, unix.SIGTERM)...)
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
