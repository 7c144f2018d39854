package patch

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

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

// Replace replaces the contents of a file, as a whole or not at all. It also makes a new file, and the directory of
// drop-ins that the file is in (NAME.d). The file keeps its mode and owner. If the path is
// a link, Replace replaces the target of the link.
func Replace(path string, contents []byte) error {
	if directory := filepath.Dir(path); strings.HasSuffix(directory, ".d") {
		if err := os.Mkdir(directory, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("replacing %s: %w", path, err)
		}
	}
	err := atomicfile.Write(path, func(w io.Writer) error {
		_, err := w.Write(contents)
		return err
	})
	if err != nil {
		return fmt.Errorf("replacing %s: %w", path, err)
	}
	return nil
}
