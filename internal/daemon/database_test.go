package daemon

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/store"
	"github.com/capmon/capmon/internal/testutil"
	"github.com/capmon/capmon/internal/uses"
)

var saturday = time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)

// runAfter returns a container's run as observed some minutes after its start. Without a name, the engine no longer
// knows the container.
func runAfter(name string, minutes int) profile.Run {
	run := profile.Run{
		ID: "run", Observation: profile.Observation{ID: "o", Start: saturday, End: saturday.Add(time.Duration(minutes) * time.Minute)},
		Container: profile.Container{ID: strings.Repeat("0f", 32), Name: name}, Ended: saturday, Checks: uint64(minutes), Incomplete: []string{},
	}
	if name == "" {
		run.EngineError = "docker no longer has the container"
	}
	return run
}

// testDatabase is a database whose directory a test can make read-only.
type testDatabase struct {
	*database
	t         *testing.T
	directory string
	logged    *observer.ObservedLogs
}

func newTestDatabase(t *testing.T) *testDatabase {
	t.Helper()
	core, logged := observer.New(zap.InfoLevel)
	directory := filepath.Join(t.TempDir(), "db")
	d := newDatabase(filepath.Join(directory, "capmon.db"), filepath.Join(t.TempDir(), "run", "fallback.db"), zap.New(core))
	t.Cleanup(func() {
		if err := d.close(); err != nil {
			t.Error(err)
		}
	})
	return &testDatabase{d, t, directory, logged}
}

// makeReadOnly mounts a read-only file system over the directory of the database, until undone.
func (d *testDatabase) makeReadOnly() (unlock func()) {
	d.t.Helper()
	testutil.NeedRoot(d.t)
	if err := os.MkdirAll(d.directory, 0o700); err != nil {
		d.t.Fatal(err)
	}
	if err := unix.Mount("capmon-test", d.directory, "tmpfs", unix.MS_RDONLY, ""); err != nil {
		d.t.Fatal(err)
	}
	return func() {
		d.t.Helper()
		if err := errors.Join(d.close(), unix.Unmount(d.directory, unix.MNT_DETACH)); err != nil {
			d.t.Fatal(err)
		}
	}
}

func (d *testDatabase) keep(run profile.Run) error { return d.put(d.t.Context(), profile.New(run)) }

func (d *testDatabase) mustKeep(run profile.Run) {
	d.t.Helper()
	if err := d.keep(run); err != nil {
		d.t.Fatal(err)
	}
}

// kept returns the names and numbers of checks of the runs in the database.
func (d *testDatabase) kept() string {
	d.t.Helper()
	p, _, err := d.Profile(d.t.Context(), store.Selection{})
	if err != nil {
		d.t.Fatal(err)
	}
	var words []string
	for _, run := range p.Runs {
		words = append(words, fmt.Sprintf("%s %d", run.Container.Name, run.Checks))
	}
	return strings.Join(words, ", ")
}

func TestFallbackStoreIsMovedToTheDatabase(t *testing.T) {
	for _, test := range []struct {
		name                    string
		before, fallback, after []profile.Run
		want                    string
	}{
		{name: "all there is", fallback: []profile.Run{runAfter("web", 1)}, want: "web 1"},
		{name: "more than before", before: []profile.Run{runAfter("web", 1)}, fallback: []profile.Run{runAfter("web", 2)}, want: "web 2"},
		{name: "less than before", before: []profile.Run{runAfter("web", 2)}, fallback: []profile.Run{runAfter("web", 1)}, want: "web 2"},
		{name: "the name is in the database", before: []profile.Run{runAfter("web", 1)}, fallback: []profile.Run{runAfter("", 2)}, want: "web 2"},
		{name: "the name is in the fallback store", fallback: []profile.Run{runAfter("web", 1)}, after: []profile.Run{runAfter("", 2)}, want: "web 2"},
		{name: "the name was put into the fallback store earlier", fallback: []profile.Run{runAfter("web", 1), runAfter("", 2)}, after: []profile.Run{runAfter("", 3)}, want: "web 3"},
		{name: "nobody knows the name", fallback: []profile.Run{runAfter("", 1)}, after: []profile.Run{runAfter("", 2)}, want: " 2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := newTestDatabase(t)
			for _, run := range test.before {
				d.mustKeep(run)
			}
			unlock := d.makeReadOnly()
			for _, run := range test.fallback {
				if err := d.keep(run); !errors.Is(err, store.ErrReadOnly) || strings.Contains(err.Error(), "fallback store failed") {
					t.Fatalf("the database is read-only: %v", err)
				}
			}
			if earlier, err := d.runsOf(t.Context(), []string{strings.Repeat("0f", 32)}); len(earlier.Runs) != 1 {
				t.Errorf("earlier: %+v, %v", earlier, err)
			}
			unlock()
			for _, run := range append(test.after, runAfter("", 0)) {
				d.mustKeep(run)
			}
			if got := d.kept(); got != test.want {
				t.Errorf("kept %q, wanted %q", got, test.want)
			}
			if d.fallback.exists() {
				t.Error("the fallback store still exists")
			}
		})
	}
}

func TestAlertsGoToTheFallbackStore(t *testing.T) {
	d := newTestDatabase(t)
	unlock := d.makeReadOnly()
	alerts := []alert.Alert{alert.New("raw-socket", alert.Warning, "a summary", 1, uses.Use{Time: saturday})}
	for range 2 {
		if err := d.putAlerts(t.Context(), alerts); err != nil {
			t.Fatal(err)
		}
	}
	unlock()
	if err := d.putAlerts(t.Context(), alerts); err != nil {
		t.Fatal(err)
	}
	if err := d.with(t.Context(), func(s *store.Store) error {
		got, err := s.Alerts(t.Context(), store.Selection{})
		if len(got) != 1 || got[0].ID != alerts[0].ID {
			t.Errorf("got %+v", got)
		}
		return err
	}); err != nil {
		t.Error(err)
	}
}

// Later data is more important than the contents of the fallback store.
func TestADamagedFallbackStoreDoesNotBlockTheDatabase(t *testing.T) {
	for name, test := range map[string]struct {
		damage func(t *testing.T, path string)
		logged string
	}{
		"all of it": {func(t *testing.T, path string) {
			damaged, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for i := range damaged {
				damaged[i] ^= 0x5a
			}
			if err := os.WriteFile(path, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "fallback store was damaged"},
		"a run": {func(t *testing.T, path string) {
			db, err := sql.Open("sqlite", path)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if _, err := db.Exec("UPDATE runs SET digest = x'00'"); err != nil {
				t.Fatal(err)
			}
		}, "reading the fallback store failed"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newTestDatabase(t)
			unlock := d.makeReadOnly()
			if err := d.keep(runAfter("web", 1)); !errors.Is(err, store.ErrReadOnly) {
				t.Fatal(err)
			}
			unlock()
			test.damage(t, d.fallback.path)
			for minutes := range 3 {
				d.mustKeep(runAfter("", 2+minutes))
			}
			if got := d.kept(); got != " 4" || d.fallback.exists() {
				t.Errorf("kept %q, the fallback store exists: %v", got, d.fallback.exists())
			}
			if d.logged.FilterMessageSnippet(test.logged).Len() != 1 {
				t.Errorf("logged %+v", d.logged.All())
			}
		})
	}
}

func TestErrorsOfTheFallbackStoreAreReported(t *testing.T) {
	d := newTestDatabase(t)
	if err := os.WriteFile(filepath.Dir(d.fallback.path), nil, 0o600); err != nil { // a file instead of the directory
		t.Fatal(err)
	}
	unlock := d.makeReadOnly()
	defer unlock()
	if err := d.keep(runAfter("web", 1)); !errors.Is(err, store.ErrReadOnly) || !strings.Contains(err.Error(), "fallback store failed") {
		t.Errorf("got %v", err)
	}
	if err := d.putAlerts(t.Context(), []alert.Alert{alert.New("r", alert.Warning, "s", 1, uses.Use{})}); !errors.Is(err, store.ErrReadOnly) {
		t.Errorf("got %v", err)
	}
}

// The size is bounded, because the fallback store may be in memory.
func TestTheSizeOfTheFallbackStoreIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fallback.db")
	s, err := store.Open(t.Context(), path, store.Options{Limit: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	run := runAfter("web", 1)
	for i := 0; ; i++ {
		run.ID = fmt.Sprint(i)
		run.Container.Labels = map[string]string{"l": strings.Repeat(run.ID+" ", 10_000)}
		if _, err := s.Put(t.Context(), profile.New(run)); err != nil {
			if !errors.Is(err, store.ErrFull) || i < 10 {
				t.Errorf("after %d: %v", i, err)
			}
			break
		}
	}
	if info, err := os.Stat(path); err != nil || info.Size() > 1<<20 {
		t.Errorf("%d bytes, %v", info.Size(), err)
	}
}

// An altered run is an error for readers. It does not prevent writing other runs, or the same run again.
func TestAnAlteredDocumentDoesNotBlockTheDatabase(t *testing.T) {
	d := newTestDatabase(t)
	d.mustKeep(runAfter("web", 1))
	db, err := sql.Open("sqlite", d.path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("UPDATE documents SET json = replace(json, 'web', 'bew')"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.Profile(t.Context(), store.Selection{}); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("read: %v", err)
	}
	d.mustKeep(runAfter("", 1))
	d.mustKeep(runAfter("", 2))
	if got := d.kept(); got != " 2" {
		t.Errorf("kept %q", got)
	}
	if n := d.logged.FilterLevelExact(zap.ErrorLevel).Len(); n > 0 {
		t.Errorf("the database was opened again: %+v", d.logged.All())
	}
}

// A long read does not prevent writing.
func TestReadersDoNotBlockWriters(t *testing.T) {
	d := newTestDatabase(t)
	d.mustKeep(runAfter("web", 1))
	reading, over := make(chan struct{}), make(chan struct{})
	read := make(chan error)
	go func() {
		read <- d.with(t.Context(), func(*store.Store) error {
			close(reading)
			<-over
			return nil
		})
	}()
	<-reading
	d.mustKeep(runAfter("web", 2))
	close(over)
	if err := <-read; err != nil {
		t.Error(err)
	}
}

func TestAlertsThatDoNotFitAreCounted(t *testing.T) {
	d := newTestDatabase(t)
	d.fallback.path = ""
	defer d.makeReadOnly()()
	alerts := NewAlertQueue(zap.NewNop())
	for range 3 {
		for range maxWaitingAlerts / 2 {
			alerts.Add(alert.Alert{})
		}
		if err := alerts.save(t.Context(), d.database); !errors.Is(err, store.ErrReadOnly) {
			t.Fatal(err)
		}
	}
	if got := alerts.Lost(); got != maxWaitingAlerts || alerts.waiting.Len() != maxWaitingAlerts/2 {
		t.Errorf("%d are lost, %d wait", got, alerts.waiting.Len())
	}
	other := alert.Alert{Use: uses.Use{Container: uses.ContainerRef{ID: "other"}}}
	if alerts.Add(other); alerts.Lost() != maxWaitingAlerts {
		t.Error("the flood of one container left no room for another one")
	}
}

func TestRunningDaemonIsDetected(t *testing.T) {
	d := newTestDatabase(t)
	running := func(want bool) {
		t.Helper()
		if got := Running(d.fallback.path); got != want {
			t.Errorf("running: %v, want %v", got, want)
		}
	}
	running(false)
	for range 2 { // the file of the lock remains
		release, err := d.fallback.lock()
		if err != nil {
			t.Fatal(err)
		}
		running(true)
		release()
		running(false)
	}
	if Running("") {
		t.Error("running without a fallback store")
	}
}
