package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/rules"
	"github.com/capmon/capmon/internal/sink"
	"github.com/capmon/capmon/internal/uses"
)

const (
	// builtinRules is the value of --rules for the built-in rules.
	builtinRules = "builtin"
	// coolDownCheckInterval is how often alerting checks whether a cool-down is over.
	coolDownCheckInterval = time.Second
)

// alerting evaluates uses with rules, and delivers the alerts. It is safe for concurrent use.
type alerting struct {
	path  string // the file of the rules
	rules rules.File
	scope useScope
	// onAlert is called after the sinks. accepted reports whether one of them accepted the alert.
	onAlert func(one alert.Alert, accepted bool)
	printer *alertPrinter // nil if alerts are not printed
	sinks   *sink.Sinks
	notices io.Writer

	mu        sync.Mutex
	evaluator *rules.Evaluator
	alerts    uint64
}

// useScope describes the uses that the rules receive: also checks that do not count as use (all), and also repeated
// uses (every).
type useScope struct{ all, every bool }

// covers reports whether the scope includes all uses that a file of rules needs.
func (s useScope) covers(file rules.File) bool {
	return (s.all || !file.NeedsAll()) && (s.every || !file.NeedsEvery())
}

// newAlerting returns the alerting for --rules; nil without --rules.
func (w *watchFlags) newAlerting(cmd *cobra.Command, fail context.CancelCauseFunc, log *zap.Logger) (*alerting, error) {
	if w.rules == "" {
		if cmd.Flags().Changed("rules") {
			return nil, errors.New("--rules is empty: set a file, or builtin")
		}
		return nil, nil
	}
	a, err := newAlerting(w.rules, cmd.ErrOrStderr())
	if err != nil {
		return nil, err
	}
	if a.sinks, err = openSinks(a.rules, log); err != nil {
		return nil, err
	}
	a.printer = newAlertPrinter(w.newLineWriter(cmd, fail))
	a.onAlert = a.printer.print
	w.selection.All = w.selection.All || a.rules.NeedsAll()
	w.every = w.every || a.rules.NeedsEvery()
	a.scope = useScope{w.selection.All, w.every}
	return a, nil
}

// loadRules reads a file of rules, or the built-in rules, and the profiles that these rules name. notices are messages
// for the user.
func loadRules(path string) (file rules.File, notices []string, err error) {
	if path == builtinRules {
		file, err = rules.Builtin()
	} else {
		file, err = rules.Load(path)
	}
	if err != nil {
		return rules.File{}, nil, inFile("rules", err)
	}
	if notices, err = file.LoadProfiles(); err != nil {
		return rules.File{}, nil, fmt.Errorf("rules %w", err)
	}
	return file, notices, nil
}

// inFile adds what a file contains to an error of reading or parsing the file. A parsing error begins with the path.
func inFile(what string, err error) error {
	if errors.As(err, new(*fs.PathError)) {
		return fmt.Errorf("reading the %s: %w", what, err)
	}
	return fmt.Errorf("%s %w", what, err)
}

// newAlerting reads the rules. It writes messages for the user to notices.
func newAlerting(path string, notices io.Writer) (*alerting, error) {
	file, texts, err := loadRules(path)
	if err != nil {
		return nil, err
	}
	a := &alerting{path: path, rules: file, notices: notices, evaluator: rules.New(file)}
	a.notify(texts)
	return a, nil
}

func (a *alerting) notify(texts []string) {
	for _, text := range texts {
		fmt.Fprintln(a.notices, "capmon:", text)
	}
}

// handle evaluates the rules for a use.
func (a *alerting) handle(use uses.Use) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.deliver(a.evaluator.Evaluate(use, time.Now()))
	a.notify(a.evaluator.Warnings())
}

// report delivers an alert about capmon itself, without rules.
func (a *alerting) report(one alert.Alert) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.deliver([]alert.Alert{one})
}

func (a *alerting) deliver(alerts []alert.Alert) {
	for _, one := range alerts {
		a.alerts++
		a.onAlert(one, a.sinks.Deliver(one))
	}
}

// start starts to deliver the alerts that cool-downs held back, and to reload the rules on SIGHUP, until ctx ends.
func (a *alerting) start(ctx context.Context) {
	hangup := make(chan os.Signal, 1)
	signal.Ignore(unix.SIGHUP) // otherwise the context of main would end
	signal.Notify(hangup, unix.SIGHUP)
	go func() {
		tick := time.NewTicker(coolDownCheckInterval)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case now := <-tick.C:
				a.mu.Lock()
				a.deliver(a.evaluator.Due(now))
				a.mu.Unlock()
			case <-hangup:
				a.reload()
			}
		}
	}()
}

// reload reads the rules again. If they are invalid, the current rules stay in force.
func (a *alerting) reload() {
	file, texts, err := loadRules(a.path)
	if err == nil && !a.scope.covers(file) {
		err = errors.New("rules " + a.path + ": the rules need uses that capmon does not record now (because of classes, alert: every or burst): restart capmon")
		if a.printer != nil {
			err = fmt.Errorf("%w; to add and remove such rules without a restart, use --all and --every", err)
		}
	}
	if err == nil {
		err = reloadSinks(a.sinks, file)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil {
		a.notify([]string{fmt.Sprintf("%v; the current rules stay in force", err)})
		return
	}
	a.deliver(a.evaluator.Replace(file))
	a.notify(append(texts, fmt.Sprintf("reloaded %s: %s in force", a.path, plural(uint64(len(file.Rules)), "rule"))))
}

// close delivers the alerts that are held back, and prints the number of alerts. Call it when there will be no further
// uses.
func (a *alerting) close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.deliver(a.evaluator.Close())
	err := closeSinks(a.sinks)
	text := plural(a.alerts, "alert")
	if a.printer == nil {
		a.notify([]string{text})
		return err
	}
	a.printer.close()
	if dropped, skipped := a.printer.dropped(); dropped > 0 {
		text += fmt.Sprintf("; %d of them were sent only to the sinks, because the reader of standard output was too slow", dropped-skipped)
		if skipped > 0 {
			text += fmt.Sprintf("; %d other alerts are lost, because no sink accepted them", skipped)
		}
	}
	a.notify([]string{text})
	return err
}
