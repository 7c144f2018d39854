package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/testutil"
)

// many returns a profile with runs of several kilobytes each.
func many(from, to int) profile.Profile {
	var runs []profile.Run
	for minute := from; minute < to; minute++ {
		r := run("web", "nginx", minute)
		for range 20 {
			r.Uses = append(r.Uses, r.Uses[0])
		}
		runs = append(runs, r)
	}
	return profile.New(runs...)
}

// mounted returns the mount point of a small file system.
func mounted(t *testing.T, size string) string {
	t.Helper()
	testutil.NeedRoot(t)
	directory := t.TempDir()
	if err := unix.Mount("capmon-test", directory, "tmpfs", 0, "size="+size); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(directory, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return directory
}

func TestAFullDiskLosesNoWrittenData(t *testing.T) {
	t.Parallel()
	directory := mounted(t, "2m")
	ballast := filepath.Join(directory, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 500<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	s := opened(t, filepath.Join(directory, "capmon.db"), Options{})
	var kept profile.Profile
	var err error
	next := 0
	for ; next < 10000; next += 5 {
		more := many(next, next+5)
		if _, err = s.Put(t.Context(), more); err != nil {
			break
		}
		kept = profile.Merge(kept, more)
	}
	if !errors.Is(err, ErrFull) {
		t.Fatalf("after %d runs: %v", next, err)
	}
	if diff := cmp.Diff(encoded(t, kept), encoded(t, stored(t, s, Selection{}))); diff != "" {
		t.Error(diff)
	}
	checked(t, s)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	more := many(next, next+5)
	put(t, s, more) // the same store, and the same runs
	if diff := cmp.Diff(encoded(t, profile.Merge(kept, more)), encoded(t, stored(t, s, Selection{}))); diff != "" {
		t.Error(diff)
	}
	checked(t, s)
}

func TestAFullDiskFromTheStart(t *testing.T) {
	t.Parallel()
	directory := mounted(t, "16k")
	if err := os.WriteFile(filepath.Join(directory, "ballast"), make([]byte, 12<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(t.Context(), filepath.Join(directory, "capmon.db"), Options{}); !errors.Is(err, ErrFull) {
		t.Errorf("%v, %v", s, err)
	}
}

// Pruning itself needs some space.
func TestPruningOnADiskThatWasFull(t *testing.T) {
	t.Parallel()
	directory := mounted(t, "5m")
	ballast := filepath.Join(directory, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 1536<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	s := opened(t, filepath.Join(directory, "capmon.db"), Options{})
	var err error
	next := 0
	for ; err == nil; next += 5 {
		_, err = s.Put(t.Context(), many(next, next+5))
	}
	if !errors.Is(err, ErrFull) {
		t.Fatal(err)
	}
	if _, err := s.Prune(t.Context(), Retention{MaxSize: 512 << 10}); !errors.Is(err, ErrFull) {
		t.Errorf("without any space: %v", err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	removal, err := s.Prune(t.Context(), Retention{MaxSize: 512 << 10})
	if err != nil || removal.Runs == 0 {
		t.Fatalf("%+v, %v", removal, err)
	}
	put(t, s, many(next, next+5))
	checked(t, s)
}

func TestStoreWaitsForALockedDatabase(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	put(t, s, many(0, 1))
	other, err := sql.Open("sqlite", s.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	lock, err := other.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	impatient := opened(t, s.Path(), Options{Wait: time.Millisecond})
	if _, err := impatient.Put(t.Context(), many(1, 2)); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), s.Path()) {
		t.Errorf("got %v", err)
	}
	if n := len(stored(t, impatient, Selection{}).Runs); n != 1 {
		t.Errorf("%d runs can be read", n)
	}
	done := make(chan error)
	go func() {
		_, err := s.Put(t.Context(), many(1, 2)) // waits for the lock
		done <- err
	}()
	if _, err := lock.ExecContext(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	put(t, impatient, many(2, 3))
}

func TestADatabaseThatIsDeletedOrReplaced(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(path string) error{
		"deleted": os.Remove,
		"replaced": func(path string) error {
			text, err := os.ReadFile(path)
			return errors.Join(err, os.Remove(path), os.WriteFile(path, text, 0o600))
		},
		"the directory is deleted": func(path string) error { return os.RemoveAll(filepath.Dir(path)) },
	} {
		path := filepath.Join(t.TempDir(), "below", "capmon.db")
		s := opened(t, path, Options{})
		put(t, s, many(0, 2))
		if err := change(path); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Put(t.Context(), many(0, 3)); !errors.Is(err, ErrGone) {
			t.Errorf("%s: put: %v", name, err)
		}
		if _, err := s.Profile(t.Context(), Selection{}); !errors.Is(err, ErrGone) {
			t.Errorf("%s: profile: %v", name, err)
		}
		for _, suffix := range []string{"", "-wal", "-shm"} {
			if err := os.Remove(path + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
		}
		again := opened(t, path, Options{})
		put(t, again, many(0, 3)) // as a caller would
		if n := len(stored(t, again, Selection{}).Runs); n != 3 {
			t.Errorf("%s: %d runs", name, n)
		}
		checked(t, again)
	}
}

// A new database does not use the log that a deleted database of the same name left.
func TestTheLogOfADeletedDatabaseIsIgnored(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "capmon.db")
	first := opened(t, path, Options{})
	put(t, first, many(0, 2))
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	again := opened(t, path, Options{})
	put(t, again, many(5, 6))
	if n := len(stored(t, again, Selection{}).Runs); n != 1 {
		t.Errorf("%d runs", n)
	}
	checked(t, again)
}

func TestAReadOnlyFileSystem(t *testing.T) {
	t.Parallel()
	directory := mounted(t, "4m")
	path := filepath.Join(directory, "capmon.db")
	s, err := Open(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, many(0, 3))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", directory, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(t.Context(), path, Options{}); !errors.Is(err, ErrReadOnly) {
		t.Errorf("opened for writing: %v, %v", s, err)
	}
	if s, err := Open(t.Context(), filepath.Join(directory, "other.db"), Options{}); !errors.Is(err, ErrReadOnly) {
		t.Errorf("created: %v, %v", s, err)
	}
	reader := opened(t, path, Options{ReadOnly: true})
	if diff := cmp.Diff(encoded(t, many(0, 3)), encoded(t, stored(t, reader, Selection{}))); diff != "" {
		t.Error(diff)
	}
	checked(t, reader)
	if _, err := reader.Put(t.Context(), many(3, 4)); !errors.Is(err, ErrReadOnly) {
		t.Errorf("put: %v", err)
	}
}

func TestAReaderDoesNotCreateADatabase(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "capmon.db")
	if _, err := Open(t.Context(), path, Options{ReadOnly: true}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it exists: %v", err)
	}
}

func TestOtherFilesAreNotChanged(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	foreign := filepath.Join(directory, "foreign.db")
	db, err := sql.Open("sqlite", foreign)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("CREATE TABLE passwords (text)"); err != nil {
		t.Fatal(err)
	}
	db.Close()
	text := filepath.Join(directory, "text")
	if err := os.WriteFile(text, []byte(strings.Repeat("no database\n", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]error{foreign: ErrForeign, text: ErrCorrupt, directory: ErrForeign} {
		for _, options := range []Options{{}, {ReadOnly: true}, {Recover: true}} {
			if options.Recover {
				want = ErrForeign
			}
			before, _ := os.ReadFile(path)
			if _, err := Open(t.Context(), path, options); !errors.Is(err, want) {
				t.Errorf("%s: %v", path, err)
			}
			if after, _ := os.ReadFile(path); !slices.Equal(before, after) {
				t.Errorf("%s has changed", path)
			}
		}
	}
}

func TestRecoverReplacesADamagedDatabase(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "capmon.db")
	s, err := Open(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, many(0, 20))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	noise := make([]byte, 16<<10)
	rand.New(rand.NewSource(1)).Read(noise)
	if _, err := file.WriteAt(noise, 8<<10); err != nil {
		t.Fatal(err)
	}
	file.Close()
	damaged, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s = opened(t, path, Options{Recover: true})
	if !strings.HasPrefix(s.Replaced, path+".corrupt-") {
		t.Fatalf("replaced %q", s.Replaced)
	}
	if moved, err := os.ReadFile(s.Replaced); err != nil || !slices.Equal(moved, damaged) {
		t.Errorf("%s does not contain the damaged database: %v", s.Replaced, err)
	}
	put(t, s, many(0, 20))
	checked(t, s)
	if intact := opened(t, path, Options{Recover: true}); intact.Replaced != "" {
		t.Errorf("an intact database was replaced")
	}
}

// Unlike SQLite, capmon detects if a page has other valid contents than were written.
func TestCheckFindsAlteredData(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]string{
		"a count":          "UPDATE uses SET count = count + 1 WHERE position = 0",
		"a use is missing": "DELETE FROM uses WHERE position = 4",
		"a setup":          "UPDATE documents SET setup = x'1f8b0800000000000000010000ffff'",
		"another setup":    "UPDATE documents SET setup_digest = digest",
		"a document":       `UPDATE documents SET json = replace(json, '"count":3', '"count":4')`,
		"no document":      "DELETE FROM documents",
		"no JSON":          "UPDATE documents SET json = '{'",
		"a time":           `UPDATE runs SET moments = replace(moments, '2026', '2025')`,
		"a row":            "UPDATE runs SET running = 1",
		"an ID":            "UPDATE runs SET id = 'other'",
		"a container":      "UPDATE containers SET image = 'redis'",
		"a label":          "UPDATE labels SET value = 'other'",
		"a proof":          "UPDATE proofs SET works = 1 - works",
		"an alert":         "UPDATE alerts SET rule = 'other'",
		"a reference":      "PRAGMA foreign_keys = off; DELETE FROM containers",
		"what was pruned":  "INSERT INTO pruned VALUES ('run', 'nginx', 1, 'yesterday')",
		"an index":         "PRAGMA writable_schema = on; UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 'runs_by_end') WHERE name = 'runs_of_container'",
	} {
		s := fresh(t)
		p := profile.New(run("web", "nginx", 1))
		setup := p.Runs[0].Uses[0]
		setup.Class = classify.Setup
		p.Runs[0].Uses = append(p.Runs[0].Uses, setup, p.Runs[0].Uses[0], p.Runs[0].Uses[0], p.Runs[0].Uses[0])
		p.Proofs = []profile.Proof{{ID: "proof", Time: saturday, Container: p.Runs[0].Container}}
		put(t, s, p)
		a := generateAlert(rand.New(rand.NewSource(1)))
		if _, err := s.PutAlerts(t.Context(), []alert.Alert{a}); err != nil {
			t.Fatal(err)
		}
		checked(t, s)
		other, err := sql.Open("sqlite", s.Path())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := other.Exec(change); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		other.Close()
		again, err := Open(t.Context(), s.Path(), Options{ReadOnly: true})
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if problems, err := again.Check(t.Context()); err != nil || len(problems) == 0 {
			t.Errorf("%s: %q, %v", name, problems, err)
		}
		again.Close()
	}
}

// FuzzDamage reads databases with changed bytes. Reading must end, and if Check finds no problems, the data must be
// what was written.
func FuzzDamage(f *testing.F) {
	path := filepath.Join(f.TempDir(), "capmon.db")
	s, err := Open(context.Background(), path, Options{})
	if err != nil {
		f.Fatal(err)
	}
	p := many(0, 3)
	p.Proofs = []profile.Proof{{ID: "proof", Time: saturday, Container: p.Runs[0].Container}}
	if _, err := s.Put(context.Background(), p); err != nil {
		f.Fatal(err)
	}
	want := encoded(f, p)
	if err := s.Close(); err != nil {
		f.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	for seed := range uint32(40) {
		f.Add(seed*7919, []byte{byte(seed), 0xff, 0}, uint16(0))
	}
	f.Add(uint32(18), []byte{1, 1}, uint16(0)) // no log
	f.Add(uint32(0), []byte{}, uint16(1))      // cut
	f.Fuzz(func(t *testing.T, at uint32, bytes []byte, cut uint16) {
		damaged := slices.Clone(whole)
		copy(damaged[int(at)%len(damaged):], bytes)
		damaged = damaged[:len(damaged)-int(cut)%len(damaged)]
		path := filepath.Join(t.TempDir(), "capmon.db")
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		s, err := Open(ctx, path, Options{ReadOnly: true})
		if err == nil {
			defer s.Close()
			problems, checkErr := s.Check(ctx)
			p, readErr := s.Profile(ctx, Selection{})
			if checkErr == nil && len(problems) == 0 && (readErr != nil || encoded(t, p) != want) {
				t.Errorf("Check finds no problems, but reading returns %v or other data", readErr)
			}
		}
		if ctx.Err() != nil {
			t.Error("reading took a minute")
		}
		// Writing must not panic.
		if s, err := Open(ctx, path, Options{Recover: true}); err == nil {
			_, err = s.Put(ctx, many(3, 4))
			t.Log(err, s.Close())
		}
	})
}

// If a writer is killed at any time, the file is intact and contains everything that the writer reported as written.
func TestAKilledWriterLosesNoWrittenData(t *testing.T) {
	if path := os.Getenv("CAPMON_TEST_WRITER"); path != "" {
		writeForever(t, path)
	}
	t.Parallel()
	path := filepath.Join(t.TempDir(), "capmon.db")
	r := rand.New(rand.NewSource(time.Now().UnixNano()))
	for range 5 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestAKilledWriterLosesNoWrittenData$")
		cmd.Env = append(os.Environ(), "CAPMON_TEST_WRITER="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var first, last int
		if _, err := fmt.Fscan(out, &first); err != nil {
			t.Fatal(err)
		}
		last = first
		for range r.Intn(40) {
			if _, err := fmt.Fscan(out, &last); err != nil {
				t.Fatal(err)
			}
		}
		for range r.Intn(1000) { // wait until some time within the next write
			_ = cmd.Process.Signal(unix.Signal(0))
		}
		_ = cmd.Process.Kill()
		for err == nil {
			var more int
			if _, err = fmt.Fscan(out, &more); err == nil {
				last = more
			}
		}
		_ = cmd.Wait()
		s := opened(t, path, Options{ReadOnly: true})
		checked(t, s)
		if n := len(stored(t, s, Selection{}).Runs); n < last || n > last+1 {
			t.Errorf("%d runs, and %d were reported", n, last)
		}
	}
}

// writeForever writes one run after another, and prints their number after each.
func writeForever(t *testing.T, path string) {
	s := opened(t, path, Options{})
	for n := len(stored(t, s, Selection{}).Runs); ; n++ {
		put(t, s, many(n, n+1))
		fmt.Println(n + 1)
	}
}
