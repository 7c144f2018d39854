package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/report/reporttest"
)

func TestOptionalNotesAreDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(repository + "/docs/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, note := range optionalNotes() {
		if !strings.Contains(string(text), "\n- "+string(note)+"\n") {
			t.Errorf("docs/README.md does not list: %s", note)
		}
	}
}

// executed returns what a command prints. It accepts errors, such as those about starts that were not seen.
func executed(t *testing.T, args ...string) (stdout, stderr string) {
	t.Helper()
	root := newRoot()
	var out, notes bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&notes)
	root.SetArgs(args)
	if err := root.ExecuteContext(t.Context()); err != nil {
		notes.WriteString(err.Error() + "\n")
	}
	return created.ReplaceAllString(out.String(), ""), notes.String()
}

// created is the time of an output in JSON.
var created = regexp.MustCompile(`"created": "[^"]*"`)

// --quiet leaves out the suggestions, and no caution.
func TestQuietLeavesOutOnlySuggestions(t *testing.T) {
	t.Parallel()
	suggestions := 0
	for name, p := range reporttest.Profiles() {
		file := filepath.Join(t.TempDir(), "profile.json")
		if err := profile.Save(file, p); err != nil {
			t.Fatal(err)
		}
		for _, command := range []string{"flags", "flags --even-if-start-unseen", "report", "report --all", "report -o json", "report -o flags"} {
			args := append(strings.Fields(command), file)
			loudOut, loudNotes := executed(t, args...)
			out, notes := executed(t, append(args, "--quiet")...)
			outWithout, outSuggestions := withoutSuggestions(loudOut, strings.Contains(command, "json"))
			notesWithout, noteSuggestions := withoutSuggestions(loudNotes, false)
			suggestions += outSuggestions + noteSuggestions
			if diff := cmp.Diff(outWithout, out); diff != "" {
				t.Errorf("%s: capmon %s: stdout: %s", name, command, diff)
			}
			if diff := cmp.Diff(notesWithout, notes); diff != "" {
				t.Errorf("%s: capmon %s: stderr: %s", name, command, diff)
			}
		}
	}
	if suggestions < 10 {
		t.Errorf("the profiles have only %d suggestions", suggestions)
	}
}

// withoutSuggestions removes the suggestions from the output for people, and returns their number.
func withoutSuggestions(text string, isJSON bool) (rest string, removed int) {
	if isJSON {
		return text, 0
	}
	const denials = "\nThere may be more denials: Docker's seccomp profile denies some system calls before the\nkernel checks a capability.\n"
	for line := range strings.Lines(strings.Replace(text, denials, "", 1)) {
		if strings.Contains(line, "untested alternative to ") {
			removed++
		} else {
			rest += line
		}
	}
	return rest, removed
}

func TestQuietIsAFlagOfEveryCommand(t *testing.T) {
	t.Parallel()
	for _, cmd := range commands(newRoot()) {
		for _, flag := range []string{"-q", "--quiet"} {
			found, rest, err := newRoot().Find(append(strings.Fields(cmd.CommandPath())[1:], flag))
			if err != nil {
				t.Fatal(err)
			}
			if err := found.ParseFlags(rest); err != nil || !quiet(found) {
				t.Errorf("%s %s: %v", cmd.CommandPath(), flag, err)
			}
		}
		if quiet(cmd) {
			t.Errorf("%s is quiet by default", cmd.CommandPath())
		}
	}
}
