package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/store"
)

func TestScopes(t *testing.T) {
	selection := store.Selection{Images: []string{"nginx"}, Since: time.Date(2026, 8, 1, 0, 0, 0, 0, time.UTC)}
	database := &profileInput{db: "capmon.db", since: "2026-08-01T00:00:00Z", selection: store.Selection{Images: []string{"nginx"}}}
	for want, got := range map[string]string{
		"profile web.json":                                                 (&profileInput{}).scope([]string{"web.json"}),
		"profiles web.json, db.json":                                       (&profileInput{}).scope([]string{"web.json", "db.json"}),
		`profile "a\x1b[2J · capmon.json"`:                                 (&profileInput{}).scope([]string{"a\x1b[2J · capmon.json"}),
		"profiles 0, 1, 2, 3, 4 and 5 others":                              (&profileInput{}).scope(strings.Split("0123456789", "")),
		`database capmon.db, --image "nginx" --since 2026-08-01T00:00:00Z`: database.scope(nil),
		`profile web.json, --image "nginx" --since 2026-08-01T00:00:00Z`:   database.scope([]string{"web.json"}),
		"all containers":                                                   runningScope(nil, store.Selection{}),
		`containers web, db, --image "nginx" --since 2026-08-01T00:00:00Z`: runningScope([]string{"web", "db"}, selection),
		`all containers, --label "team=…"`:                                 runningScope(nil, store.Selection{Labels: []string{"team=secret"}}),
		"containers that make started":                                     commandScope([]string{"/usr/bin/make", "TOKEN=secret"}, false, store.Selection{}),
		`all containers that started while make ran, --image "nginx" --since 2026-08-01T00:00:00Z`: commandScope([]string{"make"}, true, selection),
		"policy policy.yaml, baseline main.json":                                                   (&checkRules{policyFile: "policy.yaml", baseline: "main.json"}).scope(),
		"":                                                                                         (&checkRules{}).scope(),
		"all containers of the engine (40), grants only":                                           (&auditFlags{static: true}).scope(nil, 40, false),
		"container web, uses from database capmon.db":                                              (&auditFlags{input: *database}).scope([]string{"web"}, 1, true),
		"containers web, db, uses from profile web.json and an observation for 10m0s": (&auditFlags{files: []string{"web.json"}, duration: forFlag(10 * time.Minute)}).scope([]string{"web", "db"}, 2, false),
		"container web, list from its first run":                                      verifyScope(profile.Proof{Container: profile.Container{Name: "web"}}, nil),
		"container web, list from profile web.json":                                   verifyScope(profile.Proof{Container: profile.Container{Name: "web"}}, []string{"web.json"}),
	} {
		if got != want {
			t.Errorf("got %q, wanted %q", got, want)
		}
	}
}

// An age means the same time for the selection and for the scope.
func TestTheScopeHasTheTimeOfTheSelection(t *testing.T) {
	input := &profileInput{db: "capmon.db", since: "7d"}
	selection, err := input.parseSelection()
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Second))) // the next second
	if want := "database capmon.db, --since " + selection.Since.Format(time.RFC3339); input.scope(nil) != want {
		t.Errorf("got %q, wanted %q", input.scope(nil), want)
	}
}

// Each command passes its evidence to the output.
func TestCommandsPrintTheEvidence(t *testing.T) {
	at := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	file := filepath.Join(t.TempDir(), "web.json")
	if err := profile.Save(file, profile.New(profile.Run{
		ID: "o/1", Container: profile.Container{ID: "aa", Name: "web", Image: "nginx"}, Started: &at, Ended: at.Add(time.Minute),
		Observation: profile.Observation{ID: "o", Recorder: profile.Recorder{Host: "web1", Engine: "docker 28.2.2", Capmon: "v0.8"}, Start: at, End: at.Add(time.Minute)},
	})); err != nil {
		t.Fatal(err)
	}
	recorded := "recorded 2026-08-01 12:00:00 to 12:01:00 UTC by capmon v0.8"
	for _, test := range []struct {
		args []string
		want []string
	}{
		{[]string{"report", file}, []string{"host web1 · engine docker 28.2.2", recorded, "profile " + file, "capmon " + versionNumber()}},
		{[]string{"report", "-o", "json", file}, []string{`"scope": "profile ` + file, `"capmon": "` + versionNumber()}},
		{[]string{"check", "--deny", "NET_RAW", "--even-if-start-unseen", file}, []string{"host web1", recorded, "profile " + file}},
		{[]string{"check", "--deny", "NET_RAW", "--even-if-start-unseen", "-o", "junit", file}, []string{`hostname="web1"`, `<property name="scope" value="profile ` + file}},
		{[]string{"diff", file, file}, []string{"before: host web1", recorded, "after: host web1", "profile " + file}},
		{[]string{"diff", "-o", "json", file, file}, []string{`"before": {`, `"web1"`, `"scope": "profile ` + file}},
	} {
		var out bytes.Buffer
		root := newRoot()
		root.SetOut(&out)
		root.SetArgs(test.args)
		if err := root.Execute(); err != nil {
			t.Errorf("%v: %v", test.args, err)
		}
		for _, want := range test.want {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%v lacks %q:\n%.1500s", test.args, want, out.String())
			}
		}
	}
}
