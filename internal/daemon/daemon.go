// Package daemon records without end what all containers use, and keeps it in a database.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/loss"
	"github.com/capmon/capmon/internal/observe"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/store"
	"github.com/capmon/capmon/internal/uses"
	"github.com/capmon/capmon/monitor"
)

const (
	// pruneEvery is how often what is too old or too much is removed.
	pruneEvery = time.Hour
	// alertsEvery is how often alerts are saved.
	alertsEvery = time.Second
	// dealing is how long what was recorded may take until it has become alerts.
	dealing = 5 * time.Second
)

// Options of Start.
type Options struct {
	// Observe are those of the recording; its Keep and Earlier are the daemon's.
	Observe observe.Options
	// Database is the path of the file.
	Database string
	// Aside is the path of a second one, on another file system, for what the first one does not
	// take; "" for none.
	Aside string
	// Retention is what to keep in it.
	Retention store.Retention
	// Every is how often what was recorded is saved. Until then it is in the kernel.
	Every time.Duration
	// Alerts are those on their way into the database; nil for none.
	Alerts *Alerts
	// Rules tells that rules look at what is recorded, and make alerts of it.
	Rules bool
	// Report gets an alert whenever something could not be recorded. It must not wait.
	Report func(alert.Alert)
	// Alive is called after each round of work, whatever came of it; nil for nobody.
	Alive func()
	Log   *zap.Logger
}

// Daemon is a recording without end.
type Daemon struct {
	options  Options
	observer *observe.Observer
	keeper   *keeper
	losses   *loss.Tracker
	release  func()    // lets another daemon have the database
	pruned   time.Time // when it was last looked for what is too old

	mu     sync.Mutex
	state  State
	latest profile.Profile // of the containers whose record is in the kernel
}

// State is how a Daemon is.
type State struct {
	// Hook by which the kernel is listened to, and the recording's ID and beginning, which
	// may have been in an earlier process: then TakenUp.
	Hook    monitor.Hook `json:"hook"`
	ID      string       `json:"recording"`
	Began   time.Time    `json:"began"`
	TakenUp bool         `json:"takenUp"`
	// Saved: all that was recorded until then is in the database; zero if none was saved yet.
	Saved time.Time `json:"saved"`
	// Trouble is why that did not succeed the last time; empty if it did.
	Trouble string `json:"trouble,omitempty"`
	// Failures counts the times that it did not.
	Failures uint64 `json:"failures"`
	// Losses of the recording.
	Losses monitor.Losses `json:"losses"`
	// Told is until when rules have looked at what was recorded; zero without rules. What a later
	// process finds that is newer it may look at once more.
	Told time.Time `json:"told,omitzero"`
	// AlertsLost counts alerts that are missing from the database, which could not be written to.
	AlertsLost uint64 `json:"alertsLost"`
	// LossNoticed is when capmon last noticed that it could not record something; missing if never
	// since it was started. LastLoss is what the latest alert of that says.
	LossNoticed time.Time `json:"lossNoticed,omitzero"`
	LastLoss    string    `json:"lastLoss,omitempty"`
	// Untold counts events that came faster than they were read; nothing is lost by that.
	Untold uint64 `json:"untold"`
}

// Start begins to record, or takes up what an earlier process has pinned. A database that
// cannot be used now, but perhaps later, is no error: until then what is recorded stays in
// the kernel.
func Start(ctx context.Context, options Options) (_ *Daemon, err error) {
	d := &Daemon{options: options, keeper: newKeeper(options.Database, options.Aside, options.Log)}
	release, err := d.keeper.aside.hold()
	if err != nil {
		return nil, err
	}
	d.release = release
	defer func() {
		if err != nil {
			release()
		}
	}()
	if err := d.keeper.open(ctx); err != nil && !passes(err) {
		return nil, err
	}
	observing := options.Observe
	observing.Log = options.Log
	observing.Earlier = func(ids []string) profile.Profile {
		earlier, err := d.keeper.earlier(ctx, ids)
		if err != nil {
			options.Log.Warn("what was kept before cannot be read: system calls that only a capability unlocks may count as watched later than they were", zap.Error(err))
		}
		return earlier
	}
	observing.Keep = func(p profile.Profile) error { return d.keeper.put(context.WithoutCancel(ctx), p) }
	if d.observer, err = observe.Start(context.WithoutCancel(ctx), observing); err != nil {
		return nil, errors.Join(err, d.keeper.close())
	}
	d.observer.Settle(ctx)
	d.state = State{Hook: d.observer.Hook(), ID: d.observer.Recording().ID, Began: d.observer.Recording().Start, TakenUp: d.observer.TakenUp()}
	d.losses = loss.New(loss.Options{
		Source: d.observer, Recording: d.state.ID, Began: d.state.Began, Earlier: d.lossesBefore(ctx), Every: options.Every,
		Identify: func(ctx context.Context, cgroup uint64, id string) uses.Container {
			return uses.Identify(ctx, d.observer, cgroup, id)
		},
		Report: options.Report, Log: options.Log,
	})
	return d, nil
}

// lossesBefore is what an earlier process has reported as lost of the recording: its alerts are in
// the database. If they cannot be read, all losses are reported once more.
func (d *Daemon) lossesBefore(ctx context.Context) monitor.Losses {
	if !d.state.TakenUp {
		return monitor.Losses{}
	}
	last, ok, err := d.keeper.lastAlert(ctx, alert.LossRule)
	if err != nil {
		d.options.Log.Warn("which losses were reported before cannot be read: all are reported once more", zap.Error(err))
	}
	if !ok || last.Loss == nil || last.Loss.Recording != d.state.ID {
		return monitor.Losses{}
	}
	return last.Loss.Total
}

// Observer is the observation under way.
func (d *Daemon) Observer() *observe.Observer { return d.observer }

// Run saves what is recorded until ctx ends, and once more then.
func (d *Daemon) Run(ctx context.Context) {
	tick, alerts := time.NewTicker(d.options.Every), time.NewTicker(alertsEvery)
	defer tick.Stop()
	defer alerts.Stop()
	var following sync.WaitGroup
	following.Go(func() { d.losses.Follow(ctx) })
	for d.round(ctx); ; {
		select {
		case <-ctx.Done():
			following.Wait()
			d.round(context.WithoutCancel(ctx))
			return
		case <-alerts.C:
			_ = d.options.Alerts.save(ctx, d.keeper) // a round tells why not
		case <-tick.C:
			d.round(ctx)
		}
	}
}

// round saves what was recorded, and now and then removes what is too old.
func (d *Daemon) round(ctx context.Context) {
	began := time.Now()
	d.losses.Look(began, false) // while the kernel's map has all who lost something
	p, err := d.observer.Save(ctx)
	if err == nil || passes(err) {
		err = errors.Join(err, d.saveAlerts(ctx, began.Add(-dealing)))
	}
	if (err == nil || errors.Is(err, store.ErrFull)) && time.Since(d.pruned) > pruneEvery {
		d.pruned = time.Now()
		err = errors.Join(err, d.keeper.prune(ctx, d.options.Retention))
	}
	losses, lossErr := d.observer.Losses()
	untold, untoldErr := d.observer.Missed()
	d.note(began, p, errors.Join(err, lossErr, untoldErr), losses, untold)
	if d.options.Alive != nil {
		d.options.Alive()
	}
}

// saveAlerts saves what waits, and notes until when all that was recorded has become alerts.
func (d *Daemon) saveAlerts(ctx context.Context, told time.Time) error {
	if d.options.Alerts == nil {
		return nil
	}
	if err := d.options.Alerts.save(ctx, d.keeper); err != nil || !d.options.Rules {
		return err
	}
	if err := d.observer.NoteTold(told); err != nil {
		return err
	}
	d.told(told)
	return nil
}

// note takes down how a round went, and tells each trouble when it begins and when it has ended.
func (d *Daemon) note(began time.Time, p profile.Profile, err error, losses monitor.Losses, untold uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(p.Runs) > 0 || err == nil {
		d.latest = p
	}
	d.state.Losses, d.state.Untold, d.state.AlertsLost = losses, untold, d.options.Alerts.Lost()
	if err == nil {
		if d.state.Trouble != "" {
			d.options.Log.Warn("what was recorded is in the database again, and nothing of it is missing")
		}
		d.state.Trouble, d.state.Saved = "", began
		return
	}
	d.state.Failures++
	if d.state.Trouble != err.Error() {
		d.options.Log.Error("what was recorded cannot be saved; it stays in the kernel, and is saved when that is possible", zap.Error(err))
	}
	d.state.Trouble = err.Error()
}

func (d *Daemon) told(until time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.state.Told = until
}

// State tells how it is.
func (d *Daemon) State() State {
	d.mu.Lock()
	defer d.mu.Unlock()
	state, lost := d.state, d.losses.State()
	state.LossNoticed, state.LastLoss = lost.Grew, lost.Summary
	return state
}

// Latest is what was recorded of the containers that had not been handed over to the database
// for good when it was last saved.
func (d *Daemon) Latest() profile.Profile {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.latest
}

// Profile is what the database has of the runs that are meant, and what may be meant besides.
func (d *Daemon) Profile(ctx context.Context, selection store.Selection) (profile.Profile, store.Missing, error) {
	return d.keeper.profile(ctx, selection)
}

// Close leaves the recording to the next process if it is pinned, and ends it if not.
func (d *Daemon) Close() error {
	defer d.release()
	err := errors.Join(d.observer.Close(), d.options.Alerts.save(context.Background(), d.keeper), d.keeper.close())
	if err != nil {
		return fmt.Errorf("ending: %w", err)
	}
	return nil
}
