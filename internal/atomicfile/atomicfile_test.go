package atomicfile

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/capmon/capmon/internal/testutil"
)

func text(s string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, s)
		return err
	}
}

func umask(t *testing.T, mask int) {
	t.Helper()
	before := syscall.Umask(mask)
	t.Cleanup(func() { syscall.Umask(before) })
}

func wantFile(t *testing.T, path, contents string, mode os.FileMode) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != contents {
		t.Errorf("%s has %q, %v; want %q", path, got, err, contents)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != mode {
		t.Errorf("%s has the mode %v, %v; want %v", path, info.Mode(), err, mode)
	}
}

// wantAlone checks that a directory has only these files, and no draft.
func wantAlone(t *testing.T, directory string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(directory)
	if err != nil || len(entries) != len(names) {
		t.Errorf("%s has %v, %v; want %q", directory, entries, err, names)
	}
}

func TestNewFileRespectsTheUmask(t *testing.T) {
	for mask, mode := range map[int]os.FileMode{0o022: 0o644, 0o077: 0o600, 0o027: 0o640} {
		umask(t, mask)
		path := filepath.Join(t.TempDir(), "new")
		if err := Write(path, text("a")); err != nil {
			t.Fatal(err)
		}
		wantFile(t, path, "a", mode)
		wantAlone(t, filepath.Dir(path), "new")
	}
}

func TestExistingFileKeepsItsModeAndOwner(t *testing.T) {
	testutil.NeedRoot(t)
	umask(t, 0o022)
	for _, mode := range []os.FileMode{0o600, 0o640, 0o666} {
		path := filepath.Join(t.TempDir(), "old")
		if err := errors.Join(os.WriteFile(path, []byte("a"), 0o600), os.Chown(path, 1234, 4321), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
		if err := Write(path, text("b")); err != nil {
			t.Fatal(err)
		}
		wantFile(t, path, "b", mode)
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if owner := info.Sys().(*syscall.Stat_t); owner.Uid != 1234 || owner.Gid != 4321 {
			t.Errorf("the owner is now %d:%d", owner.Uid, owner.Gid)
		}
	}
}

func TestLinkIsKept(t *testing.T) {
	directory := t.TempDir()
	file, link := filepath.Join(directory, "file"), filepath.Join(directory, "link")
	if err := errors.Join(os.WriteFile(file, []byte("a"), 0o600), os.Symlink("file", link)); err != nil {
		t.Fatal(err)
	}
	if err := Write(link, text("b")); err != nil {
		t.Fatal(err)
	}
	wantFile(t, file, "b", 0o600)
	if target, err := os.Readlink(link); err != nil || target != "file" {
		t.Errorf("the link leads to %q, %v", target, err)
	}
}

func TestOnlyRegularFilesAreAccepted(t *testing.T) {
	directory := t.TempDir()
	link, dangling := filepath.Join(directory, "link"), filepath.Join(directory, "dangling")
	if err := errors.Join(os.Symlink("/dev/null", link), os.Symlink("nowhere", dangling)); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		directory: "is not a regular file", "/dev/null": "is not a regular file", link: "is not a regular file",
		dangling: "is a link to a file that does not exist", filepath.Join(directory, "none", "file"): "no such file",
	} {
		for name, err := range map[string]error{"Write": Write(path, text("b")), "Check": Check(path)} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s(%s): %v, want %q", name, path, err, want)
			}
		}
	}
	wantAlone(t, directory, "link", "dangling")
}

func TestErrorsNameTheGivenFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none", "file")
	full := filepath.Join(t.TempDir(), "full")
	for want, err := range map[string]error{
		"open " + path + ": no such file or directory": Write(path, text("a")),
		"write " + full + ": file too large":           limited(t, func() error { return Write(full, text("a")) }),
	} {
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	wantAlone(t, filepath.Dir(full))
}

// limited calls a function while no file can grow.
func limited(t *testing.T, call func() error) error {
	t.Helper()
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
			t.Error(err)
		}
	}()
	return call()
}

func TestFailureKeepsTheOldContents(t *testing.T) {
	path := filepath.Join(t.TempDir(), "old")
	if err := os.WriteFile(path, []byte("a"), 0o600); err != nil {
		t.Fatal(err)
	}
	failure := errors.New("full")
	if err := Write(path, func(w io.Writer) error { return errors.Join(text("b")(w), failure) }); !errors.Is(err, failure) {
		t.Errorf("the error is %v", err)
	}
	wantFile(t, path, "a", 0o600)
	wantAlone(t, filepath.Dir(path), "old")
}

func TestCheckChangesNothing(t *testing.T) {
	directory := t.TempDir()
	if err := Check(filepath.Join(directory, "new")); err != nil {
		t.Fatal(err)
	}
	wantAlone(t, directory)
}
