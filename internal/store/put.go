package store

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"

	"github.com/capmon/capmon/internal/profile"
)

// Change is the result of [Store.Put], as numbers of runs and proofs.
type Change struct {
	// New is the number that were not in the database. Grown is the number that replaced a less complete version in the
	// database. Known is the number that the database already had; nothing was written for these.
	New, Grown, Known int
}

// Put adds a profile to the database in the same way as [profile.Merge]: the more complete version of a run replaces
// the other one. Unchanged runs are cheap, so that an ongoing run can be put every few seconds. After an error,
// nothing was written.
func (s *Store) Put(ctx context.Context, p profile.Profile) (Change, error) {
	p = profile.Merge(p) // so that each run and proof occurs once
	var change Change
	err := s.write(ctx, func(tx *sql.Tx) error {
		insert, err := prepareUse(ctx, tx)
		if err != nil {
			return err
		}
		defer insert.Close()
		put := &putting{ctx: ctx, tx: tx, insertUse: insert, containers: make(map[string]int64)}
		for _, run := range p.Runs {
			if err := put.run(run); err != nil {
				return err
			}
		}
		for _, proof := range p.Proofs {
			if err := put.proof(proof); err != nil {
				return err
			}
		}
		change = put.change
		return deleteUnused(ctx, tx, put.unused)
	})
	if err != nil {
		return Change{}, err
	}
	return change, nil
}

// putting is the state of one Put.
type putting struct {
	ctx        context.Context
	tx         *sql.Tx
	insertUse  *sql.Stmt
	change     Change
	containers map[string]int64 // keys by digest
	unused     []int64          // keys of containers that may no longer have a run or proof
}

// prepareUse prepares the statement that writes a use. The caller closes it.
func prepareUse(ctx context.Context, tx *sql.Tx) (*sql.Stmt, error) {
	return tx.PrepareContext(ctx, "INSERT OR REPLACE INTO uses VALUES ("+marks(useWidth)+")")
}

func (p *putting) exec(query string, args ...any) (sql.Result, error) {
	return p.tx.ExecContext(p.ctx, query, args...)
}

func (p *putting) query(query string, args ...any) *sql.Row {
	return p.tx.QueryRowContext(p.ctx, query, args...)
}

// storedRun is a run in the database.
type storedRun struct {
	key, container         int64
	end, when              string
	checks                 int64
	whole, document, setup []byte // digests
}

func (p *putting) run(run profile.Run) error {
	whole, run, err := canonical(run)
	if err != nil {
		return err
	}
	var old storedRun
	err = p.query("SELECT key, container, observed_to, moments, checks, runs.digest, documents.digest, setup_digest FROM runs JOIN documents ON run = key WHERE id = ?", run.ID).
		Scan(&old.key, &old.container, &old.end, &old.when, &old.checks, &old.whole, &old.document, &old.setup)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		p.change.New++
		return p.insertRun(run, whole)
	case err != nil:
		return err
	case bytes.Equal(old.whole, digest(whole)):
		p.change.Known++
		return nil
	}
	better, err := p.isMoreComplete(run, old)
	if err != nil {
		return err
	}
	if !better {
		p.change.Known++
		return nil
	}
	p.change.Grown++
	return p.updateRun(run, whole, old)
}

// isMoreComplete reports whether [profile.Merge] would prefer run to the stored one. It calls Merge only if both were
// observed until the same time.
func (p *putting) isMoreComplete(run profile.Run, old storedRun) (bool, error) {
	if order := strings.Compare(sortable(run.Observation.End), old.end); order != 0 {
		return order > 0, nil
	}
	var text, setup []byte
	if err := p.query("SELECT json, setup FROM documents WHERE run = ?", old.key).Scan(&text, &setup); err != nil {
		return false, err
	}
	before, err := assemble(text, setup, []byte(old.when))
	if err != nil {
		return true, nil // the stored run is damaged
	}
	merged := profile.New(before, run).Runs[0]
	of, _, err := canonical(merged)
	return err == nil && !bytes.Equal(digest(of), old.whole), err
}

func (p *putting) insertRun(run profile.Run, whole []byte) error {
	document, err := documentOf(run)
	if err != nil {
		return err
	}
	container, err := p.container(run.Container)
	if err != nil {
		return err
	}
	values := append([]any{run.ID, container, digest(whole), string(document.when)}, runColumns(run)...)
	result, err := p.exec(`INSERT INTO runs (id, container, digest, moments, observed_from, observed_to, started, ended, seconds, existed,
		running, complete, granted, processes, checks, lost) VALUES (`+marks(len(values))+")", values...)
	if err != nil {
		return err
	}
	key, err := result.LastInsertId()
	if err != nil {
		return err
	}
	packed, err := pack(document.setup)
	if err != nil {
		return err
	}
	if _, err := p.exec("INSERT INTO documents VALUES (?, ?, ?, ?, ?)", key, digest(document.text), string(document.text), digest(document.setup), packed); err != nil {
		return err
	}
	return p.uses(key, run)
}

func (p *putting) updateRun(run profile.Run, whole []byte, old storedRun) error {
	document, err := documentOf(run)
	if err != nil {
		return err
	}
	container := old.container
	sameSetup := bytes.Equal(digest(document.setup), old.setup)
	same := sameSetup && bytes.Equal(digest(document.text), old.document)
	if !same {
		if container, err = p.container(run.Container); err != nil {
			return err
		}
	}
	values := append([]any{container, digest(whole), string(document.when)}, runColumns(run)...)
	if _, err := p.exec(`UPDATE runs SET container = ?, digest = ?, moments = ?, observed_from = ?, observed_to = ?, started = ?, ended = ?,
		seconds = ?, existed = ?, running = ?, complete = ?, granted = ?, processes = ?, checks = ?, lost = ? WHERE key = ?`,
		append(values, old.key)...); err != nil || same {
		return err
	}
	if container != old.container {
		p.unused = append(p.unused, old.container)
	}
	if _, err := p.exec("UPDATE documents SET digest = ?, json = ? WHERE run = ?", digest(document.text), string(document.text), old.key); err != nil {
		return err
	}
	if !sameSetup {
		packed, err := pack(document.setup)
		if err != nil {
			return err
		}
		if _, err := p.exec("UPDATE documents SET setup_digest = ?, setup = ? WHERE run = ?", digest(document.setup), packed, old.key); err != nil {
			return err
		}
	}
	return p.updateUses(old.key, run)
}

// updateUses writes the uses that have changed. Usually these are few.
func (p *putting) updateUses(key int64, run profile.Run) error {
	rows, err := values(p.ctx, p.tx, selectUses, key)
	if err != nil {
		return err
	}
	before := make(map[any][]any) // by position
	for _, row := range rows {
		before[row[0]] = row
	}
	for _, row := range useColumns(run) {
		if !slices.Equal(before[row[0]], row) {
			if err := p.use(key, row); err != nil {
				return err
			}
		}
		delete(before, row[0])
	}
	for position := range before {
		if _, err := p.exec("DELETE FROM uses WHERE run = ? AND position = ?", key, position); err != nil {
			return err
		}
	}
	return nil
}

func (p *putting) uses(key int64, run profile.Run) error {
	for _, row := range useColumns(run) {
		if err := p.use(key, row); err != nil {
			return err
		}
	}
	return nil
}

func (p *putting) use(key int64, row []any) error {
	_, err := p.insertUse.ExecContext(p.ctx, append([]any{key}, row...)...)
	return err
}

// container returns the key of a container. It adds the container if necessary.
func (p *putting) container(c profile.Container) (int64, error) {
	values, err := containerColumns(c)
	if err != nil {
		return 0, err
	}
	digest := values[0].([]byte)
	if key, ok := p.containers[string(digest)]; ok {
		return key, nil
	}
	var key int64
	err = p.query("SELECT key FROM containers WHERE digest = ?", digest).Scan(&key)
	if errors.Is(err, sql.ErrNoRows) {
		key, err = p.addContainer(c, values)
	}
	if err == nil {
		p.containers[string(digest)] = key
	}
	return key, err
}

func (p *putting) addContainer(c profile.Container, values []any) (int64, error) {
	result, err := p.exec(`INSERT INTO containers (digest, id, name, image, image_id, image_digest, compose_project, compose_service,
		swarm_service, user, network_mode) VALUES (`+marks(len(values))+")", values...)
	if err != nil {
		return 0, err
	}
	key, err := result.LastInsertId()
	if err != nil {
		return 0, err
	}
	_, c, err = canonical(c)
	if err != nil {
		return 0, err
	}
	for label, value := range c.Labels {
		if _, err := p.exec("INSERT INTO labels VALUES (?, ?, ?)", key, label, value); err != nil {
			return 0, err
		}
	}
	return key, nil
}

func (p *putting) proof(proof profile.Proof) error {
	text, proof, err := canonical(proof)
	if err != nil {
		return err
	}
	container, err := p.container(proof.Container)
	if err != nil {
		return err
	}
	var before string
	var old int64
	err = p.query("SELECT container, json FROM proofs WHERE id = ?", proof.ID).Scan(&old, &before)
	values := append([]any{container}, proofColumns(proof, text)...)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		p.change.New++
		_, err = p.exec("INSERT INTO proofs (container, time, works, minimal, digest, json, id) VALUES ("+marks(len(values)+1)+")", append(values, proof.ID)...)
		return err
	case err != nil:
		return err
	case before == string(text) || !later(proof, before):
		p.change.Known++
		p.unused = append(p.unused, container)
		return nil
	}
	p.change.Grown++
	p.unused = append(p.unused, old)
	_, err = p.exec("UPDATE proofs SET container = ?, time = ?, works = ?, minimal = ?, digest = ?, json = ? WHERE id = ?", append(values, proof.ID)...)
	return err
}

// later reports whether [profile.Merge] would prefer proof to the stored one.
func later(proof profile.Proof, before string) bool {
	stored, err := decode[profile.Proof](before)
	if err != nil {
		return true // the stored proof is damaged
	}
	merged := profile.Merge(profile.Profile{Proofs: []profile.Proof{stored, proof}}).Proofs[0]
	text, _, err := canonical(merged)
	return err == nil && string(text) != before
}

// deleteUnused deletes the containers among these that no run or proof refers to.
func deleteUnused(ctx context.Context, tx *sql.Tx, containers []int64) error {
	for _, key := range containers {
		if _, err := tx.ExecContext(ctx, `DELETE FROM containers WHERE key = ?1
			AND NOT EXISTS (SELECT 1 FROM runs WHERE container = ?1) AND NOT EXISTS (SELECT 1 FROM proofs WHERE container = ?1)`, key); err != nil {
			return err
		}
	}
	return nil
}

// marks returns n comma-separated placeholders for values.
func marks(n int) string { return strings.TrimSuffix(strings.Repeat("?, ", n), ", ") }
