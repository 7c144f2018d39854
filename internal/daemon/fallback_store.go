package daemon

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/store"
)

// fallbackLimit is the maximum size of the fallback store, which may be in memory.
const fallbackLimit = 64 << 20

// fallbackStore is a second database, on another file system, for data that the first one could not save. Counts stay
// in the kernel until then. But only this process knows the names and images of containers. The fallback store
// preserves these if the process is killed before it can write to the first database again. The file exists only while
// it contains data.
type fallbackStore struct {
	path string // "": there is no fallback store
	log  *zap.Logger
}

// FallbackPath returns the path of the fallback store for a database. Pass a directory in another file system, which is
// empty after a reboot, like the recording in the kernel.
func FallbackPath(directory, database string) string {
	if absolute, err := filepath.Abs(database); err == nil {
		database = absolute
	}
	return filepath.Join(directory, fmt.Sprintf("unsaved-%.8x.db", sha256.Sum256([]byte(database))))
}

// storeFunc reads or writes a database.
type storeFunc func(context.Context, *store.Store) error

// ErrInUse is returned if another daemon uses the same database.
var ErrInUse = errors.New("another capmon serve uses the same database")

// put writes something to the fallback store.
func (f fallbackStore) put(ctx context.Context, write storeFunc) error {
	if f.path == "" {
		return nil
	}
	if err := f.with(ctx, write); err != nil {
		return fmt.Errorf("writing to the fallback store failed as well: %w", err)
	}
	return nil
}

// moveTo moves the contents of the fallback store to a database, and removes the fallback store. If it cannot be read,
// moveTo logs that and returns nil, so that the database is written anyway.
func (f fallbackStore) moveTo(ctx context.Context, to *store.Store) error {
	if !f.exists() {
		return nil
	}
	p, alerts, err := f.contents(ctx)
	if err != nil {
		f.log.Error("reading the fallback store failed; the database may not have the names of containers that have ended, and alerts may be missing", zap.Error(err))
		if errors.Is(err, store.ErrCorrupt) { // a retry would not help
			return store.Remove(f.path)
		}
		return nil
	}
	if err := putRuns(ctx, to, p); err != nil {
		return err
	}
	if _, err := to.PutAlerts(ctx, alerts); err != nil {
		return err
	}
	return store.Remove(f.path)
}

func (f fallbackStore) contents(ctx context.Context) (p profile.Profile, alerts []alert.Alert, err error) {
	err = f.with(ctx, func(ctx context.Context, s *store.Store) error {
		var profileErr, alertsErr error
		p, profileErr = s.Profile(ctx, store.Selection{})
		alerts, alertsErr = s.Alerts(ctx, store.Selection{})
		return errors.Join(profileErr, alertsErr)
	})
	return p, alerts, err
}

// runsOf returns the runs of containers with these IDs.
func (f fallbackStore) runsOf(ctx context.Context, ids []string) (p profile.Profile, err error) {
	if !f.exists() {
		return p, nil
	}
	err = f.with(ctx, func(ctx context.Context, s *store.Store) (err error) {
		p, err = s.RunsOf(ctx, ids)
		return err
	})
	return p, err
}

// lock prevents another daemon from using the same database, until released or until the process ends. Two daemons
// would record the same containers and count everything twice. lock returns [ErrInUse] if another daemon has the lock.
// Without a fallback store, or if the lock file cannot be created, there is no lock.
func (f fallbackStore) lock() (release func(), err error) {
	release = func() {}
	if f.path == "" {
		return release, nil
	}
	var lock *os.File
	if err = f.makeDirectory(); err == nil {
		lock, err = os.OpenFile(f.path+".lock", os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	}
	if err != nil {
		f.log.Warn("locking the database failed: do not start a second capmon serve with it", zap.Error(err))
		return release, nil
	}
	release = func() { _ = lock.Close() }
	for range lockAttempts {
		err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return release, nil
		}
		time.Sleep(lockPause)
	}
	release()
	return nil, ErrInUse
}

// lock repeats its attempt, because [Running] has the lock for a moment.
const (
	lockAttempts = 10
	lockPause    = 20 * time.Millisecond
)

// Running reports whether a daemon uses the database with this fallback store. It returns false if the rights of this
// process do not suffice to find out.
func Running(fallback string) bool {
	lock, err := os.OpenFile(fallback+".lock", os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return false
	}
	defer lock.Close()
	return errors.Is(unix.Flock(int(lock.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK)
}

// exists reports whether the fallback store may contain data.
func (f fallbackStore) exists() bool {
	_, err := os.Stat(f.path)
	return f.path != "" && !errors.Is(err, fs.ErrNotExist)
}

// makeDirectory creates the directory of the file. Other users may have access to sockets in it.
func (f fallbackStore) makeDirectory() error { return os.MkdirAll(filepath.Dir(f.path), 0o755) }

// with opens the fallback store, calls a function with it, and closes it.
func (f fallbackStore) with(ctx context.Context, do storeFunc) error {
	if err := f.makeDirectory(); err != nil {
		return err
	}
	s, err := store.Open(ctx, f.path, store.Options{Recover: true, Limit: fallbackLimit})
	if err != nil {
		return err
	}
	if s.Replaced != "" {
		f.log.Error("the fallback store was damaged; capmon started a new one", zap.String("damaged", s.Replaced))
	}
	return errors.Join(do(ctx, s), s.Close())
}
