package container

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
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
