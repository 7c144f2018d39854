package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/report/reporttest"
	"github.com/capmon/capmon/internal/settings"
)

var update = flag.Bool("update", false, "write the golden files in testdata instead of comparing with them")

func rendered(t *testing.T, p profile.Profile, format Format, options Options) (out, notes string) {
	t.Helper()
	var outBuffer, notesBuffer bytes.Buffer
	err := Write(&outBuffer, &notesBuffer, p, format, options)
	if unseen := (*settings.StartUnseenError)(nil); errors.As(err, &unseen) {
		fmt.Fprintf(&notesBuffer, "error: %v\n", err)
	} else if err != nil {
		t.Fatal(err)
	}
	return outBuffer.String(), notesBuffer.String()
}

// TestReports compares the reports with testdata/CASE.txtar. go test -update writes these files.
func TestReports(t *testing.T) {
	cases := reporttest.Profiles()
	for name, p := range cases {
		t.Run(name, func(t *testing.T) {
			plain, _ := rendered(t, p, Table, Options{})
			all, _ := rendered(t, p, Table, Options{All: true, Details: true})
			flags, notes := rendered(t, p, Flags, Options{})
			asJSON, _ := rendered(t, p, JSON, Options{Evidence: reporttest.Evidence(p)})
			golden(t, "", name,
				txtar.File{Name: "table", Data: []byte(plain)},
				txtar.File{Name: "table --all", Data: []byte(all)},
				txtar.File{Name: "flags", Data: []byte(flags)},
				txtar.File{Name: "flags' notes", Data: []byte(notes)},
				txtar.File{Name: "json", Data: []byte(asJSON)})
		})
	}
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) != len(cases) {
		t.Errorf("%d golden files for %d cases, %v", len(files), len(cases), err)
	}
}

var escape = regexp.MustCompile(`\x1b\[[0-9;]*m`)

func TestColorOnlyAddsColor(t *testing.T) {
	for name, p := range reporttest.Profiles() {
		for _, all := range []bool{false, true} {
			plain, _ := rendered(t, p, Table, Options{All: all})
			colored, _ := rendered(t, p, Table, Options{All: all, Color: true})
			if diff := cmp.Diff(plain, escape.ReplaceAllString(colored, "")); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
	}
}

// Containers and profile files may contain any name.
func TestTerminalOutputEscapesAllNames(t *testing.T) {
	p := reporttest.Profiles()["hostile"]
	table, _ := rendered(t, p, Table, Options{All: true, Details: true, Evidence: reporttest.Evidence(p)})
	flags, notes := rendered(t, p, Flags, Options{})
	for about, text := range map[string]string{"table": table, "flags": flags, "notes": notes} {
		for _, r := range text {
			if r != '\n' && !unicode.IsGraphic(r) || r == unicode.ReplacementChar {
				t.Errorf("%s: %q in\n%q", about, r, text)
				break
			}
		}
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, "CHOWN") {
				t.Errorf("%s: a name made the line %q", about, line)
			}
		}
	}
	if lines := strings.Count(flags, "\n"); lines != 2 {
		t.Errorf("two containers ran, but there are %d lines:\n%s", lines, flags)
	}
}

func TestLinesHaveNoBlanksAtTheirEnd(t *testing.T) {
	for name, p := range reporttest.Profiles() {
		table, _ := rendered(t, p, Table, Options{All: true, Details: true, Evidence: reporttest.Evidence(p)})
		for line := range strings.Lines(table) {
			if text := strings.TrimSuffix(line, "\n"); text != strings.TrimRight(text, " ") {
				t.Errorf("%s: %q", name, line)
			}
		}
	}
}

func TestJSONHasTheSameFieldsForAll(t *testing.T) {
	var want []string
	for name, p := range reporttest.Profiles() {
		text, _ := rendered(t, p, JSON, Options{})
		var got struct {
			Schema     int
			Containers []map[string]json.RawMessage
		}
		if err := json.Unmarshal([]byte(text), &got); err != nil || got.Schema != schema || got.Containers == nil {
			t.Fatalf("%s: %v\n%s", name, err, text)
		}
		for _, c := range got.Containers {
			for field, value := range c {
				// null means that the grants are not known.
				if string(value) == "null" && field != "granted" && field != "unused" {
					t.Errorf("%s: %s is null", name, field)
				}
			}
			for _, optional := range []string{"name", "image", "imageID", "labels", "networkMode", "engineError", "service", "narrower", "proof"} {
				delete(c, optional)
			}
			fields := slices.Sorted(maps.Keys(c))
			if want == nil {
				want = fields
			}
			if diff := cmp.Diff(want, fields); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
	}
}

func TestFlagsOfOneContainerStandAlone(t *testing.T) {
	cases := reporttest.Profiles()
	out, notes := rendered(t, cases["needs-and-unused"], Flags, Options{})
	if want := "--cap-drop=ALL --cap-add=CHOWN --cap-add=FSETID --cap-add=NET_BIND_SERVICE\n"; out != want || notes != "" {
		t.Errorf("got %q and %q, want %q alone", out, notes, want)
	}
	if out, notes := rendered(t, cases["never-started"], Flags, Options{}); out != "" || !strings.Contains(notes, "saw only the runtime setup of the container, not its workload") {
		t.Errorf("of a container that never started: got %q and %q", out, notes)
	}
}

type full struct{}

var errFull = errors.New("no space left on device")

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestWriteReturnsErrors(t *testing.T) {
	p := reporttest.Profiles()["needs-and-unused"]
	for _, format := range []Format{Table, JSON, Flags} {
		if err := Write(full{}, full{}, p, format, Options{}); !errors.Is(err, errFull) {
			t.Errorf("%s: got %v", format, err)
		}
	}
}

// docs/json.md describes each field.
func TestEveryJSONFieldIsDocumented(t *testing.T) {
	docs, err := os.ReadFile("../../docs/json.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range reporttest.Profiles() {
		text, _ := rendered(t, p, JSON, Options{Evidence: reporttest.Evidence(p)})
		var report any
		if err := json.Unmarshal([]byte(text), &report); err != nil {
			t.Fatal(err)
		}
		for field := range fieldsOf(report) {
			if !regexp.MustCompile(`\b` + regexp.QuoteMeta(field) + `\b`).Match(docs) {
				t.Errorf("%s: docs/json.md does not describe %s", name, field)
			}
		}
	}
}

// fieldsOf returns the names of all fields in a JSON value except the keys of labels and classes.
func fieldsOf(value any) map[string]bool {
	fields := make(map[string]bool)
	switch value := value.(type) {
	case []any:
		for _, element := range value {
			maps.Copy(fields, fieldsOf(element))
		}
	case map[string]any:
		for field, element := range value {
			fields[field] = true
			if field != "labels" && field != "classes" {
				maps.Copy(fields, fieldsOf(element))
			}
		}
	}
	return fields
}
