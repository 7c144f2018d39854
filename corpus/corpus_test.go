package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/capmon/capmon/internal/testutil"
	"github.com/capmon/capmon/internal/testutil/testlock"
)

// built is the command under test. Its self is the path that capmon runs for a workload.
var built command

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	missing := errors.Join(testutil.Root(), testutil.DockerWithImage()) // and the images of scripts/corpus-images.sh fast
	if missing == nil {
		directory, err := os.MkdirTemp("", "corpus-test-")
		if err == nil {
			defer os.RemoveAll(directory)
			err = prepare(directory)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return testutil.RunOrSkip(m, missing, needNothing...)
}

// needNothing has the tests that need neither root nor Docker.
var needNothing = []string{
	"TestDocumentationHasTheResults",
	"TestEveryWorkloadIsComplete",
	"TestListThatChangesIsNamed",
	"TestListThatDiffersFromStoredIsNamed",
	"TestMeasurementIsStored",
	"TestMinimalSets",
	"TestUsesThatDifferAreNamed",
}

func prepare(directory string) error {
	built = command{
		directory: ".", self: filepath.Join(directory, "corpus"),
		capmon: filepath.Join(directory, "capmon"), verify: true,
	}
	return errors.Join(testlock.NoLosses(), testutil.Build(built.self, "."), testutil.Build(built.capmon, "../cmd/capmon"))
}

func loadFast(t *testing.T) []workload {
	t.Helper()
	all, err := load(".", nil)
	if err != nil {
		t.Fatal(err)
	}
	fast := slices.DeleteFunc(all, func(w workload) bool { return !w.Fast })
	if len(fast) == 0 {
		t.Fatal("there is no fast workload")
	}
	return fast
}

// TestFast compares capmon's lists of the fast workloads with the truth. make corpus does this for all workloads.
func TestFast(t *testing.T) {
	var out bytes.Buffer
	err := built.compare(t.Context(), loadFast(t), &out)
	t.Logf("\n%s", &out)
	if err != nil {
		t.Error(err)
	}
}

// TestWorkloadsNeedTheTruth verifies that the tests of the workloads fail without a needed capability.
func TestWorkloadsNeedTheTruth(t *testing.T) {
	for _, w := range loadFast(t) {
		if len(w.truth) != 1 {
			continue // without a member of one set, another set may be sufficient
		}
		for _, c := range w.truth[0].Sorted() {
			t.Run(w.name+" without "+c.String(), func(t *testing.T) {
				t.Parallel()
				err := w.run(t.Context(), w.granted().Without(c))
				if !errors.As(err, new(failure)) {
					t.Errorf("it works: %v", err)
				}
			})
		}
	}
}

// TestEveryWorkloadIsComplete finds misspelt, missing and superfluous data.
func TestEveryWorkloadIsComplete(t *testing.T) {
	all, err := load(".", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range all {
		if len(w.truth) == 0 {
			t.Errorf("%s has no truth.json", w.name)
		}
		if info, err := os.Stat(filepath.Join(w.directory, "test.sh")); err != nil || info.Mode()&0o111 == 0 {
			t.Errorf("%s has no executable test.sh: %v", w.name, err)
		}
		if len(w.Command) == 0 {
			t.Errorf("%s has no command", w.name)
		}
	}
}
