// Package daemon continuously records the capability use of all containers and saves it in a database.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/loss"
	"github.com/capmon/capmon/internal/observe"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/store"
	"github.com/capmon/capmon/internal/uses"
	"github.com/capmon/capmon/internal/usewatch"
	"github.com/capmon/capmon/monitor"
)

const (
	// pruneInterval is the interval at which the daemon removes data that Options.Retention does not keep.
	pruneInterval = time.Hour
	// alertsInterval is the interval between saves of alerts.
	alertsInterval = time.Second
	// ruleLag is the maximum time from a check until the rules have evaluated it.
	ruleLag = 5 * time.Second
)

// Options are the settings of [Start].
type Options struct {
	// Observe contains the settings of the recording. The daemon sets Storage and Log.
	Observe observe.Options
	// Database is the path of the database.
	Database string
	// Fallback is the path of a second database, on another file system, for data that the first one cannot save;
	// "" for none.
	Fallback string
	// Retention selects what the database keeps.
	Retention store.Retention
	// Every is the interval between saves. Recorded data stays in the kernel until it is saved.
	Every time.Duration
	// Alerts is the queue of alerts for the database; nil for none.
	Alerts *AlertQueue
	// Rules reports whether rules evaluate the recorded checks.
	Rules bool
	// Report is called with an alert when something could not be recorded. It must not block.
	Report func(alert.Alert)
	// Alive is called after each save, also after a failed one. It may be nil.
	Alive func()
	Log   *zap.Logger
}

// Daemon is a recording that runs until it is closed, with its database. It is safe for concurrent use.
type Daemon struct {
	savedData // the same as database

	options  Options
	observer *observe.Observer
	database *database
	losses   *loss.Tracker
	release  func()    // releases the lock of the database
	pruned   time.Time // time of the last call of prune

	mu     sync.Mutex
	state  State
	latest profile.Profile // of the containers whose records are in the kernel
}

// State is the state of a [Daemon].
type State struct {
	// Engine is the kind of the engine that capmon is connected to, such as docker.
	Engine string `json:"engine"`
	// Hook is the kernel hook that capmon uses. ID and Began identify the recording. If Resumed is set, an earlier
	// process began it.
	Hook    monitor.Hook `json:"hook"`
	ID      string       `json:"recording"`
	Began   time.Time    `json:"began"`
	Resumed bool         `json:"resumed"`
	// Saved is the time until which all recorded data is in the database; zero if nothing was saved yet.
	Saved time.Time `json:"saved"`
	// Trouble is the reason why the last save failed; "" if it succeeded.
	Trouble string `json:"trouble,omitempty"`
	// Failures is the number of failed saves.
	Failures uint64 `json:"failures"`
	// Losses of the recording.
	Losses monitor.Losses `json:"losses"`
	// ReportedUntil is the time until which the rules have evaluated all recorded checks; zero without rules. A later
	// process may evaluate newer checks again.
	ReportedUntil time.Time `json:"reportedUntil,omitzero"`
	// AlertsLost is the number of alerts that are missing from the database because saving failed for too long.
	AlertsLost uint64 `json:"alertsLost"`
	// LossNoticed is the time when capmon last noticed that it could not record something; missing if this has not
	// happened since the start. LastLoss is the summary of the latest alert about a loss.
	LossNoticed time.Time `json:"lossNoticed,omitzero"`
	LastLoss    string    `json:"lastLoss,omitempty"`
	// MissedEvents is the number of events that came faster than capmon read them. capmon found the checks of these
	// events later, in the kernel's maps.
	MissedEvents uint64 `json:"missedEvents"`
}

// Start starts to record, or resumes the recording that an earlier process pinned. A database that is temporarily
// unusable is not an error: recorded data stays in the kernel until it can be saved. Start returns [ErrInUse] if
// another daemon uses the database.
func Start(ctx context.Context, options Options) (_ *Daemon, err error) {
	database := newDatabase(options.Database, options.Fallback, options.Log)
	d := &Daemon{savedData: database, options: options, database: database}
	release, err := d.database.fallback.lock()
	if err != nil {
		return nil, err
	}
	d.release = release
	defer func() {
		if err != nil {
			release()
		}
	}()
	if err := d.database.open(ctx); err != nil && !isTransient(err) {
		return nil, err
	}
	observing := options.Observe
	observing.Log, observing.Storage = options.Log, observerStorage{ctx, d.database}
	if d.observer, err = observe.Start(context.WithoutCancel(ctx), observing); err != nil {
		return nil, errors.Join(err, d.database.close())
	}
	d.observer.WaitForEngine(ctx)
	d.state = State{Engine: engineName(options.Observe.Engine), Hook: d.observer.Hook(), ID: d.observer.ID(), Began: d.observer.Began(), Resumed: d.observer.Continued()}
	d.losses = loss.New(loss.Options{
		Source: d.observer, Recording: d.state.ID, Began: d.state.Began, Earlier: d.lossesBefore(ctx), Every: options.Every,
		Identify: func(ctx context.Context, cgroup uint64, id string) uses.ContainerRef {
			return usewatch.Identify(ctx, d.observer, cgroup, id)
		},
		Report: options.Report, Log: options.Log,
	})
	return d, nil
}

// engineName returns the kind of an engine; "" for no engine.
func engineName(engine container.Engine) string {
	if engine == nil {
		return ""
	}
	return engine.Name()
}

// observerStorage is the database as the [observe.Storage] of the daemon's observer.
type observerStorage struct {
	ctx      context.Context // of Start
	database *database
}

// LoadEarlier returns the saved runs of containers. It logs errors.
func (s observerStorage) LoadEarlier(ids []string) profile.Profile {
	earlier, err := s.database.runsOf(s.ctx, ids)
	if err != nil {
		s.database.log.Warn("reading earlier runs from the database failed; reports may say that capmon did not record, before now, the system calls that a seccomp profile allows only with a capability", zap.Error(err))
	}
	return earlier
}

// SaveProfile saves recorded data, also after the end of the context.
func (s observerStorage) SaveProfile(p profile.Profile) error {
	return s.database.put(context.WithoutCancel(s.ctx), p)
}

// lossesBefore returns the losses of the recording that an earlier process reported. It reads them from the last alert
// in the database. If that fails, capmon reports all losses again.
func (d *Daemon) lossesBefore(ctx context.Context) monitor.Losses {
	if !d.state.Resumed {
		return monitor.Losses{}
	}
	last, ok, err := d.database.lastAlert(ctx, alert.LossRule)
	if err != nil {
		d.options.Log.Warn("reading earlier losses from the database failed: capmon reports all losses again", zap.Error(err))
	}
	if !ok || last.Loss == nil || last.Loss.Recording != d.state.ID {
		return monitor.Losses{}
	}
	return last.Loss.Total
}

// Run saves recorded data at intervals until ctx ends, and then once more.
func (d *Daemon) Run(ctx context.Context) {
	tick, alerts := time.NewTicker(d.options.Every), time.NewTicker(alertsInterval)
	defer tick.Stop()
	defer alerts.Stop()
	var following sync.WaitGroup
	following.Go(func() { d.losses.Follow(ctx) })
	for d.saveOnce(ctx); ; {
		select {
		case <-ctx.Done():
			following.Wait()
			d.saveOnce(context.WithoutCancel(ctx))
			return
		case <-alerts.C:
			_ = d.options.Alerts.save(ctx, d.database) // saveOnce logs errors
		case <-tick.C:
			d.saveOnce(ctx)
		}
	}
}

// saveOnce saves recorded data and, every pruneInterval, removes old data.
func (d *Daemon) saveOnce(ctx context.Context) {
	began := time.Now()
	d.losses.Read(began, false) // before saving removes ended containers from the maps
	p, err := d.observer.Save(ctx)
	if err == nil || isTransient(err) {
		err = errors.Join(err, d.saveAlerts(ctx, began.Add(-ruleLag)))
	}
	if (err == nil || errors.Is(err, store.ErrFull)) && time.Since(d.pruned) > pruneInterval {
		d.pruned = time.Now()
		err = errors.Join(err, d.database.prune(ctx, d.options.Retention))
	}
	losses, lossErr := d.observer.Losses()
	missed, _, missedErr := d.observer.DroppedEvents()
	d.update(began, p, errors.Join(err, lossErr, missedErr), losses, missed)
	if d.options.Alive != nil {
		d.options.Alive()
	}
}

// saveAlerts saves the waiting alerts. If that succeeds, it records that the rules have evaluated all checks until the
// given time.
func (d *Daemon) saveAlerts(ctx context.Context, until time.Time) error {
	if d.options.Alerts == nil {
		return nil
	}
	if err := d.options.Alerts.save(ctx, d.database); err != nil || !d.options.Rules {
		return err
	}
	if err := d.observer.SetReportedUntil(until); err != nil {
		return err
	}
	d.setReportedUntil(until)
	return nil
}

// update updates the state after a save. It logs when saving begins to fail, when the error changes, and when saving
// succeeds again.
func (d *Daemon) update(began time.Time, p profile.Profile, err error, losses monitor.Losses, missed uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(p.Runs) > 0 || err == nil {
		d.latest = p
	}
	d.state.Losses, d.state.MissedEvents, d.state.AlertsLost = losses, missed, d.options.Alerts.Lost()
	if err == nil {
		if d.state.Trouble != "" {
			d.options.Log.Warn("the database is writable again; all recorded data is saved")
		}
		d.state.Trouble, d.state.Saved = "", began
		return
	}
	d.state.Failures++
	if d.state.Trouble != err.Error() {
		d.options.Log.Error("saving recorded data failed, retrying; the data stays in the kernel until it is saved", zap.Error(err))
	}
	d.state.Trouble = err.Error()
}

func (d *Daemon) setReportedUntil(until time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.state.ReportedUntil = until
}

// State returns the current state.
func (d *Daemon) State() State {
	d.mu.Lock()
	defer d.mu.Unlock()
	state, lost := d.state, d.losses.State()
	state.LossNoticed, state.LastLoss = lost.Grew, lost.Summary
	return state
}

// Latest returns the profile of the last save: the containers whose records are still in the kernel.
func (d *Daemon) Latest() profile.Profile {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.latest
}

// Subscribe returns a subscription to the alerts, see [AlertQueue.Subscribe].
func (d *Daemon) Subscribe() *AlertSubscription { return d.options.Alerts.Subscribe() }

// Current returns what was recorded until a short time ago about the containers whose records are in the kernel, and
// that time. It does not wait for the next save, see [observe.Observer.Recent].
func (d *Daemon) Current() (profile.Profile, time.Time, error) { return d.observer.Recent() }

// Close saves the waiting alerts and closes the database. If the recording is pinned, it continues for the next
// process. Otherwise it ends.
func (d *Daemon) Close() error {
	defer d.release()
	err := errors.Join(d.observer.Close(), d.options.Alerts.save(context.Background(), d.database), d.database.close())
	if err != nil {
		return fmt.Errorf("stopping: %w", err)
	}
	return nil
}
