package store

import (
	"database/sql"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/profile"
)

// The queries in docs/store.md return rows, and it documents all columns.
func TestTheDocumentedQueriesReturnRows(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/store.md")
	if err != nil {
		t.Fatal(err)
	}
	s := fresh(t)
	r := run("web", "nginx", 1)
	r.Uses = append(r.Uses, r.Uses[0])
	r.Uses[1].Capability = capability.NetRaw
	r.Files = []profile.File{{Capability: capability.DACOverride, Path: "/etc/shadow", Count: 2}}
	put(t, s, profile.New(r))
	queries := regexp.MustCompile("(?ms)^```sql\n(.*?)^```$").FindAllStringSubmatch(string(text), -1)
	if len(queries) < 5 {
		t.Errorf("%d queries", len(queries))
	}
	for _, query := range queries {
		rows := 0
		if err := each(t.Context(), s.db, func(*sql.Rows) error { rows++; return nil }, query[1]); err != nil || rows == 0 {
			t.Errorf("%d rows, %v:\n%s", rows, err, query[1])
		}
	}
	err = each(t.Context(), s.db, func(rows *sql.Rows) error {
		var table, column string
		err := rows.Scan(&table, &column)
		row := regexp.MustCompile("(?m)^\\| `" + table + "` \\|.*$").FindString(string(text))
		if !strings.Contains(row, "`"+column+"`") {
			t.Errorf("column %s of table %s is not documented", column, table)
		}
		return err
	}, "SELECT t.name, c.name FROM sqlite_schema AS t, pragma_table_info(t.name) AS c WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite%'")
	if err != nil {
		t.Fatal(err)
	}
}
