package patch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/rogpeppe/go-internal/diff"
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
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("replacing %s: %w", path, err)
	}
	_, err = file.Write(contents)
	// The mode comes last: a change of owner takes bits of it away.
	err = errors.Join(err, keepOwner(file, info), file.Chmod(info.Mode()), file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		os.Remove(file.Name())
		return fmt.Errorf("replacing %s: %w", path, err)
	}
	return nil
}

func keepOwner(file *os.File, info os.FileInfo) error {
	now, err := file.Stat()
	if err != nil {
		return err
	}
	had, has := info.Sys().(*syscall.Stat_t), now.Sys().(*syscall.Stat_t)
	if had.Uid == has.Uid && had.Gid == has.Gid {
		return nil
	}
	return file.Chown(int(had.Uid), int(had.Gid))
}
