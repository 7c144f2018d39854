package patch

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"github.com/rogpeppe/go-internal/diff"

	"github.com/capmon/capmon/internal/atomicfile"
)

// Diff returns the unified diff between two states of a file, empty if they are equal.
func Diff(path string, before, after []byte) []byte {
	unified := diff.Diff(path, before, path, after)
	_, hunks, _ := bytes.Cut(unified, []byte("\n")) // the first line repeats the path of the two lines after it
	return hunks
}

// Read reads a file that [Replace] can replace: a regular file, or a link to one.
func Read(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file, so it cannot be replaced: name a regular file", path)
	}
	return os.ReadFile(path)
}

// Replace replaces the contents of a file, as a whole or not at all. The file keeps its mode and owner. If the path is
// a link, Replace replaces the target of the link.
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
