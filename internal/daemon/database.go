package daemon

import (
	"context"
	"errors"
	"slices"
	"sync"

	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/store"
)

// database is the daemon's database. It opens the file again if it was deleted or replaced, and starts a new file if it
// was damaged. While the file cannot be written, data goes to the fallback store. It is safe for concurrent use.
type database struct {
	path     string
	fallback fallbackStore
	log      *zap.Logger

	// using is read-locked while the store is in use, and write-locked to replace it.
	using sync.RWMutex
	store *store.Store // nil: not open
}

// savedData is the part of the database that users of a [Daemon] may call.
type savedData interface {
	Profile(context.Context, store.Selection) (profile.Profile, store.Missing, error)
	Alerts(context.Context, store.Selection) ([]alert.Alert, store.MissingAlerts, error)
}

func newDatabase(path, fallback string, log *zap.Logger) *database {
	return &database{path: path, fallback: fallbackStore{fallback, log}, log: log}
}

// transientErrors may end without a restart of the daemon.
var transientErrors = []error{store.ErrFull, store.ErrLocked, store.ErrReadOnly, store.ErrGone, store.ErrCorrupt}

func isTransient(err error) bool {
	return slices.ContainsFunc(transientErrors, func(transient error) bool { return errors.Is(err, transient) })
}

// open opens the database if it is not open.
func (d *database) open(ctx context.Context) error {
	d.using.Lock()
	defer d.using.Unlock()
	if d.store != nil {
		return nil
	}
	opened, err := store.Open(ctx, d.path, store.Options{Recover: true})
	if err != nil {
		return err
	}
	if opened.Replaced != "" {
		d.log.Error("the database was damaged, so capmon started a new one; the new database does not contain the data of the damaged one", zap.String("damaged", opened.Replaced))
	}
	d.store = opened
	return nil
}

// discard closes a store that can no longer be used.
func (d *database) discard(lost *store.Store) {
	d.using.Lock()
	defer d.using.Unlock()
	if d.store == lost {
		_ = lost.Close() // the store has no unsaved data
		d.store = nil
	}
}

// with calls a function with the open database. If the file was deleted, replaced or damaged, with opens it again and
// calls the function once more.
func (d *database) with(ctx context.Context, do func(*store.Store) error) error {
	for try := 1; ; try++ {
		used, err := d.try(ctx, do)
		// If only a document is altered, it does not help to open the file again.
		lost := errors.Is(err, store.ErrGone) || errors.Is(err, store.ErrCorrupt) && !errors.Is(err, store.ErrAltered)
		if used == nil || !lost && !errors.Is(err, store.ErrReadOnly) {
			return err
		}
		d.discard(used) // a store that was opened on a read-only file system stays read-only
		if !lost || try > 1 {
			return err
		}
		d.log.Error("the database file is no longer usable; opening it again", zap.Error(err))
	}
}

// try calls a function with the database. It returns the store that it used; nil if opening failed.
func (d *database) try(ctx context.Context, do func(*store.Store) error) (used *store.Store, err error) {
	d.using.RLock()
	defer d.using.RUnlock()
	for d.store == nil {
		d.using.RUnlock()
		err := d.open(ctx)
		d.using.RLock()
		if err != nil {
			return nil, err
		}
	}
	return d.store, do(d.store)
}

// write writes to the database. It first moves the contents of the fallback store there.
func (d *database) write(ctx context.Context, write storeFunc) error {
	return d.with(ctx, func(s *store.Store) error {
		if err := d.fallback.moveTo(ctx, s); err != nil {
			return err
		}
		return write(ctx, s)
	})
}

// put saves recorded data. After an error, the data is not in the database, but may be in the fallback store.
func (d *database) put(ctx context.Context, p profile.Profile) error {
	write := func(ctx context.Context, s *store.Store) error { return putRuns(ctx, s, p) }
	err := d.write(ctx, write)
	if err != nil && isTransient(err) {
		err = errors.Join(err, d.fallback.put(ctx, write))
	}
	return err
}

// putAlerts saves alerts, in the database or in the fallback store.
func (d *database) putAlerts(ctx context.Context, alerts []alert.Alert) error {
	write := func(ctx context.Context, s *store.Store) error {
		_, err := s.PutAlerts(ctx, alerts)
		return err
	}
	err := d.write(ctx, write)
	if err != nil && isTransient(err) && d.fallback.path != "" && d.fallback.put(ctx, write) == nil {
		return nil
	}
	return err
}

// putRuns puts runs into a database. It keeps the stored names of containers that the engine no longer knows.
func putRuns(ctx context.Context, s *store.Store, p profile.Profile) error {
	filled, err := fillNames(ctx, s, p)
	if err == nil {
		_, err = s.Put(ctx, filled)
	}
	return err
}

// fillNames adds the stored identity of containers that the engine no longer knows.
func fillNames(ctx context.Context, s *store.Store, p profile.Profile) (profile.Profile, error) {
	var unknown []string
	for _, run := range p.Runs {
		if run.EngineError != "" {
			unknown = append(unknown, run.Container.ID)
		}
	}
	if len(unknown) == 0 {
		return p, nil
	}
	stored, err := s.RunsOf(ctx, unknown)
	if err != nil && !errors.Is(err, store.ErrAltered) { // readers of the database get that error
		return p, err
	}
	return p.FillFrom(stored), nil
}

// Alerts returns the selected alerts in the database. missing describes further alerts that may match the selection.
func (d *database) Alerts(ctx context.Context, selection store.Selection) (alerts []alert.Alert, missing store.MissingAlerts, err error) {
	err = d.with(ctx, func(s *store.Store) error {
		if alerts, err = s.Alerts(ctx, selection); err == nil {
			missing, err = s.MissingAlerts(ctx, selection)
		}
		return err
	})
	return alerts, missing, err
}

// lastAlert returns the latest alert of a rule in the database; false if there is none.
func (d *database) lastAlert(ctx context.Context, rule string) (last alert.Alert, ok bool, err error) {
	err = d.with(ctx, func(s *store.Store) (err error) {
		last, ok, err = s.LastAlert(ctx, rule)
		return err
	})
	return last, ok, err
}

// runsOf returns the saved runs of containers with these IDs. After an error, some runs may be missing.
func (d *database) runsOf(ctx context.Context, ids []string) (profile.Profile, error) {
	var p profile.Profile
	err := d.with(ctx, func(s *store.Store) (err error) {
		p, err = s.RunsOf(ctx, ids)
		return err
	})
	fallback, fallbackErr := d.fallback.runsOf(ctx, ids)
	return profile.Merge(p, fallback), errors.Join(err, fallbackErr)
}

// Profile returns the selected runs and proofs in the database. missing describes further runs that may match the
// selection.
func (d *database) Profile(ctx context.Context, selection store.Selection) (p profile.Profile, missing store.Missing, err error) {
	err = d.with(ctx, func(s *store.Store) error {
		if p, err = s.Profile(ctx, selection); err == nil {
			missing, err = s.Missing(ctx, selection)
		}
		return err
	})
	return p, missing, err
}

func (d *database) prune(ctx context.Context, retention store.Retention) error {
	return d.with(ctx, func(s *store.Store) error {
		removal, err := s.Prune(ctx, retention)
		if removal.Runs > 0 {
			d.log.Info("removed old runs from the database", zap.Uint64("runs", removal.Runs), zap.Time("until", removal.Until))
		}
		return err
	})
}

func (d *database) close() error {
	d.using.Lock()
	defer d.using.Unlock()
	if d.store == nil {
		return nil
	}
	err := d.store.Close()
	d.store = nil
	return err
}
