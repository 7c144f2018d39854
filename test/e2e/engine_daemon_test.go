package e2e

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// startDaemonIn starts another Docker daemon with the image bb, and sets DOCKER_HOST to it. The daemon runs in the
// namespaces in which the script enter executes its arguments.
func startDaemonIn(t *testing.T, enter string) {
	t.Helper()
	directory, err := os.MkdirTemp("/var/tmp", "capmon.") // a short path, since paths of unix sockets are limited
	if err == nil {
		err = os.Chmod(directory, 0o711) // for processes that are root only in a container
	}
	if err != nil {
		t.Fatal(err)
	}
	daemon := exec.Command("sh", "-ec", enter, "sh", "../../scripts/dockerd.sh", "run", "--purge", directory, "--",
		"sh", "-c", "docker -H $OTHERS save bb | docker load --quiet && echo ready && cat")
	daemon.Stderr = t.Output()
	input, err := daemon.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := daemon.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = input.Close() // ends cat, and with it the daemon
		if err := daemon.Wait(); err != nil {
			t.Error(err)
		}
	})
	awaitLine(t, bufio.NewReader(output), "ready")
	t.Setenv("DOCKER_HOST", "unix://"+filepath.Join(directory, "docker.sock"))
}
