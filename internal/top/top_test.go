package top

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/api"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/overview"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/testutil"
	"github.com/capmon/capmon/internal/uses"
	"github.com/capmon/capmon/monitor"
)

var update = flag.Bool("update", false, "write the golden files")

func init() { time.Local = time.UTC } // the screens show local times

// saturday is the time of all tests.
var saturday = time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)

// hostile has escape sequences, control characters, bidirectional, wide and combining characters, and an emoji that
// terminals disagree about.
const hostile = "a\x1b[2J\x1b]52;c;ZXZpbA==\a\r\n\t\u202e\u05d0\u0645\u3042\u6f22e\u0301\u0301\u200d\U0001f468\u200d\U0001f469\ufe0f\U0001f1e9\U0001f1ea\u1100\u1161\x00\xff\\"

// fakeSource is a source whose results a test sets.
type fakeSource struct {
	snapshot  Snapshot
	details   Details
	alerts    []alert.Alert
	err       error
	alertsErr error
	since     time.Time // of the last read of the alerts
	reads     int
}

func (f *fakeSource) Name() string { return "capmon serve" }

func (f *fakeSource) Read(context.Context) (Snapshot, error) {
	f.reads++
	return f.snapshot, f.err
}

func (f *fakeSource) Details(context.Context, api.Container) (Details, error) {
	return f.details, f.err
}

func (f *fakeSource) Alerts(_ context.Context, since time.Time) ([]alert.Alert, error) {
	f.since = since
	return f.alerts, f.alertsErr
}

func granted(all ...capability.Capability) *capability.Set {
	set := capability.Of(all...)
	return &set
}

// containerOf returns a running container with Docker's default grants that has used these capabilities.
func containerOf(name, image string, used ...capability.Capability) api.Container {
	grants := capability.DockerDefault()
	c := api.Container{
		ID: fmt.Sprintf("%064x", len(name)*31+int(name[len(name)-1])), Title: name, Name: name, Image: image, Running: true, Status: overview.Unused,
		Granted: &grants, Used: capability.Of(used...), Unused: grants.Minus(capability.Of(used...)), Checks: 100,
		Seconds: 60, Runs: 1,
	}
	if len(used) > 0 {
		c.LastUse = &api.LastUse{Capability: used[0], Time: saturday.Add(-12 * time.Second)}
	}
	return c
}

// someContainers returns containers of every kind.
func someContainers() []api.Container {
	all := capability.Known(capability.CheckpointRestore)
	agent := containerOf("agent", "registry.example.com/monitoring/agent:2.1", capability.SysPtrace)
	agent.Granted, agent.Privileged, agent.Unused = &all, true, all.Without(capability.SysPtrace)
	db := containerOf("db", "postgres:17", capability.Chown, capability.Setuid, capability.Setgid, capability.DACOverride, capability.Fowner)
	db.Status, db.Denied = overview.Unsure, capability.Of(capability.SysAdmin)
	db.LastUse = &api.LastUse{Capability: capability.SysAdmin, Denied: true, Time: saturday.Add(-3 * time.Minute)}
	fits := containerOf("proxy", "haproxy:3", capability.NetBindService)
	fits.Granted, fits.Unused, fits.Status = granted(capability.NetBindService), 0, overview.Fits
	unknown := containerOf("0123456789ab", "")
	unknown.Granted, unknown.Unused, unknown.Status, unknown.Name = nil, 0, overview.Unsure, ""
	ended := containerOf("job", "busybox")
	ended.Running = false
	return []api.Container{
		db, containerOf("web-10", "nginx:1.27", capability.NetBindService), fits, containerOf("web-2", "nginx:1.27", capability.NetBindService),
		agent, unknown, ended,
	}
}

func snapshotOf(containers ...api.Container) Snapshot {
	return Snapshot{
		Containers: api.Containers{Time: saturday, Containers: containers}, Engine: "docker", Hook: monitor.Tracepoint, RulesApply: true,
	}
}

// someAlerts returns alerts of the containers, the oldest first.
func someAlerts() []alert.Alert {
	web := someContainers()[1]
	one := alert.New("raw-socket", alert.Warning, "raw socket (IPv4) opened by ping in web-10", 1, uses.Use{
		Time: saturday.Add(-2 * time.Minute), Container: uses.ContainerRef{ID: web.ID, Name: "web-10"}, Process: uses.Process{Program: "ping"},
	})
	two := alert.NewLoss(saturday.Add(-time.Minute), "12 checks did not fit in the kernel map of checks", alert.Loss{Lost: monitor.Losses{Checks: 12}})
	one.ID, two.ID = "1", "2"
	return []alert.Alert{one, two}
}

// someDetails returns the details of a container with all states of capabilities.
func someDetails(title string) Details {
	grants := capability.DockerDefault()
	use := func(c capability.Capability, class classify.Class, count uint64, program, call, site string) profile.UsePattern {
		return profile.UsePattern{
			Capability: c, Class: class, Granted: class != classify.Denied, Program: program, Call: call, Site: site, Count: count,
			First: saturday.Add(-time.Hour), Last: saturday.Add(-5 * time.Minute),
		}
	}
	unsure := use(capability.Chown, classify.Required, 2, "cp", "fchown(3, 0, 0)", "chown_ok")
	unsure.Unsure = "the owner does not change"
	started := saturday.Add(-time.Hour)
	run := profile.Run{
		ID: "observation/1", Observation: profile.Observation{ID: "observation", Kernel: "6.18.1", Hook: monitor.Tracepoint, Start: saturday.Add(-2 * time.Hour), End: saturday},
		Container: profile.Container{ID: strings.Repeat("1", 64), Name: title, Image: "nginx:1.27"},
		Grants:    profile.Grants{Engine: &grants, Kernel: &grants, Permitted: &grants}, Started: &started, Ended: saturday, Running: true,
		Processes: 3, Checks: 1234, Uses: []profile.UsePattern{
			use(capability.NetBindService, classify.Required, 1, "nginx", "bind(port 80)", "inet_bind"),
			use(capability.Setuid, classify.Required, 4, "nginx", "setuid(101)", "__sys_setuid"),
			use(capability.Setuid, classify.Required, 1, title, "setuid(102)", "__sys_setuid"), unsure,
			use(capability.SysAdmin, classify.Denied, 3, "sh", "mount", "may_mount"),
		},
	}
	details, err := detailsOf(profile.New(run), api.Container{ID: run.Container.ID})
	if err != nil {
		panic(err)
	}
	return details
}

// styleSequence matches the escape sequences of styles.
var styleSequence = regexp.MustCompile("\x1b\\[[0-9;]*m")

// screen is a model that a test drives without a terminal.
type screen struct {
	t      *testing.T
	model  *model
	source *fakeSource
	quit   bool
	copied string
}

func newScreen(t *testing.T, width, height int, color bool) *screen {
	t.Helper()
	s := &screen{t: t, source: &fakeSource{snapshot: snapshotOf(someContainers()...), details: someDetails("web-10"), alerts: someAlerts()}}
	options := Options{Host: "alpha", Interval: time.Second, Color: color, Sort: SortKeys()[0]}
	if err := options.Validate(); err != nil {
		t.Fatal(err)
	}
	s.model = newModel(t.Context(), s.source, options)
	s.model.now = func() time.Time { return saturday }
	s.send(tea.WindowSizeMsg{Width: width, Height: height})
	s.refresh()
	return s
}

// refresh reads the source, as the screen does at each interval.
func (s *screen) refresh() {
	s.run(s.model.read())
	s.run(s.model.readAlerts())
}

// run runs a command and sends its result to the model.
func (s *screen) run(cmd tea.Cmd) {
	if cmd == nil {
		return
	}
	switch msg := cmd().(type) {
	case nil:
	case tea.QuitMsg:
		s.quit = true
	default:
		if text := fmt.Sprintf("%T", msg); text == "tea.setClipboardMsg" {
			s.copied = fmt.Sprint(msg)
			return
		}
		s.send(msg)
	}
}

// send sends a message to the model, and runs the command for reading details.
func (s *screen) send(msg tea.Msg) {
	_, cmd := s.model.Update(msg)
	if _, isKey := msg.(tea.KeyPressMsg); isKey {
		s.run(cmd)
	}
	s.check()
}

// check verifies that the screen fits in the terminal, and that only styles have control characters.
func (s *screen) check() {
	s.t.Helper()
	lines := strings.Split(s.model.View().Content, "\n")
	if len(lines) > max(s.model.height, 1) {
		s.t.Errorf("%d lines on a terminal with %d", len(lines), s.model.height)
	}
	for _, line := range lines {
		if ansi.StringWidth(line) > s.model.width || ansi.StringWidthWc(line) > s.model.width {
			s.t.Errorf("a line with %d columns on a terminal with %d: %q", ansi.StringWidth(line), s.model.width, line)
		}
		for _, r := range styleSequence.ReplaceAllString(line, "") {
			if !isPortable(r) && (r < ' ' || r > '~') && r != '×' && r != '↑' && r != '↓' {
				s.t.Errorf("a line has %U: %q", r, line)
			}
		}
	}
}

// keys presses keys: names of keys, or single characters.
func (s *screen) keys(names ...string) *screen {
	special := map[string]rune{"enter": tea.KeyEnter, "esc": tea.KeyEscape, "down": tea.KeyDown, "up": tea.KeyUp, "pgdown": tea.KeyPgDown, "end": tea.KeyEnd, "home": tea.KeyHome, "backspace": tea.KeyBackspace}
	for _, name := range names {
		if code, ok := special[name]; ok {
			s.send(tea.KeyPressMsg{Code: code})
			continue
		}
		if after, ok := strings.CutPrefix(name, "ctrl+"); ok {
			s.send(tea.KeyPressMsg{Code: rune(after[0]), Mod: tea.ModCtrl})
			continue
		}
		for _, r := range name {
			s.send(tea.KeyPressMsg{Code: r, Text: string(r)})
		}
	}
	return s
}

// text returns the screen without styles.
func (s *screen) text() string { return ansi.Strip(s.model.View().Content) }

// golden compares the screen with a file.
func (s *screen) golden(name string) {
	s.t.Helper()
	testutil.Golden(s.t, filepath.Join("testdata", name), []byte(s.model.View().Content+"\n"), *update)
}

func (s *screen) has(texts ...string) *screen {
	s.t.Helper()
	for _, text := range texts {
		if !strings.Contains(s.text(), text) {
			s.t.Errorf("the screen lacks %q:\n%s", text, s.text())
		}
	}
	return s
}

func (s *screen) lacks(texts ...string) {
	s.t.Helper()
	for _, text := range texts {
		if strings.Contains(s.text(), text) {
			s.t.Errorf("the screen has %q:\n%s", text, s.text())
		}
	}
}

func TestScreens(t *testing.T) {
	t.Parallel()
	for _, color := range []bool{true, false} {
		suffix := "-color.txt"
		if !color {
			suffix = "-no-color.txt"
		}
		newScreen(t, 80, 24, color).golden("table" + suffix)
		newScreen(t, 80, 24, color).keys("down", "down", "enter").golden("details" + suffix)
		newScreen(t, 80, 24, color).keys("a").golden("alerts" + suffix)
		newScreen(t, 80, 24, color).keys("?").golden("help" + suffix)
		newScreen(t, 160, 24, color).golden("table-wide" + suffix)
		lossy := newScreen(t, 80, 24, color)
		lossy.source.snapshot.Losses = monitor.Losses{Checks: 12}
		lossy.source.snapshot.Trouble = "no space left on device"
		lossy.refresh()
		lossy.source.err = errors.New("capmon serve at /run/capmon/capmon.sock does not answer: connection refused")
		lossy.refresh()
		lossy.golden("trouble" + suffix)
	}
}
