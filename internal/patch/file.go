package patch

import (
	"fmt"
	"io"
	"os"

	"github.com/rogpeppe/go-internal/diff"

	"github.com/capmon/capmon/internal/atomicfile"
)

// Diff is the unified diff between two states of a file, empty if they are the same.
func Diff(path string, before, after []byte) []byte {
	return diff.Diff(path, before, path, after)
}

// Read reads a file that Replace could replace: a regular one, or a link to one.
func Read(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file, and cannot be replaced: name one", path)
	}
	return os.ReadFile(path)
}

// Replace gives a file other contents, as a whole or not at all, with the mode and the
// owner that it has. Of a link it replaces what that leads to.
func Replace(path string, contents []byte) error {
	err := atomicfile.Write(path, func(w io.Writer) error {
		_, err := w.Write(contents)
		return err
	})
	if err != nil {
		return fmt.Errorf("replacing %s: %w", path, err)
	}
	return nil
}
