package findings

import (
	"bytes"
	"encoding/csv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/joshdk/go-junit"
	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"
)

// hostile contains names that only an attacker chooses.
var hostile = []string{
	`"quotes" and 'others'`,
	"two\nlines\r\nand a tab\t",
	`<script>alert(1)</script>&amp;]]>`,
	"\x00\x01\x1b[31mred\x07\ufffe\uffff",
	"no UTF-8 \xff\xfe",
	`=cmd|'/c calc'!A1`, "+1", "-1", "@SUM(A1)", "\t=1", "＝1",
	"[click](https://evil.example) {0} %s \\[",
	"/..//../etc/passwd?query#fragment",
	strings.Repeat("ü", 255),
	"\u202etxt.exe 北京 🦀",
	"",
}

func hostileReport() Report {
	r := Report{
		Command: "capmon audit", Version: "1.0", Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Rules: []Rule{
			{ID: "CIS-5.4", Title: "restricted", Rationale: "why", Impact: "cost", Remedy: "drop", Default: "14", References: []string{"CM-7"}, Tags: []string{"security"}},
			{ID: "CIS-5.5", Title: "not privileged"},
			{ID: "none", Title: "without findings"},
		},
	}
	for i, text := range hostile {
		r.Findings = append(r.Findings, Finding{
			Rule: "CIS-5.4", Status: []Status{Pass, Fail, Manual}[i%3], Subject: text, Image: text, Text: text,
			Remedy: "run this:\n" + text, Properties: map[string]any{"name": text, text: []string{text}},
		})
	}
	r.Findings = append(r.Findings, Finding{Rule: "CIS-5.5", Status: Fail, Subject: "web", Image: "docker.io:5000/nginx:1", Text: "it is"})
	return r
}

func TestSARIFIsValidAndKeepsAllTexts(t *testing.T) {
	var out bytes.Buffer
	if err := WriteSARIF(&out, hostileReport()); err != nil {
		t.Fatal(err)
	}
	log, err := sarif.FromBytes(out.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Validate(); err != nil {
		t.Fatal(err)
	}
	run := log.Runs[0]
	if len(run.Tool.Driver.Rules) != 3 || len(run.Results) != len(hostile)+1 || *run.Tool.Driver.Version != "1.0" {
		t.Fatalf("%d rules and %d results", len(run.Tool.Driver.Rules), len(run.Results))
	}
	prints := make(map[string]bool)
	for i, result := range run.Results {
		f := hostileReport().Findings[i]
		if *result.RuleID != f.Rule || *run.Tool.Driver.Rules[result.RuleIndex].ID != f.Rule {
			t.Errorf("%q: rule %s, index %d", f.Subject, *result.RuleID, result.RuleIndex)
		}
		want := map[Status][2]string{Pass: {"pass", "none"}, Fail: {"fail", "error"}, Manual: {"review", "none"}}[f.Status]
		if got := [2]string{result.Kind, result.Level}; got != want {
			t.Errorf("%q: kind and level %v, want %v", f.Subject, got, want)
		}
		if i < len(hostile) && result.Properties.Properties["name"] != strings.ToValidUTF8(f.Subject, "\ufffd") && !strings.Contains(f.Subject, "\xff") {
			t.Errorf("%q became %q", f.Subject, result.Properties.Properties["name"])
		}
		for _, print := range result.PartialFingerprints {
			prints[print] = true
		}
		uri := *result.Locations[0].PhysicalLocation.ArtifactLocation.URI
		if strings.ContainsAny(uri, ":\x1b\n <?#") {
			t.Errorf("%q: the place is %q", f.Subject, uri)
		}
	}
	if len(prints) != len(run.Results) {
		t.Errorf("%d fingerprints for %d results", len(prints), len(run.Results))
	}
	if text := *run.Results[11].Message.Text; !strings.HasPrefix(text, `\[click\](https`) || !strings.Contains(text, "{{0}}") {
		t.Errorf("a link or a placeholder is not escaped: %s", text)
	}
}

func TestJUnitIsReadableByAnotherLibrary(t *testing.T) {
	var out bytes.Buffer
	if err := WriteJUnit(&out, hostileReport()); err != nil {
		t.Fatal(err)
	}
	suites, err := junit.Ingest(out.Bytes())
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if len(suites) != 3 || suites[0].Name != "CIS-5.4 restricted" || len(suites[0].Tests) != len(hostile) || len(suites[1].Tests) != 1 || len(suites[2].Tests) != 0 {
		t.Fatalf("%d suites: %+v", len(suites), suites)
	}
	for i, test := range suites[0].Tests {
		want := []junit.Status{junit.StatusPassed, junit.StatusFailed, junit.StatusSkipped}[i%3]
		if test.Status != want || test.Classname != "CIS-5.4" {
			t.Errorf("%q: %s, want %s", hostile[i], test.Status, want)
		}
	}
	for i, want := range map[int]string{
		0: hostile[0], 1: `two\nlines\r\nand a tab\t`, 2: hostile[2], 3: `\x00\x01\x1b[31mred\a\ufffe\uffff`, 4: `no UTF-8 \xff\xfe`, 13: hostile[13],
	} {
		if got := suites[0].Tests[i].Name; got != want {
			t.Errorf("%q is called %q", hostile[i], got)
		}
	}
	if failure := suites[0].Tests[1].Error.Error(); !strings.Contains(failure, "two") {
		t.Errorf("the failure is %q", failure)
	}
}

func TestCSVHasNoFormulas(t *testing.T) {
	var out bytes.Buffer
	if err := WriteCSV(&out, hostileReport()); err != nil {
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

// An uncounted failure must not fail a build that reads only JUnit or SARIF.
func TestUncountedFailureIsNotAFailedTest(t *testing.T) {
	report := Report{Rules: []Rule{{ID: "r", Title: "rule"}}, Findings: []Finding{
		{Rule: "r", Status: Fail, Subject: "counts", Text: "wrong"}, {Rule: "r", Status: Fail, Uncounted: true, Subject: "does not", Text: "also wrong"},
	}}
	var out bytes.Buffer
	if err := WriteJUnit(&out, report); err != nil {
		t.Fatal(err)
	}
	suites, err := junit.Ingest(out.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if totals := suites[0].Totals; totals.Failed != 1 || totals.Skipped != 1 || !strings.Contains(out.String(), `<skipped message="fails, but does not count: also wrong">`) {
		t.Errorf("JUnit: %+v\n%s", totals, out.String())
	}
	out.Reset()
	if err := WriteSARIF(&out, report); err != nil {
		t.Fatal(err)
	}
	log, err := sarif.FromBytes(out.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"error", "warning"} {
		if got := log.Runs[0].Results[i]; got.Kind != "fail" || got.Level != want {
			t.Errorf("SARIF: %s, %s, wanted %s", got.Kind, got.Level, want)
		}
	}
}
