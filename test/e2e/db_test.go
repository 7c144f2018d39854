package e2e

import (
	"database/sql"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/store"
	"github.com/capmon/capmon/internal/uses"
)

// imported imports profiles into a new database.
func imported(t *testing.T, files ...string) string {
	t.Helper()
	db := filepath.Join(t.TempDir(), "capmon.db")
	mustExecute(t, append([]string{binary, "db", "import", "--db", db}, files...)...)
	return db
}

// The database has the same data as the imported files.
func TestDatabaseMatchesTheImportedFiles(t *testing.T) {
	t.Parallel()
	one := saved(t, "stored-one", "bb", "chown", "1000", "/etc/passwd")
	two := saved(t, "stored-two", "bb", "sh", "-c", "ping -c1 -W1 127.0.0.1; kill -0 1")
	merged := mustExecute(t, binary, "merge", one, two)
	db := imported(t, one, two)
	for range 2 { // runs that are imported again do not count twice
		mustExecute(t, binary, "db", "import", "--db", db, two, one)
	}
	if diff := cmp.Diff(merged, mustExecute(t, binary, "merge", "--db", db)); diff != "" {
		t.Errorf("merge: %s", diff)
	}
	for _, arguments := range [][]string{
		{"report", "-o", "json"},
		{"report", "-o", "json", "--container", "stored-o*"},
		{"report", "-o", "json", "--images"},
		{"flags", "--image", "bb"},
		{"flags", "--container", "stored-two"},
		{"merge", "--since", "1h", "--until", "1ms"},
		{"check", "--deny", "NET_RAW", "-o", "json"},
	} {
		ofFiles := withoutEvidence(execute(t, append(append([]string{binary}, arguments...), one, two)...))
		ofDB := withoutEvidence(execute(t, append(append([]string{binary}, arguments...), "--db", db)...))
		if diff := cmp.Diff(ofFiles, ofDB, cmp.AllowUnexported(result{})); diff != "" || ofDB.stdout == "" {
			t.Errorf("%v: %s", arguments, diff)
		}
	}
	if got := mustExecute(t, binary, "flags", "--db", db, "--image", "bb"); strings.Count(got, "--cap-drop") != 1 || !strings.Contains(got, "--cap-add=CHOWN") {
		t.Errorf("the containers of an image are not merged: %s", got)
	}
	if got := mustExecute(t, binary, "flags", "--db", db, "--container", "stored-two"); strings.Contains(got, "CHOWN") {
		t.Errorf("a container has the needs of another: %s", got)
	}
	expected(t, exitDone, []string{"db", "check", "--db", db}, "no damage found")
	expected(t, exitDone, []string{"db", "info", "--db", db}, "2 of 2 containers of 1 image")
}

// evidence matches the evidence of an output in JSON. Its scope and its time are different each time.
var evidence = regexp.MustCompile(`(?s)\n  "evidence": \{.*?\n  \},`)

func withoutEvidence(r result) result {
	r.stdout = evidence.ReplaceAllString(r.stdout, "")
	return r
}

// storedFile returns the path of a profile with runs of two images.
func storedFile(t *testing.T) string {
	t.Helper()
	saturday := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	make := func(name, image string, day int, capability string) profile.Run {
		at := saturday.AddDate(0, 0, day)
		run := profile.Run{
			ID: name, Observation: profile.Observation{ID: "o", Start: saturday, End: at}, Started: &at, Ended: at.Add(time.Minute), Checks: 1,
			Container: profile.Container{ID: strings.Repeat("0f", 32), Name: name, Image: image, Labels: map[string]string{"com.docker.compose.service": name}},
			Uses:      []profile.UsePattern{{Class: "required", Granted: true, Program: "x", Count: 1, First: at, Last: at}},
		}
		if err := run.Uses[0].Capability.UnmarshalText([]byte(capability)); err != nil {
			t.Fatal(err)
		}
		return run
	}
	file := filepath.Join(t.TempDir(), "profile.json")
	p := profile.New(make("eager_bohr", "app:1", 0, "CHOWN"), make("vain_curie", "app:2", 1, "CHOWN"), make("sad_euler", "app:2", 2, "NET_RAW"))
	if err := profile.Save(file, p); err != nil {
		t.Fatal(err)
	}
	return file
}

// A selected run is included whole if a part of it lies in the interval.
func TestRunsAreSelectedByTime(t *testing.T) {
	t.Parallel()
	file := storedFile(t)
	db := imported(t, file)
	for selection, want := range map[string]string{
		"--until 2026-08-01T11:59:59Z":                                "",
		"--until 2026-08-01T12:00:30Z":                                "eager_bohr",
		"--since 2026-08-01T12:00:30Z --until 2026-08-02T11:00:00Z":   "eager_bohr",
		"--since 2026-08-01T13:00:00Z --until 2026-08-02T12:00:00Z":   "vain_curie",
		"--since 2026-08-02T12:00:30Z":                                "sad_euler vain_curie",
		"--since 2026-08-02T12:00:30Z --until 3ms":                    "sad_euler vain_curie",
		"--since 2026-08-02T12:00:30Z --until 3ms --container vain_*": "vain_curie",
	} {
		for _, from := range [][]string{{file}, {"--db", db}} {
			var got []string
			result := execute(t, slices.Concat([]string{binary, "merge"}, from, strings.Fields(selection))...)
			if want != "" {
				var p profile.Profile
				if err := json.Unmarshal([]byte(result.stdout), &p); err != nil {
					t.Fatalf("%s: %v: %+v", selection, err, result)
				}
				for _, run := range p.Runs {
					got = append(got, run.Container.Name)
				}
				slices.Sort(got)
			}
			if strings.Join(got, " ") != want || (want == "") != (result.code == exitUsage) {
				t.Errorf("%s of %s: got %v, wanted %s; exit code %d", selection, from[0], got, want, result.code)
			}
		}
	}
}

func TestTwoImagesInTheDatabaseAreCompared(t *testing.T) {
	t.Parallel()
	file := storedFile(t)
	db := imported(t, file)
	expected(t, exitFindings, []string{"diff", "--db", db, "--image", "app:1", "--with-image", "app:2", "--fail-on-new"}, "NET_RAW")
	expected(t, exitDone, []string{"diff", "--db", db, "--image", "app:2", "--with-image", "app:1", "--fail-on-new"}, "NET_RAW")
	one := filepath.Join(t.TempDir(), "one.json")
	mustExecute(t, binary, "merge", file, "--image", "app:1", "-o", one)
	expected(t, exitFindings, []string{"diff", one, "--db", db, "--with-image", "app:2", "--fail-on-new"}, "NET_RAW")
	expected(t, exitDone, []string{"diff", one, "--db", db, "--with-image", "app:2", "--container", "eager_bohr=vain_curie", "--fail-on-new"})
}

// capmon lists containers that may match the selection, with what they needed: a list without them may be too short.
func TestUnknownContainersAreReported(t *testing.T) {
	t.Parallel()
	p, err := profile.Load(storedFile(t))
	if err != nil {
		t.Fatal(err)
	}
	id := "\x1b" + strings.Repeat("ab", 32)
	p.Runs[0].Container = profile.Container{ID: id}
	p.Runs[0].EngineError = "the engine does not know the container"
	file := filepath.Join(t.TempDir(), "unknown.json")
	if err := profile.Save(file, p); err != nil {
		t.Fatal(err)
	}
	needed := p.Runs[0].Uses[0].Capability.String()
	message := `capmon: left out because the engine did not describe the containers, so capmon does not know whether they are selected: "\x1babababababa", which needed ` + needed + "\n"
	for _, source := range [][]string{{file}, {"--db", imported(t, file)}} {
		for _, test := range []struct {
			selection []string
			listed    bool
		}{
			{[]string{"--image", "app:2"}, true},
			{[]string{"--container", "[svt]*"}, true},
			{[]string{"--container", "*abababababab*"}, true},            // wildcards do not match IDs
			{[]string{"--container", id[:12], "--image", "app:2"}, true}, // its ID is selected
			{[]string{"--compose-service", "*"}, true},
			{[]string{"--label", "com.docker.compose.service"}, true},
			{[]string{"--image", "app:2", "--since", "2030-01-01"}, false},
			{[]string{"--container", id[:12]}, false},
			{nil, false},
		} {
			got := execute(t, slices.Concat([]string{binary, "report"}, source, test.selection)...)
			if strings.Contains(got.stderr, message) != test.listed {
				t.Errorf("%v %v: %+v", source, test.selection, got)
			}
		}
	}
}

// A merged result reports the runs that were pruned.
func TestPrunedRunsAreReported(t *testing.T) {
	t.Parallel()
	db := imported(t, storedFile(t))
	age := time.Since(time.Date(2026, 8, 2, 13, 0, 0, 0, time.UTC)).Round(time.Second).String()
	prune := []string{"db", "prune", "--db", db, "--older-than", age}
	for _, arguments := range [][]string{append(prune, "--dry-run"), prune} {
		expected(t, exitDone, arguments, "remove", "2 runs (latest end ", "0 proofs, 0 alerts")
	}
	expected(t, exitDone, prune, "removed 0 runs, ")
	got := execute(t, binary, "flags", "--db", db, "--image", "app:2")
	if got.stdout != "--cap-drop=ALL --cap-add=NET_RAW\n" || !strings.Contains(got.stderr, ": 1 run of image app:2 (latest end ") {
		t.Errorf("got %+v", got)
	}
	for _, selection := range [][]string{{"--since", "2026-08-02T14:00:00Z"}, {"--image", "app:2", "--since", "2026-08-03"}} {
		if got := execute(t, append([]string{binary, "flags", "--db", db}, selection...)...); strings.Contains(got.stderr, "pruned") {
			t.Errorf("%v: %s", selection, got.stderr)
		}
	}
	if got := execute(t, binary, "report", "--db", db, "--image", "app:1"); got.code != exitUsage || !strings.Contains(got.stderr, "1 run of image app:1") || !strings.Contains(got.stderr, `--image "app:1" selects none`) {
		t.Errorf("got %+v", got)
	}
	expected(t, exitDone, []string{"db", "info", "--db", db}, "pruned    2 runs (latest end ")
	expected(t, exitDone, []string{"db", "prune", "--db", db, "--max-size", "1GiB"}, "removed 0 runs")
}

// withAlerts returns a database with alerts of two containers and of an unknown one.
func withAlerts(t *testing.T) (path string, alerts []alert.Alert) {
	t.Helper()
	saturday := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	for i, c := range []uses.ContainerRef{
		{ID: strings.Repeat("0a", 32), Name: "web", Image: "nginx:1.27", Labels: map[string]string{"com.docker.compose.service": "front"}},
		{ID: strings.Repeat("0b", 32), Name: "db", Image: "evil\x1b[2J image"},
		{ID: strings.Repeat("0c", 32)},
	} {
		use := uses.Use{Time: saturday.AddDate(0, 0, i), Container: c, Process: uses.Process{Program: "ping"}, RawSocket: true, Granted: true}
		a := alert.New("raw-socket", alert.Warning, "raw socket (IPv4) opened by \"a\\nb\" in "+c.Title(), 1, use)
		if i == 1 {
			a.Summary = "forged\x1b[2J\n2026-08-01"
		}
		alerts = append(alerts, a)
	}
	path = filepath.Join(t.TempDir(), "capmon.db")
	db, err := store.Open(t.Context(), path, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.PutAlerts(t.Context(), alerts)
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	return path, alerts
}

func TestAlertsInTheDatabaseAreListed(t *testing.T) {
	t.Parallel()
	db, alerts := withAlerts(t)
	table := execute(t, binary, "db", "alerts", "--db", db)
	lines := strings.Split(strings.TrimSuffix(table.stdout, "\n"), "\n")
	if len(lines) != 1+len(alerts) || table.stderr != "" || strings.Contains(table.stdout, "\x1b") {
		t.Fatalf("got %+v", table)
	}
	for i, want := range []string{
		"TIME SEVERITY RULE CONTAINER IMAGE ALERT",
		`warning raw-socket web nginx:1.27 raw socket (IPv4) opened by "a\nb" in web`,
		`warning raw-socket db "evil\x1b[2J image" forged\x1b[2J\n2026-08-01`,
		`warning raw-socket 0c0c0c0c0c0c - raw socket (IPv4) opened by "a\nb" in 0c0c0c0c0c0c`,
	} {
		if got := strings.Join(strings.Fields(lines[i]), " "); !strings.HasSuffix(got, want) {
			t.Errorf("got %s, wanted %s", got, want)
		}
	}
	const some = ": 1 alert, of 0c0c0c0c0c0c\n"
	for arguments, test := range map[string]struct {
		want  []alert.Alert
		notes string
	}{
		"":               {alerts, ""},
		"--container w*": {alerts[:1], some},
		"--container " + alerts[2].Use.Container.ID: {alerts[2:], ""},
		"--image nginx":                      {alerts[:1], some},
		"--compose-service front":            {alerts[:1], some},
		"--label com.docker.compose.service": {alerts[:1], some},
		"--since 2026-08-02T12:00:00Z":       {alerts[1:], ""},
		"--until 2026-08-02T12:00:00Z":       {alerts[:2], ""},
		"--until 2026-07-01T00:00:00Z":       {nil, "no alert in " + db + " is selected: --until 2026-07-01T00:00:00Z selects none\n"},
	} {
		r := execute(t, append([]string{binary, "db", "alerts", "--db", db, "-o", "json"}, strings.Fields(arguments)...)...)
		var got []alert.Alert
		if err := json.Unmarshal([]byte(r.stdout), &got); err != nil || r.code != exitDone || got == nil {
			t.Fatalf("%s: %v: %+v", arguments, err, r)
		}
		if diff := cmp.Diff(test.want, got, cmpopts.EquateEmpty()); diff != "" || !strings.HasSuffix(r.stderr, test.notes) || (test.notes == "") != (r.stderr == "") {
			t.Errorf("%s: %s, %s", arguments, r.stderr, diff)
		}
	}
	mustExecute(t, binary, "db", "prune", "--db", db, "--older-than", "1m")
	if r := execute(t, binary, "db", "alerts", "--db", db); r.code != exitDone || r.stdout != "" || !strings.Contains(r.stderr, ": 3 alerts from before ") {
		t.Errorf("got %+v", r)
	}
}

// Selecting a container without alerts is not an error, nor is selecting one whose alerts may have been removed.
func TestNoAlertsIsNotAnError(t *testing.T) {
	t.Parallel()
	db := imported(t, storedFile(t))
	for _, selection := range []string{"--container eager_bohr", "--image app:2 --since 1d", "--since 1d", ""} {
		r := execute(t, append([]string{binary, "db", "alerts", "-o", "json", "--db", db}, strings.Fields(selection)...)...)
		if r.code != exitDone || r.stdout != "[]\n" {
			t.Errorf("%s: %+v", selection, r)
		}
	}
	db, _ = withAlerts(t)
	mustExecute(t, binary, "db", "prune", "--db", db, "--older-than", "1m")
	expected(t, exitDone, []string{"db", "alerts", "--db", db, "--container", "web"})
}

func TestDatabaseBackup(t *testing.T) {
	t.Parallel()
	file := storedFile(t)
	db := imported(t, file)
	backup := filepath.Join(t.TempDir(), "backup.db")
	mustExecute(t, binary, "db", "backup", "--db", db, backup)
	if info, err := os.Stat(backup); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if diff := cmp.Diff(contents(t, file), mustExecute(t, binary, "merge", "--db", backup)); diff != "" {
		t.Error(diff)
	}
	complains(t, []string{"db", "backup", "--db", db, backup}, "already exists")
}

func TestDBCheckFindsDamage(t *testing.T) {
	t.Parallel()
	path := imported(t, storedFile(t))
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("UPDATE uses SET capability = 'KILL' WHERE capability = 'NET_RAW'"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	expected(t, exitFindings, []string{"db", "check", "--db", path}, `run "sad_euler": its uses differ from its document`)
	text := written(t, "text.db", strings.Repeat("no database", 100))
	expected(t, exitFindings, []string{"db", "check", "--db", text}, "the file is damaged")
}

// Users can choose names freely. JSON output has them unchanged, terminal output has them escaped.
func TestHostileNamesInTheDatabaseAreEscaped(t *testing.T) {
	t.Parallel()
	var p profile.Profile
	if err := json.Unmarshal([]byte(contents(t, storedFile(t))), &p); err != nil {
		t.Fatal(err)
	}
	p.Runs[0].Container.Image = "\x1b[2J'; DROP TABLE runs; --"
	file := filepath.Join(t.TempDir(), "odd.json")
	if err := profile.Save(file, p); err != nil {
		t.Fatal(err)
	}
	db := imported(t, file)
	if diff := cmp.Diff(contents(t, file), mustExecute(t, binary, "merge", "--db", db)); diff != "" {
		t.Error(diff)
	}
	mustExecute(t, binary, "db", "prune", "--db", db, "--older-than", "1m")
	got := execute(t, binary, "report", "--db", db)
	if strings.Contains(got.stdout+got.stderr, "\x1b") || !strings.Contains(got.stderr, `\x1b[2J'; DROP TABLE`) {
		t.Errorf("got %q", got.stderr)
	}
}

// complains runs capmon and verifies that it exits as for wrong usage and prints the reason.
func complains(t *testing.T, arguments []string, why string) {
	t.Helper()
	if r := execute(t, append([]string{binary}, arguments...)...); r.code != exitUsage || !strings.Contains(r.stderr, why) || r.stdout != "" {
		t.Errorf("capmon %s: want %q, got %+v", strings.Join(arguments, " "), why, r)
	}
}

func TestInvalidSourcesAreReported(t *testing.T) {
	t.Parallel()
	file := storedFile(t)
	db := imported(t, file)
	none, empty := filepath.Join(t.TempDir(), "none.db"), filepath.Join(t.TempDir(), "empty.json")
	if err := profile.Save(empty, profile.New()); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		arguments, why string
	}{
		{"report --db NONE", "there is no database " + none},
		{"flags --db NONE", "capmon db import"},
		{"check --deny KILL --db NONE", "you named no file"},
		{"merge --db NONE", "you named no file"},
		{"diff --db NONE --image a --with-image b", "there is no database"},
		{"db info --db NONE", "there is no database"},
		{"db alerts --db NONE", "there is no database"},
		{"db alerts --db DB -o flags", "choose table or json"},
		{"db alerts --db DB --image [", "pattern"},
		{"db alerts --db DB --until soon", "--until"},
		{"db alerts --db DB web", "unexpected argument"},
		{"db check --db NONE", "there is no database"},
		{"db prune --db NONE --older-than 1d", "there is no database"},
		{"db backup --db NONE x", "there is no database"},
		{"report --db DB FILE", "not both"},
		{"report --db DB --image nope", `--image "nope" selects none; the images are app:1, app:2`},
		{"report FILE --image nope", `--image "nope" selects none; the images are app:1, app:2`},
		{"report FILE --container bohr", `--container "bohr" selects none; the containers are eager_bohr, `},
		{"merge --db DB --container euler", `--container "euler" selects none; the containers are sad_euler, `},
		{"check --db DB --deny KILL --compose-service x --label y", `selects none; the labels are com.docker.compose.service; the Compose services are `},
		{"flags FILE --container bohr", `these profiles contain no container "bohr", but eager_bohr, `},
		{"flags --db DB --image nope", `the images are app:1, app:2`},
		{"diff --db DB --image nope --with-image app:1", `the images are app:1, app:2`},
		{"report EMPTY --container nope", `--container "nope" selects none; there are no containers`},
		{"merge EMPTY --image nope", `--image "nope" selects none; there are no images`},
		{"db alerts --db DB --container nope", `no container in ` + db + ` is selected: --container "nope" selects none; the containers are `},
		{"db alerts --db DB --image nope --since 1d -o json", `the images are app:1, app:2`},
		{"report --db DB --image [", "pattern"},
		{"report --db DB --compose-service [", "pattern"},
		{"report --db DB --since yesterday", `--since: invalid time "yesterday"`},
		{"report --db DB --until yesterday", `--until: invalid time "yesterday"`},
		{"report --db DB --until 2026-07-01", "--until 2026-07-01T00:00:00"},
		{"report FILE --since 1d --until 2d", "--since 1d is after --until 2d"},
		{"report --db FILE", "damaged"},
		{"report --db=", "--db is empty"},
		{"diff FILE", "--with-image"},
		{"diff", "--image and --with-image"},
		{"diff --db DB --image app:1", "--image and --with-image"},
		{"diff FILE --image app:1", "leave out the file"},
		{"diff FILE FILE --image app:1", "--image selects from the database"},
		{"diff FILE FILE --since 1d", "--since selects from the database"},
		{"diff FILE FILE --until 1d", "--until selects from the database"},
		{"db prune --db DB", "nothing to remove"},
		{"db prune --db DB --older-than soon", "--older-than"},
		{"db prune --db DB --older-than -1h", "invalid age"},
		{"db prune --db DB --max-size big", "--max-size"},
		{"db prune --db DB --max-size 0", "invalid size"},
		{"db import --db DB " + none, "no such file"},
		{"db import --db FILE FILE", "damaged"},
	} {
		var arguments []string
		for _, word := range strings.Fields(test.arguments) {
			arguments = append(arguments, strings.NewReplacer("NONE", none, "EMPTY", empty, "DB", db, "FILE", file).Replace(word))
		}
		complains(t, arguments, test.why)
	}
	if _, err := os.Stat(none); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a database was created: %v", err)
	}
}
