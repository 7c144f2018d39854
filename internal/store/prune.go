package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"time"
)

// Retention says what to keep. The zero value keeps everything.
type Retention struct {
	// MaxAge removes what ended longer ago; 0 for no limit.
	MaxAge time.Duration
	// MaxSize, in bytes, removes what ended first until the file is no larger; 0 for no limit.
	MaxSize int64
	// DryRun only tells what would be removed.
	DryRun bool
	// Now is from when on the age counts; zero for the present.
	Now time.Time
}

// Removal is what Prune has removed.
type Removal struct {
	Runs, Proofs, Alerts uint64
	// Until is when the last of the runs ended; zero if none was removed.
	Until time.Time
	// Size of the file in bytes after it: above Retention.MaxSize if what is left may not be
	// removed.
	Size int64
}

const (
	// ongoing is how lately a run that was seen running must have been seen to be spared: its
	// next sight would bring it back, and its removal counted.
	ongoing = time.Hour
	// batch is how much is removed at once: others may write in between, and little room is
	// taken for what is not written to the file yet.
	batch = 200
	// images is of how many images it is known what was pruned; of more it is known of all
	// together.
	images = 1000
)

// errDry ends the transaction of a dry run, so that nothing is written.
var errDry = errors.New("dry run")

// Prune removes the oldest of what is there, and remembers that it did: see Missing. An ongoing
// run stays, and so does what ended after one that stays. If it fails, some of what was
// to be removed is gone, and counted.
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

// shrink gives what is free in the file back to the file system, in steps, each of which takes
// little room in the log.
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

// checkpoint empties the log into the file. It is no error if a reader keeps it from that.
func (s *Store) checkpoint(ctx context.Context) error {
	return s.pragma(ctx, "wal_checkpoint(truncate)")
}

func (s *Store) pragma(ctx context.Context, pragma string) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	return wrap(s.path, each(ctx, s.db, func(*sql.Rows) error { return nil }, "PRAGMA "+pragma))
}

// old is something that may be removed.
type old struct {
	kind      string
	key       int64
	container int64
	image     string
	ended     string
}

// batch removes some, and tells whether there may be more to remove.
func (r *Removal) batch(ctx context.Context, tx *sql.Tx, retention Retention) (more bool, err error) {
	before, limit := "", 0
	if retention.MaxAge > 0 {
		before, limit = sortable(retention.Now.Add(-retention.MaxAge)), batch
	}
	oldest, err := removable(ctx, tx, retention, before, limit)
	if err == nil && len(oldest) == 0 && retention.MaxSize > 0 {
		if limit, err = excess(ctx, tx, retention.MaxSize); err == nil && limit > 0 {
			oldest, err = removable(ctx, tx, retention, "~", limit) // after all moments
		}
	}
	if err != nil {
		return false, err
	}
	for _, one := range oldest {
		if err := r.remove(ctx, tx, one); err != nil {
			return false, err
		}
	}
	if err := foldPruned(ctx, tx); err != nil {
		return false, err
	}
	r.Size, err = used(ctx, tx)
	return len(oldest) > 0, err
}

// removable are the oldest of what ended before a moment.
func removable(ctx context.Context, tx *sql.Tx, retention Retention, before string, limit int) (all []old, err error) {
	err = each(ctx, tx, func(rows *sql.Rows) error {
		var one old
		err := rows.Scan(&one.kind, &one.key, &one.container, &one.image, &one.ended)
		all = append(all, one)
		return err
	}, `SELECT 'run', runs.key, container, image, ended AS at FROM runs JOIN containers ON containers.key = container
			WHERE ended < ?1 AND NOT (running AND ended >= ?2)
		UNION ALL SELECT 'proof', proofs.rowid, container, image, time FROM proofs JOIN containers ON containers.key = container WHERE time < ?1
		UNION ALL SELECT 'alert', alerts.rowid, 0, image, time FROM alerts WHERE time < ?1
		ORDER BY at LIMIT ?3`, before, sortable(retention.Now.Add(-ongoing)), limit)
	return all, err
}

// remove removes one, and counts it.
func (r *Removal) remove(ctx context.Context, tx *sql.Tx, one old) error {
	statement := ""
	switch one.kind {
	case "run":
		statement = "DELETE FROM runs WHERE key = ?"
		r.Runs++
		ended, err := time.Parse(time.RFC3339Nano, one.ended)
		if err != nil {
			return damaged("the end of a run of", one.image)
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
	if _, err := tx.ExecContext(ctx, statement, one.key); err != nil {
		return err
	}
	if err := forget(ctx, tx, []int64{one.container}); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO pruned VALUES (?, ?, 1, ?)
		ON CONFLICT DO UPDATE SET number = number + 1, until = max(until, excluded.until)`, one.kind, one.image, one.ended)
	return err
}

// foldPruned keeps what is known of what was pruned from growing: whoever starts containers
// chooses the names of images.
func foldPruned(ctx context.Context, tx *sql.Tx) error {
	var known int
	if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM pruned").Scan(&known); err != nil || known <= images {
		return err
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO pruned SELECT kind, '', sum(number), max(until) FROM pruned WHERE image <> '' GROUP BY kind
		ON CONFLICT DO UPDATE SET number = number + excluded.number, until = max(until, excluded.until)`); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, "DELETE FROM pruned WHERE image <> ''")
	return err
}

// used is how many bytes the file takes without what is free in it.
func used(ctx context.Context, q query) (bytes int64, err error) {
	err = q.QueryRowContext(ctx, `SELECT (page_count - freelist_count) * page_size FROM pragma_page_count, pragma_freelist_count, pragma_page_size`).Scan(&bytes)
	return bytes, err
}

// excess is how many to remove for the file to come near a size, 0 if it is no larger.
func excess(ctx context.Context, tx *sql.Tx, size int64) (int, error) {
	bytes, err := used(ctx, tx)
	if err != nil || bytes <= size {
		return 0, err
	}
	var all int64
	if err := tx.QueryRowContext(ctx, "SELECT (SELECT count(*) FROM runs) + (SELECT count(*) FROM proofs) + (SELECT count(*) FROM alerts)").Scan(&all); err != nil {
		return 0, err
	}
	// Half of what it takes if all are as large: the oldest may be larger.
	return int(max(1, min(batch, all*(bytes-size)/bytes/2))), nil
}
