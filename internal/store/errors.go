package store

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// Causes of errors. After each of these errors nothing was written, and the caller can retry the write.
var (
	// ErrFull is returned if the file system is full or Options.Limit is reached. The store is usable again when there
	// is space.
	ErrFull = errors.New("no space is left on its file system: free some space")
	// ErrLocked is returned if another process locked the database for longer than Options.Wait.
	ErrLocked = errors.New("another process has locked it: try again, or stop that process")
	// ErrCorrupt is returned if the file is damaged. Options.Recover starts a new file.
	ErrCorrupt = errors.New("the file is damaged: restore a backup, or move it away")
	// ErrAltered is returned, together with ErrCorrupt, if the file is intact, but a run, proof or alert in it differs
	// from what capmon wrote. Put that value again to repair it.
	ErrAltered = errors.New("altered")
	// ErrReadOnly is returned if the database is not writable, or was opened with Options.ReadOnly.
	ErrReadOnly = errors.New("it is read-only")
	// ErrForbidden is returned if this process must not read the file.
	ErrForbidden = errors.New("this user may not read it: use sudo, or name another database")
	// ErrGone is returned if the file was deleted, or another file is at its path. Open the database again, and put
	// everything again.
	ErrGone = errors.New("it was deleted or replaced while it was open")
	// ErrNewer is returned if a later capmon wrote the database.
	ErrNewer = errors.New("it was written by a newer capmon: upgrade this one to read it")
	// ErrOlder is returned if the database was opened with Options.ReadOnly and has an older schema.
	ErrOlder = errors.New("it was written by an older capmon: run a command that writes to it, such as capmon db prune, to upgrade it")
	// ErrTooMuch is returned if the selection is larger than Selection.Limit.
	ErrTooMuch = errors.New("the selection is too large")
	// ErrForeign is returned if the file is not a database of capmon.
	ErrForeign = errors.New("it is not a capmon database")
)

// Error is an error of a database. It wraps one of the errors above if the cause is known.
type Error struct {
	Path string
	Err  error
}

func (e *Error) Error() string { return fmt.Sprintf("database %s: %v", e.Path, e.Err) }
func (e *Error) Unwrap() error { return e.Err }

// wrap returns an error as *Error, with its cause.
func wrap(path string, err error) error {
	var known *Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	if cause := cause(path, err); cause != nil && !errors.Is(err, cause) {
		err = fmt.Errorf("%w (%w)", cause, err)
	}
	return &Error{Path: path, Err: err}
}

// cause returns which of the errors above an error of SQLite or of a system call is; nil if unknown.
func cause(path string, err error) error {
	var failed *sqlite.Error
	if !errors.As(err, &failed) {
		switch {
		case errors.Is(err, unix.EROFS):
			return ErrReadOnly
		case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
			return ErrFull
		}
		return nil
	}
	if failed.Code() == sqlite3.SQLITE_READONLY_DBMOVED {
		return ErrGone
	}
	switch failed.Code() & 0xff {
	case sqlite3.SQLITE_FULL:
		return ErrFull
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL:
		return ErrLocked
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return ErrCorrupt
	case sqlite3.SQLITE_READONLY:
		return ErrReadOnly
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN: // for example, the index of the log could not grow
		return fileSystemCause(path)
	}
	return nil
}

// fileSystemCause returns the cause of an I/O error: permissions or the state of the file system; nil if unknown.
func fileSystemCause(path string) error {
	if unix.Faccessat(unix.AT_FDCWD, path, unix.R_OK, unix.AT_EACCESS) == unix.EACCES {
		return ErrForbidden
	}
	var fs unix.Statfs_t
	if _, err := os.Stat(path); err != nil {
		return nil
	}
	switch err := unix.Statfs(path, &fs); {
	case err != nil:
		return nil
	case fs.Flags&unix.ST_RDONLY != 0:
		return ErrReadOnly
	case fs.Bavail == 0:
		return ErrFull
	}
	return nil
}
