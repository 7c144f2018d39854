package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/testutil"
)

// receiver is a server for a webhook. It keeps its address while it is down.
type receiver struct {
	*testutil.HTTPServer
	takes time.Duration // the time for each alert

	mu  sync.Mutex
	got []arrival
}

// arrival is an alert that a webhook received, with the time.
type arrival struct {
	alert.Alert
	at time.Time
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	return &receiver{HTTPServer: testutil.NewHTTPServer(t)}
}

func (r *receiver) start(t *testing.T) {
	t.Helper()
	r.Start(t, r)
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	now := time.Now()
	body, err := io.ReadAll(request.Body)
	var one alert.Alert
	if err != nil || json.Unmarshal(body, &one) != nil || request.Header.Get("Authorization") != "Bearer t0ken" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	time.Sleep(r.takes)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = append(r.got, arrival{one, now})
}

// of returns the alerts of a rule and a container, or of all rules if rule is "", in the order of arrival.
func (r *receiver) of(rule, container string) (some []arrival) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, one := range r.got {
		if (rule == "" || one.Rule == rule) && one.Use.Container.Name == container {
			some = append(some, one)
		}
	}
	return some
}

// alerts is like [receiver.of] without the times.
func (r *receiver) alerts(rule, container string) (all []alert.Alert) {
	for _, one := range r.of(rule, container) {
		all = append(all, one.Alert)
	}
	return all
}

// await waits for an alert of each container, and verifies that there is one of each and of no other.
func (r *receiver) await(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	eventually(t, fmt.Sprint("the receiver has alerts of ", want), func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		got = nil
		for _, one := range r.got {
			if ours(one.Alert) {
				got = append(got, one.Use.Container.Name)
			}
		}
		return len(got) >= len(want)
	})
	if !slices.Equal(got, want) {
		t.Errorf("got alerts of %v, wanted %v", got, want)
	}
}

func rawSocketIn(t *testing.T, name string) {
	t.Helper()
	mustExecute(t, "docker", "run", "--rm", "--name", name, "bb", "probe", "rawsock")
}

// The server is down first, and is back when another capmon runs. It receives each alert once, in order. A new sink
// works after SIGHUP. Standard output has the same alerts.
func TestAlertsAreDelivered(t *testing.T) {
	t.Parallel()
	r, directory := newReceiver(t), t.TempDir()
	token := written(t, "token", "Bearer t0ken\n")
	text := `
rules:
  - builtin: raw-socket
sinks:
  - name: hook
    type: webhook
    url: http://` + r.Address + `/s3cret
    header-files: {Authorization: ` + token + `}
spool:
  directory: ` + filepath.Join(directory, "spool") + `
`
	path := written(t, "rules.yaml", text)
	args := []string{"--rules", path, "--container", "alert-sink-*"}

	l := watchLive(t, args...)
	rawSocketIn(t, "alert-sink-one")
	l.awaitAlert("raw-socket")
	if end := l.interrupt(); end.code != 0 || !strings.Contains(end.stderr, "connection refused") ||
		!strings.Contains(end.stderr, `some alerts were not delivered; they stay in the spool, and the next capmon that uses this spool delivers them	{"sink": "hook", "count": `) || strings.Contains(end.stderr, "s3cret") {
		t.Errorf("%d %s", end.code, end.stderr)
	}
	r.start(t)
	l = watchLive(t, args...)
	r.await(t, "alert-sink-one")
	rawSocketIn(t, "alert-sink-two")
	r.await(t, "alert-sink-one", "alert-sink-two")

	log := filepath.Join(directory, "alerts.json")
	changed := strings.Replace(text, "sinks:\n", "sinks:\n  - {type: log, path: "+log+"}\n", 1)
	if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.Cmd.Process.Signal(unix.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new sink exists", func() bool { _, err := os.Stat(log); return err == nil })
	rawSocketIn(t, "alert-sink-three")
	r.await(t, "alert-sink-one", "alert-sink-two", "alert-sink-three")
	if end := l.interrupt(); end.code != 0 || strings.Contains(end.stderr, "WARN") {
		t.Errorf("%d %s", end.code, end.stderr)
	}
	data, err := os.ReadFile(log)
	if err != nil || strings.Count(string(data), "\n") != 1 || !strings.Contains(string(data), `"name":"alert-sink-three"`) {
		t.Errorf("%v: %s", err, data)
	}
}

func TestInvalidSinksEndWatchBeforeItStarts(t *testing.T) {
	t.Parallel()
	for sinks, want := range map[string]string{
		"sinks:\n  - type: log\n    file: /x\n":                                 `:5: unknown field "file"`,
		"sinks: [{type: log, path: /nonexistent/x}]\n":                          "sink log: open /nonexistent/x: no such file or directory",
		"sinks: [{type: log}]\nspool: {max-size: 1}\n":                          ":4: max-size: 1 is too small",
		"sinks: [{type: webhook, url-file: /nonexistent/url, preset: slack}]\n": "sink webhook: url-file: open /nonexistent/url: no such file",
	} {
		path := written(t, "rules.yaml", "rules:\n  - builtin: raw-socket\n"+sinks)
		r := execute(t, binary, "watch", "--rules", path)
		if r.code != exitUsage || !strings.Contains(r.stderr, path) || !strings.Contains(r.stderr, want) {
			t.Errorf("%s: %d %s", sinks, r.code, r.stderr)
		}
	}
}

// A slow reader of standard output delays no alert to a sink, and receives all alerts in the end.
func TestSinksDoNotWaitForStandardOutput(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	r.start(t)
	rules := written(t, "rules.yaml", `
rules: [{name: r, raw-socket: true}]
sinks: [{type: webhook, url: "http://`+r.Address+`", headers: {Authorization: Bearer t0ken}}]
`)
	unread, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	l := &livewatch{}
	l.observation = watchBy(t, func(cmd *exec.Cmd) error {
		cmd.Stdout = out
		return errors.Join(cmd.Start(), out.Close())
	}, binary, "watch", "-o", "json", "--rules", rules, "--container", "alert-unread-*")
	const many = 90 // more than a pipe holds
	mustExecute(t, "docker", "run", "--rm", "--name", "alert-unread-many", "bb", "probe", "names", fmt.Sprint(many), "socket", "2", "3", "1")
	rawSocketIn(t, "alert-unread-other")
	eventually(t, "the webhook has all alerts", func() bool {
		return len(r.alerts("r", "alert-unread-many")) == many && len(r.alerts("r", "alert-unread-other")) == 1
	})
	read := make(chan []byte)
	go func() {
		text, _ := io.ReadAll(unread)
		read <- text
	}()
	end := l.interrupt()
	lines := strings.Count(string(<-read), `"name":"alert-unread-`)
	if end.code != 0 || lines != many+1 || strings.Contains(end.stderr, "too slow") {
		t.Errorf("exit code %d, %d lines\n%s", end.code, lines, end.stderr)
	}
}
