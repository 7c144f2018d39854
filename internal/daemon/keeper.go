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

// keeper keeps a database at hand, opens it again when its file was lost, and starts a new one
// where it was damaged. While that takes nothing, what is to be kept is put aside.
type keeper struct {
	path  string
	aside aside
	log   *zap.Logger

	// using is held by those who use the store, and wholly by who puts another one in its place.
	using sync.RWMutex
	store *store.Store // nil while it cannot be opened
}

func newKeeper(path, beside string, log *zap.Logger) *keeper {
	return &keeper{path: path, aside: aside{beside, log}, log: log}
}

// passing are the troubles that may end by themselves, or by what others do.
var passing = []error{store.ErrFull, store.ErrLocked, store.ErrReadOnly, store.ErrGone, store.ErrCorrupt}

func passes(err error) bool {
	return slices.ContainsFunc(passing, func(trouble error) bool { return errors.Is(err, trouble) })
}

// open opens the database if it is not open.
func (k *keeper) open(ctx context.Context) error {
	k.using.Lock()
	defer k.using.Unlock()
	if k.store != nil {
		return nil
	}
	opened, err := store.Open(ctx, k.path, store.Options{Recover: true})
	if err != nil {
		return err
	}
	if opened.Replaced != "" {
		k.log.Error("the database was damaged and a new one begun; what only the damaged one had is missing from now on", zap.String("damaged", opened.Replaced))
	}
	k.store = opened
	return nil
}

// discard closes a store that cannot be used any more.
func (k *keeper) discard(lost *store.Store) {
	k.using.Lock()
	defer k.using.Unlock()
	if k.store == lost {
		_ = lost.Close() // of what is lost, or written by nobody
		k.store = nil
	}
}

// with does something with the open database, and once more with another one if that has gone
// or is damaged.
func (k *keeper) with(ctx context.Context, do func(*store.Store) error) error {
	for try := 1; ; try++ {
		used, err := k.try(ctx, do)
		// That a document is not what was written does not get better by another sight of the file.
		lost := errors.Is(err, store.ErrGone) || errors.Is(err, store.ErrCorrupt) && !errors.Is(err, store.ErrAltered)
		if used == nil || !lost && !errors.Is(err, store.ErrReadOnly) {
			return err
		}
		k.discard(used) // what was opened while it might only be read stays so
		if !lost || try > 1 {
			return err
		}
		k.log.Error("the database cannot be used any more, and is opened anew", zap.Error(err))
	}
}

// try does something with the database, which it tells unless it could not be opened.
func (k *keeper) try(ctx context.Context, do func(*store.Store) error) (used *store.Store, err error) {
	k.using.RLock()
	defer k.using.RUnlock()
	for k.store == nil {
		k.using.RUnlock()
		err := k.open(ctx)
		k.using.RLock()
		if err != nil {
			return nil, err
		}
	}
	return k.store, do(k.store)
}

// write puts something into the database, and brings back before what was put aside.
func (k *keeper) write(ctx context.Context, put putting) error {
	return k.with(ctx, func(s *store.Store) error {
		if err := k.aside.bringBack(ctx, s); err != nil {
			return err
		}
		return put(ctx, s)
	})
}

// put keeps what was recorded. After an error it is not in the database, and may have been
// put aside.
func (k *keeper) put(ctx context.Context, p profile.Profile) error {
	put := func(ctx context.Context, s *store.Store) error { return putRuns(ctx, s, p) }
	err := k.write(ctx, put)
	if err != nil && passes(err) {
		err = errors.Join(err, k.aside.put(ctx, put))
	}
	return err
}

// putAlerts keeps alerts, in the database or aside.
func (k *keeper) putAlerts(ctx context.Context, alerts []alert.Alert) error {
	put := func(ctx context.Context, s *store.Store) error {
		_, err := s.PutAlerts(ctx, alerts)
		return err
	}
	err := k.write(ctx, put)
	if err != nil && passes(err) && k.aside.path != "" && k.aside.put(ctx, put) == nil {
		return nil
	}
	return err
}

// putRuns puts runs into a database. Who a container was is not forgotten, although the engine
// may have no more of it when it is put again.
func putRuns(ctx context.Context, s *store.Store, p profile.Profile) error {
	recalled, err := recall(ctx, s, p)
	if err == nil {
		_, err = s.Put(ctx, recalled)
	}
	return err
}

// recall adds what was kept of the runs of which the engine tells nothing any more.
func recall(ctx context.Context, s *store.Store, p profile.Profile) (profile.Profile, error) {
	var untold []string
	for _, run := range p.Runs {
		if run.EngineError != "" {
			untold = append(untold, run.Container.ID)
		}
	}
	if len(untold) == 0 {
		return p, nil
	}
	kept, err := s.RunsOf(ctx, untold)
	if err != nil && !errors.Is(err, store.ErrAltered) { // whoever reads the database is told of that
		return p, err
	}
	return p.Recall(kept), nil
}

// Alerts are those that the database has, and what may be meant besides.
func (d *Daemon) Alerts(ctx context.Context, selection store.Selection) (alerts []alert.Alert, missing store.MissingAlerts, err error) {
	err = d.keeper.with(ctx, func(s *store.Store) error {
		if alerts, err = s.Alerts(ctx, selection); err == nil {
			missing, err = s.MissingAlerts(ctx, selection)
		}
		return err
	})
	return alerts, missing, err
}

// lastAlert is the latest alert of a rule that the database has; false if there is none.
func (k *keeper) lastAlert(ctx context.Context, rule string) (last alert.Alert, ok bool, err error) {
	err = k.with(ctx, func(s *store.Store) (err error) {
		last, ok, err = s.LastAlert(ctx, rule)
		return err
	})
	return last, ok, err
}

// earlier is what was kept of some containers, by their IDs; after an error not all of it.
func (k *keeper) earlier(ctx context.Context, ids []string) (profile.Profile, error) {
	var p profile.Profile
	err := k.with(ctx, func(s *store.Store) (err error) {
		p, err = s.RunsOf(ctx, ids)
		return err
	})
	aside, asideErr := k.aside.runsOf(ctx, ids)
	return profile.Merge(p, aside), errors.Join(err, asideErr)
}

func (k *keeper) profile(ctx context.Context, selection store.Selection) (p profile.Profile, missing store.Missing, err error) {
	err = k.with(ctx, func(s *store.Store) error {
		if p, err = s.Profile(ctx, selection); err == nil {
			missing, err = s.Missing(ctx, selection)
		}
		return err
	})
	return p, missing, err
}

func (k *keeper) prune(ctx context.Context, retention store.Retention) error {
	return k.with(ctx, func(s *store.Store) error {
		removal, err := s.Prune(ctx, retention)
		if removal.Runs > 0 {
			k.log.Info("old runs were removed from the database", zap.Uint64("runs", removal.Runs), zap.Time("until", removal.Until))
		}
		return err
	})
}

func (k *keeper) close() error {
	k.using.Lock()
	defer k.using.Unlock()
	if k.store == nil {
		return nil
	}
	err := k.store.Close()
	k.store = nil
	return err
}
