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
	// builtinRules is what --rules calls the built-in ones.
	builtinRules = "builtin"
	// dueInterval is how often it is looked whether a cool-down is over.
	dueInterval = time.Second
)

// alerting finds alerts in the uses of a watch, and delivers them.
type alerting struct {
	path    string // of the rules
	rules   rules.File
	sees    scope
	keep    func(one alert.Alert, taken bool) // after the sinks, of which one may have taken it
	printer *printer                          // nil if nobody reads alerts
	sinks   *sink.Sinks
	notices io.Writer

	mu     sync.Mutex
	engine *rules.Engine
	alerts uint64
}

// scope is which uses a watch tells rules of.
type scope struct{ all, every bool }

// covers reports whether these are all that a file of rules looks at.
func (s scope) covers(file rules.File) bool {
	return (s.all || !file.NeedsAll()) && (s.every || !file.NeedsEvery())
}

// alerting is what --rules asks for, nil if nothing.
func (w *watching) alerting(cmd *cobra.Command, fail context.CancelCauseFunc, log *zap.Logger) (*alerting, error) {
	if w.rules == "" {
		if cmd.Flags().Changed("rules") {
			return nil, errors.New("--rules names no file: give one, or builtin")
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
	a.printer = newPrinter(w.writer(cmd, fail))
	a.keep = a.printer.print
	w.selection.All = w.selection.All || a.rules.NeedsAll()
	w.every = w.every || a.rules.NeedsEvery()
	a.sees = scope{w.selection.All, w.every}
	return a, nil
}

// loadRules reads a file of rules, or the built-in ones, and the profiles that they name.
func loadRules(path string) (file rules.File, notes []string, err error) {
	if path == builtinRules {
		file, err = rules.Builtin()
	} else {
		file, err = rules.Load(path)
	}
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		return rules.File{}, nil, fmt.Errorf("reading the rules: %w", err)
	}
	if err != nil {
		return rules.File{}, nil, fmt.Errorf("rules %w", err)
	}
	if notes, err = file.LoadProfiles(); err != nil {
		return rules.File{}, nil, fmt.Errorf("rules %w", err)
	}
	return file, notes, nil
}

// newAlerting reads the rules. Notices go to a writer of their own.
func newAlerting(path string, notices io.Writer) (*alerting, error) {
	file, notes, err := loadRules(path)
	if err != nil {
		return nil, err
	}
	a := &alerting{path: path, rules: file, notices: notices, engine: rules.New(file)}
	a.say(notes)
	return a, nil
}

func (a *alerting) say(notes []string) {
	for _, note := range notes {
		fmt.Fprintln(a.notices, "capmon:", note)
	}
}

// take takes a use.
func (a *alerting) take(use uses.Use) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.send(a.engine.Take(use, time.Now()))
	a.say(a.engine.Notes())
}

// report takes an alert of capmon's own, which no rule judges.
func (a *alerting) report(one alert.Alert) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.send([]alert.Alert{one})
}

func (a *alerting) send(alerts []alert.Alert) {
	for _, one := range alerts {
		a.alerts++
		a.keep(one, a.sinks.Deliver(one))
	}
}

// follow tells of what cool-downs have held back when they are over, and reads the rules anew
// when SIGHUP asks for that, which without rules would end a watch.
func (a *alerting) follow(ctx context.Context) {
	hangup := make(chan os.Signal, 1)
	signal.Ignore(unix.SIGHUP) // takes it from whom it would end
	signal.Notify(hangup, unix.SIGHUP)
	go func() {
		tick := time.NewTicker(dueInterval)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case now := <-tick.C:
				a.mu.Lock()
				a.send(a.engine.Due(now))
				a.mu.Unlock()
			case <-hangup:
				a.reload()
			}
		}
	}()
}

// reload reads the rules anew. If they are broken, those that it has stay in force.
func (a *alerting) reload() {
	file, notes, err := loadRules(a.path)
	if err == nil && !a.sees.covers(file) {
		err = errors.New("rules " + a.path + ": they look at uses that this watch does not tell of, by classes, alert: every or burst: start it anew, with --all and --every if they are to come and go")
	}
	if err == nil {
		err = reloadSinks(a.sinks, file)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil {
		a.say([]string{fmt.Sprintf("%v; the rules stay as they were", err)})
		return
	}
	a.send(a.engine.Replace(file))
	a.say(append(notes, fmt.Sprintf("read %s anew: %s in force", a.path, counted(uint64(len(file.Rules)), "rule"))))
}

// close tells of what is held back, when no use will come any more, and how much it was.
func (a *alerting) close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.send(a.engine.Close())
	err := closeSinks(a.sinks)
	text := counted(a.alerts, "alert")
	if a.printer == nil {
		a.say([]string{text})
		return err
	}
	a.printer.close()
	if dropped, skipped := a.printer.dropped(); dropped > 0 {
		text += fmt.Sprintf("; %d of them went to the sinks alone, since standard output was not read", dropped-skipped)
		if skipped > 0 {
			text += fmt.Sprintf("; %d further ones are lost, since no sink took them", skipped)
		}
	}
	a.say([]string{text})
	return err
}
