// Package testpins provides the directories in which tests pin recordings. A pinned recording outlives its process. The
// recordings of killed tests would continue, so later tests remove them.
package testpins

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const prefix = "/sys/fs/bpf/capmon-test-"

// Directory returns a directory in which a test of this process may pin a recording. Each name has its own directory.
func Directory(name string) string { return fmt.Sprintf("%s%d-%s", prefix, os.Getpid(), name) }

// RemoveStale removes the directories of processes that no longer exist.
func RemoveStale() error {
	directories, err := filepath.Glob(prefix + "*")
	for _, directory := range directories {
		var pid int
		if n, _ := fmt.Sscanf(directory, prefix+"%d-", &pid); n == 1 && errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			err = errors.Join(err, os.RemoveAll(directory))
		}
	}
	return err
}
