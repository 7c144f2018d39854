package standalone

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/capmon/capmon/internal/bundle"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/internal/testutil"
)

const config = `{"process": {"capabilities": {"bounding": ["CAP_CHOWN"]}}, "root": {"path": "rootfs"}, "linux": {}}`

// status returns the status that crun stores about a container with this process.
func status(t *testing.T, pid int) string {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(stat[strings.LastIndex(string(stat), ")")+1:]))
	return fmt.Sprintf(`{"pid": %d, "process-start-time": %s, "cgroup-path": "/web"}`, pid, fields[19])
}

// next returns the next value of a channel.
func next[T any](t *testing.T, what string, values <-chan T) T {
	t.Helper()
	select {
	case value := <-values:
		return value
	case <-time.After(time.Minute):
		t.Fatal("still waiting after a minute: ", what)
		panic("unreachable")
	}
}

// A container is found before and after its start, also if the root directory does not exist at first.
func TestFollow(t *testing.T) {
	testutil.NeedRoot(t)
	directory, err := os.MkdirTemp("/var/tmp", "standalone-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(directory) })
	cgroups, err := kernel.DetectCgroups()
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(directory, "run", "crun")
	f := &Finder{sources: []source{runtime{cgroups, root}}}
	states, missed, ended := make(chan bundle.State, 100), make(chan string, 100), make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		ended <- f.Follow(ctx, func(s bundle.State) { states <- s }, func(id string) { missed <- id })
	}()
	write := func(name, file, content string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Join(root, name), 0o700), os.WriteFile(filepath.Join(root, name, file), []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	await := func(name string, pid int) {
		t.Helper()
		for {
			s := next(t, name, states)
			if s.Name == name && s.ID == filepath.Join(root, name) && s.Engine == bundle.Crun && s.Pid == pid {
				return
			}
		}
	}
	write("web", "config.json", config[:len(config)/2]) // as long as crun writes it
	write("web", "config.json", config)
	await("web", 0)
	write("web", "status", status(t, os.Getpid()))
	await("web", os.Getpid())
	write("short", "config.json", config)
	await("short", 0)
	if err := os.RemoveAll(filepath.Join(root, "short")); err != nil {
		t.Fatal(err)
	}
	if id := next(t, "the container that was missed", missed); id != filepath.Join(root, "short") {
		t.Errorf("missed %s", id)
	}
	write(strings.Repeat("1a", 32), "config.json", config) // an engine's
	write("last", "config.json", config)
	await("last", 0)
	cancel()
	if err := next(t, "the end", ended); err != nil {
		t.Error(err)
	}
	if found := f.List(); len(found) != 2 {
		t.Errorf("listed %+v", found)
	}
}

func TestRootsOfRuntimes(t *testing.T) {
	t.Setenv(RootsVariable, "/srv/a/:relative:/run/runc::/srv/b")
	if got := strings.Join(runtimeRoots(), " "); got != "/run/runc /run/crun /srv/a /srv/b" {
		t.Error(got)
	}
}
