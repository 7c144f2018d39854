// Package store keeps what was learnt about containers in a database: the runs of all of
// them, proofs and alerts, as long as there is room.
package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	_ "modernc.org/sqlite" // the driver sqlite

	"github.com/capmon/capmon/internal/atomicfile"
)

// DefaultPath is where the database is if nobody says otherwise.
const DefaultPath = "/var/lib/capmon/capmon.db"

// defaultWait is how long to wait for others who write.
const defaultWait = 5 * time.Second

// Options are how to open a database. The zero value opens it for writing, and makes it if
// there is none.
type Options struct {
	// ReadOnly: nothing is written, and there has to be a database.
	ReadOnly bool
	// Recover moves a damaged database out of the way, and begins anew: Store.Replaced.
	// It takes a look at the whole file, some seconds for each gibibyte.
	Recover bool
	// Limit is how many bytes the file may have, or else it is ErrFull; 0 for no limit.
	Limit int64
	// Wait is how long to wait for another process that keeps it locked; 0 for 5 seconds.
	Wait time.Duration
}

func (o Options) wait() time.Duration { return cmp.Or(o.Wait, defaultWait) }

// Store is an open database. Its methods may be called at the same time; their errors are
// an *Error.
type Store struct {
	// Replaced is where the damaged file is whose place this database took; "" if there
	// was none.
	Replaced string

	path     string
	readOnly bool
	db       *sql.DB
	file     os.FileInfo // which file it is
	writing  sync.Mutex
}

// Open opens the database at a path, and brings its schema up to date.
func Open(ctx context.Context, path string, options Options) (*Store, error) {
	s, err := open(ctx, path, options)
	if err == nil || !options.Recover || options.ReadOnly || !errors.Is(err, ErrCorrupt) {
		return s, wrap(path, err)
	}
	if !mayHaveBeenDatabase(path) {
		return nil, wrap(path, fmt.Errorf("%w (%v)", ErrForeign, err))
	}
	aside, moveErr := moveAside(path, time.Now())
	if moveErr != nil {
		return nil, wrap(path, errors.Join(err, moveErr))
	}
	if s, err = open(ctx, path, options); err != nil {
		return nil, wrap(path, err)
	}
	s.Replaced = aside
	return s, nil
}

func open(ctx context.Context, path string, options Options) (*Store, error) {
	if options.ReadOnly {
		return openToRead(ctx, path, options)
	}
	if err := create(path); err != nil {
		return nil, err
	}
	s, err := connect(path, options, "_txlock=immediate")
	if err != nil {
		return nil, err
	}
	if err := s.prepareUnlocked(ctx, options); err != nil {
		return nil, errors.Join(wrap(path, err), s.Close())
	}
	return s, nil
}

// prepareUnlocked waits for others who make or upgrade the database, or close it: SQLite does
// not wait for all that they do.
func (s *Store) prepareUnlocked(ctx context.Context, options Options) error {
	const pause = 10 * time.Millisecond
	deadline := time.Now().Add(options.wait())
	for {
		err := wrap(s.path, s.prepare(ctx, options))
		if !errors.Is(err, ErrLocked) || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// create makes the file, which only its owner may read, and its directory.
func create(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return file.Close()
}

// connect makes the pool of connections to a file that exists, without using any.
func connect(path string, options Options, more ...string) (*Store, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("it is no regular file: %w", ErrForeign)
	}
	// What was committed survives a loss of power (synchronous). The log stays small, since room
	// for what is in it has to be found twice before anything is pruned. A damaged file is read with
	// care (cell_size_check), and no function runs for what it says (trusted_schema).
	uri := "file:" + (&url.URL{Path: absolute}).EscapedPath() + "?_defensive=1&_dqs=0" +
		"&_pragma=busy_timeout(" + strconv.FormatInt(options.wait().Milliseconds(), 10) + ")" +
		"&_pragma=synchronous(full)&_pragma=wal_autocheckpoint(256)&_pragma=journal_size_limit(1048576)" +
		"&_pragma=foreign_keys(on)&_pragma=cell_size_check(on)&_pragma=trusted_schema(off)"
	if options.Limit > 0 {
		uri += "&_pragma=max_page_count(" + strconv.FormatInt(options.Limit/pageSize, 10) + ")"
	}
	for _, parameter := range more {
		uri += "&" + parameter
	}
	db, err := sql.Open("sqlite", uri)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(4)
	return &Store{path: path, readOnly: options.ReadOnly, db: db, file: info}, nil
}

// prepare makes the schema, and looks whether the file is whole if it may be replaced.
func (s *Store) prepare(ctx context.Context, options Options) error {
	known := migrations()
	has, err := version(ctx, s.db)
	switch {
	case err != nil:
		return err
	case has > len(known):
		return newer(has, len(known))
	}
	if options.Recover {
		if err := s.quickCheck(ctx); err != nil {
			return err
		}
	}
	// auto_vacuum has to come before the first table: without, the file never shrinks.
	if has == 0 {
		if _, err := s.db.ExecContext(ctx, "PRAGMA auto_vacuum = incremental"); err != nil {
			return err
		}
	}
	if _, err := s.db.ExecContext(ctx, "PRAGMA journal_mode = wal"); err != nil || has == len(known) {
		return err // a backup had none
	}
	return migrate(ctx, s.db, known)
}

func (s *Store) quickCheck(ctx context.Context) error {
	var verdict string
	if err := s.db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict); err != nil {
		return err
	}
	if verdict != "ok" {
		return fmt.Errorf("%w (%s)", ErrCorrupt, verdict)
	}
	return nil
}

// openToRead opens a database that exists, also where nothing can be written.
func openToRead(ctx context.Context, path string, options Options) (*Store, error) {
	s, err := readable(ctx, path, options, "mode=ro")
	if err == nil || !errors.Is(err, ErrReadOnly) || !logEmpty(path) {
		return s, err
	}
	// SQLite needs to write beside a file whose writers keep a log, unless nobody writes.
	return readable(ctx, path, options, "mode=ro", "immutable=1")
}

// logEmpty reports whether all that was written is in the file itself.
func logEmpty(path string) bool {
	info, err := os.Stat(path + "-wal")
	return errors.Is(err, os.ErrNotExist) || err == nil && info.Size() == 0
}

func readable(ctx context.Context, path string, options Options, parameters ...string) (*Store, error) {
	s, err := connect(path, options, parameters...)
	if err != nil {
		return nil, err
	}
	has, err := version(ctx, s.db)
	if err == nil {
		err = readableSchema(has, len(migrations()))
	}
	if err != nil {
		return nil, errors.Join(wrap(path, err), s.db.Close())
	}
	return s, nil
}

// pageSize of the databases that create makes: SQLite's own.
const pageSize = 4096

// mayHaveBeenDatabase tells a damaged database from a file that somebody has named by mistake,
// which is better left alone.
func mayHaveBeenDatabase(path string) bool {
	if _, err := os.Stat(path + "-wal"); err == nil {
		return true
	}
	info, err := os.Stat(path)
	return err == nil && info.Size()%pageSize == 0
}

// moveAside gives a damaged database, with its log, another name.
func moveAside(path string, now time.Time) (string, error) {
	aside := path + ".corrupt-" + now.UTC().Format("20060102T150405.000Z")
	if err := os.Rename(path, aside); err != nil {
		return "", err
	}
	for _, suffix := range []string{"-wal", "-shm"} {
		if err := os.Rename(path+suffix, aside+suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
	}
	return aside, atomicfile.SyncDirectory(filepath.Dir(path))
}

// Close ends the use of the database.
func (s *Store) Close() error { return wrap(s.path, s.db.Close()) }

// Path is that of the database's file.
func (s *Store) Path() string { return s.path }

// Remove removes a database that nobody uses.
func Remove(path string) error {
	var errs []error
	for _, suffix := range []string{"-wal", "-shm", ""} { // the log of another file would be taken for its own
		if err := os.Remove(path + suffix); !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return wrap(path, errors.Join(errs...))
}

// there fails with ErrGone if another file is at the database's path, or none.
func (s *Store) there() error {
	info, err := os.Stat(s.path)
	if errors.Is(err, os.ErrNotExist) || err == nil && !os.SameFile(info, s.file) {
		return ErrGone
	}
	return err
}

// write does something in a transaction, all of it or nothing.
func (s *Store) write(ctx context.Context, do func(*sql.Tx) error) error {
	if s.readOnly {
		return wrap(s.path, ErrReadOnly)
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.there(); err != nil {
		return wrap(s.path, err)
	}
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return wrap(s.path, err)
	}
	defer func() { _ = tx.Rollback() }()
	if err := do(tx); err != nil {
		return wrap(s.path, err)
	}
	if err := tx.Commit(); err != nil {
		return wrap(s.path, err)
	}
	return wrap(s.path, s.there()) // else it went into a file that nobody will see
}

// read does something that sees the database as of one moment.
func (s *Store) read(ctx context.Context, do func(*sql.Tx) error) error {
	if err := s.there(); err != nil {
		return wrap(s.path, err)
	}
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return wrap(s.path, err)
	}
	defer func() { _ = tx.Rollback() }()
	return wrap(s.path, do(tx))
}
