package store

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// What may be the matter with a database. After each of these nothing was written, and
// what was to be written can be tried again.
var (
	// ErrFull: the file system has no room, or Options.Limit is reached. The store can be used
	// again once there is room.
	ErrFull = errors.New("no space is left on its file system: make room")
	// ErrLocked: another process kept it locked for longer than Options.Wait.
	ErrLocked = errors.New("another process keeps it locked: try again, or end what uses it")
	// ErrCorrupt: what is in the file cannot be so. Options.Recover begins anew.
	ErrCorrupt = errors.New("the file is damaged: put a backup in its place, or move it away")
	// ErrAltered, which is ErrCorrupt besides: the file may be whole, but something in it is not
	// what was written. Putting it again puts it right.
	ErrAltered = errors.New("altered")
	// ErrReadOnly: it may not be written to, or was opened with Options.ReadOnly.
	ErrReadOnly = errors.New("it may only be read")
	// ErrForbidden: this process may not even read it.
	ErrForbidden = errors.New("this user may not read it: use sudo, or name another database")
	// ErrGone: another file is at its path, or none. Open it again, and put everything again.
	ErrGone = errors.New("it was deleted or replaced while it was open")
	// ErrNewer: it was written by a later capmon.
	ErrNewer = errors.New("it was written by a newer capmon: upgrade this one to read it")
	// ErrOlder: it was opened with Options.ReadOnly, and would have to be upgraded first.
	ErrOlder = errors.New("it was written by an older capmon: any command that writes to it upgrades it, such as capmon db prune")
	// ErrTooMuch: what is selected is larger than Selection.Limit.
	ErrTooMuch = errors.New("too much is selected")
	// ErrForeign: the file is something else.
	ErrForeign = errors.New("it is not a database of capmon's")
)

// Error says what went wrong with which database. Its cause is one of the errors above,
// if it is known.
type Error struct {
	Path string
	Err  error
}

func (e *Error) Error() string { return fmt.Sprintf("database %s: %v", e.Path, e.Err) }
func (e *Error) Unwrap() error { return e.Err }

// wrap makes an *Error of an error, with what it means.
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

// cause is what an error of SQLite's means to the caller, nil if that is not known.
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
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN: // the index of the log could not grow, say
		return fileSystem(path)
	}
	return nil
}

// fileSystem is what is wrong with the way to a database, or the file system that it is on.
func fileSystem(path string) error {
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
