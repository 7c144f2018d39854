// Package atomicfile replaces files as a whole: a reader finds either the old contents or the new ones, also after a
// power failure.
package atomicfile

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// Write replaces the file at path with what write writes. An existing file keeps its mode and its owner. A new file has
// the mode 0666 less the umask. If path is a symbolic link, Write replaces its target. It is an error if the file is
// not a regular file, or if this process may not give a file to its owner. The old contents stay until the new contents
// are complete and on the disk.
func Write(path string, write func(io.Writer) error) error {
	draft, err := newDraft(path)
	if err != nil {
		return err
	}
	if err := write(draft); err != nil {
		return errors.Join(err, draft.discard())
	}
	if err := errors.Join(draft.named(draft.file.Sync()), draft.named(draft.file.Close())); err != nil {
		return errors.Join(err, draft.discard())
	}
	if err := os.Rename(draft.file.Name(), draft.target); err != nil {
		return errors.Join(draft.named(err), draft.discard())
	}
	return SyncDirectory(filepath.Dir(draft.target))
}

// Check returns the error that Write would currently return. It changes nothing.
func Check(path string) error {
	draft, err := newDraft(path)
	if err != nil {
		return err
	}
	return draft.discard()
}

// SyncDirectory ensures that a rename, a creation or a removal in a directory is on the disk. It is not an error if the
// file system cannot sync directories.
func SyncDirectory(path string) error {
	directory, err := os.Open(path)
	if err != nil {
		return err
	}
	err = directory.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		err = nil
	}
	return errors.Join(err, directory.Close())
}

// draft is the new file that will replace target. path is the path that the caller gave. Errors contain this path,
// because the caller does not know the draft.
type draft struct {
	file         *os.File
	target, path string
}

func (d draft) Write(data []byte) (int, error) {
	n, err := d.file.Write(data)
	return n, d.named(err)
}

// named returns an error of the draft as an error of path.
func (d draft) named(err error) error {
	var of *os.PathError
	var rename *os.LinkError
	switch {
	case errors.As(err, &of):
		return &os.PathError{Op: of.Op, Path: d.path, Err: of.Err}
	case errors.As(err, &rename):
		return &os.PathError{Op: "replace", Path: d.path, Err: rename.Err}
	}
	return err
}

func (d draft) discard() error {
	_ = d.file.Close()
	return os.Remove(d.file.Name())
}

// newDraft creates the draft in the directory of the target, with the mode and owner of the target.
func newDraft(path string) (draft, error) {
	target, existing, err := resolve(path)
	if err != nil {
		return draft{}, err
	}
	mode := os.FileMode(0o666) // less the umask
	if existing != nil {
		mode = 0o600 // until the owner is set
	}
	name := filepath.Join(filepath.Dir(target), "."+filepath.Base(target)+"-"+rand.Text())
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	d := draft{file, target, path}
	if err != nil {
		return draft{}, d.named(err)
	}
	if existing == nil {
		return d, nil
	}
	// The mode is set last, because a change of the owner clears bits of the mode.
	if err := errors.Join(keepOwner(file, existing), d.named(file.Chmod(existing.Mode()))); err != nil {
		return draft{}, errors.Join(err, d.discard())
	}
	return d, nil
}

// resolve returns the path after following links, and the file there, or nil if there is none.
func resolve(path string) (string, os.FileInfo, error) {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		if _, err := os.Lstat(path); err == nil {
			return "", nil, fmt.Errorf("%s is a link to a file that does not exist: create that file, or use its path", path)
		}
		return path, nil, nil
	}
	if err != nil {
		return "", nil, err
	}
	if !info.Mode().IsRegular() { // such as /dev/stdout
		return "", nil, fmt.Errorf("%s is not a regular file: use the path of a regular file", path)
	}
	target, err := filepath.EvalSymlinks(path)
	return target, info, err
}

func keepOwner(file *os.File, existing os.FileInfo) error {
	created, err := file.Stat()
	if err != nil {
		return err
	}
	had, has := existing.Sys().(*syscall.Stat_t), created.Sys().(*syscall.Stat_t)
	if had.Uid == has.Uid && had.Gid == has.Gid {
		return nil
	}
	if err := file.Chown(int(had.Uid), int(had.Gid)); err != nil {
		return fmt.Errorf("keeping the owner %d:%d of the file: %w; write to another file, or run capmon as root", had.Uid, had.Gid, errors.Unwrap(err))
	}
	return nil
}
