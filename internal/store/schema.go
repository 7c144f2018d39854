package store

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
)

// applicationID marks a database file as capmon's: "cpmn".
const applicationID = 0x63706d6e

//go:embed migrations/*.sql
var embedded embed.FS

// migrations are the files that make the schema, each of what the ones before it made.
func migrations() ([]string, error) {
	paths, err := fs.Glob(embedded, "migrations/*.sql") // in the order of their names
	if err != nil {
		return nil, err
	}
	var all []string
	for _, path := range paths {
		text, err := embedded.ReadFile(path)
		if err != nil {
			return nil, err
		}
		all = append(all, string(text))
	}
	return all, nil
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
func migrate(ctx context.Context, db *sql.DB, migrations []string) error {
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
		if _, err := tx.ExecContext(ctx, migration); err != nil {
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
