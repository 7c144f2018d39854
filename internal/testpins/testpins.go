// Package testpins names the directories in which tests pin recordings. A pinned recording
// outlives its process, so those of tests that were killed would go on recording: the next
// tests remove them.
package testpins

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const prefix = "/sys/fs/bpf/capmon-test-"

// Directory is where a test of this process may pin. The name is unique in the process.
func Directory(name string) string { return fmt.Sprintf("%s%d-%s", prefix, os.Getpid(), name) }

// RemoveOfTheDead removes the directories whose process no longer exists.
func RemoveOfTheDead() error {
	directories, err := filepath.Glob(prefix + "*")
	for _, directory := range directories {
		var pid int
		if n, _ := fmt.Sscanf(directory, prefix+"%d-", &pid); n == 1 && errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			err = errors.Join(err, os.RemoveAll(directory))
		}
	}
	return err
}
