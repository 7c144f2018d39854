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
	header := []string{"rule", "title", "status", "subject", "image", "text", "remedy", "host", "engine", "from", "to", "scope", "created", "capmon"}
	if diff := cmp.Diff(header, rows[0]); diff != "" {
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

// Each line has the evidence, because lines are copied and sorted.
func TestEachLineOfCSVHasTheEvidence(t *testing.T) {
	for name, host := range map[string]string{"web1": "web1", "=1+1": "'=1+1", "": "unknown", "a\x1b[2J": `"a\x1b[2J"`} {
		report := findingstest.Hostile()
		report.Evidence = findingstest.Evidence(name)
		var out bytes.Buffer
		if err := findings.WriteCSV(&out, report); err != nil {
			t.Fatal(err)
		}
		rows, err := csv.NewReader(&out).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		want := []string{host, host, "2026-01-02T03:04:05Z", "2026-01-02T03:05:05Z", "profile web.json", "2026-01-02T04:04:05Z", "v0.9"}
		for _, row := range rows[1:] {
			if diff := cmp.Diff(want, row[7:]); diff != "" {
				t.Errorf("%q: %s", name, diff)
			}
		}
	}
	var out bytes.Buffer
	if err := findings.WriteCSV(&out, findings.Report{Rules: []findings.Rule{{ID: "r"}}, Findings: []findings.Finding{{Rule: "r"}}}); err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(out.String(), ",,,,,,,\r\n") {
		t.Errorf("without evidence: %q", out.String())
	}
}
