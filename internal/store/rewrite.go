package store

import (
	"context"
	"database/sql"
	"errors"

	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/uses"
)

// rewriteDocuments upgrades schema 1 to 2: it rewrites every run, proof and alert in the JSON form of this capmon.
// Schema 1 contains the former names of classes ([classify.Class.UnmarshalText]). rewriteDocuments does not change
// documents that it cannot read. [Store.Check] reports them as damaged.
func rewriteDocuments(ctx context.Context, tx *sql.Tx) error {
	return errors.Join(rewriteRuns(ctx, tx), rewriteProofs(ctx, tx), rewriteAlerts(ctx, tx))
}

func rewriteRuns(ctx context.Context, tx *sql.Tx) error {
	rows, err := values(ctx, tx, "SELECT key, container, runs.digest, documents.digest, setup_digest FROM runs JOIN documents ON run = key")
	if err != nil {
		return err
	}
	put := &putting{ctx: ctx, tx: tx, containers: make(map[string]int64)}
	if put.insertUse, err = prepareUse(ctx, tx); err != nil {
		return err
	}
	defer put.insertUse.Close()
	for _, row := range rows {
		if err := put.rewrite(storedRun{
			key: row[0].(int64), container: row[1].(int64),
			whole: row[2].([]byte), document: row[3].([]byte), setup: row[4].([]byte),
		}); err != nil {
			return err
		}
	}
	return nil
}

// rewrite rewrites a stored run.
func (p *putting) rewrite(old storedRun) error {
	var text, when string
	var setup []byte
	if err := p.query("SELECT json, setup, moments FROM documents JOIN runs ON run = key WHERE key = ?", old.key).Scan(&text, &setup, &when); err != nil {
		return err
	}
	run, err := assemble([]byte(text), setup, []byte(when))
	if err != nil {
		return nil
	}
	whole, run, err := canonical(profile.New(run).Runs[0]) // with the uses in the order that Put stores
	if err != nil {
		return nil
	}
	return p.updateRun(run, whole, old)
}

func rewriteProofs(ctx context.Context, tx *sql.Tx) error {
	rows, err := values(ctx, tx, "SELECT id, json FROM proofs")
	if err != nil {
		return err
	}
	for _, row := range rows {
		text, _ := row[1].(string)
		proof, err := decode[profile.Proof](text)
		if err != nil {
			continue
		}
		form, proof, err := canonical(proof)
		if err != nil {
			return err
		}
		columns := append(proofColumns(proof, form), row[0])
		if _, err := tx.ExecContext(ctx, "UPDATE proofs SET time = ?, works = ?, minimal = ?, digest = ?, json = ? WHERE id = ?", columns...); err != nil {
			return err
		}
	}
	return nil
}

func rewriteAlerts(ctx context.Context, tx *sql.Tx) error {
	rows, err := values(ctx, tx, "SELECT json FROM alerts")
	if err != nil {
		return err
	}
	for _, row := range rows {
		text, _ := row[0].(string)
		a, err := decode[alert.Alert](text)
		if err != nil {
			continue
		}
		a.Schema = alert.Schema
		if a.Use.Schema != 0 { // otherwise the alert does not report a use
			a.Use.Schema = uses.Schema
		}
		form, a, err := canonical(a)
		if err != nil {
			return err
		}
		columns := alertColumns(a, form)
		if _, err := tx.ExecContext(ctx, "INSERT OR REPLACE INTO alerts VALUES ("+marks(len(columns))+")", columns...); err != nil {
			return err
		}
	}
	return nil
}
