package store

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/profile"
)

// Profile returns the selected runs and proofs. See [Store.Missing] for runs that may match the selection as well.
// If a selected run or proof differs from what was written, the error is [ErrCorrupt].
func (s *Store) Profile(ctx context.Context, selection Selection) (profile.Profile, error) {
	selector, err := selection.selector()
	if err != nil {
		return profile.Profile{}, err
	}
	var p profile.Profile
	err = s.read(ctx, func(tx *sql.Tx) error {
		keys, err := containers(ctx, tx, selector.container)
		if err != nil {
			return err
		}
		for _, key := range keys {
			runs, err := runsOf(ctx, tx, selector, key)
			if err != nil {
				return err
			}
			p.Runs = append(p.Runs, runs...)
			proofs, err := proofsOf(ctx, tx, selector, key)
			if err != nil {
				return err
			}
			p.Proofs = append(p.Proofs, proofs...)
		}
		return nil
	})
	if err != nil {
		return profile.Profile{}, err
	}
	return profile.Merge(p), nil
}

// RunsOf returns the runs of the containers with these complete IDs. It reads only these runs. If the error is
// [ErrAltered], the profile contains the other runs.
func (s *Store) RunsOf(ctx context.Context, ids []string) (profile.Profile, error) {
	wanted := make(map[string]bool)
	for _, id := range ids {
		wanted[id] = true
	}
	var p profile.Profile
	err := s.read(ctx, func(tx *sql.Tx) error {
		var keys []int64
		err := each(ctx, tx, func(rows *sql.Rows) error {
			var key int64
			var id string
			err := rows.Scan(&key, &id)
			if wanted[id] {
				keys = append(keys, key)
			}
			return err
		}, "SELECT key, id FROM containers")
		for _, key := range keys {
			runs, runsErr := runsOf(ctx, tx, selector{}, key)
			err = errors.Join(err, runsErr)
			p.Runs = append(p.Runs, runs...)
		}
		return err
	})
	return profile.Merge(p), err
}

// Containers returns the containers in the database, with the fields that a [Selection] uses.
func (s *Store) Containers(ctx context.Context) (all []profile.Container, err error) {
	err = s.read(ctx, func(tx *sql.Tx) error {
		rows, err := allContainers(ctx, tx)
		for _, row := range rows {
			all = append(all, row.container)
		}
		return err
	})
	return all, err
}

// containers returns the keys of the wanted containers.
func containers(ctx context.Context, tx *sql.Tx, wanted func(profile.Container) bool) ([]int64, error) {
	all, err := allContainers(ctx, tx)
	if err != nil {
		return nil, err
	}
	var keys []int64
	for _, row := range all {
		if wanted(row.container) {
			keys = append(keys, row.key)
		}
	}
	return keys, nil
}

// containerRow is a row of the table containers.
type containerRow struct {
	key       int64
	container profile.Container
	unnamed   bool // only the ID is known
}

// allContainers returns the containers in the database, with the fields that a selection uses. It fills in unnamed
// containers from named ones with the same ID.
func allContainers(ctx context.Context, tx *sql.Tx) (all []containerRow, err error) {
	labels, err := allLabels(ctx, tx)
	if err != nil {
		return nil, err
	}
	named := make(map[string]profile.Container)
	err = each(ctx, tx, func(rows *sql.Rows) error {
		var row containerRow
		var sum []byte
		c := &row.container
		if err := rows.Scan(&row.key, &sum, &c.ID, &c.Name, &c.Image, &c.ImageID, &c.ImageDigest); err != nil {
			return err
		}
		c.Labels = labels[row.key]
		switch {
		case c.Name != "":
			named[c.ID] = *c
		case c.Image == "": // an unconfirmed container has further columns, so its digest differs
			columns, err := containerColumns(profile.Container{ID: c.ID})
			if err != nil {
				return err
			}
			row.unnamed = bytes.Equal(sum, columns[0].([]byte))
		}
		all = append(all, row)
		return nil
	}, "SELECT key, digest, id, name, image, image_id, image_digest FROM containers")
	for i, row := range all {
		if c, known := named[row.container.ID]; known && row.unnamed {
			all[i].container = c
		}
	}
	return all, err
}

// allLabels returns the labels of containers by key.
func allLabels(ctx context.Context, tx *sql.Tx) (map[int64]map[string]string, error) {
	labels := make(map[int64]map[string]string)
	err := each(ctx, tx, func(rows *sql.Rows) error {
		var key int64
		var label, value string
		if err := rows.Scan(&key, &label, &value); err != nil {
			return err
		}
		if labels[key] == nil {
			labels[key] = make(map[string]string)
		}
		labels[key][label] = value
		return nil
	}, "SELECT container, label, value FROM labels")
	return labels, err
}

// runsOf returns the runs of a container in the selected interval. If the error is [ErrAltered], it returns the other
// runs.
func runsOf(ctx context.Context, tx *sql.Tx, selector selector, container int64) (runs []profile.Run, err error) {
	var altered error
	err = each(ctx, tx, func(rows *sql.Rows) error {
		run, size, err := scanRun(rows)
		if err == nil && selector.overlaps(run) {
			err = selector.countRead(size)
		}
		switch {
		case errors.Is(err, ErrAltered):
			altered = errors.Join(altered, err)
			return nil
		case err == nil && selector.overlaps(run):
			runs = append(runs, run)
		}
		return err
	}, selectRuns+" WHERE container = ? AND ended >= ?", container, since(selector.Since))
	return runs, errors.Join(err, altered)
}

// selectRuns selects the columns that scanRun reads.
const selectRuns = "SELECT id, runs.digest, moments, json, setup FROM runs LEFT JOIN documents ON run = key"

// selectUses selects the columns that useColumns returns.
const selectUses = `SELECT position, capability, class, granted, alternative, program, call, site, entry, user, count, first, last
	FROM uses WHERE run = ? ORDER BY position`

// scanRun reads a run and verifies its checksum. size is the size of its JSON form.
func scanRun(rows *sql.Rows) (run profile.Run, size int, err error) {
	var id string
	var sum, text, setup, when []byte
	if err := rows.Scan(&id, &sum, &when, &text, &setup); err != nil {
		return run, 0, err
	}
	if run, err = assemble(text, setup, when); err != nil {
		return run, 0, damaged("run", id)
	}
	whole, _, err := canonical(run)
	if err != nil || run.ID != id || !bytes.Equal(digest(whole), sum) {
		return run, 0, damaged("run", id)
	}
	return run, len(whole), nil
}

// since returns a time limit for a query; "" for none.
func since(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return sortable(t)
}

func proofsOf(ctx context.Context, tx *sql.Tx, selector selector, container int64) (proofs []profile.Proof, err error) {
	err = each(ctx, tx, func(rows *sql.Rows) error {
		proof, size, err := scanDocument[profile.Proof](rows, "proof")
		if err == nil {
			err = selector.countRead(size)
		}
		proofs = append(proofs, proof)
		return err
	}, "SELECT id, digest, json FROM proofs WHERE container = ?", container)
	return proofs, err
}

// PutAlerts adds alerts, and returns how many were new. After an error, none was added.
func (s *Store) PutAlerts(ctx context.Context, alerts []alert.Alert) (added int, err error) {
	err = s.write(ctx, func(tx *sql.Tx) error {
		for _, a := range alerts {
			text, a, err := canonical(a)
			if err != nil {
				return err
			}
			values := alertColumns(a, text)
			result, err := tx.ExecContext(ctx, "INSERT INTO alerts VALUES ("+marks(len(values))+") ON CONFLICT (id) DO NOTHING", values...)
			if err != nil {
				return err
			}
			n, err := result.RowsAffected()
			if err != nil {
				return err
			}
			added += int(n)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return added, nil
}

// Alerts returns the alerts of the selected containers, the oldest first. Alerts do not contain the digest of the
// image, so a digest selects no alerts.
func (s *Store) Alerts(ctx context.Context, selection Selection) (alerts []alert.Alert, err error) {
	selector, err := selection.selector()
	if err != nil {
		return nil, err
	}
	err = s.read(ctx, func(tx *sql.Tx) error {
		alerts, err = alertsOf(ctx, tx, selector, selector.container)
		return err
	})
	return alerts, err
}

// LastAlert returns the latest alert of a rule; false if there is none.
func (s *Store) LastAlert(ctx context.Context, rule string) (last alert.Alert, ok bool, err error) {
	err = s.read(ctx, func(tx *sql.Tx) error {
		return each(ctx, tx, func(rows *sql.Rows) (err error) {
			last, _, err = scanDocument[alert.Alert](rows, "alert")
			ok = err == nil
			return err
		}, "SELECT id, digest, json FROM alerts WHERE rule = ? ORDER BY time DESC LIMIT 1", rule)
	})
	return last, ok, err
}

// alertsOf returns the alerts of the wanted containers in the selected interval.
func alertsOf(ctx context.Context, tx *sql.Tx, selector selector, wanted func(profile.Container) bool) (alerts []alert.Alert, err error) {
	err = each(ctx, tx, func(rows *sql.Rows) error {
		a, size, err := scanDocument[alert.Alert](rows, "alert")
		if err == nil && selector.during(a.Time, a.Time) && wanted(containerOf(a)) {
			alerts = append(alerts, a)
			err = selector.countRead(size)
		}
		return err
	}, "SELECT id, digest, json FROM alerts WHERE time >= ? ORDER BY time, id", since(selector.Since))
	return alerts, err
}

// MissingAlerts describes alerts that may match the selection, but that [Store.Alerts] does not return.
type MissingAlerts struct {
	// Pruned is the number of removed alerts. Until is the time of the latest one.
	Pruned uint64
	Until  time.Time
	// Unknown contains the alerts of containers that the engine could not identify.
	Unknown []alert.Alert
}

// MissingAlerts returns the alerts that may match the selection, but that [Store.Alerts] does not return.
func (s *Store) MissingAlerts(ctx context.Context, selection Selection) (missing MissingAlerts, err error) {
	selector, err := selection.selector()
	if err != nil {
		return missing, err
	}
	err = s.read(ctx, func(tx *sql.Tx) error {
		gone, err := pruned(ctx, tx, "alert", selector)
		if err != nil {
			return err
		}
		for _, p := range gone {
			missing.Pruned += p.Number
			if p.Until.After(missing.Until) {
				missing.Until = p.Until
			}
		}
		missing.Unknown, err = alertsOf(ctx, tx, selector, selector.maySelect)
		return err
	})
	return missing, err
}

// Pruned describes the rows of one kind and one image that were removed.
type Pruned struct {
	// Image is the name of the image; "" for several images, or if it was unknown.
	Image string
	// Number of removed rows. A row that is put and removed again counts twice.
	Number uint64
	// Until is the latest end of a removed row.
	Until time.Time
}

// Missing describes runs that may match the selection, but that [Store.Profile] does not return.
type Missing struct {
	// Pruned describes removed runs.
	Pruned []Pruned
	// Unknown describes runs of containers that the engine could not identify.
	Unknown Unknown
}

// Missing returns the runs that may match the selection, but that [Store.Profile] does not return.
func (s *Store) Missing(ctx context.Context, selection Selection) (missing Missing, err error) {
	selector, err := selection.selector()
	if err != nil {
		return missing, err
	}
	err = s.read(ctx, func(tx *sql.Tx) error {
		if missing.Pruned, err = pruned(ctx, tx, "run", selector); err != nil {
			return err
		}
		missing.Unknown, err = unknown(ctx, tx, selector)
		return err
	})
	return missing, err
}

// pruned returns the removed rows of a kind that may match the selection.
func pruned(ctx context.Context, tx *sql.Tx, kind string, selector selector) (all []Pruned, err error) {
	err = each(ctx, tx, func(rows *sql.Rows) error {
		var p Pruned
		var until string
		if err := rows.Scan(&p.Image, &p.Number, &until); err != nil {
			return err
		}
		var err error
		if p.Until, err = time.Parse(time.RFC3339Nano, until); err != nil {
			return damaged("record of pruned rows of image", p.Image)
		}
		if selector.maySelectPruned(p.Image, p.Until) {
			all = append(all, p)
		}
		return nil
	}, "SELECT image, number, until FROM pruned WHERE kind = ? ORDER BY image", kind)
	return all, err
}

// unknown returns the unidentified containers. It does not read documents, because with an engine that capmon does not
// support there can be many such runs.
func unknown(ctx context.Context, tx *sql.Tx, selector selector) (unknown Unknown, err error) {
	keys, err := containers(ctx, tx, selector.maySelect)
	if err != nil {
		return unknown, err
	}
	for _, key := range keys {
		err := each(ctx, tx, func(rows *sql.Rows) error {
			var id string
			var name, class sql.NullString
			if err := rows.Scan(&id, &name, &class); err != nil {
				return err
			}
			unknown.add(id)
			if !name.Valid { // a run without checks
				return nil
			}
			c, err := capability.Parse(name.String)
			if err != nil {
				return damaged("use of container", id)
			}
			unknown.needed(classify.Class(class.String), c)
			return nil
		}, `SELECT DISTINCT containers.id, capability, class FROM runs JOIN containers ON container = containers.key LEFT JOIN uses ON run = runs.key
			WHERE container = ? AND ended >= ? AND (? = '' OR coalesce(started, ended) <= ?)`,
			key, since(selector.Since), since(selector.Until), since(selector.Until))
		if err != nil {
			return unknown, err
		}
	}
	return unknown, nil
}

// scanDocument reads an ID, a digest and a document, and verifies the digest.
func scanDocument[T any](rows *sql.Rows, kind string) (value T, size int, err error) {
	var id string
	var sum, text []byte
	if err := rows.Scan(&id, &sum, &text); err != nil {
		return value, 0, err
	}
	if value, err = decode[T](string(text)); err != nil || !bytes.Equal(digest(text), sum) {
		return value, 0, damaged(kind, id)
	}
	return value, len(text), nil
}

func decode[T any](text string) (value T, err error) {
	err = json.Unmarshal([]byte(text), &value)
	return value, err
}

// each calls a function for every row of a query.
func each(ctx context.Context, q query, do func(*sql.Rows) error, query string, args ...any) error {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := do(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// values returns the rows of a query.
func values(ctx context.Context, q query, query string, args ...any) (all [][]any, err error) {
	err = each(ctx, q, func(rows *sql.Rows) error {
		names, err := rows.Columns()
		if err != nil {
			return err
		}
		row := make([]any, len(names))
		targets := make([]any, len(names))
		for i := range row {
			targets[i] = &row[i]
		}
		all = append(all, row)
		return rows.Scan(targets...)
	}, query, args...)
	return all, err
}
