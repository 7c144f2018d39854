package profile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/quick"
	"time"

	"github.com/capmon/capmon/internal/classify"
	"github.com/google/go-cmp/cmp"
)

func encoded(t testing.TB, p Profile) string {
	t.Helper()
	var out bytes.Buffer
	if err := Encode(&out, p); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// whole returns a profile that has all parts.
func whole() Profile {
	started := saturday
	return New(Run{
		ID: "o/1", Observation: Observation{ID: "o", Recorder: web1, Kernel: "6.18.1", Start: saturday, End: saturday.Add(time.Minute)},
		Container: Container{ID: strings.Repeat("ab", 32), Name: "web", Image: "nginx", Labels: map[string]string{"a": "<b>&\n"}},
		Started:   &started, Ended: saturday.Add(time.Minute), Processes: 1, Checks: 2, Incomplete: []string{}, Uses: []UsePattern{chown(2)},
	})
}

func TestSavedProfilesLoadUnchanged(t *testing.T) {
	dir := t.TempDir()
	holds := func(g generated) bool {
		p := Merge(g.Profile)
		path := filepath.Join(dir, "profile.json")
		if err := Save(path, p); err != nil {
			t.Error(err)
			return false
		}
		loaded, err := Load(path)
		return err == nil && cmp.Equal(p, loaded) && encoded(t, p) == encoded(t, loaded)
	}
	if err := quick.Check(holds, nil); err != nil {
		t.Error(err)
	}
}

func TestParseErrors(t *testing.T) {
	good := encoded(t, whole())
	var compact bytes.Buffer
	if err := json.Compact(&compact, []byte(good)); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, data string
		want       error
	}{
		{"good", good, nil},
		{"good, in one line", compact.String(), nil},
		{"with fields that a later version of the same schema has", strings.Replace(good, "{", `{"later": [1],`, 1), nil},
		{"no runs", `{"format": "capmon profile", "schema": 1}`, nil},
		{"with blanks around", "\n\t " + good + "\n\n", nil},
		{"empty", "", ErrForeign},
		{"only blanks", " \n", ErrForeign},
		{"half of it", good[:len(good)/2], ErrTruncated},
		{"the last brace is missing", strings.TrimSuffix(good, "}\n"), ErrTruncated},
		{"half of it, behind a blank", " " + good[:len(good)/2], ErrTruncated},
		{"a brace too many", good + "}", ErrForeign},
		{"a brace too many, at the very end", strings.TrimSpace(good) + "}", ErrForeign},
		{"two in one file", good + good, ErrForeign},
		{"binary", "\x7fELF\x02\x01", ErrForeign},
		{"text", "hello\n", ErrForeign},
		{"YAML", "format: capmon profile\n", ErrForeign},
		{"a string", `"capmon profile"`, ErrForeign},
		{"null", "null", ErrForeign},
		{"a list", "[" + good + "]", ErrForeign},
		{"a list that ends in the middle", "[" + good, ErrForeign},
		{"other JSON", `{"containers": []}`, ErrForeign},
		{"another format", strings.Replace(good, "capmon profile", "seccomp profile", 1), ErrForeign},
		{"no schema", `{"format": "capmon profile"}`, ErrForeign},
		{"a negative schema", `{"format": "capmon profile", "schema": -1}`, ErrForeign},
		{"a schema that is not a number", `{"format": "capmon profile", "schema": "1"}`, ErrForeign},
		{"newer", `{"format": "capmon profile", "schema": 3, "runs": {"all": "different"}}`, ErrNewer},
		{"invalid runs", `{"format": "capmon profile", "schema": 1, "runs": 7}`, ErrForeign},
		{"an unknown capability", `{"format": "capmon profile", "schema": 1, "runs": [{"uses": [{"capability": "NET_ROW"}]}]}`, ErrForeign},
		{"a capability out of range", `{"format": "capmon profile", "schema": 1, "runs": [{"grants": {"kernel": ["64"]}}]}`, ErrForeign},
		{"an invalid time", `{"format": "capmon profile", "schema": 1, "runs": [{"ended": "yesterday"}]}`, ErrForeign},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, err := Parse([]byte(test.data))
			if !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if err != nil && !cmp.Equal(p, Profile{}) {
				t.Errorf("got %+v with an error", p)
			}
		})
	}
}

func TestEveryTruncationIsDetected(t *testing.T) {
	good := strings.TrimSpace(encoded(t, whole()))
	for n := 1; n < len(good); n++ {
		if _, err := Parse([]byte(good[:n])); !errors.Is(err, ErrTruncated) {
			t.Fatalf("the first %d of %d bytes: %v", n, len(good), err)
		}
	}
}

func TestTheErrorForANewerFileNamesItsSchema(t *testing.T) {
	_, err := Parse([]byte(`{"format": "capmon profile", "schema": 42}`))
	const want = "schema 42, this version of capmon reads schemas up to 2: a newer version of capmon wrote it: upgrade capmon to read it"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestLoadErrorsNameTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.json")
	if _, err := Load(path); !errors.Is(err, fs.ErrNotExist) || err.Error() != "reading the profile: open "+path+": no such file or directory" {
		t.Errorf("missing: %v", err)
	}
	if err := os.WriteFile(path, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Load(path)
	var file *FileError
	if !errors.As(err, &file) || file.Path != path || !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v", err)
	}
}

// unwritable returns a profile with a time that JSON cannot represent.
func unwritable() Profile {
	return New(Run{ID: "o/1", Ended: time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)})
}

func TestAFailedSaveKeepsTheExistingFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "profile.json")
	if err := Save(path, whole()); err != nil {
		t.Fatal(err)
	}
	for name, save := range map[string]func() error{
		"a profile that cannot be written": func() error { return Save(path, unwritable()) },
		"a directory in its place":         func() error { return Save(dir, whole()) },
		"no such directory":                func() error { return Save(filepath.Join(dir, "none", "profile.json"), whole()) },
	} {
		if err := save(); err == nil || !strings.HasPrefix(err.Error(), "saving the profile: ") {
			t.Errorf("%s: got %v", name, err)
		}
		if p, err := Load(path); err != nil || !cmp.Equal(p, whole()) {
			t.Errorf("%s: the existing file now has %+v, %v", name, p, err)
		}
	}
	if got := list(t, dir); !cmp.Equal(got, []string{"profile.json"}) {
		t.Errorf("left behind: %q", got)
	}
	if got := list(t, filepath.Dir(dir)); len(got) != 1 {
		t.Errorf("left behind beside the directory: %q", got)
	}
}

func TestSaveReplacesAnExistingFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "profile.json")
	if err := os.WriteFile(path, bytes.Repeat([]byte("old "), 1<<16), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Save(path, whole()); err != nil {
		t.Fatal(err)
	}
	if p, err := Load(path); err != nil || !cmp.Equal(p, whole()) {
		t.Errorf("got %+v, %v", p, err)
	}
	if got := list(t, dir); !cmp.Equal(got, []string{"profile.json"}) {
		t.Errorf("left behind: %q", got)
	}
}

func list(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// FuzzParse: Parse either returns a profile that survives writing and reading, or one of three errors.
func FuzzParse(f *testing.F) {
	good := encoded(f, whole())
	for _, data := range []string{good, good[:len(good)/2], "", "{", "null", `{"format":"capmon profile","schema":1,"runs":[{},{}]}`} {
		f.Add([]byte(data))
	}
	f.Add([]byte(`{"format":"capmon profile","schema":9}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Parse(data)
		if err != nil {
			if !errors.Is(err, ErrForeign) && !errors.Is(err, ErrTruncated) && !errors.Is(err, ErrNewer) {
				t.Errorf("%v is not one of the three errors", err)
			}
			return
		}
		again, err := Parse([]byte(encoded(t, p)))
		if diff := cmp.Diff(p, again); err != nil || diff != "" {
			t.Errorf("%v\n%s", err, diff)
		}
		_ = fmt.Sprint(Summaries(p))
	})
}

// capmon merge: the bytes depend neither on the order of the files nor on how often each is given.
func TestMergedFilesAreEqualInAnyOrder(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	holds := func(one, two, three generated) bool {
		files := []Profile{one.Profile, two.Profile, three.Profile}
		want := encoded(t, Merge(files...))
		for range 2 {
			again := slices.Concat(files, []Profile{files[r.Intn(3)], files[r.Intn(3)]})
			r.Shuffle(len(again), func(i, j int) { again[i], again[j] = again[j], again[i] })
			if encoded(t, Merge(again...)) != want || encoded(t, Merge(Merge(again[:2]...), Merge(again[2:]...))) != want {
				return false
			}
		}
		return true
	}
	if err := quick.Check(holds, &quick.Config{MaxCount: 30}); err != nil {
		t.Error(err)
	}
}

func TestClassesOfSchema1AreRenamed(t *testing.T) {
	p, err := Load("../store/testdata/schema-1.json")
	if err != nil {
		t.Fatal(err)
	}
	var classes []classify.Class
	for _, run := range p.Runs {
		for _, use := range run.Uses {
			classes = append(classes, use.Class)
		}
	}
	for _, class := range classify.Classes() {
		if !slices.Contains(classes, class) {
			t.Errorf("no use of class %s: %v", class, classes)
		}
	}
	proof := p.Proofs[0]
	if p.Schema != Schema || proof.Members[1].Class != classify.Implicit || len(proof.Trials[0].DeniedChecks) != 1 {
		t.Errorf("schema %d, proof %+v", p.Schema, proof)
	}
}
