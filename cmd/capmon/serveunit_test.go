package main

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	serveUnit   = "../../packaging/systemd/capmon.service"
	serveTCP    = "../../packaging/systemd/capmon.service.d/tcp.conf"
	serveUser   = "../../packaging/systemd/capmon.conf"
	serveConfig = "../../packaging/systemd/serve.yaml"
)

func TestServeUnitHasTheLeastCapabilities(t *testing.T) {
	settings := unitOf(t, serveUnit)
	for _, name := range []string{"AmbientCapabilities", "CapabilityBoundingSet"} {
		if set := parseCapabilities(t, strings.Fields(settings[name])...); set != least {
			t.Errorf("%s: %v, wanted %v", name, set, least)
		}
	}
}

func TestServeUnitIsUnderstoodBySystemd(t *testing.T) {
	text, err := os.ReadFile(serveUnit)
	if err != nil {
		t.Fatal(err)
	}
	directory := t.TempDir()
	file := filepath.Join(directory, filepath.Base(serveUnit))
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(string(text), "/usr/local/bin/capmon", binary)), 0o644); err != nil {
		t.Fatal(err)
	}
	mustExecute(t, "cp", "-r", filepath.Dir(serveTCP), directory)
	if r := execute(t, "systemd-analyze", "verify", "--man=no", file); r.code != 0 || r.stdout+r.stderr != "" {
		t.Errorf("%+v", r)
	}
}

// served is the shipped unit under the systemd of this machine.
type served struct{ *server }

// install does as docs/serve.md says, but for the engine's socket, and saves more often.
func install(t *testing.T) served {
	t.Helper()
	socket := strings.TrimPrefix(os.Getenv("DOCKER_HOST"), "unix://")
	write := func(path, text string) {
		t.Helper()
		mustExecute(t, "mkdir", "-p", filepath.Dir(path))
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, key, _ := certificate(t)
	for _, command := range [][]string{
		{"chgrp", "docker", socket},
		{"install", "-m", "755", binary, "/usr/local/bin/capmon"},
		{"install", "-D", "-m", "644", "-t", "/etc/sysusers.d", serveUser},
		{"systemd-sysusers"},
		{"install", "-D", "-m", "644", "-t", "/etc/systemd/system", serveUnit},
		{"install", "-D", "-m", "644", "-t", "/etc/systemd/system/capmon.service.d", serveTCP},
		{"install", "-D", "-m", "600", "-t", "/etc/capmon", cert, key},
	} {
		mustExecute(t, command...)
	}
	config, err := os.ReadFile(serveConfig)
	if err != nil {
		t.Fatal(err)
	}
	write("/etc/capmon/token", "0123456789abcdef\n")
	write("/etc/capmon/serve.yaml", string(config)+`
save-every: 1s
tcp: 127.0.0.1:9753
tls-cert: /run/credentials/capmon.service/cert.pem
tls-key: /run/credentials/capmon.service/key.pem
token-file: /run/credentials/capmon.service/token
`)
	mustExecute(t, "chmod", "644", "/etc/capmon/serve.yaml")
	write("/etc/systemd/system/capmon.service.d/test.conf", fmt.Sprintf("[Service]\nBindPaths=%s:/run/docker.sock\nEnvironment=DOCKER_HOST=unix:///run/docker.sock\nWatchdogSec=20s\n", socket))
	mustExecute(t, "systemctl", "daemon-reload")
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(execute(t, "journalctl", "-u", "capmon").stdout)
		}
	})
	return served{&server{t: t, database: "/var/lib/capmon/capmon.db", socket: "/run/capmon/capmon.sock"}}
}

func (s served) property(name string) string {
	s.t.Helper()
	return strings.TrimSpace(mustExecute(s.t, "systemctl", "show", "--value", "--property="+name, "capmon"))
}

// restarted waits until systemd has started it again this often.
func (s served) restarted(times int) {
	s.t.Helper()
	eventually(s.t, "systemd has started it again", func() bool {
		return s.property("NRestarts") == fmt.Sprint(times) && s.property("ActiveState") == "active"
	})
}

// In the order of a unit's life: killed, hung, upgraded, stopped, and uninstalled.
func TestServeUnitUnderSystemd(t *testing.T) {
	if !strings.Contains(guest(), "systemd") {
		t.Skip("only in a guest with systemd as its first process")
	}
	s := install(t)
	mustExecute(t, "systemctl", "start", "capmon")
	ask := asking(t, "of-the-service")
	recording := s.state().ID
	ask(100)
	pid := s.property("MainPID")
	status, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{fmt.Sprintf("CapPrm:\t%016x\n", uint64(least)), fmt.Sprintf("CapBnd:\t%016x\n", uint64(least)), "NoNewPrivs:\t1\n", "Seccomp:\t2\n"} {
		if !strings.Contains(string(status), want) {
			t.Errorf("not %q:\n%s", want, status)
		}
	}
	if user := strings.TrimSpace(mustExecute(t, "stat", "--format=%U", "/proc/"+pid)); user != "capmon" {
		t.Errorf("it runs as %s", user)
	}
	if mode := mustExecute(t, "stat", "--format=%a %U %G", s.socket); mode != "660 capmon capmon\n" {
		t.Errorf("the socket: %s", mode)
	}

	mustExecute(t, "systemctl", "kill", "--kill-whom=main", "--signal=KILL", "capmon")
	ask(100)
	s.restarted(1)
	ask(100)
	notified := s.property("WatchdogTimestampMonotonic")
	eventually(t, "systemd is told that it lives", func() bool { return s.property("WatchdogTimestampMonotonic") != notified })

	mustExecute(t, "systemctl", "kill", "--kill-whom=main", "--signal=STOP", "capmon")
	ask(100)
	s.restarted(2) // by the watchdog
	s.saved()
	if state := s.state(); state.ID != recording || !state.TakenUp || state.Losses.Any() {
		t.Errorf("recording %s: %+v", recording, state)
	}
	if got := setuids(t, s.database)["of-the-service"]; got != 400 {
		t.Errorf("counted %d, wanted 400", got)
	}

	// As with another version, the programs are others.
	mustExecute(t, "sh", "-c", "echo 'outcomes: false' >>/etc/capmon/serve.yaml && systemctl restart capmon")
	ask(100)
	s.saved()
	if got := setuids(t, s.database)["of-the-service"]; got != 500 {
		t.Errorf("after the upgrade counted %d, wanted 500", got)
	}
	s.overTLS()

	mustExecute(t, "systemctl", "stop", "capmon")
	if result := s.property("Result"); result != "success" {
		t.Errorf("it ended with %s", result)
	}
	mustExecute(t, "/usr/local/bin/capmon", "serve", "--uninstall")
	if _, err := os.Stat(defaultPins); err == nil {
		t.Error("the pins are still there")
	}
}

// overTLS asks by TCP.
func (s served) overTLS() {
	s.t.Helper()
	// Whose certificate it is another test says; here it is how it comes to its files.
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}}} //nolint:gosec
	for token, want := range map[string]int{"": http.StatusUnauthorized, "0123456789abcdef": http.StatusOK} {
		if status, body, err := getBy(client, "https://127.0.0.1:9753/readyz", token); err != nil || status != want {
			s.t.Errorf("with token %q: %d, %s, %v", token, status, body, err)
		}
	}
}
