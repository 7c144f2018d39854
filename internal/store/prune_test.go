package store

import (
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/profile"
)

func prune(t *testing.T, s *Store, retention Retention) Removal {
	t.Helper()
	removal, err := s.Prune(t.Context(), retention)
	if err != nil {
		t.Fatal(err)
	}
	return removal
}

func prunedRuns(t *testing.T, s *Store, selection Selection) []Pruned {
	t.Helper()
	missing, err := s.Missing(t.Context(), selection)
	if err != nil {
		t.Fatal(err)
	}
	return missing.Pruned
}

func TestPruneRemovesAndCountsOldRows(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	at := func(minute int) time.Time { return saturday.Add(time.Duration(minute) * time.Minute) }
	old, older := run("web", "nginx", 10), run("web", "nginx", 5)
	ongoing := run("db", "postgres", 20) // was still running a minute ago
	ongoing.Running = true
	p := profile.New(old, older, ongoing, run("new", "redis", 60))
	p.Proofs = []profile.Proof{{ID: "old", Time: at(1), Container: old.Container}, {ID: "new", Time: at(70), Container: old.Container}}
	put(t, s, p)
	a := generateAlert(rand.New(rand.NewSource(1)))
	a.ID, a.Time = "alert", at(2)
	if _, err := s.PutAlerts(t.Context(), []alert.Alert{a}); err != nil {
		t.Fatal(err)
	}
	retention := Retention{MaxAge: 30 * time.Minute, Now: at(60)}
	want := Removal{Runs: 2, Proofs: 1, Alerts: 1, Until: at(10)}

	retention.DryRun = true
	dry := prune(t, s, retention)
	if diff := cmp.Diff(encoded(t, p), encoded(t, stored(t, s, Selection{}))); diff != "" || prunedRuns(t, s, Selection{}) != nil {
		t.Fatalf("a dry run changed the database: %s", diff)
	}
	retention.DryRun = false
	wet := prune(t, s, retention)
	for _, got := range []Removal{dry, wet} {
		got.Size = 0
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	left := profile.New(ongoing, run("new", "redis", 60))
	left.Proofs = p.Proofs[1:]
	if diff := cmp.Diff(encoded(t, left), encoded(t, stored(t, s, Selection{}))); diff != "" {
		t.Error(diff)
	}
	if alerts, err := s.Alerts(t.Context(), Selection{}); err != nil || len(alerts) > 0 {
		t.Errorf("%d alerts, %v", len(alerts), err)
	}
	checked(t, s)

	nginx := []Pruned{{Image: "nginx", Number: 2, Until: at(10)}}
	for name, test := range map[string]struct {
		selection Selection
		want      []Pruned
	}{
		"all":                   {Selection{}, nginx},
		"the image":             {Selection{Images: []string{"docker.io/library/nginx"}}, nginx},
		"another image":         {Selection{Images: []string{"redis"}}, nil},
		"an ID of an image":     {Selection{Images: []string{"sha256:other"}}, nginx},
		"a container":           {Selection{Containers: []string{"web"}}, nginx},
		"what ended after them": {Selection{Since: at(11)}, nil},
		"what may have ended":   {Selection{Since: at(9)}, nginx},
	} {
		if diff := cmp.Diff(test.want, prunedRuns(t, s, test.selection)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if again := prune(t, s, retention); again.Runs != 0 {
		t.Errorf("again: %+v", again)
	}
	retention.MaxAge, retention.Now = time.Minute, at(1000) // it was not observed for longer than ongoing
	if got := prune(t, s, retention); got.Runs != 2 {
		t.Errorf("at last: %+v", got)
	}
	checked(t, s)
	info, err := s.Info(t.Context())
	if err != nil || info.PrunedRuns != 4 || info.PrunedProofs != 2 || info.PrunedAlerts != 1 || !info.PrunedUntil.Equal(at(60)) || info.Containers != 0 {
		t.Errorf("%+v, %v", info, err)
	}
}

func TestTheFileShrinksToItsSize(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	put(t, s, many(0, 250))
	const size = 240 << 10
	retention := Retention{MaxSize: size, DryRun: true, Now: saturday}
	dry := prune(t, s, retention)
	retention.DryRun = false
	removal := prune(t, s, retention)
	if diff := cmp.Diff(dry, removal); diff != "" {
		t.Errorf("the dry run reported something else: %s", diff)
	}
	var onDisk int64
	for _, suffix := range []string{"", "-wal"} {
		info, err := os.Stat(s.Path() + suffix)
		if err != nil {
			t.Fatal(err)
		}
		onDisk += info.Size()
	}
	if onDisk > size || onDisk < size*9/10 || removal.Size > size || removal.Runs < 10 {
		t.Errorf("%d bytes, %+v", onDisk, removal)
	}
	left := stored(t, s, Selection{})
	if diff := cmp.Diff(encoded(t, many(int(removal.Runs), 250)), encoded(t, left)); diff != "" {
		t.Errorf("other rows than the oldest were removed: %s", diff)
	}
	checked(t, s)
}

func TestPruneEndsIfTheSizeCannotBeReached(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	ongoing := run("web", "nginx", 0)
	ongoing.Running = true
	put(t, s, profile.New(ongoing))
	if removal := prune(t, s, Retention{MaxSize: 1, Now: saturday}); removal.Runs != 0 || removal.Size <= 1 {
		t.Errorf("got %+v", removal)
	}
}

// Users who start containers must not be able to fill the database with names of images.
func TestTheNumberOfPrunedImagesIsBounded(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	const many = maxImages + 200
	const before = `WITH RECURSIVE numbers(n) AS (VALUES (20) UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < ?)
		INSERT INTO pruned SELECT 'run', 'image-' || n, 1, '2026-01-01T00:00:00.000000000Z' FROM numbers`
	if _, err := s.db.ExecContext(t.Context(), before, many); err != nil { // all except 20 were pruned before
		t.Fatal(err)
	}
	var runs []profile.Run
	for i := range 20 {
		runs = append(runs, run("web", fmt.Sprint("image-", i), i))
	}
	put(t, s, profile.New(runs...))
	prune(t, s, Retention{MaxAge: time.Hour, Now: saturday.Add(100 * 24 * time.Hour)})
	var sum uint64
	all := prunedRuns(t, s, Selection{Images: []string{"image-5"}}) // may be one of the images that were added up
	for _, one := range all {
		sum += one.Number
	}
	if len(all) != 1 || all[0].Image != "" || sum < maxImages {
		t.Errorf("%+v", all)
	}
	info, err := s.Info(t.Context())
	if err != nil || info.PrunedRuns != many {
		t.Errorf("%+v, %v", info, err)
	}
}

func TestABackupIsADatabase(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	put(t, s, many(0, 10))
	path := filepath.Join(t.TempDir(), "backup.db")
	reader := opened(t, s.Path(), Options{ReadOnly: true})
	if err := reader.Backup(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if err := s.Backup(t.Context(), path); !os.IsExist(err) {
		t.Errorf("over a file: %v", err)
	}
	put(t, s, many(10, 11))
	for _, options := range []Options{{ReadOnly: true}, {}} {
		backup := opened(t, path, options)
		if diff := cmp.Diff(encoded(t, many(0, 10)), encoded(t, stored(t, backup, Selection{}))); diff != "" {
			t.Error(diff)
		}
		checked(t, backup)
	}
	backup := opened(t, path, Options{})
	put(t, backup, many(10, 200))
	prune(t, backup, Retention{MaxSize: 180 << 10, Now: saturday})
	if info, err := os.Stat(path); err != nil || info.Size() > 180<<10 {
		t.Errorf("a backup does not shrink: %v, %v", info.Size(), err)
	}
}
