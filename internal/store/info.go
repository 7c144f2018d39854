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

// Info is what is in a database.
type Info struct {
	// Schema is its version.
	Schema int
	// Size in bytes of the file, and of the log beside it.
	Size, Log int64
	// Runs of how many Containers and Images, with how many Uses; Ongoing are those of the runs
	// that were running when they were seen last.
	Runs, Ongoing, Containers, Images, Uses, Proofs, Alerts uint64
	// First is when the first run or its observation began, Last when the last one was seen;
	// zero without runs.
	First, Last time.Time
	// PrunedRuns, PrunedProofs and PrunedAlerts were removed, of the runs those that ended
	// until PrunedUntil.
	PrunedRuns, PrunedProofs, PrunedAlerts uint64
	PrunedUntil                            time.Time
}

// Info tells what is in the database.
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

// parse reads a moment as sortable wrote it; "" is none.
func parse(text string, moment *time.Time) (err error) {
	if text == "" {
		return nil
	}
	if *moment, err = time.Parse(time.RFC3339Nano, text); err != nil {
		return damaged("moment", text)
	}
	return nil
}

// Backup writes a copy as of one moment, which only its owner may read, to a file that must
// not exist. Others may write meanwhile.
func (s *Store) Backup(ctx context.Context, path string) error {
	if err := s.there(); err != nil {
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
