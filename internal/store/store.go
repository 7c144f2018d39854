// Package store is the database of runs, proofs and alerts.
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

// DefaultPath is the default path of the database.
const DefaultPath = "/var/lib/capmon/capmon.db"

// defaultWait is the default of [Options.Wait].
const defaultWait = 5 * time.Second

// Options are the settings of [Open]. The zero value opens the database for writing, and creates it if it does not
// exist.
type Options struct {
	// ReadOnly opens an existing database without writing to it.
	ReadOnly bool
	// Recover moves a damaged database out of the way and creates a new one: see [Store.Replaced]. It makes Open check
	// the whole file, which takes a few seconds for each gibibyte.
	Recover bool
	// Limit is the maximum size of the file in bytes; 0 for no limit. Writes beyond it return [ErrFull].
	Limit int64
	// Wait is the maximum time to wait for another process that locks the database; 0 for 5 seconds.
	Wait time.Duration
}

func (o Options) wait() time.Duration { return cmp.Or(o.Wait, defaultWait) }

// Store is an open database. It is safe for concurrent use. The errors of its methods are of type *[Error].
type Store struct {
	// Replaced is the new path of the damaged file that this database replaced; "" if there was none.
	Replaced string

	path     string
	readOnly bool
	db       *sql.DB
	file     os.FileInfo // identifies the file that was opened
	writing  sync.Mutex
}

// Open opens the database at a path. Unless Options.ReadOnly is set, it upgrades the schema.
func Open(ctx context.Context, path string, options Options) (*Store, error) {
	s, err := open(ctx, path, options)
	if err == nil || !options.Recover || options.ReadOnly || !errors.Is(err, ErrCorrupt) {
		return s, wrap(path, err)
	}
	if !mayHaveBeenDatabase(path) {
		return nil, wrap(path, fmt.Errorf("%w (%v)", ErrForeign, err))
	}
	moved, moveErr := moveDamaged(path, time.Now())
	if moveErr != nil {
		return nil, wrap(path, errors.Join(err, moveErr))
	}
	if s, err = open(ctx, path, options); err != nil {
		return nil, wrap(path, err)
	}
	s.Replaced = moved
	return s, nil
}

func open(ctx context.Context, path string, options Options) (*Store, error) {
	if options.ReadOnly {
		return openReadOnly(ctx, path, options)
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

// prepareUnlocked calls prepare until no other process creates, upgrades or closes the database. SQLite itself does not
// wait for all of these.
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

// create creates the file, which only its owner can read, and its directory.
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

// connect creates the pool of connections to an existing file, without opening a connection.
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
		return nil, fmt.Errorf("it is not a regular file: %w", ErrForeign)
	}
	// synchronous: committed data survives a power failure. wal_autocheckpoint, journal_size_limit: the log stays
	// small, because pruning needs space for its contents twice. cell_size_check: SQLite detects more damage.
	// trusted_schema=off: a manipulated schema cannot run functions.
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

// prepare creates or upgrades the schema. With Options.Recover it first checks that the file is intact.
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
	// Without auto_vacuum the file never shrinks. It must be set before the first table is created.
	if has == 0 {
		if _, err := s.db.ExecContext(ctx, "PRAGMA auto_vacuum = incremental"); err != nil {
			return err
		}
	}
	if _, err := s.db.ExecContext(ctx, "PRAGMA journal_mode = wal"); err != nil || has == len(known) {
		return err // a backup is not in WAL mode
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

// openReadOnly opens an existing database, also on a read-only file system.
func openReadOnly(ctx context.Context, path string, options Options) (*Store, error) {
	s, err := connectReadOnly(ctx, path, options, "mode=ro")
	if err == nil || !errors.Is(err, ErrReadOnly) || !logEmpty(path) {
		return s, err
	}
	// In WAL mode, SQLite must write files next to the database, unless the database is immutable.
	return connectReadOnly(ctx, path, options, "mode=ro", "immutable=1")
}

// logEmpty reports whether the log is empty, so that the file itself contains all data.
func logEmpty(path string) bool {
	info, err := os.Stat(path + "-wal")
	return errors.Is(err, os.ErrNotExist) || err == nil && info.Size() == 0
}

func connectReadOnly(ctx context.Context, path string, options Options, parameters ...string) (*Store, error) {
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

// pageSize is the page size of the database, which is SQLite's default.
const pageSize = 4096

// mayHaveBeenDatabase reports whether a file that is not a valid database may be a damaged one. Other files, which a
// user named by mistake, must not be moved.
func mayHaveBeenDatabase(path string) bool {
	if _, err := os.Stat(path + "-wal"); err == nil {
		return true
	}
	info, err := os.Stat(path)
	return err == nil && info.Size()%pageSize == 0
}

// moveDamaged renames a damaged database and its log, and returns the new path.
func moveDamaged(path string, now time.Time) (string, error) {
	moved := path + ".corrupt-" + now.UTC().Format("20060102T150405.000Z")
	if err := os.Rename(path, moved); err != nil {
		return "", err
	}
	for _, suffix := range []string{"-wal", "-shm"} {
		if err := os.Rename(path+suffix, moved+suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
	}
	return moved, atomicfile.SyncDirectory(filepath.Dir(path))
}

// Close closes the database.
func (s *Store) Close() error { return wrap(s.path, s.db.Close()) }

// Path returns the path of the database.
func (s *Store) Path() string { return s.path }

// Remove removes a database that no process uses.
func Remove(path string) error {
	var errs []error
	for _, suffix := range []string{"-wal", "-shm", ""} { // the log first: a new database would use it as its own
		if err := os.Remove(path + suffix); !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return wrap(path, errors.Join(errs...))
}

// checkFile returns [ErrGone] if the file was deleted, or another file is at its path.
func (s *Store) checkFile() error {
	info, err := os.Stat(s.path)
	if errors.Is(err, os.ErrNotExist) || err == nil && !os.SameFile(info, s.file) {
		return ErrGone
	}
	return err
}

// write calls a function in a transaction, which it commits if the function succeeds.
func (s *Store) write(ctx context.Context, do func(*sql.Tx) error) error {
	if s.readOnly {
		return wrap(s.path, ErrReadOnly)
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.checkFile(); err != nil {
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
	return wrap(s.path, s.checkFile()) // if the file was deleted in between, the data is lost
}

// read calls a function in a read transaction, which sees the database as of one time.
func (s *Store) read(ctx context.Context, do func(*sql.Tx) error) error {
	if err := s.checkFile(); err != nil {
		return wrap(s.path, err)
	}
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return wrap(s.path, err)
	}
	defer func() { _ = tx.Rollback() }()
	return wrap(s.path, do(tx))
}
