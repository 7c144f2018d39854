package store

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/profile"
)

// maxProblems is the maximum number of problems that Check returns.
const maxProblems = 100

// Check reads the whole database and returns up to 100 problems. It checks that the file is intact, that references are
// valid, that no document was altered, and that the tables match the documents.
func (s *Store) Check(ctx context.Context) (problems []string, err error) {
	c := &checker{ctx: ctx, containers: make(map[int64][]any)}
	err = s.read(ctx, func(tx *sql.Tx) error {
		c.tx = tx
		for _, check := range []func() error{c.file, c.references, c.allContainers, c.runs, c.proofs, c.alerts, c.pruned} {
			if err := check(); err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, ErrCorrupt) {
		c.found("%v", err)
		err = nil
	}
	return c.problems, err
}

// checker is the state of one call of Check.
type checker struct {
	ctx        context.Context
	tx         *sql.Tx
	problems   []string
	containers map[int64][]any // the columns from digest on, then the labels
}

func (c *checker) found(format string, args ...any) {
	if len(c.problems) < maxProblems {
		c.problems = append(c.problems, fmt.Sprintf(format, args...))
	}
}

func (c *checker) each(do func(*sql.Rows) error, query string, args ...any) error {
	return each(c.ctx, c.tx, do, query, args...)
}

func (c *checker) file() error {
	return c.each(func(rows *sql.Rows) error {
		var verdict string
		err := rows.Scan(&verdict)
		if err == nil && verdict != "ok" {
			c.found("the file: %s", verdict)
		}
		return err
	}, fmt.Sprintf("PRAGMA integrity_check(%d)", maxProblems))
}

func (c *checker) references() error {
	return c.each(func(rows *sql.Rows) error {
		var table, parent string
		var row sql.NullInt64
		var constraint int
		err := rows.Scan(&table, &row, &parent, &constraint)
		if err == nil {
			c.found("a row of table %s refers to a missing row of table %s", table, parent)
		}
		return err
	}, "PRAGMA foreign_key_check")
}

// allContainers reads the containers, with which the containers of runs and proofs are compared.
func (c *checker) allContainers() error {
	rows, err := values(c.ctx, c.tx, "SELECT * FROM containers ORDER BY key")
	if err != nil {
		return err
	}
	for _, row := range rows {
		key, _ := row[0].(int64)
		labels, err := values(c.ctx, c.tx, "SELECT label, value FROM labels WHERE container = ? ORDER BY label", key)
		if err != nil {
			return err
		}
		c.containers[key] = append(row[1:], labels)
	}
	return c.each(func(rows *sql.Rows) error {
		var key int64
		err := rows.Scan(&key)
		c.found("container %d has neither runs nor proofs", key)
		return err
	}, "SELECT key FROM containers WHERE key NOT IN (SELECT container FROM runs UNION SELECT container FROM proofs)")
}

// container compares the container of a document with the row in the table.
func (c *checker) container(of string, id string, key int64, container profile.Container) error {
	want, err := containerColumns(container)
	if err != nil {
		return err
	}
	var labels [][]any
	for label, value := range container.Labels {
		labels = append(labels, []any{label, value})
	}
	slices.SortFunc(labels, func(one, other []any) int { return bytes.Compare([]byte(one[0].(string)), []byte(other[0].(string))) })
	if !reflect.DeepEqual(c.containers[key], append(want, labels)) {
		c.found("%s %q: its container differs from its document", of, id)
	}
	return nil
}

func (c *checker) runs() error {
	return c.each(func(rows *sql.Rows) error {
		var id string
		var key, container int64
		var sum, when, textSum, text, setupSum, packed []byte
		columns := make([]any, 12)
		targets := []any{&id, &key, &container, &sum, &when, &textSum, &text, &setupSum, &packed}
		for i := range columns {
			targets = append(targets, &columns[i])
		}
		if err := rows.Scan(targets...); err != nil {
			return err
		}
		setup, err := unpack(packed)
		document := document{text, setup, when}
		var run profile.Run
		if err == nil {
			run, err = document.run()
		}
		if err != nil {
			c.found("run %q: its document cannot be read: %v", id, err)
			return nil
		}
		whole, _, err := canonical(run)
		if err != nil || run.ID != id || !bytes.Equal(digest(whole), sum) || !bytes.Equal(digest(text), textSum) || !bytes.Equal(digest(setup), setupSum) {
			c.found("run %q: its document differs from what was written", id)
			return nil
		}
		if !reflect.DeepEqual(columns, runColumns(run)) {
			c.found("run %q: its row differs from its document", id)
		}
		uses, err := values(c.ctx, c.tx, selectUses, key)
		if err == nil && !reflect.DeepEqual(uses, useColumns(run)) {
			c.found("run %q: its uses differ from its document", id)
		}
		return errors.Join(err, c.container("run", id, container, run.Container))
	}, `SELECT id, key, container, runs.digest, moments, documents.digest, json, setup_digest, setup, observed_from, observed_to, started, ended, seconds, existed,
		running, complete, granted, processes, checks, lost FROM runs LEFT JOIN documents ON run = key`)
}

func (c *checker) proofs() error {
	return c.each(func(rows *sql.Rows) error {
		var id string
		var container int64
		columns := make([]any, 5)
		if err := rows.Scan(&id, &container, &columns[0], &columns[1], &columns[2], &columns[3], &columns[4]); err != nil {
			return err
		}
		text, _ := columns[4].(string)
		proof, err := decode[profile.Proof](text)
		if err != nil || proof.ID != id || !reflect.DeepEqual(columns, proofColumns(proof, []byte(text))) {
			c.found("proof %q: it differs from what was written", id)
			return nil
		}
		return c.container("proof", id, container, proof.Container)
	}, "SELECT id, container, time, works, minimal, digest, json FROM proofs")
}

func (c *checker) alerts() error {
	rows, err := values(c.ctx, c.tx, "SELECT * FROM alerts")
	for _, row := range rows {
		text, _ := row[len(row)-1].(string)
		a, err := decode[alert.Alert](text)
		if err != nil || !reflect.DeepEqual(row, alertColumns(a, []byte(text))) {
			c.found("alert %q: it differs from what was written", row[0])
		}
	}
	return err
}

func (c *checker) pruned() error {
	return c.each(func(rows *sql.Rows) error {
		var image, until string
		err := rows.Scan(&image, &until)
		if _, wrong := time.Parse(time.RFC3339Nano, until); err == nil && wrong != nil {
			c.found("the record of what was pruned of image %q: %v", image, wrong)
		}
		return err
	}, "SELECT image, until FROM pruned")
}
