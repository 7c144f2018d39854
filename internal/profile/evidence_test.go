package profile

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// recordedOn returns a run of one minute that a host recorded.
func recordedOn(recorder Recorder, started time.Time) Run {
	return Run{Observation: Observation{Recorder: recorder, Kernel: "6.18.1"}, Started: &started, Ended: started.Add(time.Minute)}
}

var (
	web1 = Recorder{Host: "web1", Engine: "docker 28.2.2", Capmon: "v0.9"}
	// described is evidence without recordings.
	described = Evidence{Scope: "profile web.json", Created: saturday.Add(time.Hour), Capmon: "v0.9"}
)

func TestEvidenceOfRuns(t *testing.T) {
	got := described.WithRuns([]Run{
		recordedOn(web1, saturday.Add(time.Minute)), recordedOn(Recorder{Host: "db1", Engine: "docker 28.2.2", Capmon: "v0.8"}, saturday),
		recordedOn(Recorder{}, saturday.Add(30*time.Second)),
	})
	want := Evidence{
		Hosts: []string{"", "db1", "web1"}, Engines: []string{"", "docker 28.2.2"}, Kernels: []string{"6.18.1"}, RecordedBy: []string{"", "v0.8", "v0.9"},
		From: saturday, To: saturday.Add(2 * time.Minute), Scope: "profile web.json", Created: saturday.Add(time.Hour), Capmon: "v0.9",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if none := described.WithRuns(nil); none.Hosts == nil || none.Engines == nil || none.Kernels == nil || none.RecordedBy == nil || !none.From.IsZero() {
		t.Errorf("without a run: %+v", none)
	}
}

// What the container did before capmon watched it is not recorded.
func TestThePeriodBeginsWhenCapmonWatches(t *testing.T) {
	run := recordedOn(web1, saturday)
	run.Existed, run.Observation.Start = true, saturday.Add(10*time.Second)
	if got := described.WithRuns([]Run{run}).From; !got.Equal(run.Observation.Start) {
		t.Errorf("recorded from %v", got)
	}
}

// The times in a profile file may be any times that JSON can contain.
func TestUnusualTimesInEvidence(t *testing.T) {
	for _, text := range []string{"9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+12:00", "0001-01-01T00:00:00Z"} {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		run := recordedOn(web1, at)
		run.Ended = at
		e := described.WithRuns([]Run{run})
		if _, err := json.Marshal(e); err != nil || len(e.Lines("")) == 0 || len(e.Facts()) == 0 {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestEvidenceOfAProof(t *testing.T) {
	got := described.WithProof(Proof{Recorder: web1, Time: saturday})
	want := described
	want.Hosts, want.Engines, want.Kernels, want.RecordedBy = []string{"web1"}, []string{"docker 28.2.2"}, []string{}, []string{"v0.9"}
	want.From, want.To = saturday, described.Created
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestLinesOfEvidence(t *testing.T) {
	audit := described
	audit.Scope = "all containers of the engine (40), uses from database /var/lib/capmon/capmon.db"
	audit.Audited = &AuditedEngine{"web1", "docker 28.2.2"}
	unheard := audit
	unheard.Audited = &AuditedEngine{}
	yesterday := saturday.AddDate(0, 0, -1)
	for name, test := range map[string]struct {
		evidence Evidence
		want     string
	}{
		"nothing": {Evidence{}, ""},
		"one host": {described.WithRuns([]Run{recordedOn(web1, saturday)}), `
host web1 · engine docker 28.2.2 · recorded 2026-08-01 12:00:00 to 12:01:00 UTC
  profile web.json · capmon v0.9`},
		"over midnight": {described.WithRuns([]Run{recordedOn(web1, yesterday), recordedOn(web1, saturday)}), `
host web1 · engine docker 28.2.2
  recorded 2026-07-31 12:00:00 to 2026-08-01 12:01:00 UTC · profile web.json
  capmon v0.9`},
		"without a recording": {described.WithRuns(nil), `
profile web.json · capmon v0.9`},
		"an earlier version": {described.WithRuns([]Run{recordedOn(Recorder{}, saturday)}), `
host unknown · engine unknown
  recorded 2026-08-01 12:00:00 to 12:01:00 UTC by capmon unknown
  profile web.json · capmon v0.9`},
		"a static audit": {audit.WithRuns(nil), `
host web1 · engine docker 28.2.2
  all containers of the engine (40), uses from database /var/lib/capmon/capmon.db
  audited 2026-08-01 13:00:00 UTC · capmon v0.9`},
		"an audit of the recorded host": {audit.WithRuns([]Run{recordedOn(web1, saturday)}), `
host web1 · engine docker 28.2.2 · recorded 2026-08-01 12:00:00 to 12:01:00 UTC
  all containers of the engine (40), uses from database /var/lib/capmon/capmon.db
  audited 2026-08-01 13:00:00 UTC · capmon v0.9`},
		"an audit of another host": {audit.WithRuns([]Run{recordedOn(Recorder{"ci-1", "docker 27.1.0", "v0.8"}, saturday)}), `
host web1 · engine docker 28.2.2
  recorded 2026-08-01 12:00:00 to 12:01:00 UTC on host ci-1 with engine docker 27.1.0 by capmon v0.8
  all containers of the engine (40), uses from database /var/lib/capmon/capmon.db
  audited 2026-08-01 13:00:00 UTC · capmon v0.9`},
		"an engine that does not describe itself": {unheard.WithRuns(nil), `
host unknown · engine unknown
  all containers of the engine (40), uses from database /var/lib/capmon/capmon.db
  audited 2026-08-01 13:00:00 UTC · capmon v0.9`},
	} {
		if diff := cmp.Diff(strings.TrimPrefix(test.want, "\n"), strings.Join(test.evidence.Lines(""), "\n")); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestALabelIsPartOfTheLine(t *testing.T) {
	got := described.WithRuns([]Run{recordedOn(web1, saturday)}).Lines("before: ")
	want := []string{
		"before: host web1 · engine docker 28.2.2",
		"  recorded 2026-08-01 12:00:00 to 12:01:00 UTC · profile web.json · capmon v0.9",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestFactsOfEvidence(t *testing.T) {
	audit := described.WithRuns([]Run{recordedOn(web1, saturday)})
	audit.Audited = &AuditedEngine{"web2", "docker 28.5.2"}
	want := []Fact{
		{"audited host", "web2"}, {"audited engine", "docker 28.5.2"}, {"host", "web1"}, {"engine", "docker 28.2.2"}, {"kernel", "6.18.1"},
		{"recorded", "2026-08-01 12:00:00 to 12:01:00 UTC"}, {"recorded by", "v0.9"}, {"scope", "profile web.json"},
		{"created", "2026-08-01 13:00:00 UTC"}, {"capmon", "v0.9"},
	}
	if diff := cmp.Diff(want, audit.Facts()); diff != "" {
		t.Error(diff)
	}
	if got := (Evidence{}).Facts(); got != nil {
		t.Errorf("of nothing: %v", got)
	}
}

func TestManyHostsAreNotAllListed(t *testing.T) {
	var runs []Run
	for i := range 10 {
		runs = append(runs, recordedOn(Recorder{Host: fmt.Sprint("web", i)}, saturday))
	}
	e := described.WithRuns(runs)
	if want := "host web0, web1, web2 and 7 more"; !strings.HasPrefix(e.Lines("")[0], want) {
		t.Errorf("got %q, wanted %q", e.Lines("")[0], want)
	}
	if len(e.Hosts) != 10 {
		t.Errorf("%d hosts", len(e.Hosts))
	}
}

// A profile file may contain any text.
func TestHostileNamesInEvidence(t *testing.T) {
	for _, name := range []string{
		"a\x1b[2J\nCHOWN  no\u202e\u009b1m\xff\"\\", "web1 · capmon v9", "web1, web2 and 8 more", "```", "  ", "<b>",
		strings.Repeat("ü", 1<<20),
	} {
		e := described.WithRuns([]Run{recordedOn(Recorder{name, name, name}, saturday)})
		texts := e.Lines("")
		for _, fact := range e.Facts() {
			texts = append(texts, fact.Text)
		}
		for _, text := range texts {
			if i := strings.IndexFunc(text, func(r rune) bool { return !unicode.IsGraphic(r) || r == unicode.ReplacementChar }); i >= 0 {
				t.Errorf("%.100q: %q", name, text)
			}
			if n := utf8.RuneCountInString(text); n > 1000 {
				t.Errorf("%.100q: %d characters", name, n)
			}
		}
		lines := strings.Join(e.Lines(""), "\n")
		if strings.Count(lines, "· capmon ") > 1 || !slices.ContainsFunc(e.Lines(""), func(line string) bool {
			return strings.HasSuffix(line, "profile web.json · capmon v0.9")
		}) {
			t.Errorf("%.100q: %s", name, lines)
		}
	}
}
