package store

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/uses"
	"github.com/capmon/capmon/monitor"
)

const (
	firstDump    = "testdata/schema-1.sql"
	firstProfile = "testdata/schema-1.json"
)

// testdata contains a database that a capmon with the first schema wrote, and the profile that must be read from it.
func TestADatabaseOfTheFirstSchemaIsUpgraded(t *testing.T) {
	t.Parallel()
	dump, err := os.ReadFile(firstDump)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "capmon.db")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	withLosses := strings.Replace(string(dump), `"total":{}`, `"total":{"Checks":1,"TooDeep":2,"NoSite":3,"Chains":4,"Verdicts":5}`, 1)
	if _, err := db.Exec(withLosses); err != nil {
		t.Fatal(err)
	}
	db.Close()
	want, err := profile.Load(firstProfile)
	if err != nil {
		t.Fatal(err)
	}
	s := opened(t, path, Options{})
	if diff := cmp.Diff(encoded(t, want), encoded(t, stored(t, s, Selection{}))); diff != "" {
		t.Error(diff)
	}
	alerts, err := s.Alerts(t.Context(), Selection{})
	if err != nil || len(alerts) != 2 {
		t.Fatalf("%d alerts, %v", len(alerts), err)
	}
	if use := alerts[0].Use; alerts[0].Schema != alert.Schema || use.Schema != uses.Schema || use.Class != classify.NestedUserns {
		t.Errorf("alert %+v", alerts[0])
	}
	losses := monitor.Losses{Checks: 1, CgroupTooDeep: 2, NoCallSite: 3, WrongCachedSites: 4, AnswerMismatches: 5}
	if loss := alerts[1].Loss; loss == nil || loss.Total != losses || loss.Lost.Any() {
		t.Errorf("the losses under their former names: %+v", loss)
	}
	classes, err := values(t.Context(), s.db, "SELECT DISTINCT class FROM uses WHERE class NOT IN ('required', 'soft') ORDER BY class")
	if want := [][]any{{"denied"}, {"implicit"}, {"irrelevant"}, {"long-setup"}, {"nested-userns"}, {"other-credential"}, {"redundant"}, {"tolerated"}}; err != nil || !cmp.Equal(classes, want) {
		t.Errorf("classes %v, %v", classes, err)
	}
	if again := put(t, s, want); again.Known != len(want.Runs)+len(want.Proofs) {
		t.Errorf("the upgraded database does not recognize its own runs: %+v", again)
	}
	if all := prunedRuns(t, s, Selection{}); len(all) != 1 {
		t.Errorf("pruned: %+v", all)
	}
	checked(t, s)
	info, err := s.Info(t.Context())
	if err != nil || info.Schema != len(migrations()) {
		t.Errorf("schema %d, %v", info.Schema, err)
	}
}

// laterMigration is a migration that a later capmon could have.
var laterMigration = migration{sql: "ALTER TABLE runs ADD COLUMN host TEXT NOT NULL DEFAULT ''; CREATE INDEX runs_of_host ON runs (host);"}

func TestMigrationsAreAtomic(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	put(t, s, many(0, 3))
	known := migrations()
	columns := func() (n int) {
		if err := s.db.QueryRow("SELECT count(*) FROM pragma_table_info('runs')").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := columns()
	if err := migrate(t.Context(), s.db, append(known, laterMigration, migration{sql: "CREATE TABLE runs (key)"})); err == nil {
		t.Error("an invalid migration succeeded")
	}
	if v, err := version(t.Context(), s.db); v != len(known) || err != nil || columns() != before {
		t.Errorf("schema %d with %d columns, %v", v, columns(), err)
	}
	checked(t, s)
	if err := migrate(t.Context(), s.db, append(known, laterMigration)); err != nil {
		t.Fatal(err)
	}
	if v, err := version(t.Context(), s.db); v != len(known)+1 || err != nil || columns() != before+1 {
		t.Errorf("schema %d with %d columns, %v", v, columns(), err)
	}
	for _, options := range []Options{{}, {ReadOnly: true}, {Recover: true}} {
		if _, err := Open(t.Context(), s.Path(), options); !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), "schema 3, this capmon knows up to 2") {
			t.Errorf("a newer database: %v", err)
		}
	}
}

func TestAReaderUpgradesNothing(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		has  int
		want error
	}{{0, ErrForeign}, {1, ErrOlder}, {2, nil}, {3, ErrNewer}} {
		if err := readableSchema(test.has, 2); !errors.Is(err, test.want) {
			t.Errorf("schema %d of 2: %v", test.has, err)
		}
	}
}

// Several processes, such as a daemon and an import, can create the database at the same time.
func TestADatabaseIsCreatedOnce(t *testing.T) {
	t.Parallel()
	for range 5 {
		path := filepath.Join(t.TempDir(), "capmon.db")
		errs := make(chan error)
		const openers = 8
		for i := range openers {
			go func() {
				s, err := Open(t.Context(), path, Options{})
				if err == nil {
					_, err = s.Put(t.Context(), many(i, i+1))
					err = errors.Join(err, s.Close())
				}
				errs <- err
			}()
		}
		for range openers {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		s := opened(t, path, Options{})
		if n := len(stored(t, s, Selection{}).Runs); n != openers {
			t.Errorf("%d runs", n)
		}
		checked(t, s)
	}
}
