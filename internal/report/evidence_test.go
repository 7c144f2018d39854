package report

import (
	"bytes"
	"strings"
	"testing"

	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/report/reporttest"
)

// Each table begins with the evidence, before the first container.
func TestTablesBeginWithTheEvidence(t *testing.T) {
	const recorded = `host web1 · engine docker 28.2.2 · recorded 2026-08-01 12:00:00 to 12:01:30 UTC
  profile web.json · capmon v0.9

`
	p := reporttest.Profiles()["needs-and-unused"]
	sides := reporttest.Comparisons()["new"]
	result := reporttest.Checks(t)["passed"]
	report, _ := rendered(t, p, Table, Options{Evidence: reporttest.Evidence(p)})
	var proof bytes.Buffer
	if err := WriteProof(&proof, reporttest.Proof(), Table, Options{Evidence: reporttest.Evidence(p).WithProof(reporttest.Proof())}); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ text, want string }{
		"report": {report, recorded + "web  nginx:latest"},
		"check":  {checkText(t, result, Table, Options{Evidence: reporttest.Evidence(p)}), recorded + "container web"},
		"diff": {comparisonText(t, comparison(t, sides), Table, ofSides(sides)), `before: host web1 · engine docker 28.2.2
  recorded 2026-08-01 12:00:00 to 12:01:30 UTC · profile web.json
after: host web1 · engine docker 28.2.2
  recorded 2026-08-01 12:00:00 to 12:01:30 UTC · profile web.json · capmon v0.9

container web`},
		"proof": {proof.String(), `host web1 · engine docker 28.2.2
  recorded 2026-08-01 12:00:00 to 2026-08-02 12:00:00 UTC · profile web.json
  capmon v0.9

web  nginx:latest`},
	} {
		if !strings.HasPrefix(test.text, test.want) {
			t.Errorf("%s: got\n%s\nwanted the beginning\n%s", name, test.text, test.want)
		}
	}
}

// Scripts use the flags as they are.
func TestFlagsHaveNoEvidence(t *testing.T) {
	for name, p := range reporttest.Profiles() {
		plain, notes := rendered(t, p, Flags, Options{})
		if flags, more := rendered(t, p, Flags, Options{Evidence: reporttest.Evidence(p)}); flags != plain || more != notes {
			t.Errorf("%s: got %q and %q", name, flags, more)
		}
	}
}

// An output without a container has evidence as well.
func TestEvidenceOfNothing(t *testing.T) {
	nothing := profile.New()
	text, _ := rendered(t, nothing, Table, Options{Evidence: reporttest.Evidence(nothing)})
	if want := "profile web.json · capmon v0.9\n\ncapmon saw no containers\n"; text != want {
		t.Errorf("got %q, wanted %q", text, want)
	}
}
