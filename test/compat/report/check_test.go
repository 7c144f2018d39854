package report_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/joshdk/go-junit"
	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"

	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/report"
	"github.com/capmon/capmon/internal/report/reporttest"
)

// SARIF and JUnit contain a finding for each rule that a container violates, and one for each container that passes. If
// capmon did not observe the container completely, they contain another finding, for a person to review.
func TestSARIFAndJUnitContainAllFindings(t *testing.T) {
	type found struct{ rule, subject, kind string }
	for name, want := range map[string][]found{
		"passed":       {{"policy", "web", "pass"}},
		"partial":      {{"policy", "web", "pass"}, {"observation", "web", "review"}},
		"start-unseen": {{"incomplete", "web", "fail"}, {"observation", "web", "review"}},
		"violated": {
			{"used-NET_RAW", "web", "fail"}, {"denied-SYS_ADMIN", "web", "fail"}, {"granted", "web", "fail"},
			{"unused", "web", "fail"}, {"unproved", "web", "fail"}, {"policy", "db", "pass"},
		},
		"baseline": {{"new-NET_RAW", "web", "fail"}, {"new-SYS_ADMIN", "web", "fail"}, {"new-CHOWN", "db", "fail"}},
		"hostile":  {{"used-CHOWN", printable.Text(reporttest.Hostile), "fail"}, {"denied-KILL", printable.Text(reporttest.Hostile), "fail"}, {"incomplete", printable.Text(reporttest.Hostile), "fail"}, {"observation", printable.Text(reporttest.Hostile), "review"}},
	} {
		result := reporttest.Checks(t)[name]
		log, err := sarif.FromString(checkText(t, result, report.SARIF))
		if err != nil {
			t.Fatal(err)
		}
		var got []found
		for _, r := range log.Runs[0].Results {
			got = append(got, found{*r.RuleID, *r.Locations[0].LogicalLocations[0].Name, r.Kind})
		}
		sorted := cmpopts.SortSlices(func(one, other found) bool { return fmt.Sprint(one) < fmt.Sprint(other) })
		if diff := cmp.Diff(want, got, sorted, cmp.AllowUnexported(found{})); diff != "" || log.Validate() != nil {
			t.Errorf("%s: SARIF: %v %s", name, log.Validate(), diff)
		}
		suites, err := junit.Ingest([]byte(checkText(t, result, report.JUnit)))
		if err != nil {
			t.Fatal(err)
		}
		got = nil
		kinds := map[junit.Status]string{junit.StatusPassed: "pass", junit.StatusFailed: "fail", junit.StatusSkipped: "review"}
		for _, suite := range suites {
			for _, test := range suite.Tests {
				got = append(got, found{test.Classname, test.Name, kinds[test.Status]})
			}
		}
		if diff := cmp.Diff(want, got, sorted, cmp.AllowUnexported(found{})); diff != "" {
			t.Errorf("%s: JUnit: %s", name, diff)
		}
	}
}

// A waived violation is a suppressed failure in SARIF and a skipped test in JUnit. A rule is not suppressed if the
// container also violates it without a waiver.
func TestWaivedViolationsAreSuppressed(t *testing.T) {
	for name, want := range map[string]struct{ failed, suppressed []string }{
		"waived":         {[]string{"unused"}, []string{"used-NET_RAW", "denied-SYS_ADMIN", "unused"}},
		"waived-in-part": {[]string{"denied-SYS_ADMIN", "granted", "unused", "unproved"}, []string{"used-NET_RAW"}},
		"waived-hostile": {nil, []string{"used-CHOWN", "denied-KILL"}},
	} {
		result := reporttest.Checks(t)[name]
		log, err := sarif.FromString(checkText(t, result, report.SARIF))
		if err != nil {
			t.Fatal(err)
		}
		if err := log.Validate(); err != nil {
			t.Error(err)
		}
		var failed, suppressed []string
		waivers := 0
		for _, r := range log.Runs[0].Results {
			switch {
			case *r.RuleID == "waivers":
				waivers++
			case len(r.Suppressions) > 0:
				suppressed = append(suppressed, *r.RuleID)
			case r.Kind == "fail":
				failed = append(failed, *r.RuleID)
			}
		}
		if diff := cmp.Diff([][]string{want.failed, want.suppressed}, [][]string{failed, suppressed}); diff != "" || waivers != len(result.Waivers.List) {
			t.Errorf("%s: SARIF: %d waivers %s", name, waivers, diff)
		}
		suites, err := junit.Ingest([]byte(checkText(t, result, report.JUnit)))
		if err != nil {
			t.Fatal(err)
		}
		var inJUnit []string
		for _, suite := range suites {
			for _, test := range suite.Tests {
				if test.Status == junit.StatusFailed {
					inJUnit = append(inJUnit, test.Classname)
				}
			}
		}
		sorted := cmpopts.SortSlices(func(one, other string) bool { return one < other })
		if diff := cmp.Diff(want.failed, inJUnit, sorted); diff != "" || (len(inJUnit) == 0) != result.Passed() {
			t.Errorf("%s: JUnit: %s", name, diff)
		}
	}
}
