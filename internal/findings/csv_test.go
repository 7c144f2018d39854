package findings_test

import (
	"bytes"
	"encoding/csv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/capmon/capmon/internal/findings"
	"github.com/capmon/capmon/internal/findings/findingstest"
)

func TestCSVHasNoFormulas(t *testing.T) {
	hostile := findingstest.Texts()
	var out bytes.Buffer
	if err := findings.WriteCSV(&out, findingstest.Hostile()); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(out.String(), "\x00\x1b") {
		t.Error("control characters")
	}
	rows, err := csv.NewReader(&out).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 1+len(hostile)+1 {
		t.Fatalf("%d rows", len(rows))
	}
	if diff := cmp.Diff([]string{"rule", "title", "status", "subject", "image", "text", "remedy"}, rows[0]); diff != "" {
		t.Error(diff)
	}
	for i, want := range map[int]string{0: hostile[0], 5: "'" + hostile[5], 6: "'+1", 7: "'-1", 8: "'@SUM(A1)", 9: `\t=1`, 10: "'＝1", 15: ""} {
		if got := rows[1+i][3]; got != want {
			t.Errorf("%q became %q", hostile[i], got)
		}
	}
	if got := rows[1][6]; got != "run this:\n"+hostile[0] {
		t.Errorf("the remedy became %q", got)
	}
}
