package capmontest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/testutil"
)

// Daemon is a Docker daemon that only one test uses.
type Daemon struct {
	t               *testing.T
	Directory, Host string
	command         string
}

// StartDaemon starts a daemon with these options and the image bb.
func StartDaemon(t *testing.T, options ...string) Daemon {
	t.Helper()
	directory, err := os.MkdirTemp("/var/tmp", "capmon.") // paths of unix sockets are limited
	if err != nil {
		t.Fatal(err)
	}
	command := filepath.Join(t.TempDir(), "dockerd")
	script := "#!/bin/sh\nexec dockerd " + strings.Join(options, " ") + ` "$@"` + "\n"
	if err := os.WriteFile(command, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	const dockerd = "../../scripts/dockerd.sh"
	t.Cleanup(func() { testutil.MustExecute(t, dockerd, "stop", "--purge", directory) })
	d := Daemon{t, directory, strings.TrimSpace(testutil.MustExecute(t, "env", "CAPMON_DOCKERD="+command, dockerd, "start", directory)), command}
	testutil.MustExecute(t, "sh", "-c", "docker save bb | docker -H "+d.Host+" load")
	return d
}

// Docker runs a docker command that must succeed, and returns its output.
func (d Daemon) Docker(args ...string) string {
	d.t.Helper()
	return testutil.MustExecute(d.t, append([]string{"docker", "-H", d.Host}, args...)...)
}

// Signal sends a signal to the daemon.
func (d Daemon) Signal(signal unix.Signal) (pid int) {
	d.t.Helper()
	text, err := os.ReadFile(filepath.Join(d.Directory, "exec/docker.pid"))
	if err == nil {
		pid, err = strconv.Atoi(string(text))
	}
	if err == nil {
		err = unix.Kill(pid, signal)
	}
	if err != nil {
		d.t.Fatal(err)
	}
	return pid
}

// Stop ends only the daemon, as its service manager does, and waits for its end.
func (d Daemon) Stop() {
	d.t.Helper()
	pid := d.Signal(unix.SIGTERM)
	testutil.Eventually(d.t, "the daemon has ended", func() bool { return unix.Kill(pid, 0) != nil })
}

// Start starts the daemon again.
func (d Daemon) Start() {
	d.t.Helper()
	cmd := exec.Command(d.command, "--config-file", filepath.Join(d.Directory, "daemon.json"))
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	go func() { _ = cmd.Wait() }() // the script that stops the daemon waits for its end
	testutil.Eventually(d.t, "the daemon answers", func() bool {
		return exec.Command("docker", "-H", d.Host, "version").Run() == nil
	})
}
