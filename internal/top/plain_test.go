package top

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/uses"
	"github.com/capmon/capmon/monitor"
)

// plainScreen is a printer of lines that a test drives.
type plainScreen struct {
	*plainPrinter
	source *fakeSource
	out    strings.Builder
}

func newPlain(t *testing.T, filter string) *plainScreen {
	t.Helper()
	s := &plainScreen{source: &fakeSource{snapshot: snapshotOf(someContainers()...)}}
	options := Options{Host: "alpha", Interval: time.Second, Filter: filter, Sort: SortKeys()[0]}
	if err := options.Validate(); err != nil {
		t.Fatal(err)
	}
	s.plainPrinter = &plainPrinter{model: newModel(t.Context(), s.source, options), out: &s.out}
	s.model.now = func() time.Time { return saturday }
	s.model.table.showEnded = true
	return s
}

// next returns the lines of the next step without their times.
func (s *plainScreen) next(t *testing.T) string {
	t.Helper()
	s.out.Reset()
	_ = s.step(t.Context())
	var lines strings.Builder
	for line := range strings.Lines(s.out.String()) {
		rest, ok := strings.CutPrefix(line, s.model.now().Format(time.TimeOnly)+"  ")
		if !ok {
			t.Errorf("no time: %q", line)
		}
		lines.WriteString(rest)
	}
	return lines.String()
}

func TestPlainLines(t *testing.T) {
	t.Parallel()
	s := newPlain(t, "")
	want := `6 containers, 0 checks/s, 1 privileged, 3 with unused NET_RAW
capabilities: 84 granted, 9 used, 66 unused, 9 perhaps unused, 1 denied
agent  registry.example.com/monitoring/agent:2.1, privileged, granted all 41, used 1 (SYS_PTRACE), unused 40 (SYS_ADMIN SYS_MODULE SYS_RAWIO BPF PERFMON DAC_READ_SEARCH CHECKPOINT_RESTORE SYS_BOOT NET_ADMIN MAC_ADMIN MAC_OVERRIDE SYSLOG AUDIT_CONTROL SYS_TIME NET_RAW AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND CHOWN DAC_OVERRIDE FOWNER FSETID IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE MKNOD NET_BIND_SERVICE NET_BROADCAST SETFCAP SETGID SETPCAP SETUID SYS_CHROOT SYS_NICE SYS_PACCT SYS_RESOURCE SYS_TTY_CONFIG WAKE_ALARM), denied 0, last use SYS_PTRACE 12s ago
web-2  nginx:1.27, granted 14, used 1 (NET_BIND_SERVICE), unused 13 (NET_RAW AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD SETFCAP SETGID SETPCAP SETUID SYS_CHROOT), denied 0, last use NET_BIND_SERVICE 12s ago
web-10  nginx:1.27, granted 14, used 1 (NET_BIND_SERVICE), unused 13 (NET_RAW AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD SETFCAP SETGID SETPCAP SETUID SYS_CHROOT), denied 0, last use NET_BIND_SERVICE 12s ago
db  postgres:17, granted 14, used 5 (CHOWN DAC_OVERRIDE FOWNER SETGID SETUID), perhaps unused 9 (NET_RAW AUDIT_WRITE FSETID KILL MKNOD NET_BIND_SERVICE SETFCAP SETPCAP SYS_CHROOT), denied 1 (SYS_ADMIN), last denied SYS_ADMIN 3m ago
0123456789ab  image unknown, grants unknown, used 0, denied 0
proxy  haproxy:3, granted 1, used 1 (NET_BIND_SERVICE), unused 0, denied 0, last use NET_BIND_SERVICE 12s ago
`
	if diff := cmp.Diff(want, s.next(t)); diff != "" {
		t.Error(diff)
	}
	if got := s.next(t); got != "" {
		t.Errorf("nothing has changed, but it prints %q", got)
	}
}

func TestPlainChanges(t *testing.T) {
	t.Parallel()
	s := newPlain(t, "")
	s.next(t)
	expect := func(want string) {
		t.Helper()
		if diff := cmp.Diff(want, s.next(t)); diff != "" {
			t.Error(diff)
		}
	}
	containers := s.source.snapshot.Containers.Containers
	web := &containers[1]
	web.Used, web.Unused = web.Used.With(capability.NetRaw), web.Unused.Without(capability.NetRaw)
	expect("web-10  used NET_RAW; now 2 used, 12 unused of 14 granted, 0 denied\n")
	web.Denied = capability.Of(capability.SysAdmin)
	web.Lost = 7
	expect("LOST, so unused capabilities may have been used: 7 checks\nweb-10  denied SYS_ADMIN; now 2 used, 12 unused of 14 granted, 1 denied\nweb-10  LOST 7 checks\n")
	s.source.snapshot.Losses = monitor.Losses{Checks: 12}
	expect("LOST, so unused capabilities may have been used: 12 checks of all containers together did not fit in the kernel map of checks (--max-checks)\n")
	s.source.snapshot.Trouble = "no space left\n"
	expect("capmon serve cannot save: no space left\\n\n")
	s.source.snapshot.Trouble = ""
	expect("capmon serve can save again\n")
	s.source.alerts, s.model.alertsAt = someAlerts(), time.Time{}
	expect("ALERT  warning  raw-socket  raw socket (IPv4) opened by ping in web-10\nALERT  critical  capmon-loss  12 checks did not fit in the kernel map of checks\n")
	web.Running = false
	expect("web-10  ended; 2 used, 12 unused of 14 granted, 1 denied\n")
	s.source.snapshot.Containers.Containers = containers[2:]
	expect("db  ended; 5 used, 9 unused of 14 granted, 1 denied\n")
	s.source.err = errors.New("connection refused")
	expect("NOT UP TO DATE: connection refused\n")
	expect("")
	s.source.err = nil
	expect("capmon serve answers again\n")
	s.source.snapshot.Containers.Containers = append(s.source.snapshot.Containers.Containers, containerOf("new", hostile, capability.NetRaw))
	if got := s.next(t); strings.Count(got, "\n") != 1 || strings.ContainsAny(strings.TrimSuffix(got, "\n"), "\x1b\n\t\u202e") {
		t.Errorf("hostile: %q", got)
	}
}

func TestPlainFilter(t *testing.T) {
	t.Parallel()
	s := newPlain(t, "unused:NET_RAW web")
	got := s.next(t)
	if strings.Count(got, "nginx:1.27") != 2 || strings.Contains(got, "postgres") {
		t.Errorf("printed %s", got)
	}
	s.source.alerts, s.model.alertsAt = someAlerts(), time.Time{}
	s.source.alerts[0].Use.Container = uses.ContainerRef{ID: "another", Name: "other"}
	if got := s.next(t); strings.Contains(got, "raw-socket") || !strings.Contains(got, "capmon-loss") {
		t.Errorf("printed %s", got)
	}
	web := &s.source.snapshot.Containers.Containers[1]
	web.Used, web.Unused = web.Used.With(capability.NetRaw), web.Unused.Without(capability.NetRaw)
	if got := s.next(t); !strings.HasPrefix(got, "web-10  used NET_RAW; now 2 used") {
		t.Errorf("a change after which the filter no longer selects the container: %q", got)
	}
}

// A container may begin and end between two reads, and serve may have saved and removed its data before top reads it.
func TestPlainLinesOfShortContainers(t *testing.T) {
	t.Parallel()
	s := newPlain(t, "web")
	s.next(t)
	short := containerOf("web-short", "busybox", capability.SysAdmin)
	short.Running = false
	s.source.snapshot.Containers.Containers = append(s.source.snapshot.Containers.Containers, short)
	s.source.alerts, s.model.alertsAt = append(alertsOf("web-gone", 1, saturday), alertsOf("other-gone", 1, saturday)...), time.Time{}
	s.source.alerts[0].Summary = "raw socket of web-gone"
	got := s.next(t)
	if !strings.Contains(got, "web-short  began and ended; busybox, granted 14, used 1 (SYS_ADMIN)") {
		t.Errorf("a container that began and ended: %s", got)
	}
	if !strings.Contains(got, "raw socket of web-gone") || strings.Count(got, "ALERT") != 1 {
		t.Errorf("alerts of containers that have gone: %s", got)
	}
}

func TestPlainAlerts(t *testing.T) {
	t.Parallel()
	s := newPlain(t, "")
	s.source.alertsErr = errors.New("no database")
	const trouble = "NOT UP TO DATE: cannot read the alerts: no database\n"
	if got := s.next(t); !strings.Contains(got, trouble) {
		t.Errorf("unread alerts: %s", got)
	}
	for range 2 {
		s.model.alertsAt = time.Time{}
		if got := s.next(t); got != "" {
			t.Errorf("the same trouble again: %s", got)
		}
	}
	s.model.now = func() time.Time { return saturday.Add(12 * time.Hour) }
	s.source.alertsErr, s.source.alerts = nil, alertsOf("flood", 2*maxAlerts, saturday)
	if got := s.next(t); strings.Count(got, "ALERT") != 2*maxAlerts || !strings.Contains(got, "the alerts can be read again") {
		t.Errorf("printed %d alerts: %.300s", strings.Count(got, "ALERT"), got)
	}
	if since := s.source.since; !since.Equal(saturday.Add(-alertOverlap)) {
		t.Errorf("after a long trouble, the alerts were read since %v", since)
	}
	s.model.alertsAt = time.Time{}
	if got := s.next(t); got != "" {
		t.Errorf("the same alerts again: %.300s", got)
	}
}

func TestPlainOnce(t *testing.T) {
	t.Parallel()
	source := &fakeSource{snapshot: snapshotOf(someContainers()...)}
	var out strings.Builder
	if err := RunPlain(t.Context(), source, Options{Interval: time.Hour}, true, &out); err != nil || !strings.Contains(out.String(), "web-10") {
		t.Errorf("%v: %s", err, out.String())
	}
	source.err = errors.New("connection refused")
	if err := RunPlain(t.Context(), source, Options{Interval: time.Hour}, true, io.Discard); !errors.Is(err, source.err) {
		t.Errorf("a failed read: %v", err)
	}
}

// brokenPipe fails like a pipe whose reader has gone.
type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestPlainEnds(t *testing.T) {
	t.Parallel()
	source := &fakeSource{snapshot: snapshotOf(someContainers()...)}
	if err := RunPlain(t.Context(), source, Options{Interval: time.Hour}, false, brokenPipe{}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("the reader has gone: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- RunPlain(ctx, source, Options{Interval: time.Hour}, false, io.Discard) }()
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("a signal: %v", err)
	}
}
