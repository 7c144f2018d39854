package e2e

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/capmon/capmon/internal/testutil"
	"github.com/capmon/capmon/internal/testutil/capmontest"
)

const (
	serveUnit   = "../../packaging/systemd/capmon.service"
	serveTCP    = "../../packaging/systemd/capmon.service.d/tcp.conf"
	serveUser   = "../../packaging/systemd/capmon.conf"
	serveConfig = "../../packaging/systemd/serve.yaml"
)

func TestServeUnitHasTheLeastCapabilities(t *testing.T) {
	t.Parallel()
	settings := unitOf(t, serveUnit)
	for _, name := range []string{"AmbientCapabilities", "CapabilityBoundingSet"} {
		if set := parseCapabilities(t, strings.Fields(settings[name])...); set != least {
			t.Errorf("%s: %v, wanted %v", name, set, least)
		}
	}
}

func TestServeUnitIsValid(t *testing.T) {
	t.Parallel()
	testutil.NeedCommand(t, "systemd-analyze", "--version")
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

// served is the shipped unit on a machine with systemd.
type served struct {
	*server
	machine
	tcp string
}

// install installs the unit as docs/serve.md describes, but with the test's engine socket and a shorter --save-every.
func install(t *testing.T) served {
	t.Helper()
	s := served{machine: systemdOf(t), tcp: freeAddress(t)}
	s.server = &server{&capmontest.Server{T: t, Socket: s.path("/run/capmon/capmon.sock")}}
	cert, key, _ := certificate(t)
	s.put(t, serveUser, "/etc/sysusers.d/capmon.conf", 0o644)
	s.put(t, serveUnit, "/etc/systemd/system/capmon.service", 0o644)
	s.put(t, serveTCP, "/etc/systemd/system/capmon.service.d/tcp.conf", 0o644)
	s.put(t, cert, "/etc/capmon/cert.pem", 0o600)
	s.put(t, key, "/etc/capmon/key.pem", 0o600)
	s.put(t, serveConfig, "/etc/capmon/serve.yaml", 0o644)
	s.write(t, "/etc/capmon/token", "0123456789abcdef\n", 0o600)
	s.add("/etc/capmon/serve.yaml", `
save-every: 1s
tls-cert: /run/credentials/capmon.service/cert.pem
tls-key: /run/credentials/capmon.service/key.pem
token-file: /run/credentials/capmon.service/token
tcp: `+s.tcp)
	s.write(t, "/etc/systemd/system/capmon.service.d/test.conf", fmt.Sprintf(`[Service]
ExecStart=
ExecStart=%s
BindPaths=%s:/run/docker.sock
Environment=DOCKER_HOST=unix:///run/docker.sock
WatchdogSec=15s
`, strings.Replace(unitOf(t, serveUnit)["ExecStart"], "/usr/local/bin/capmon", s.binary, 1), s.docker), 0o644)
	s.run(t, "systemd-sysusers", "/etc/sysusers.d/capmon.conf")
	s.run(t, "systemctl", "daemon-reload")
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(s.run(t, "journalctl", "--no-pager", "--unit=capmon", "--lines=30"))
		}
	})
	return s
}

// add appends lines to a file.
func (s served) add(path, lines string) {
	s.T.Helper()
	s.run(s.T, "sh", "-c", "echo '"+lines+"' >>"+path)
}

func (s served) property(name string) string {
	s.T.Helper()
	return strings.TrimSpace(s.run(s.T, "systemctl", "show", "--value", "--property="+name, "capmon"))
}

// restarted waits until systemd has restarted the unit this many times.
func (s served) restarted(times int) {
	s.T.Helper()
	eventually(s.T, "systemd starts it again", func() bool { return s.property("NRestarts") == fmt.Sprint(times) })
	eventually(s.T, "it is active again", func() bool { return s.property("ActiveState") == "active" })
}

// In the order of a unit's life: killed, hung, upgraded, stopped, and uninstalled.
func TestServeUnitIsRestartedAndLosesNothing(t *testing.T) {
	t.Parallel()
	s := install(t)
	s.run(t, "systemctl", "start", "capmon")
	check := startChecking(t, "of-the-service")
	recording := s.State().ID
	check(100)
	s.hasLeastRights()

	s.run(t, "systemctl", "kill", "--kill-whom=main", "--signal=KILL", "capmon")
	check(100)
	s.restarted(1)
	check(100)
	notified := s.property("WatchdogTimestampMonotonic")
	eventually(t, "systemd receives watchdog messages", func() bool { return s.property("WatchdogTimestampMonotonic") != notified })

	s.run(t, "systemctl", "kill", "--kill-whom=main", "--signal=STOP", "capmon")
	check(100)
	s.restarted(2) // by the watchdog
	s.Saved()
	if state := s.State(); state.ID != recording || !state.Resumed {
		t.Errorf("recording %s: %+v", recording, state)
	}
	s.counted("of-the-service", 400)

	// Another option requires other programs in the kernel, like another version.
	s.add("/etc/capmon/serve.yaml", "outcomes: false")
	s.run(t, "systemctl", "restart", "capmon")
	check(100)
	s.Saved()
	s.counted("of-the-service", 500)
	s.overTLS()

	s.run(t, "systemctl", "stop", "capmon")
	if result := s.property("Result"); result != "success" {
		t.Errorf("the unit ended with %s", result)
	}
	s.run(t, s.binary, "serve", "--uninstall")
	if _, err := os.Stat(s.path(defaultPins)); err == nil {
		t.Error("the pins are still there")
	}
}

func (s served) counted(container string, wanted uint64) {
	s.T.Helper()
	if got := setuidsIn(s.T, s.run(s.T, s.binary, "report", "-o", "json"))[container]; got != wanted {
		s.T.Errorf("counted %d, wanted %d", got, wanted)
	}
}

func (s served) hasLeastRights() {
	s.T.Helper()
	pid := s.property("MainPID")
	status := s.run(s.T, "cat", "/proc/"+pid+"/status")
	for _, want := range []string{fmt.Sprintf("CapPrm:\t%016x\n", uint64(least)), fmt.Sprintf("CapBnd:\t%016x\n", uint64(least)), "NoNewPrivs:\t1\n", "Seccomp:\t2\n"} {
		if !strings.Contains(status, want) {
			s.T.Errorf("not %q:\n%s", want, status)
		}
	}
	if of := s.run(s.T, "stat", "-c", "%a %U %G", "/run/capmon/capmon.sock"); of != "660 capmon capmon\n" {
		s.T.Errorf("the socket: %s", of)
	}
	if of := s.run(s.T, "stat", "-c", "%a %U", defaultPins); of != "700 capmon\n" {
		s.T.Errorf("the pins: %s", of)
	}
}

// overTLS sends requests with TCP and TLS.
func (s served) overTLS() {
	s.T.Helper()
	// Another test verifies the certificate. This test verifies that serve can read its files.
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}}} //nolint:gosec
	for token, want := range map[string]int{"": http.StatusUnauthorized, "0123456789abcdef": http.StatusOK} {
		// A save that takes long makes serve unready for a while.
		eventually(s.T, fmt.Sprintf("with token %q, serve responds with %d", token, want), func() bool {
			status, body, err := capmontest.GetBy(client, "https://"+s.tcp+"/readyz", token)
			if err != nil || status != want {
				s.T.Logf("with token %q: %d, %s, %v", token, status, body, err)
			}
			return err == nil && status == want
		})
	}
}
