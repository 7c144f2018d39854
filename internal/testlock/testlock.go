// Package testlock keeps tests apart that cannot bear each other. A few cause losses that
// make every observation on this machine incomplete; all others want none. go test runs
// the tests of several packages at once, so a lock on a file tells.
package testlock

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// file is kept open: closing it would give the lock back.
var file *os.File

// NoLosses waits until no test causes losses, and keeps off those that would until this
// process ends.
func NoLosses() error { return lock(unix.LOCK_SH) }

// Losses waits until nobody minds losses, and lets the test cause some. The process
// must have called NoLosses before.
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
	return fmt.Errorf("locking the machine's losses: %w", err)
}
