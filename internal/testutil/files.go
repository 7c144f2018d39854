package testutil

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Golden compares a file with the contents that it should have, or writes the file if update is true.
func Golden(t testing.TB, path string, got []byte, update bool) {
	t.Helper()
	if update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("differs from %s (go test -update writes it again):\n%s", path, diff)
	}
}

// SmallDisk mounts a separate file system of this size.
func SmallDisk(t *testing.T, size string) (directory string) {
	t.Helper()
	directory = t.TempDir()
	MustExecute(t, "mount", "-t", "tmpfs", "-o", "size="+size, "tmpfs", directory)
	t.Cleanup(func() { MustExecute(t, "umount", "-l", directory) })
	return directory
}

// Fill uses up the space of a disk until its file "filler" is removed.
func Fill(t *testing.T, disk string) {
	t.Helper()
	MustExecute(t, "sh", "-c", "cat /dev/zero >"+disk+"/filler 2>/dev/null; true")
}

// OpenDirectory returns an empty directory that every user may use.
func OpenDirectory(t *testing.T) string {
	t.Helper()
	directory := t.TempDir()
	if err := errors.Join(os.Chmod(filepath.Dir(directory), 0o755), os.Chmod(directory, 0o777)); err != nil {
		t.Fatal(err)
	}
	return directory
}
