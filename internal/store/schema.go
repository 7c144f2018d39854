package store

import (
	"context"
	"database/sql"
	_ "embed" // for go:embed
	"fmt"
)

// applicationID identifies a database file of capmon: "cpmn".
const applicationID = 0x63706d6e

//go:embed migrations/0001.sql
var firstSchema string

// migration upgrades a database from one schema to the next, in one of two ways.
type migration struct {
	sql     string
	rewrite func(ctx context.Context, tx *sql.Tx) error
}

// migrations lists the upgrades. The schema's number is the number of upgrades made.
func migrations() []migration {
	return []migration{{sql: firstSchema}, {rewrite: rewriteDocuments}}
}

func (m migration) apply(ctx context.Context, tx *sql.Tx) error {
	if m.rewrite != nil {
		return m.rewrite(ctx, tx)
	}
	_, err := tx.ExecContext(ctx, m.sql)
	return err
}

// query is the interface of both a database and a transaction.
type query interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// version returns the schema; 0 for an empty database. The error is [ErrForeign] if the file is another SQLite
// database.
func version(ctx context.Context, q query) (int, error) {
	var application, version, tables int
	err := q.QueryRowContext(ctx, "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_schema) FROM pragma_application_id, pragma_user_version").
		Scan(&application, &version, &tables)
	if err == nil && application != applicationID && (application != 0 || version != 0 || tables > 0) {
		err = ErrForeign
	}
	return version, err
}

// migrate upgrades the schema in one transaction.
func migrate(ctx context.Context, db *sql.DB, migrations []migration) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	from, err := version(ctx, tx)
	switch {
	case err != nil:
		return err
	case from > len(migrations):
		return newer(from, len(migrations))
	case from == len(migrations):
		return nil
	}
	for i, migration := range migrations[from:] {
		if err := migration.apply(ctx, tx); err != nil {
			return fmt.Errorf("upgrading it to schema %d: %w", from+i+1, err)
		}
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d", applicationID, len(migrations))); err != nil {
		return err
	}
	return tx.Commit()
}

func newer(has, known int) error {
	return fmt.Errorf("schema %d, this capmon knows up to %d: %w", has, known, ErrNewer)
}

// readableSchema returns an error unless this capmon can read a schema without an upgrade.
func readableSchema(has, known int) error {
	switch {
	case has > known:
		return newer(has, known)
	case has == 0:
		return fmt.Errorf("it is empty: %w", ErrForeign)
	case has < known:
		return ErrOlder
	}
	return nil
}
