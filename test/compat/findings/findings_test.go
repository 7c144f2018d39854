// Package findings_test compares the formats of findings with the libraries that read them.
package findings_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/joshdk/go-junit"
	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"

	"github.com/capmon/capmon/internal/findings"
	"github.com/capmon/capmon/internal/findings/findingstest"
)

func TestSARIFIsValidAndKeepsAllTexts(t *testing.T) {
	hostile := findingstest.Texts()
	var out bytes.Buffer
	if err := findings.WriteSARIF(&out, findingstest.Hostile()); err != nil {
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
		f := findingstest.Hostile().Findings[i]
		if *result.RuleID != f.Rule || *run.Tool.Driver.Rules[result.RuleIndex].ID != f.Rule {
			t.Errorf("%q: rule %s, index %d", f.Subject, *result.RuleID, result.RuleIndex)
		}
		want := map[findings.Status][2]string{findings.Pass: {"pass", "none"}, findings.Fail: {"fail", "error"}, findings.Manual: {"review", "none"}}[f.Status]
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
	hostile := findingstest.Texts()
	var out bytes.Buffer
	if err := findings.WriteJUnit(&out, findingstest.Hostile()); err != nil {
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

func TestSARIFAndJUnitHaveTheEvidence(t *testing.T) {
	report := findingstest.Hostile()
	report.Evidence = findingstest.Evidence("web1")
	var out bytes.Buffer
	if err := findings.WriteSARIF(&out, report); err != nil {
		t.Fatal(err)
	}
	log, err := sarif.FromBytes(out.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	run := log.Runs[0]
	evidence, _ := run.Properties.Properties["evidence"].(map[string]any)
	if len(run.Invocations) != 1 || !*run.Invocations[0].ExecutionSuccessful || *run.Invocations[0].EndTimeUtc != "2026-01-02T03:04:05Z" ||
		fmt.Sprint(evidence["hosts"]) != "[web1]" || evidence["scope"] != "profile web.json" || evidence["from"] != "2026-01-02T03:04:05Z" {
		t.Errorf("SARIF: %+v, %+v", run.Invocations, evidence)
	}
	out.Reset()
	if err := findings.WriteJUnit(&out, report); err != nil {
		t.Fatal(err)
	}
	suites, err := junit.Ingest(out.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	for _, suite := range suites {
		if suite.Properties["host"] != "web1" || suite.Properties["recorded"] != "2026-01-02 03:04:05 to 03:05:05 UTC" || suite.Properties["capmon"] != "v0.9" {
			t.Errorf("JUnit: %+v", suite.Properties)
		}
	}
	if !strings.Contains(out.String(), ` hostname="web1">`) {
		t.Errorf("JUnit: no host name:\n%.500s", out.String())
	}
}

// An uncounted failure must not fail a build that reads only JUnit or SARIF.
func TestUncountedFailureIsNotAFailedTest(t *testing.T) {
	report := findings.Report{Rules: []findings.Rule{{ID: "r", Title: "rule"}}, Findings: []findings.Finding{
		{Rule: "r", Status: findings.Fail, Subject: "counts", Text: "wrong"}, {Rule: "r", Status: findings.Fail, Uncounted: true, Subject: "does not", Text: "also wrong"},
	}}
	var out bytes.Buffer
	if err := findings.WriteJUnit(&out, report); err != nil {
		t.Fatal(err)
	}
	suites, err := junit.Ingest(out.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if totals := suites[0].Totals; totals.Failed != 1 || totals.Skipped != 1 || !strings.Contains(out.String(), `<skipped message="fails, but does not change the exit code: also wrong">`) {
		t.Errorf("JUnit: %+v\n%s", totals, out.String())
	}
	out.Reset()
	if err := findings.WriteSARIF(&out, report); err != nil {
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

// A waived finding is not a failure, but it is not hidden either.
func TestWaivedFindingsAreSuppressed(t *testing.T) {
	report := findings.Report{Rules: []findings.Rule{{ID: "r", Title: "rule"}, {ID: "waivers", Title: "waivers"}}, Waivers: true, Findings: []findings.Finding{
		{Rule: "r", Status: findings.Waived, Subject: "ci", Image: "runner", Text: "NET_RAW is unused", Waivers: []string{"until [spring]\n", "until summer"}},
		{Rule: "r", Status: findings.Fail, Subject: "web", Text: "NET_RAW is unused", Waivers: []string{"not for all of it"}},
		{Rule: "waivers", Status: findings.Manual, Subject: "w.yaml:7", File: "dir/w.yaml", Line: 7, Text: "it is unused"},
	}}
	results := func() []*sarif.Result {
		t.Helper()
		var out bytes.Buffer
		if err := findings.WriteSARIF(&out, report); err != nil {
			t.Fatal(err)
		}
		log, err := sarif.FromBytes(out.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if err := log.Validate(); err != nil {
			t.Error(err)
		}
		// In all results or in none.
		if n := strings.Count(out.String(), `"suppressions":`); report.Waivers && n != 3 || !report.Waivers && n > 0 {
			t.Errorf("waivers: %v, and %d results have suppressions", report.Waivers, n)
		}
		return log.Runs[0].Results
	}
	all := results()
	if waived := all[0]; waived.Kind != "fail" || waived.Level != "note" || len(waived.Suppressions) != 2 {
		t.Errorf("%+v", waived)
	} else if s := waived.Suppressions[0]; *s.Kind != "external" || *s.Status != "accepted" || *s.Justification != `until [spring]\n` {
		t.Errorf("%+v", s)
	}
	if failed := all[1]; failed.Kind != "fail" || failed.Level != "error" || len(failed.Suppressions) > 0 {
		t.Errorf("%+v", failed)
	}
	if at := all[2].Locations[0]; *at.PhysicalLocation.ArtifactLocation.URI != "dir/w.yaml" || *at.PhysicalLocation.Region.StartLine != 7 || len(at.LogicalLocations) > 0 {
		t.Errorf("%+v", at)
	}
	report.Waivers = false
	results()

	var out bytes.Buffer
	if err := findings.WriteJUnit(&out, report); err != nil {
		t.Fatal(err)
	}
	suites, err := junit.Ingest(out.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if totals := suites[0].Totals; totals.Failed != 1 || totals.Skipped != 1 || !strings.Contains(out.String(), `<skipped message="waived: NET_RAW is unused">`) {
		t.Errorf("%+v\n%s", totals, out.String())
	}
}
