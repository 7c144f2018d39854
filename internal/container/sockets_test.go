package container

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// socketIn returns a socket in a directory, below another one, which only this user can change. It accepts connections
// and never answers.
func socketIn(t *testing.T) string {
	t.Helper()
	directory := filepath.Join(t.TempDir(), "podman")
	if err := os.Mkdir(directory, 0o700); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(directory, "podman.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return socket
}

func TestOnlySocketsOfRootAndThisUserAreTrusted(t *testing.T) {
	socket := socketIn(t)
	if err := trusted(socket); err != nil {
		t.Error(err)
	}
	link := filepath.Join(filepath.Dir(socket), "link")
	if err := os.Symlink(socket, link); err != nil {
		t.Fatal(err)
	}
	if err := trusted(link); err == nil || !strings.Contains(err.Error(), "is not a socket") {
		t.Errorf("a link: %v", err)
	}
	if err := os.Chmod(filepath.Dir(socket), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := trusted(socket); err == nil || !strings.Contains(err.Error(), "can write to") {
		t.Errorf("a directory of everybody: %v", err)
	}
}

// Another user can replace the directory of a socket by a link to a file system that never answers.
func TestDirectoriesOfOtherUsersDelayNothing(t *testing.T) {
	device, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil || os.Geteuid() != 0 {
		t.Skip("mounting a file system needs root and /dev/fuse", err)
	}
	silent, users := t.TempDir(), t.TempDir()
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", device.Fd())
	if err := unix.Mount("capmon-test", silent, "fuse", 0, options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = device.Close() // ends all requests
		_ = unix.Unmount(silent, unix.MNT_DETACH)
	})
	own := filepath.Join(users, strconv.Itoa(os.Geteuid()), "podman")
	for _, directory := range []string{own, filepath.Join(users, "4711")} {
		if err := os.MkdirAll(directory, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(silent, filepath.Join(users, "4711", "podman")); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", filepath.Join(own, "podman.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	defer func(before string) { userDirectories = before }(userDirectories)
	userDirectories = users
	done := make(chan struct{})
	go func() {
		defer close(done)
		found, skipped, err := FindPodman()
		has := slices.ContainsFunc(found, func(d *Docker) bool { return d.Endpoint() == "unix://"+filepath.Join(own, "podman.sock") })
		if err != nil || !has || skipped[users] == nil {
			t.Errorf("found %v, skipped %v, %v", found, skipped, err)
		}
	}()
	select {
	case <-done:
	case <-time.After(10 * otherUsersTime):
		t.Error("FindPodman does not return")
	}
}

// An engine that never answers is reported, and does not delay the caller for long.
func TestSilentEngine(t *testing.T) {
	t.Setenv("CONTAINER_HOST", "unix://"+socketIn(t))
	found, _, err := FindPodman()
	if err != nil || len(found) == 0 {
		t.Fatal(found, err)
	}
	var silent []string
	begun := time.Now()
	engines := NewEngines(t.Context(), []Member{found[0]}, func(engine Member, _ error) { silent = append(silent, title(engine)) })
	defer engines.Close()
	if len(silent) != 1 || !strings.HasPrefix(silent[0], "podman at unix://") {
		t.Errorf("cautions about %q", silent)
	}
	if took := time.Since(begun); took > 5*memberTimeout {
		t.Errorf("it took %v", took)
	}
	if pids := engines.PIDs(); len(pids) != 0 {
		t.Errorf("the PIDs of a silent engine are %v", pids)
	}
}
