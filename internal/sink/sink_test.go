package sink

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest"
	"go.uber.org/zap/zaptest/observer"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/testutil"
	"github.com/capmon/capmon/internal/uses"
)

// numberedAlert returns an alert whose container is named after the number.
func numberedAlert(n int) alert.Alert {
	use := uses.Use{
		Schema: 2, Time: time.Now(), First: true, Count: 1, Capability: capability.NetRaw, Granted: true,
		Container: uses.ContainerRef{ID: "0123456789ab", Name: fmt.Sprintf("web-%d", n), Image: "nginx:1"},
		Process:   uses.Process{PID: 4711, Program: "ping", Parents: []uses.Parent{}}, Stack: []string{},
		Call: "socket(AF_INET, SOCK_RAW, ICMP)", RawSocket: true, Family: uses.IPv4,
	}
	return alert.New("raw-socket", alert.Warning, fmt.Sprintf("web-%d opened a raw socket <&>", n), 1, use)
}

// deliver delivers the alerts with the numbers from from up to to, and returns their IDs.
func deliver(s *Sinks, from, to int) (ids []string) {
	for n := from; n < to; n++ {
		a := numberedAlert(n)
		ids = append(ids, a.ID)
		s.Deliver(a)
	}
	return ids
}

func openSinks(t *testing.T, log *zap.Logger, spool Spool, configs ...Config) *Sinks {
	t.Helper()
	if spool.MaxSize == 0 {
		spool.MaxSize = 64 << 20
	}
	if log == nil {
		log = zaptest.NewLogger(t)
	}
	s, err := Open(configs, spool, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeNow(t, s) })
	return s
}

func closeNow(t *testing.T, s *Sinks) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Error(err)
	}
}

// receiver accepts messages over HTTP. It keeps its address while it is down.
type receiver struct {
	*testutil.HTTPServer
	answer func(http.ResponseWriter, Message) bool // reports whether it accepts the message; nil: always

	mu     sync.Mutex
	got    []Message
	bodies [][]byte
}

// newReceiver returns a receiver that is down.
func newReceiver(t *testing.T) *receiver {
	t.Helper()
	return &receiver{HTTPServer: testutil.NewHTTPServer(t)}
}

func (r *receiver) start(t *testing.T) {
	t.Helper()
	r.Start(t, r)
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	var m Message
	if err != nil || json.Unmarshal(body, &m) != nil || request.Header.Get("Idempotency-Key") != m.ID {
		w.WriteHeader(http.StatusTeapot)
		return
	}
	if r.answer != nil && !r.answer(w, m) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = append(r.got, m)
	r.bodies = append(r.bodies, body)
}

// ids returns the IDs of the received messages in their order, each once.
func (r *receiver) ids() (ids []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.got {
		if !slices.Contains(ids, m.ID) {
			ids = append(ids, m.ID)
		}
	}
	return ids
}

func (r *receiver) await(t *testing.T, want []string) {
	t.Helper()
	testutil.Eventually(t, fmt.Sprintf("%d alerts have arrived", len(want)), func() bool { return len(r.ids()) >= len(want) })
	if got := r.ids(); !slices.Equal(got, want) {
		t.Errorf("got %d alerts, wanted %d, in their order", len(got), len(want))
	}
}

func (r *receiver) config() Config {
	return Config{Name: "hook", To: Webhook{URL: "http://" + r.Address + "/s3cret-path?token=s3cret-token"}}
}

func TestWebhookGetsTheAlert(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	r.start(t)
	s := openSinks(t, nil, Spool{}, r.config())
	sent := numberedAlert(1)
	s.Deliver(sent)
	r.await(t, []string{sent.ID})
	var got alert.Alert
	if err := json.Unmarshal(r.bodies[0], &got); err != nil {
		t.Fatal(err)
	}
	one, _ := json.Marshal(sent)
	other, _ := json.Marshal(got)
	if !bytes.Equal(one, other) {
		t.Errorf("got  %s\nsent %s", other, one)
	}
}

// If a receiver is down at first and again later, no alert is lost, and the order is kept.
func TestReceiverThatIsDownAtTimes(t *testing.T) {
	t.Parallel()
	for name, directory := range map[string]string{"memory": "", "disk": t.TempDir()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newReceiver(t)
			s := openSinks(t, nil, Spool{Directory: directory}, r.config())
			ids := deliver(s, 0, 200)
			r.start(t)
			r.await(t, ids)
			r.Stop()
			ids = append(ids, deliver(s, 200, 300)...)
			r.start(t)
			r.await(t, ids)
		})
	}
}

// capmon retries a delivery that the receiver postpones, no earlier than the receiver requires. It saves a
// rejected alert to a file and continues with the next one.
func TestResponsesOfAReceiver(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	r := newReceiver(t)
	codes := []int{http.StatusServiceUnavailable, http.StatusNotFound, http.StatusFound, http.StatusTooManyRequests, http.StatusOK}
	attempts := 0
	var postponed time.Time
	r.answer = func(w http.ResponseWriter, m Message) bool {
		switch m.Use.Container.Name {
		case "web-0":
			code := codes[attempts]
			attempts++
			if code == http.StatusTooManyRequests {
				w.Header().Set("Retry-After", "2")
				postponed = time.Now()
			}
			if code == http.StatusOK && time.Since(postponed) < 2*time.Second {
				t.Error("the retry came before the end of Retry-After")
			}
			w.Header().Set("Location", "http://127.0.0.1:1/")
			w.WriteHeader(code)
			return code == http.StatusOK
		case "web-1":
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, "\x1b[31mno, s3cret-token\n"+strings.Repeat("x", 1<<20))
			return false
		}
		return true
	}
	r.start(t)
	core, logs := observer.New(zapcore.DebugLevel)
	s := openSinks(t, zap.New(core), Spool{Directory: directory}, r.config())
	ids := deliver(s, 0, 4)
	r.await(t, slices.Delete(slices.Clone(ids), 1, 2))
	if got := rejectedIDs(t, directory, "hook"); !slices.Equal(got, ids[1:2]) {
		t.Errorf("rejected: %v", got)
	}
	checkLog(t, logs, "answered 400 Bad Request: \\\\x1b[31mno, …", "503 Service Unavailable", "404 Not Found", "redirects are not followed", "alerts are delivered again")
}

// rejectedIDs returns the IDs of the alerts in the file of rejected ones.
func rejectedIDs(t *testing.T, spool, sink string) (ids []string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(spool, sink, rejectedFile))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		var dead struct {
			Reason  string
			Message Message
		}
		if err := json.Unmarshal([]byte(line), &dead); err != nil || dead.Reason == "" {
			t.Fatalf("%v: %s", err, line)
		}
		ids = append(ids, dead.Message.ID)
	}
	return ids
}

// If a receiver rejects a request with several alerts, only the alert that it rejects alone counts as rejected.
func TestOneOfManyIsRejected(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var got []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		var alerts []postableAlert
		if err := json.NewDecoder(request.Body).Decode(&alerts); err != nil || request.URL.Path != "/base/api/v2/alerts" {
			t.Error(request.URL, err)
		}
		if slices.ContainsFunc(alerts, func(a postableAlert) bool { return a.Labels["container"] == "web-15" }) {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		for _, a := range alerts {
			got = append(got, a.Annotations["id"])
		}
	}))
	defer server.Close()
	directory := t.TempDir()
	s := openSinks(t, nil, Spool{Directory: directory}, Config{Name: "am", To: Webhook{URL: server.URL + "/base", Preset: Alertmanager}})
	ids := deliver(s, 0, 200)
	awaitIDs(t, slices.Delete(slices.Clone(ids), 15, 16), func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(got)
	})
	if got := rejectedIDs(t, directory, "am"); !slices.Equal(got, ids[15:16]) {
		t.Errorf("rejected: %v", got)
	}
}

// checkLog verifies that a log contains texts, and neither secrets nor control characters.
func checkLog(t *testing.T, logs *observer.ObservedLogs, texts ...string) {
	t.Helper()
	var all strings.Builder
	encoder := zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig())
	for _, entry := range logs.All() {
		line, err := encoder.EncodeEntry(entry.Entry, entry.Context)
		if err != nil {
			t.Fatal(err)
		}
		all.WriteString(line.String())
	}
	for _, text := range texts {
		if !strings.Contains(all.String(), text) {
			t.Errorf("the log does not contain %q:\n%s", text, all.String())
		}
	}
	if strings.Contains(all.String(), "s3cret") || strings.Contains(all.String(), "\x1b") {
		t.Errorf("the log contains a secret or control characters:\n%s", all.String())
	}
}

func TestErrorsShowNoSecrets(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	server := httptest.NewTLSServer(r) // with a certificate that capmon does not trust
	defer server.Close()
	server.Config.ErrorLog = zap.NewStdLog(zap.NewNop())
	core, logs := observer.New(zapcore.DebugLevel)
	one, two := r.config(), r.config()
	one.Name, two.Name = "down", "tls"
	hook := two.To.(Webhook)
	hook.URL = strings.Replace(server.URL, "https://", "https://user:s3cret-password@", 1) + "/s3cret"
	hook.Headers = map[string]string{"Authorization": "Bearer s3cret"}
	two.To = hook
	s := openSinks(t, zap.New(core), Spool{}, one, two)
	deliver(s, 0, 1)
	testutil.Eventually(t, "both have failed", func() bool {
		return logs.FilterField(zap.String("sink", "down")).Len() > 0 && logs.FilterField(zap.String("sink", "tls")).Len() > 0
	})
	closeNow(t, s)
	checkLog(t, logs, "connection refused", "certificate", "are lost")
}

// A receiver that does not answer blocks neither other receivers nor the caller of Deliver. Dropped alerts are
// counted exactly and reported to the receiver when it answers again.
func TestSlowReceiverDuringAFlood(t *testing.T) {
	t.Parallel()
	slow, quick := newReceiver(t), newReceiver(t)
	release := make(chan struct{})
	slow.answer = func(http.ResponseWriter, Message) bool { <-release; return true }
	slow.start(t)
	quick.start(t)
	one, two := slow.config(), quick.config()
	one.Name, two.Name = "slow", "quick"
	s := openSinks(t, nil, Spool{MaxSize: 1 << 20}, one, two)
	const flood = 20_000
	first := deliver(s, 0, 10)
	quick.await(t, first)
	deliver(s, 10, flood)
	dropped := s.running[0].loop.queue.Stats().Dropped
	if dropped == 0 {
		t.Fatal("20000 alerts fit in 1 MiB")
	}
	close(release)
	received := func(r *receiver) (alerts, dropped int) {
		r.mu.Lock()
		defer r.mu.Unlock()
		seen := make(map[string]bool)
		for _, m := range r.got {
			switch {
			case seen[m.ID]:
			case m.Dropped != nil:
				dropped += int(m.Dropped.Count)
			default:
				alerts++
			}
			seen[m.ID] = true
		}
		return alerts, dropped
	}
	for _, r := range []*receiver{slow, quick} {
		testutil.Eventually(t, "all alerts have arrived or are reported as dropped", func() bool {
			alerts, dropped := received(r)
			return alerts+dropped >= flood
		})
		if alerts, dropped := received(r); alerts+dropped != flood {
			t.Errorf("%d alerts and %d dropped ones, wanted %d together", alerts, dropped, flood)
		}
	}
}

func TestARestartLosesNothing(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	r := newReceiver(t)
	s := openSinks(t, nil, Spool{Directory: directory}, r.config())
	if _, err := Open(nil, Spool{Directory: directory, MaxSize: 1 << 20}, zap.NewNop()); err == nil || !strings.Contains(err.Error(), "another capmon uses") {
		t.Errorf("two Sinks use the same spool: %v", err)
	}
	ids := deliver(s, 0, 100)
	closeNow(t, s)
	r.start(t)
	s = openSinks(t, nil, Spool{Directory: directory}, r.config())
	r.await(t, append(ids, deliver(s, 100, 110)...))
}

// Unchanged sinks continue undisturbed. A changed sink keeps its waiting alerts. If one sink cannot be opened,
// all sinks are unchanged.
func TestReload(t *testing.T) {
	t.Parallel()
	r, other := newReceiver(t), newReceiver(t)
	other.start(t)
	file := filepath.Join(t.TempDir(), "log")
	s := openSinks(t, nil, Spool{Directory: t.TempDir()}, r.config(), Config{Name: "log", To: Log{Path: file}})
	ids := deliver(s, 0, 10)
	log := s.running[1].loop.session
	if err := s.Reload([]Config{other.config(), {Name: "log", To: Log{Path: "/nonexistent/log"}}}); err == nil || !strings.Contains(err.Error(), "sink log: ") {
		t.Errorf("%v", err)
	}
	if err := s.Reload([]Config{{Name: "new", To: Log{Path: file}}, {Name: "hook", To: Webhook{URLFile: "/nonexistent"}}}); err == nil {
		t.Error("a sink without its url-file was opened")
	}
	if len(other.ids()) > 0 {
		t.Error("a failed reload changed a sink")
	}
	if err := s.Reload([]Config{{Name: "log", To: Log{Path: file}}, other.config()}); err != nil {
		t.Fatal(err)
	}
	if s.running[0].loop.session != log {
		t.Error("an unchanged sink was restarted")
	}
	other.await(t, append(ids, deliver(s, 10, 20)...))
	if err := s.Reload(nil); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil || strings.Count(string(data), "\n") != 20 {
		t.Errorf("%v: %s", err, data)
	}
}

func TestSeverities(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "log")
	s := openSinks(t, nil, Spool{}, Config{Name: "log", MinSeverity: alert.Warning, To: Log{Path: file}})
	for _, severity := range alert.Severities() {
		a := numberedAlert(0)
		a.Severity, a.Summary = severity, string(severity)+" \x1b\n"
		s.Deliver(a)
	}
	closeNow(t, s)
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(string(data)) {
		var entry struct {
			Level, Msg string
			Alert      Message
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatal(err)
		}
		got = append(got, entry.Level+" "+entry.Msg+" "+string(entry.Alert.Severity))
	}
	if want := []string{`warn warning \x1b\n warning`, `error critical \x1b\n critical`}; !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestPrometheusCounts(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	r.start(t)
	socket := filepath.Join(t.TempDir(), "metrics")
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false) // a killed process leaves the socket
	stale.Close()
	s := openSinks(t, nil, Spool{}, r.config(), Config{Name: "prom", MinSeverity: alert.Warning, To: Prometheus{Listen: "unix:" + socket}})
	r.await(t, deliver(s, 0, 3))
	info := numberedAlert(1)
	info.Severity = alert.Info
	s.Deliver(info)
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	defer client.CloseIdleConnections()
	var body []byte
	testutil.Eventually(t, "four are delivered", func() bool {
		response, err := client.Get("http://capmon/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, _ = io.ReadAll(response.Body)
		return strings.Contains(string(body), `capmon_sink_delivered_total{sink="hook"} 4`)
	})
	for _, line := range []string{`capmon_alerts_total{rule="raw-socket",severity="warning"} 3`, `capmon_sink_dropped_total{sink="hook"} 0`, `capmon_sink_queue_alerts{sink="hook"} 0`} {
		if !strings.Contains(string(body), line+"\n") {
			t.Errorf("%s is missing in\n%s", line, body)
		}
	}
	if strings.Contains(string(body), `severity="info"`) {
		t.Errorf("an alert below min-severity is counted:\n%s", body)
	}
	renamed := []Config{r.config(), {Name: "metrics", To: Prometheus{Listen: "unix:" + socket, Expose: true}}}
	if err := s.Reload(renamed); err != nil {
		t.Fatalf("renaming a sink that keeps its address: %v", err)
	}
	r.await(t, append(r.ids(), deliver(s, 3, 4)...))
	testutil.Eventually(t, "the renamed sink continues to count", func() bool {
		response, err := client.Get("http://capmon/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, _ = io.ReadAll(response.Body)
		return strings.Contains(string(body), `capmon_alerts_total{rule="raw-socket",severity="warning"} 4`)
	})
}

// The socket has the same modes as the socket of serve, regardless of the umask.
func TestModesOfTheMetricsSocket(t *testing.T) {
	testutil.NeedRoot(t)
	socket := filepath.Join(t.TempDir(), "metrics")
	var previous os.FileInfo
	wantMode := func(when string, mode os.FileMode) {
		t.Helper()
		info, err := os.Lstat(socket)
		if err != nil || info.Mode() != os.ModeSocket|mode {
			t.Errorf("%s: the mode is %v, %v; want %v", when, info.Mode(), err, mode)
		}
		previous = info
	}
	defer syscall.Umask(syscall.Umask(0))
	one := Prometheus{Listen: "unix:" + socket}
	s := openSinks(t, nil, Spool{}, Config{Name: "prom", To: one})
	wantMode("without a group", 0o600)
	one.Group = "daemon"
	if err := s.Reload([]Config{{Name: "prom", To: one}}); err != nil {
		t.Fatal(err)
	}
	wantMode("with a group", 0o660)
	if gid := previous.Sys().(*syscall.Stat_t).Gid; gid == 0 {
		t.Errorf("the group is %d", gid)
	}
	one.Group = ""
	if err := s.Reload([]Config{{Name: "prom", To: one}}); err != nil {
		t.Fatal(err)
	}
	wantMode("without a group again", 0o600)
	one.Group = "no-such-group"
	if err := s.Reload([]Config{{Name: "prom", To: one}}); err == nil || !strings.Contains(err.Error(), "no-such-group") {
		t.Errorf("a group that does not exist: %v", err)
	}
	other := Prometheus{Listen: "unix:" + socket}
	if _, err := other.serve(queueMetrics(func() []*sendLoop { return nil })); err == nil || !strings.Contains(err.Error(), "another process listens") {
		t.Errorf("a socket in use: %v", err)
	}
	if err := s.Reload(nil); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
}

func TestLabelsAreBounded(t *testing.T) {
	t.Parallel()
	e, err := Prometheus{Listen: "127.0.0.1:0"}.serve(queueMetrics(func() []*sendLoop { return nil }))
	if err != nil {
		t.Fatal(err)
	}
	defer e.close(context.Background())
	for n := range maxRules + 10 {
		if got := e.label(fmt.Sprint(n)); (got == otherRules) != (n >= maxRules) {
			t.Fatalf("rule %d is %s", n, got)
		}
	}
}
