// Command capmon reports which Linux capabilities containers really need.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/launch"
	"github.com/capmon/capmon/internal/untrustedfs"
)

// Exit codes.
const (
	exitDone = 0 // success, and nothing was found
	// exitFindings: a list is not proved, a policy is violated, a container fails the audit, a rule would alert, or the
	// like.
	exitFindings = 1
	exitUsage    = 2 // usage or environment error
)

// interruptedMessage is the message that capmon prints when a signal ends it.
const interruptedMessage = "interrupted before it was done"

// exitError ends the program with an exit code and without a further message.
type exitError struct{ code int }

func (e *exitError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

func main() {
	untrustedfs.Main()
	launch.Main()
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
		stderr.printError(interruptedMessage)
		return signalExitCode(unix.SIGINT)
	}
	stderr.printError(err.Error())
	return exitUsage
}

// interruptible returns a context that ends with the first signal that asks the program to end. The second signal exits
// immediately. Signals that arrive while a command (profiledCommand) runs in the foreground belong to the command and
// do not count as the second one.
func interruptible(stderr notices) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	commands := &foreground{}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, caughtSignals(unix.SIGINT, unix.SIGTERM)...)
	go func() {
		for again := false; ; again = true {
			if s := <-signals; again && !commands.running.Load() {
				stderr.printError(interruptedMessage)
				os.Exit(signalExitCode(s.(unix.Signal)))
			}
			cancel()
		}
	}()
	return context.WithValue(ctx, foregroundKey{}, commands), cancel
}

// foreground contains whether a command runs that capmon forwards signals to.
type foreground struct{ running atomic.Bool }

type foregroundKey struct{}

// enterForeground marks that a command runs in the foreground until the caller calls end.
func enterForeground(ctx context.Context) (end func()) {
	commands, ok := ctx.Value(foregroundKey{}).(*foreground)
	if !ok {
		return func() {}
	}
	commands.running.Store(true)
	return func() { commands.running.Store(false) }
}

// caughtSignals adds SIGHUP to signals, unless SIGHUP is ignored because of nohup. capmon catches the other signals
// even if they are ignored: a shell ignores SIGINT for the background commands of its scripts.
func caughtSignals(signals ...os.Signal) []os.Signal {
	if !signal.Ignored(unix.SIGHUP) {
		signals = append(signals, unix.SIGHUP)
	}
	return signals
}
