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
	"github.com/capmon/capmon/internal/uses"
)

var saturday = time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)

// seen is a sight of a container's run, some minutes after it began. Without a name the engine
// has forgotten it.
func seen(name string, minutes int) profile.Run {
	run := profile.Run{
		ID: "run", Observation: profile.Observation{ID: "o", Start: saturday, End: saturday.Add(time.Duration(minutes) * time.Minute)},
		Container: profile.Container{ID: strings.Repeat("0f", 32), Name: name}, Ended: saturday, Checks: uint64(minutes), Incomplete: []string{},
	}
	if name == "" {
		run.EngineError = "docker has no such container, or no more"
	}
	return run
}

// tried is a keeper whose database is in a directory that may be moved away.
type tried struct {
	*keeper
	t         *testing.T
	directory string
	logged    *observer.ObservedLogs
}

func try(t *testing.T) *tried {
	t.Helper()
	core, logged := observer.New(zap.InfoLevel)
	directory := filepath.Join(t.TempDir(), "db")
	k := newKeeper(filepath.Join(directory, "capmon.db"), filepath.Join(t.TempDir(), "run", "aside.db"), zap.New(core))
	t.Cleanup(func() {
		if err := k.close(); err != nil {
			t.Error(err)
		}
	})
	return &tried{k, t, directory, logged}
}

// lock keeps the database from taking anything, until unlocked.
func (k *tried) lock() (unlock func()) {
	k.t.Helper()
	if err := os.MkdirAll(k.directory, 0o700); err != nil {
		k.t.Fatal(err)
	}
	if err := unix.Mount("capmon-test", k.directory, "tmpfs", unix.MS_RDONLY, ""); err != nil {
		k.t.Fatal("the tests need root: ", err)
	}
	return func() {
		k.t.Helper()
		if err := errors.Join(k.close(), unix.Unmount(k.directory, unix.MNT_DETACH)); err != nil {
			k.t.Fatal(err)
		}
	}
}

func (k *tried) keep(run profile.Run) error { return k.put(k.t.Context(), profile.New(run)) }

func (k *tried) mustKeep(run profile.Run) {
	k.t.Helper()
	if err := k.keep(run); err != nil {
		k.t.Fatal(err)
	}
}

// kept is the run that it has, in words.
func (k *tried) kept() string {
	k.t.Helper()
	p, _, err := k.profile(k.t.Context(), store.Selection{})
	if err != nil {
		k.t.Fatal(err)
	}
	var words []string
	for _, run := range p.Runs {
		words = append(words, fmt.Sprintf("%s %d", run.Container.Name, run.Checks))
	}
	return strings.Join(words, ", ")
}

func TestWhatIsPutAsideComesBack(t *testing.T) {
	for _, test := range []struct {
		name                 string
		before, aside, after []profile.Run
		want                 string
	}{
		{name: "all there is", aside: []profile.Run{seen("web", 1)}, want: "web 1"},
		{name: "more than before", before: []profile.Run{seen("web", 1)}, aside: []profile.Run{seen("web", 2)}, want: "web 2"},
		{name: "less than before", before: []profile.Run{seen("web", 2)}, aside: []profile.Run{seen("web", 1)}, want: "web 2"},
		{name: "the name is in the database", before: []profile.Run{seen("web", 1)}, aside: []profile.Run{seen("", 2)}, want: "web 2"},
		{name: "the name is aside", aside: []profile.Run{seen("web", 1)}, after: []profile.Run{seen("", 2)}, want: "web 2"},
		{name: "the name was put aside earlier", aside: []profile.Run{seen("web", 1), seen("", 2)}, after: []profile.Run{seen("", 3)}, want: "web 3"},
		{name: "nobody knows the name", aside: []profile.Run{seen("", 1)}, after: []profile.Run{seen("", 2)}, want: " 2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			k := try(t)
			for _, run := range test.before {
				k.mustKeep(run)
			}
			unlock := k.lock()
			for _, run := range test.aside {
				if err := k.keep(run); !errors.Is(err, store.ErrReadOnly) || strings.Contains(err.Error(), "cannot be put aside") {
					t.Fatalf("the database may only be read: %v", err)
				}
			}
			if earlier, err := k.earlier(t.Context(), []string{strings.Repeat("0f", 32)}); len(earlier.Runs) != 1 {
				t.Errorf("earlier: %+v, %v", earlier, err)
			}
			unlock()
			for _, run := range append(test.after, seen("", 0)) {
				k.mustKeep(run)
			}
			if got := k.kept(); got != test.want {
				t.Errorf("kept %q, wanted %q", got, test.want)
			}
			if k.aside.any() {
				t.Error("it stays aside")
			}
		})
	}
}

func TestAlertsArePutAside(t *testing.T) {
	k := try(t)
	unlock := k.lock()
	alerts := []alert.Alert{alert.New("raw-socket", alert.Warning, "a summary", 1, uses.Use{Time: saturday})}
	for range 2 {
		if err := k.putAlerts(t.Context(), alerts); err != nil {
			t.Fatal(err)
		}
	}
	unlock()
	if err := k.putAlerts(t.Context(), alerts); err != nil {
		t.Fatal(err)
	}
	if err := k.with(t.Context(), func(s *store.Store) error {
		got, err := s.Alerts(t.Context(), store.Selection{})
		if len(got) != 1 || got[0].ID != alerts[0].ID {
			t.Errorf("got %+v", got)
		}
		return err
	}); err != nil {
		t.Error(err)
	}
}

// What is aside is of less worth than what is to come.
func TestWhatIsAsideAndDamagedKeepsNothingFromTheDatabase(t *testing.T) {
	for name, test := range map[string]struct {
		harm   func(t *testing.T, path string)
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
		}, "put aside was damaged"},
		"a run": {func(t *testing.T, path string) {
			db, err := sql.Open("sqlite", path)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if _, err := db.Exec("UPDATE runs SET digest = x'00'"); err != nil {
				t.Fatal(err)
			}
		}, "put aside cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			k := try(t)
			unlock := k.lock()
			if err := k.keep(seen("web", 1)); !errors.Is(err, store.ErrReadOnly) {
				t.Fatal(err)
			}
			unlock()
			test.harm(t, k.aside.path)
			for minutes := range 3 {
				k.mustKeep(seen("", 2+minutes))
			}
			if got := k.kept(); got != " 4" || k.aside.any() {
				t.Errorf("kept %q, aside: %v", got, k.aside.any())
			}
			if k.logged.FilterMessageSnippet(test.logged).Len() != 1 {
				t.Errorf("logged %+v", k.logged.All())
			}
		})
	}
}

func TestWhatCannotBePutAsideIsTold(t *testing.T) {
	k := try(t)
	if err := os.WriteFile(filepath.Dir(k.aside.path), nil, 0o600); err != nil { // no directory
		t.Fatal(err)
	}
	unlock := k.lock()
	defer unlock()
	if err := k.keep(seen("web", 1)); !errors.Is(err, store.ErrReadOnly) || !strings.Contains(err.Error(), "cannot be put aside") {
		t.Errorf("got %v", err)
	}
	if err := k.putAlerts(t.Context(), []alert.Alert{alert.New("r", alert.Warning, "s", 1, uses.Use{})}); !errors.Is(err, store.ErrReadOnly) {
		t.Errorf("got %v", err)
	}
}

// An aside may be in memory, which others need.
func TestWhatIsPutAsideIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "aside.db")
	s, err := store.Open(t.Context(), path, store.Options{Limit: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	run := seen("web", 1)
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

// A run that is not as it was written is an error to who reads it, and keeps nothing else from
// being put, itself least of all.
func TestADamagedDocumentKeepsNothingFromTheDatabase(t *testing.T) {
	k := try(t)
	k.mustKeep(seen("web", 1))
	db, err := sql.Open("sqlite", k.path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("UPDATE documents SET json = replace(json, 'web', 'bew')"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := k.profile(t.Context(), store.Selection{}); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("read: %v", err)
	}
	k.mustKeep(seen("", 1))
	k.mustKeep(seen("", 2))
	if got := k.kept(); got != " 2" {
		t.Errorf("kept %q", got)
	}
	if n := k.logged.FilterLevelExact(zap.ErrorLevel).Len(); n > 0 {
		t.Errorf("the database was opened anew: %+v", k.logged.All())
	}
}

// Whoever reads for long keeps nothing from being saved.
func TestReadersKeepNothingFromTheDatabase(t *testing.T) {
	k := try(t)
	k.mustKeep(seen("web", 1))
	reading, over := make(chan struct{}), make(chan struct{})
	read := make(chan error)
	go func() {
		read <- k.with(t.Context(), func(*store.Store) error {
			close(reading)
			<-over
			return nil
		})
	}()
	<-reading
	k.mustKeep(seen("web", 2))
	close(over)
	if err := <-read; err != nil {
		t.Error(err)
	}
}

func TestAlertsThatFindNoRoomAreCounted(t *testing.T) {
	k := try(t)
	k.aside.path = ""
	defer k.lock()()
	alerts := NewAlerts(zap.NewNop())
	for range 3 {
		for range waitingAlerts / 2 {
			alerts.Add(alert.Alert{})
		}
		if err := alerts.save(t.Context(), k.keeper); !errors.Is(err, store.ErrReadOnly) {
			t.Fatal(err)
		}
	}
	if got := alerts.Lost(); got != waitingAlerts || alerts.waiting.Len() != waitingAlerts/2 {
		t.Errorf("%d are lost, %d wait", got, alerts.waiting.Len())
	}
	other := alert.Alert{Use: uses.Use{Container: uses.Container{ID: "other"}}}
	if alerts.Add(other); alerts.Lost() != waitingAlerts {
		t.Error("a container's flood has left no room for another one")
	}
}
