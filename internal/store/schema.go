package store

import (
	"context"
	"database/sql"
	_ "embed" // for go:embed
	"fmt"
)

// applicationID marks a database file as capmon's: "cpmn".
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

// query is what both a database and a transaction answer.
type query interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// version is the schema's; 0 of a database that is empty still.
func version(ctx context.Context, q query) (int, error) {
	var application, version, tables int
	err := q.QueryRowContext(ctx, "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_schema) FROM pragma_application_id, pragma_user_version").
		Scan(&application, &version, &tables)
	if err == nil && application != applicationID && (application != 0 || version != 0 || tables > 0) {
		err = ErrForeign
	}
	return version, err
}

// migrate brings the schema up to date, wholly or not at all.
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

// readableSchema fails unless a schema can be read as it is.
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
