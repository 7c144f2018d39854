package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"time"
)

// Retention selects what [Store.Prune] keeps. The zero value keeps everything.
type Retention struct {
	// MaxAge is the maximum age. Prune removes runs, proofs and alerts that ended longer ago; 0 for no limit.
	MaxAge time.Duration
	// MaxSize is the maximum size of the file in bytes. Prune removes the oldest runs, proofs and alerts until the file
	// is not larger; 0 for no limit.
	MaxSize int64
	// DryRun reports what would be removed, and removes nothing.
	DryRun bool
	// Now is the time that ages are relative to; zero for the current time.
	Now time.Time
}

// Removal is what [Store.Prune] removed.
type Removal struct {
	Runs, Proofs, Alerts uint64
	// Until is the latest end of a removed run; zero if none was removed.
	Until time.Time
	// Size is the size of the file afterwards in bytes. It is above Retention.MaxSize if nothing more can be
	// removed.
	Size int64
}

const (
	// ongoing is the time for which Prune keeps a run that was still running when capmon last observed it. The next
	// save would add such a run again, although it counts as removed.
	ongoing = time.Hour
	// batch is the maximum number of rows removed in one transaction. Other processes can write between two
	// transactions, and the log stays small.
	batch = 200
	// maxImages is the maximum number of images for which the numbers of removed rows are stored separately. If there
	// are more, they are added up.
	maxImages = 1000
)

// errDry ends the transaction of a dry run, so that nothing is written.
var errDry = errors.New("dry run")

// Prune removes the oldest runs, proofs and alerts, and stores how many it removed: see [Store.Missing]. It keeps
// ongoing runs. After an error, a part may already be removed, and is counted.
func (s *Store) Prune(ctx context.Context, retention Retention) (Removal, error) {
	if retention.Now.IsZero() {
		retention.Now = time.Now()
	}
	var removal Removal
	if retention.DryRun {
		err := s.write(ctx, func(tx *sql.Tx) error {
			for {
				switch more, err := removal.batch(ctx, tx, retention); {
				case err != nil:
					return err
				case !more:
					return errDry
				}
			}
		})
		if !errors.Is(err, errDry) {
			return Removal{}, err
		}
		return removal, nil
	}
	for more := true; more; {
		if err := s.checkpoint(ctx); err != nil {
			return removal, err
		}
		next := removal
		err := s.write(ctx, func(tx *sql.Tx) (err error) {
			more, err = next.batch(ctx, tx, retention)
			return err
		})
		if err != nil {
			return removal, err
		}
		removal = next
	}
	return removal, s.shrink(ctx)
}

// shrink returns the free space in the file to the file system. It does so in small steps, so that the log stays small.
func (s *Store) shrink(ctx context.Context) error {
	const pages = 256
	for left := int64(math.MaxInt64); ; {
		var free int64
		if err := s.db.QueryRowContext(ctx, "PRAGMA freelist_count").Scan(&free); err != nil {
			return wrap(s.path, err)
		}
		if free == 0 || free >= left {
			return s.checkpoint(ctx)
		}
		left = free
		if err := s.pragma(ctx, fmt.Sprintf("incremental_vacuum(%d)", pages)); err != nil {
			return err
		}
		if err := s.checkpoint(ctx); err != nil {
			return err
		}
	}
}

// checkpoint writes the log to the file and empties it. If a reader prevents that, this is not an error.
func (s *Store) checkpoint(ctx context.Context) error {
	return s.pragma(ctx, "wal_checkpoint(truncate)")
}

func (s *Store) pragma(ctx context.Context, pragma string) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	return wrap(s.path, each(ctx, s.db, func(*sql.Rows) error { return nil }, "PRAGMA "+pragma))
}

// removableRow is a run, proof or alert that can be removed.
type removableRow struct {
	kind      string
	key       int64
	container int64
	image     string
	ended     string
}

// batch removes up to batch rows. It returns false if there is nothing more to remove.
func (r *Removal) batch(ctx context.Context, tx *sql.Tx, retention Retention) (more bool, err error) {
	before, limit := "", 0
	if retention.MaxAge > 0 {
		before, limit = sortable(retention.Now.Add(-retention.MaxAge)), batch
	}
	oldest, err := removable(ctx, tx, retention, before, limit)
	if err == nil && len(oldest) == 0 && retention.MaxSize > 0 {
		if limit, err = excess(ctx, tx, retention.MaxSize); err == nil && limit > 0 {
			oldest, err = removable(ctx, tx, retention, "~", limit) // "~" sorts after all times
		}
	}
	if err != nil {
		return false, err
	}
	for _, row := range oldest {
		if err := r.remove(ctx, tx, row); err != nil {
			return false, err
		}
	}
	if err := foldPruned(ctx, tx); err != nil {
		return false, err
	}
	r.Size, err = used(ctx, tx)
	return len(oldest) > 0, err
}

// removable returns the oldest rows that ended before a time.
func removable(ctx context.Context, tx *sql.Tx, retention Retention, before string, limit int) (all []removableRow, err error) {
	err = each(ctx, tx, func(rows *sql.Rows) error {
		var row removableRow
		err := rows.Scan(&row.kind, &row.key, &row.container, &row.image, &row.ended)
		all = append(all, row)
		return err
	}, `SELECT 'run', runs.key, container, image, ended AS at FROM runs JOIN containers ON containers.key = container
			WHERE ended < ?1 AND NOT (running AND ended >= ?2)
		UNION ALL SELECT 'proof', proofs.rowid, container, image, time FROM proofs JOIN containers ON containers.key = container WHERE time < ?1
		UNION ALL SELECT 'alert', alerts.rowid, 0, image, time FROM alerts WHERE time < ?1
		ORDER BY at LIMIT ?3`, before, sortable(retention.Now.Add(-ongoing)), limit)
	return all, err
}

// remove removes a row and counts it.
func (r *Removal) remove(ctx context.Context, tx *sql.Tx, row removableRow) error {
	statement := ""
	switch row.kind {
	case "run":
		statement = "DELETE FROM runs WHERE key = ?"
		r.Runs++
		ended, err := time.Parse(time.RFC3339Nano, row.ended)
		if err != nil {
			return damaged("the end of a run of", row.image)
		}
		if ended.After(r.Until) {
			r.Until = ended
		}
	case "proof":
		statement = "DELETE FROM proofs WHERE rowid = ?"
		r.Proofs++
	case "alert":
		statement = "DELETE FROM alerts WHERE rowid = ?"
		r.Alerts++
	}
	if _, err := tx.ExecContext(ctx, statement, row.key); err != nil {
		return err
	}
	if err := deleteUnused(ctx, tx, []int64{row.container}); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO pruned VALUES (?, ?, 1, ?)
		ON CONFLICT DO UPDATE SET number = number + 1, until = max(until, excluded.until)`, row.kind, row.image, row.ended)
	return err
}

// foldPruned adds up the stored numbers if there are too many images. This bounds their table, because users who start
// containers choose the names of images.
func foldPruned(ctx context.Context, tx *sql.Tx) error {
	var known int
	if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM pruned").Scan(&known); err != nil || known <= maxImages {
		return err
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO pruned SELECT kind, '', sum(number), max(until) FROM pruned WHERE image <> '' GROUP BY kind
		ON CONFLICT DO UPDATE SET number = number + excluded.number, until = max(until, excluded.until)`); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, "DELETE FROM pruned WHERE image <> ''")
	return err
}

// used returns the size of the file without its free pages, in bytes.
func used(ctx context.Context, q query) (bytes int64, err error) {
	err = q.QueryRowContext(ctx, `SELECT (page_count - freelist_count) * page_size FROM pragma_page_count, pragma_freelist_count, pragma_page_size`).Scan(&bytes)
	return bytes, err
}

// excess returns how many rows to remove so that the size of the file approaches a maximum; 0 if it is not larger.
func excess(ctx context.Context, tx *sql.Tx, size int64) (int, error) {
	bytes, err := used(ctx, tx)
	if err != nil || bytes <= size {
		return 0, err
	}
	var all int64
	if err := tx.QueryRowContext(ctx, "SELECT (SELECT count(*) FROM runs) + (SELECT count(*) FROM proofs) + (SELECT count(*) FROM alerts)").Scan(&all); err != nil {
		return 0, err
	}
	// Half of the number that would be necessary if all rows had the same size, because the oldest may be larger.
	return int(max(1, min(batch, all*(bytes-size)/bytes/2))), nil
}
