package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/capmon/capmon/internal/compare"
	"github.com/capmon/capmon/internal/policy"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/report/reporttest"
	"github.com/capmon/capmon/internal/testutil"
)

func comparison(t *testing.T, sides [2]profile.Profile) compare.Comparison {
	t.Helper()
	c, err := compare.Profiles(sides[0], sides[1], compare.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func comparisonText(t *testing.T, c compare.Comparison, format Format, options Options) string {
	t.Helper()
	var out bytes.Buffer
	if err := WriteComparison(&out, c, format, options); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// golden compares the files with testdata/DIR/NAME.txtar. go test -update writes this file.
func golden(t *testing.T, dir, name string, files ...txtar.File) {
	t.Helper()
	testutil.Golden(t, filepath.Join("testdata", dir, name+".txtar"), txtar.Format(&txtar.Archive{Files: files}), *update)
}

func TestComparisons(t *testing.T) {
	for name, sides := range reporttest.Comparisons() {
		t.Run(name, func(t *testing.T) {
			c := comparison(t, sides)
			golden(t, "compare", name,
				txtar.File{Name: "table", Data: []byte(comparisonText(t, c, Table, Options{}))},
				txtar.File{Name: "table --all", Data: []byte(comparisonText(t, c, Table, Options{All: true}))},
				txtar.File{Name: "json", Data: []byte(comparisonText(t, c, JSON, ofSides(sides)))},
			)
		})
	}
}

// ofSides returns options with the evidence of both profiles.
func ofSides(sides [2]profile.Profile) Options {
	return Options{Before: reporttest.Evidence(sides[0]), Evidence: reporttest.Evidence(sides[1])}
}

// Users quote a comparison in a pull request, in a Markdown block that a line of three backquotes ends.
func TestNoNameEndsTheMarkdownBlockOfAComparison(t *testing.T) {
	for name, sides := range reporttest.Comparisons() {
		for _, all := range []bool{false, true} {
			options := ofSides(sides)
			options.All = all
			text := comparisonText(t, comparison(t, sides), Table, options)
			for line := range strings.Lines(text) {
				if strings.HasPrefix(strings.TrimSpace(line), "```") {
					t.Errorf("%s: %q", name, line)
				}
			}
			graphic(t, name, text)
		}
	}
}

func graphic(t *testing.T, about, text string) {
	t.Helper()
	for _, r := range text {
		if r != '\n' && !unicode.IsGraphic(r) || r == unicode.ReplacementChar {
			t.Errorf("%s: %q in\n%q", about, r, text)
			return
		}
	}
}

func TestColorOnlyAddsColorToComparisonsAndChecks(t *testing.T) {
	for name, sides := range reporttest.Comparisons() {
		c := comparison(t, sides)
		if diff := cmp.Diff(comparisonText(t, c, Table, Options{}), escape.ReplaceAllString(comparisonText(t, c, Table, Options{Color: true}), "")); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	for name, result := range reporttest.Checks(t) {
		if diff := cmp.Diff(checkText(t, result, Table, Options{}), escape.ReplaceAllString(checkText(t, result, Table, Options{Color: true}), "")); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestWriteComparisonAndWriteCheckReturnErrors(t *testing.T) {
	c, result := comparison(t, reporttest.Comparisons()["new"]), reporttest.Checks(t)["violated"]
	for _, format := range []Format{Table, JSON, JUnit, SARIF} {
		if err := WriteCheck(full{}, result, format, Options{}, "", reporttest.Saturday); !errors.Is(err, errFull) {
			t.Errorf("%s: got %v", format, err)
		}
	}
	for _, format := range []Format{Table, JSON} {
		if err := WriteComparison(full{}, c, format, Options{}); !errors.Is(err, errFull) {
			t.Errorf("%s: got %v", format, err)
		}
	}
}

func checkText(t *testing.T, result policy.Result, format Format, options Options) string {
	t.Helper()
	var out bytes.Buffer
	if err := WriteCheck(&out, result, format, options, "1.0", reporttest.Saturday); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestChecks(t *testing.T) {
	for name, result := range reporttest.Checks(t) {
		t.Run(name, func(t *testing.T) {
			golden(t, "check", name,
				txtar.File{Name: "table", Data: []byte(checkText(t, result, Table, Options{}))},
				txtar.File{Name: "table --all", Data: []byte(checkText(t, result, Table, Options{All: true}))},
				txtar.File{Name: "json", Data: []byte(checkText(t, result, JSON, Options{Evidence: reporttest.Evidence(profile.Profile{})}))},
			)
			graphic(t, name, checkText(t, result, Table, Options{All: true}))
		})
	}
}

// docs/json.md describes each field of comparisons and checks.
func TestEveryJSONFieldOfComparisonsAndChecksIsDocumented(t *testing.T) {
	docs, err := os.ReadFile("../../docs/json.md")
	if err != nil {
		t.Fatal(err)
	}
	texts := make(map[string]string)
	for name, sides := range reporttest.Comparisons() {
		texts["comparison "+name] = comparisonText(t, comparison(t, sides), JSON, Options{All: true})
	}
	for name, result := range reporttest.Checks(t) {
		texts["check "+name] = checkText(t, result, JSON, Options{})
	}
	for name, text := range texts {
		var value any
		if err := json.Unmarshal([]byte(text), &value); err != nil {
			t.Fatal(err)
		}
		for field := range fieldsOf(value) {
			if !strings.Contains(string(docs), "`"+field+"`") {
				t.Errorf("%s: docs/json.md does not describe %s", name, field)
			}
		}
	}
}
