package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Info describes the contents of a database.
type Info struct {
	// Schema is the version of the schema.
	Schema int
	// Size and Log are the sizes of the file and of its log in bytes.
	Size, Log int64
	// Numbers of rows. Containers and Images are the numbers of different containers and images of the runs. Ongoing
	// is the number of runs that were still running when capmon last observed them.
	Runs, Ongoing, Containers, Images, Uses, Proofs, Alerts uint64
	// First is the time of the earliest start of a run; if a start was not observed, the end of the run counts. Last is
	// the latest end of a run. Both are zero without runs.
	First, Last time.Time
	// PrunedRuns, PrunedProofs and PrunedAlerts are the numbers of removed runs, proofs and alerts. PrunedUntil is the
	// latest end of a removed run.
	PrunedRuns, PrunedProofs, PrunedAlerts uint64
	PrunedUntil                            time.Time
}

// Info returns a description of the contents.
func (s *Store) Info(ctx context.Context) (info Info, err error) {
	err = s.read(ctx, func(tx *sql.Tx) error {
		if info.Schema, err = version(ctx, tx); err != nil {
			return err
		}
		var first, last, until string
		if err := tx.QueryRowContext(ctx, `SELECT count(*), coalesce(sum(running), 0), count(DISTINCT containers.id), count(DISTINCT image),
			(SELECT count(*) FROM uses), (SELECT count(*) FROM proofs), (SELECT count(*) FROM alerts),
			coalesce(min(coalesce(started, ended)), ''), coalesce(max(ended), '')
			FROM runs JOIN containers ON containers.key = container`).
			Scan(&info.Runs, &info.Ongoing, &info.Containers, &info.Images, &info.Uses, &info.Proofs, &info.Alerts, &first, &last); err != nil {
			return err
		}
		if err := tx.QueryRowContext(ctx, `SELECT coalesce(sum(number) FILTER (WHERE kind = 'run'), 0), coalesce(sum(number) FILTER (WHERE kind = 'proof'), 0),
			coalesce(sum(number) FILTER (WHERE kind = 'alert'), 0), coalesce(max(until) FILTER (WHERE kind = 'run'), '') FROM pruned`).
			Scan(&info.PrunedRuns, &info.PrunedProofs, &info.PrunedAlerts, &until); err != nil {
			return err
		}
		return errors.Join(parse(first, &info.First), parse(last, &info.Last), parse(until, &info.PrunedUntil))
	})
	if err != nil {
		return Info{}, err
	}
	for suffix, size := range map[string]*int64{"": &info.Size, "-wal": &info.Log} {
		if file, err := os.Stat(s.path + suffix); err == nil {
			*size = file.Size()
		}
	}
	return info, nil
}

// parse parses a time in the format of sortable. It leaves t unchanged if text is "".
func parse(text string, t *time.Time) (err error) {
	if text == "" {
		return nil
	}
	if *t, err = time.Parse(time.RFC3339Nano, text); err != nil {
		return damaged("time", text)
	}
	return nil
}

// Backup writes a consistent copy to a new file, which only its owner can read. Other processes can write in the
// meantime. The error is [os.ErrExist] if the file exists.
func (s *Store) Backup(ctx context.Context, path string) error {
	if err := s.checkFile(); err != nil {
		return wrap(s.path, err)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	if _, err = s.db.ExecContext(ctx, "VACUUM INTO ?", path); err == nil {
		err = errors.Join(syncFile(path), syncFile(filepath.Dir(path)))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("backing up to %s: %w", path, wrap(s.path, err)), os.Remove(path))
	}
	return nil
}

func syncFile(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}
