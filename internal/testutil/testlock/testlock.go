// Package testlock separates tests that disturb each other. A few tests cause losses, which make every observation on
// this machine incomplete. All other tests need observations without losses. go test runs the tests of several packages
// at the same time, so they use a lock on a file.
package testlock

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// file stays open, because closing it would release the lock.
var file *os.File

// NoLosses waits until no test causes losses. Tests that cause losses then wait until this process ends.
func NoLosses() error { return lock(unix.LOCK_SH) }

// Losses waits until no other test needs observations without losses, and then lets the test cause losses. The process
// must have called [NoLosses] before.
func Losses(t *testing.T) {
	t.Helper()
	if err := lock(unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := NoLosses(); err != nil {
			t.Error(err)
		}
	})
}

func lock(how int) (err error) {
	if file == nil {
		file, err = os.OpenFile(filepath.Join(os.TempDir(), "capmon-test.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	}
	for err == nil {
		if err = unix.Flock(int(file.Fd()), how); err == nil {
			return nil
		}
		if errors.Is(err, unix.EINTR) {
			err = nil
		}
	}
	return fmt.Errorf("locking the test lock: %w", err)
}
