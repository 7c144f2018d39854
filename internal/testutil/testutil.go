// Package testutil has helpers for the tests of several packages. Only tests import it and the packages below it.
package testutil

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Eventually waits until holds returns true, for events in other goroutines, in other processes or in the kernel.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	const limit = 5 * time.Minute
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(limit); !holds(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("still not true after %v: %s", limit, what)
		}
	}
}

// MustExecute runs a command that must succeed, and returns its standard output.
func MustExecute(t testing.TB, command ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s%s", strings.Join(command, " "), err, stdout.Bytes(), stderr.Bytes())
	}
	return stdout.String()
}

// Build builds the program of a package with these flags of go build.
func Build(path, pkg string, flags ...string) error {
	command := slices.Concat([]string{"go", "build", "-o", path}, flags, []string{pkg})
	if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(command, " "), err, out)
	}
	return nil
}

// Docker runs a docker command that must succeed, and returns its output without surrounding white space. It calls
// [NeedDocker].
func Docker(t testing.TB, args ...string) string {
	t.Helper()
	NeedDocker(t)
	return strings.TrimSpace(MustExecute(t, append([]string{"docker"}, args...)...))
}

// UnusedName returns a name for a container, image, volume or network that no other test uses.
func UnusedName() string { return "capmon-test-" + strings.ToLower(rand.Text()) }

// Transcript is a buffer that can be read while it is written. It is safe for concurrent use.
type Transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements [io.Writer].
func (t *Transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.Write(p)
}

// String returns what has been written so far.
func (t *Transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}
