package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/store"
)

// asideLimit is how large what is put aside may grow: it may be in memory.
const asideLimit = 64 << 20

// aside is a second database, on another file system than the first one, that has what the
// first one does not take. All counts are in the kernel besides, so it is for what only this
// process knows, who containers were above all, and for the case that the process is killed
// before the first one takes anything again. It is there only while there is something in it.
type aside struct {
	path string // "" if nothing is put aside
	log  *zap.Logger
}

// putting puts something into a database.
type putting func(context.Context, *store.Store) error

// ErrHeld: another daemon keeps what it records in the same database.
var ErrHeld = errors.New("another capmon serves into the same database")

// put puts something aside.
func (a aside) put(ctx context.Context, put putting) error {
	if a.path == "" {
		return nil
	}
	if err := a.with(ctx, put); err != nil {
		return fmt.Errorf("and it cannot be put aside for the case that capmon is killed: %w", err)
	}
	return nil
}

// bringBack moves all that was put aside to where it belongs. What cannot be read is told, and
// keeps nothing else from being put there.
func (a aside) bringBack(ctx context.Context, to *store.Store) error {
	if !a.any() {
		return nil
	}
	p, alerts, err := a.all(ctx)
	if err != nil {
		a.log.Error("what was put aside cannot be read: of containers that ended meanwhile there may be counts without names, and alerts may be missing", zap.Error(err))
		if errors.Is(err, store.ErrCorrupt) { // which does not end
			return store.Remove(a.path)
		}
		return nil
	}
	if err := putRuns(ctx, to, p); err != nil {
		return err
	}
	if _, err := to.PutAlerts(ctx, alerts); err != nil {
		return err
	}
	return store.Remove(a.path)
}

func (a aside) all(ctx context.Context) (p profile.Profile, alerts []alert.Alert, err error) {
	err = a.with(ctx, func(ctx context.Context, s *store.Store) error {
		var profileErr, alertsErr error
		p, profileErr = s.Profile(ctx, store.Selection{})
		alerts, alertsErr = s.Alerts(ctx, store.Selection{})
		return errors.Join(profileErr, alertsErr)
	})
	return p, alerts, err
}

// runsOf is what was put aside of some containers, by their IDs.
func (a aside) runsOf(ctx context.Context, ids []string) (p profile.Profile, err error) {
	if !a.any() {
		return p, nil
	}
	err = a.with(ctx, func(ctx context.Context, s *store.Store) (err error) {
		p, err = s.RunsOf(ctx, ids)
		return err
	})
	return p, err
}

// hold keeps another daemon from the same database, for as long as the process lives or until
// released: both would record the same containers, which would count twice. Where there can be
// no such lock, there is none.
func (a aside) hold() (release func(), err error) {
	release = func() {}
	if a.path == "" {
		return release, nil
	}
	var lock *os.File
	if err = a.makeDirectory(); err == nil {
		lock, err = os.OpenFile(a.path+".lock", os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	}
	if err != nil {
		a.log.Warn("nothing keeps another capmon from the same database", zap.Error(err))
		return release, nil
	}
	release = func() { _ = lock.Close() }
	err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		release()
		return nil, ErrHeld
	}
	return release, nil
}

// any reports whether something may have been put aside.
func (a aside) any() bool {
	_, err := os.Stat(a.path)
	return a.path != "" && !errors.Is(err, fs.ErrNotExist)
}

// makeDirectory makes that of the file. Others may have sockets there.
func (a aside) makeDirectory() error { return os.MkdirAll(filepath.Dir(a.path), 0o755) }

// with does something with the database, that is closed afterwards.
func (a aside) with(ctx context.Context, do putting) error {
	if err := a.makeDirectory(); err != nil {
		return err
	}
	s, err := store.Open(ctx, a.path, store.Options{Recover: true, Limit: asideLimit})
	if err != nil {
		return err
	}
	if s.Replaced != "" {
		a.log.Error("what was put aside was damaged, and is begun anew", zap.String("damaged", s.Replaced))
	}
	return errors.Join(do(ctx, s), s.Close())
}
