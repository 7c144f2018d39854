package sink

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	gosyslog "github.com/leodido/go-syslog/v4"
	"github.com/leodido/go-syslog/v4/octetcounting"
	"github.com/leodido/go-syslog/v4/rfc5424"
	"go.uber.org/zap/zaptest"

	"github.com/capmon/capmon/internal/testutil"
)

// freePort returns a port that was unused on the loopback interface a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return port
}

// start starts a server and returns a function that stops it with SIGTERM.
func start(t *testing.T, command ...string) (stop func()) {
	t.Helper()
	if _, err := exec.LookPath(command[0]); err != nil {
		testutil.NeedCommand(t, command[0])
	}
	cmd := exec.Command(command[0], command[1:]...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s: %.2000s", command[0], out.String())
		}
	}
	t.Cleanup(stop)
	return stop
}

// deliverWhileDown delivers to a server that is down, and returns when a delivery has failed.
func deliverWhileDown(t *testing.T, s *Sinks, from, to int) (ids []string) {
	t.Helper()
	failures := &s.running[0].loop.failures
	before := failures.Load()
	ids = deliver(s, from, to)
	testutil.Eventually(t, "a delivery has failed", func() bool { return failures.Load() > before })
	return ids
}

// awaitIDs waits until find returns all IDs, and verifies their order.
func awaitIDs(t *testing.T, want []string, find func() []string) {
	t.Helper()
	var got []string
	testutil.Eventually(t, fmt.Sprintf("%d alerts have arrived", len(want)), func() bool {
		got = nil
		for _, id := range find() {
			if !slices.Contains(got, id) {
				got = append(got, id)
			}
		}
		return len(got) >= len(want)
	})
	if !slices.Equal(got, want) {
		t.Errorf("got %d alerts, wanted %d, in their order", len(got), len(want))
	}
}

func TestRsyslog(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"unix", "udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			directory, port := t.TempDir(), freePort(t)
			address := network + "://127.0.0.1:" + port
			input := `module(load="im` + network + `") input(type="im` + network + `" address="127.0.0.1" port="` + port + `")`
			if network == "unix" {
				socket := filepath.Join(directory, "log")
				address = "unix://" + socket
				input = `module(load="imuxsock" SysSock.Use="off") input(type="imuxsock" Socket="` + socket + `" UseSpecialParser="off" ParseHostname="on" RateLimit.Interval="0")`
			}
			file := filepath.Join(directory, "out")
			configuration := filepath.Join(directory, "rsyslog.conf")
			text := `global(workDirectory="` + directory + `")
` + input + `
template(name="all" type="string" string="%syslogseverity-text% %syslogfacility-text% %app-name% %structured-data%%msg%\n")
action(type="omfile" file="` + file + `" template="all")
`
			if err := os.WriteFile(configuration, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			rsyslog := []string{"/usr/sbin/rsyslogd", "-n", "-f", configuration, "-i", filepath.Join(directory, "pid")}
			find := func() (ids []string) {
				data, _ := os.ReadFile(file) // does not exist at first
				for line := range strings.Lines(string(data)) {
					_, rest, ok := strings.Cut(line, ` id="`)
					if id, _, _ := strings.Cut(rest, `"`); ok && strings.HasSuffix(line, "\n") {
						ids = append(ids, id)
					}
				}
				return ids
			}
			s := openSinks(t, nil, Spool{Directory: t.TempDir()}, Config{Name: "syslog", To: Syslog{Address: address}})
			ids := deliverWhileDown(t, s, 0, 30)
			stop := start(t, rsyslog...)
			awaitIDs(t, ids, find)
			stop()
			ids = append(ids, deliverWhileDown(t, s, 30, 60)...)
			start(t, rsyslog...)
			awaitIDs(t, ids, find)
			data, err := os.ReadFile(file)
			want := `warning daemon capmon [capmon@32473 call="socket(AF_INET, SOCK_RAW, ICMP)" capability="NET_RAW" container="web-0" container_id="0123456789ab" count="1" id="` + ids[0] +
				`" image="nginx:1" outcome="granted" pid="4711" program="ping" raw_socket="IPv4" rule="raw-socket" severity="warning"]web-0 opened a raw socket <&>`
			if first, _, _ := strings.Cut(string(data), "\n"); err != nil || strings.Replace(first, "] web", "]web", 1) != want {
				t.Errorf("%v\ngot  %s\nwant %s", err, first, want)
			}
		})
	}
}

// capmon trusts a server only if ca-file contains its authority. The length precedes each message, as RFC 5425
// specifies.
func TestSyslogOverTLS(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(nil)
	server.StartTLS() // for its certificate
	defer server.Close()
	authority := filepath.Join(t.TempDir(), "ca.pem")
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(authority, certificate, 0o600); err != nil {
		t.Fatal(err)
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: server.TLS.Certificates})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	got := make(chan *rfc5424.SyslogMessage, 100)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go octetcounting.NewParser(gosyslog.WithListener(func(r *gosyslog.Result) {
				if m, ok := r.Message.(*rfc5424.SyslogMessage); ok && r.Error == nil {
					got <- m
				}
			})).Parse(conn)
		}
	}()
	address := "tls://" + listener.Addr().String()
	s := openSinks(t, nil, Spool{}, Config{Name: "tls", To: Syslog{Address: address, CAFile: authority, Facility: "local3"}})
	for i, id := range deliver(s, 0, 50) {
		m := <-got
		if (*m.StructuredData)[elementID]["id"] != id || *m.FacilityLevel() != "local3" && *m.Facility != 19 || *m.SeverityShortLevel() != "warning" {
			t.Fatalf("message %d: %+v", i, m)
		}
	}
	untrusting := openSinks(t, nil, Spool{}, Config{Name: "untrusting", To: Syslog{Address: address}})
	deliver(untrusting, 0, 1)
	testutil.Eventually(t, "a delivery has failed", func() bool { return untrusting.running[0].loop.failures.Load() > 0 })
}

// A server that accepts the connection but does not read counts as down and does not block capmon.
func TestSyslogServerThatDoesNotRead(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "log")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	s := openSinks(t, nil, Spool{}, Config{Name: "stuck", To: Syslog{Address: "unix://" + socket, Timeout: Duration(50 * time.Millisecond)}})
	deliver(s, 0, 1)
	testutil.Eventually(t, "a delivery has failed", func() bool { return s.running[0].loop.failures.Load() > 0 })
	closeNow(t, s)
	if s.Reload(nil) == nil {
		t.Error("closed sinks were reloaded")
	}
}

func TestAlertmanager(t *testing.T) {
	t.Parallel()
	directory, port := t.TempDir(), freePort(t)
	url := "http://127.0.0.1:" + port
	configuration := filepath.Join(directory, "alertmanager.yml")
	if err := os.WriteFile(configuration, []byte("route: {receiver: none}\nreceivers: [{name: none}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	alertmanager := []string{
		"../../.cache/bin/alertmanager", "--config.file=" + configuration, "--storage.path=" + directory, "--web.listen-address=127.0.0.1:" + port, "--cluster.listen-address=",
	}
	type found struct {
		Labels, Annotations map[string]string
		StartsAt, EndsAt    time.Time
		Status              struct{ State string }
	}
	var all []found
	seen := make(map[string]bool) // also of an Alertmanager that was stopped
	await := func(want int) {
		testutil.Eventually(t, fmt.Sprintf("%d alerts have arrived", want), func() bool {
			response, err := http.Get(url + "/api/v2/alerts")
			if err != nil {
				return false
			}
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			if err != nil || json.Unmarshal(body, &all) != nil {
				return false
			}
			for _, f := range all {
				seen[f.Annotations["id"]] = true
			}
			return len(seen) >= want
		})
	}
	s := openSinks(t, zaptest.NewLogger(t), Spool{Directory: t.TempDir()}, Config{Name: "am", To: Webhook{URL: url + "/", Preset: Alertmanager}})
	ids := deliverWhileDown(t, s, 0, 150)
	ids = append(ids, deliver(s, 150, 160)...)
	stop := start(t, alertmanager...)
	await(len(ids))
	stop()
	ids = append(ids, deliverWhileDown(t, s, 160, 170)...)
	start(t, alertmanager...)
	await(len(ids))
	for _, id := range ids {
		if !seen[id] {
			t.Errorf("an alert is missing")
		}
	}
	i := slices.IndexFunc(all, func(f found) bool { return f.Annotations["id"] == ids[165] })
	if i < 0 {
		t.Fatal("the alert has disappeared")
	}
	got := all[i]
	want := map[string]string{
		"alertname": "raw-socket", "severity": "warning", "capability": "NET_RAW", "container": "web-165", "image": "nginx:1", "outcome": "granted", "raw_socket": "IPv4",
	}
	for name, value := range want {
		if got.Labels[name] != value {
			t.Errorf("label %s is %q, wanted %q", name, got.Labels[name], value)
		}
	}
	if len(got.Labels) != len(want) || got.Annotations["summary"] != "web-165 opened a raw socket <&>" || got.Status.State != "active" || !got.EndsAt.After(got.StartsAt) {
		t.Errorf("%+v", got)
	}
}

// TestJournald runs journald with a separate /run, and therefore in a separate process and mount namespace.
func TestJournald(t *testing.T) {
	testutil.NeedRoot(t)
	const inside = "CAPMON_TEST_OWN_RUN"
	if os.Getenv(inside) == "" {
		t.Parallel()
		cmd := exec.Command("unshare", "--mount", "sh", "-c", `mount -t tmpfs tmpfs /run && exec "$0" -test.run '^TestJournald$' -test.v`, os.Args[0])
		cmd.Env = append(os.Environ(), inside+"=1")
		if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS: TestJournald")) {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	if err := os.MkdirAll("/run/systemd/journal", 0o755); err != nil {
		t.Fatal(err)
	}
	type entry struct {
		Message    string `json:"MESSAGE"`
		Priority   string `json:"PRIORITY"`
		Identifier string `json:"SYSLOG_IDENTIFIER"`
		ID         string `json:"CAPMON_ID"`
		Capability string `json:"CAPMON_CAPABILITY"`
		Whole      string `json:"CAPMON_MESSAGE"`
	}
	var entries []entry
	find := func() (ids []string) {
		out, _ := exec.Command("journalctl", "--no-pager", "--output=json", "--all", "SYSLOG_IDENTIFIER=capmon").Output() // fails at first
		entries = nil
		for line := range strings.Lines(string(out)) {
			var e entry
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatalf("%v: %s", err, line)
			}
			entries = append(entries, e)
			ids = append(ids, e.ID)
		}
		return ids
	}
	s := openSinks(t, nil, Spool{}, Config{Name: "journald", To: Journald{}})
	ids := deliverWhileDown(t, s, 0, 30)
	stop := start(t, "/usr/lib/systemd/systemd-journald")
	awaitIDs(t, ids, find)
	stop()
	ids = append(ids, deliverWhileDown(t, s, 30, 40)...)
	large := numberedAlert(40)
	large.Use.Container.Labels = map[string]string{"large": strings.Repeat("x", 300_000)} // too large for a packet
	s.Deliver(large)
	start(t, "/usr/lib/systemd/systemd-journald")
	awaitIDs(t, append(ids, large.ID), find)
	first, last := entries[0], entries[len(entries)-1]
	if first.Message != "web-0 opened a raw socket <&>" || first.Priority != "4" || first.Capability != "NET_RAW" {
		t.Errorf("%+v", first)
	}
	var m Message
	if err := json.Unmarshal([]byte(last.Whole), &m); err != nil || len(m.Use.Container.Labels["large"]) != 300_000 {
		t.Errorf("%v, %d bytes", err, len(last.Whole))
	}
}
