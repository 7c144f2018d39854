package testutil

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// Fenced matches a block of code in Markdown. Its group is the text of the block.
var Fenced = regexp.MustCompile("(?ms)^```[a-z]*\n(.*?)^```$")

// Documents returns the texts that people write for users, by their paths: README.md, docs/ without the generated
// command reference, and the CI examples. root is the root directory of the repository.
func Documents(t testing.TB, root string) map[string]string {
	t.Helper()
	paths := []string{filepath.Join(root, "README.md")}
	for _, pattern := range []string{"docs/*.md", "examples/ci/*.yaml"} {
		more, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil || len(more) == 0 {
			t.Fatalf("nothing at %s: %v", pattern, err)
		}
		paths = append(paths, more...)
	}
	all := make(map[string]string)
	for _, path := range paths {
		if filepath.Base(path) == "commands.md" {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all[path] = string(text)
	}
	return all
}
