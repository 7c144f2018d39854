package top

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/api"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/monitor"
)

func TestKeysInTheTable(t *testing.T) {
	t.Parallel()
	s := newScreen(t, 80, 24, false)
	s.has("> agent")
	s.keys("j", "down", "k").has("> web-2")
	s.keys("G").has("> proxy")
	s.keys("g").has("> agent")
	s.keys("pgdown").has("> proxy")
	s.keys("home", "2").has("NAMEv", "> agent")
	s.keys("2").has("NAME^")
	s.keys("e").has("job (ended)")
	s.keys("e").lacks("job")
	if s.keys("q"); !s.quit {
		t.Error("q does not quit")
	}
}

func TestFilterPrompt(t *testing.T) {
	t.Parallel()
	s := newScreen(t, 80, 24, false)
	s.keys("/").has("filter:")
	s.keys("used:NET_BIND").has("> web-2", "proxy", "filter: used:NET_BIND").lacks("agent")
	if s.quit {
		t.Error("a key of the filter quit")
	}
	if cursor := s.model.View().Cursor; cursor == nil || cursor.Y != 23 || cursor.X != len("filter: used:NET_BIND") {
		t.Errorf("the cursor is at %+v", cursor)
	}
	s.keys("X").has(`no capability begins with "NET_BINDX"`, "> web-2")
	s.keys("backspace", "enter").has("3 of 7 shown by the filter used:NET_BIND").lacks("no capability begins")
	s.keys("esc").has("agent").lacks("shown by the filter")
	s.keys("/", "web", "esc").has("agent", "q quit")
	s.keys("/")
	s.send(tea.PasteMsg{Content: "web"})
	s.has("> web-2").lacks("agent")
	if s.keys("ctrl+c"); !s.quit {
		t.Error("Ctrl-C does not quit")
	}
}

func TestPromptKeys(t *testing.T) {
	t.Parallel()
	var p prompt
	press := func(code rune, mod tea.KeyMod) { p.update(tea.KeyPressMsg{Code: code, Mod: mod}) }
	p.insert("one two ")
	if press('w', tea.ModCtrl); p.text != "one " {
		t.Errorf("Ctrl-W: %q", p.text)
	}
	if press(tea.KeyBackspace, 0); p.text != "one" {
		t.Errorf("backspace: %q", p.text)
	}
	if press('w', tea.ModCtrl); p.text != "" {
		t.Errorf("Ctrl-W: %q", p.text)
	}
	press(tea.KeyBackspace, 0)
	p.insert("漢字")
	if p.insert("\x1b[2J\u202e\u05d0e\u0301\U0001f468"); p.text != "漢字[2Je" {
		t.Errorf("hostile: %q", p.text)
	}
	if press('u', tea.ModCtrl); p.text != "" {
		t.Errorf("Ctrl-U: %q", p.text)
	}
	p.insert(strings.Repeat("漢", 1000))
	if line, cursor := p.view(40); width(line) > 39 || cursor != width(line) {
		t.Errorf("a long filter: %d columns, cursor at %d", width(line), cursor)
	}
}

func TestDetails(t *testing.T) {
	t.Parallel()
	s := newScreen(t, 80, 40, false)
	s.keys("/", "web-10", "enter", "enter")
	s.has("web-10  nginx:1.27", "docker run --cap-drop=ALL", "+ NET_BIND_SERVICE   used", "x SYS_ADMIN          denied", "- NET_RAW            unused",
		"~ CHOWN              unsure", "4×  nginx  setuid(101) in __sys_setuid", "note: ")
	s.keys("c")
	if want := "--cap-drop=ALL --cap-add=CHOWN --cap-add=NET_BIND_SERVICE --cap-add=SETUID"; s.copied != want {
		t.Errorf("copied %q, wanted %q", s.copied, want)
	}
	s.has("sent to the terminal's clipboard. Read the notes: 2 apply")
	s.keys("?").has("move up").keys("esc").has("docker run --cap-drop=ALL")
	s.keys("a", "esc").has("docker run --cap-drop=ALL") // back to where the alerts were opened
	s.keys("esc").has("> web-10")
}

// The alerts are of the open container or, without one, of the containers that the filter selects.
func TestAlertsAreSelected(t *testing.T) {
	t.Parallel()
	s := newScreen(t, 80, 24, false)
	s.keys("a").has("raw-socket", "web-10")
	s.lacks("not shown")
	s.keys("esc", "/", "web-10", "enter", "enter", "a").has("raw-socket", "web-10")
	s.lacks("not shown")
	s.keys("esc", "esc", "esc", "/", "proxy", "enter", "a").has("1 alert of another container is not shown")
	s.lacks("raw-socket")
	s.keys("esc", "enter", "a").has("1 alert of another container is not shown")
	s.lacks("raw-socket")
}

// A list for which capmon saw no start may be too short. It is not copied by accident.
func TestTheListOfAnUnseenStartIsCopiedOnlyOnRequest(t *testing.T) {
	t.Parallel()
	s := newScreen(t, 80, 24, false)
	s.source.details.Summary.FirstStarts = 0
	s.source.details.Summary.Starts = 0
	s.keys("enter").has("START NOT SEEN: docker run --cap-drop=ALL")
	s.keys("c").has("not copied (C copies it anyway): capmon did not see the start")
	if s.copied != "" {
		t.Errorf("copied %q", s.copied)
	}
	if s.keys("C"); s.copied == "" {
		t.Error("C does not copy")
	}
	s.source.details.Summary.Started = false
	s.keys("esc", "enter")
	s.copied = ""
	if s.keys("C").has("the needs are unknown"); s.copied != "" {
		t.Errorf("copied %q although the needs are unknown", s.copied)
	}
}

// No caution is left out, however many there are.
func TestAllCautionsAreShown(t *testing.T) {
	t.Parallel()
	s := newScreen(t, 80, 24, false)
	s.source.details.Cautions = nil
	for i := range 50 {
		s.source.details.Cautions = append(s.source.details.Cautions, fmt.Sprintf("caution-%d %s", i, strings.Repeat("word ", 40)))
	}
	s.keys("enter")
	seen := s.text()
	for range 30 {
		seen += s.keys("pgdown").text()
	}
	for i := range 50 {
		if !strings.Contains(seen, fmt.Sprintf("note: caution-%d word", i)) {
			t.Errorf("caution %d is missing", i)
		}
	}
	s.has("- SYS_CHROOT         unused") // the end
}

func TestDetailsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	s := newScreen(t, 80, 24, false)
	s.source.err = errors.New("out of \x1b[2J order")
	s.keys("enter").has(`cannot read the details: out of \x1b[2J order`)
	s.source.err = nil
	s.model.detailsAt = time.Time{}
	s.run(s.model.refreshDetails())
	s.has("docker run").lacks("cannot read")
	s.source.err = errors.New("out of order")
	s.model.detailsAt = time.Time{}
	s.run(s.model.refreshDetails())
	s.has("docker run", "cannot read the details", "these are the last details")
}

func TestAlertsPage(t *testing.T) {
	t.Parallel()
	s := newScreen(t, 80, 24, false)
	s.has("! raw-… 2m")
	s.keys("a").has("!! critical  capmon-loss", "! warning  raw-socket  web-10", "raw socket (IPv4) opened by ping in web-10")
	if loss, raw := strings.Index(s.text(), "capmon-loss"), strings.Index(s.text(), "raw-socket  web-10"); loss > raw {
		t.Error("the latest alert is not the first")
	}
	s.source.snapshot.RulesApply = false
	s.refresh()
	s.has("only losses raise alerts")
	s.source.alertsErr = errors.New("no database")
	s.refresh()
	s.has("cannot read the alerts: no database", "raw-socket")
	s.keys("esc").has("NAME", "cannot read the alerts: no database").keys("a")
	s.source.err = errors.New("no answer")
	s.refresh()
	s.has("no answer").lacks("cannot read the alerts") // the same reason
	s.source.err = nil
	s.source.alertsErr, s.source.alerts = nil, alertsOf("flood", maxAlerts+1, saturday)
	s.refresh()
	s.keys("home").has("3 earlier alerts", "capmon db alerts")
	s.source.alertsErr = ErrNoAlerts
	s.refresh()
	s.has("only capmon serve has alerts")
}

func TestPause(t *testing.T) {
	t.Parallel()
	s := newScreen(t, 80, 24, false)
	s.keys("p").has("PAUSED")
	reads := s.source.reads
	s.source.snapshot = snapshotOf(containerOf("new", "busybox"))
	_, cmd := s.model.Update(tick{})
	if cmd == nil || s.source.reads != reads {
		t.Errorf("a paused screen reads")
	}
	s.run(s.model.read()) // a read that had begun before
	s.has("web-2").lacks("> new")
	s.keys("p").lacks("PAUSED")
	s.run(s.model.read())
	s.has("> new")
}

func TestConnectionIsLostAndComesBack(t *testing.T) {
	t.Parallel()
	s := newScreen(t, 80, 24, false)
	s.source.err = errors.New("capmon serve at /run/capmon/capmon.sock does not answer: connection refused")
	for range 3 {
		s.refresh()
	}
	s.has("NOT UP TO DATE", "connection refused", "data of 12:00:00", "retrying since 12:00:00", "web-2")
	s.source.err = nil
	s.refresh()
	s.has("capmon serve answers again", "none lost").lacks("NOT UP TO DATE", "connection refused")
}

func TestLossesAreVisible(t *testing.T) {
	t.Parallel()
	s := newScreen(t, 80, 24, false)
	s.has("none lost")
	s.source.snapshot.LastLoss = "12 checks found no room; flood has 131000 entries"
	s.refresh()
	s.has("LOST RECORDS", "unused capabilities may have been used", "12 checks found no room").lacks("none lost")
	s.source.snapshot.LastLoss = ""
	s.source.snapshot.Losses = monitor.Losses{Checks: 12}
	s.refresh()
	s.has("LOST RECORDS", "12 checks of all containers").lacks("none lost")
	s.source.snapshot = snapshotOf(someContainers()...)
	s.source.snapshot.Containers.Containers[0].Lost = 5
	s.refresh()
	s.has("LOST RECORDS", "5 checks").lacks("none lost")
	s.keys("enter").has("LOST RECORDS")
}

func TestTheLastLossIsShownOnce(t *testing.T) {
	t.Parallel()
	s := newScreen(t, 200, 24, false)
	s.source.snapshot.Losses = monitor.Losses{Checks: 12}
	s.source.snapshot.LastLoss = profile.LossTexts(s.source.snapshot.Losses)[0]
	s.refresh()
	if n := strings.Count(s.text(), "12 checks"); n != 1 {
		t.Errorf("shown %d times:\n%s", n, s.text())
	}
}

// A filter that the screen cannot show would hide containers unnoticed.
func TestFiltersThatTheScreenCannotShow(t *testing.T) {
	t.Parallel()
	for filter, want := range map[string]string{
		"\u0301": "terminals", "web\tdb": "terminals", "\xff": "terminals", "a\u202e": "terminals", strings.Repeat("a", maxFilter+1): "at most 200",
	} {
		options := Options{Filter: filter, Sort: SortKeys()[0]}
		if err := options.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", filter, err)
		}
	}
}

func TestBeforeTheFirstRead(t *testing.T) {
	t.Parallel()
	s := newScreen(t, 80, 24, false)
	s.model.snapshot, s.model.table = Snapshot{}, table{}
	s.has("reading…").lacks("no containers run", "none lost")
	s.source.snapshot = snapshotOf()
	s.refresh()
	s.has("no containers run", "0 containers")
	s.keys("enter", "j", "G", "c", "C").has("no containers run")
}

// Whatever the size of the terminal is, each line fits in it: check verifies that after each message.
func TestSizes(t *testing.T) {
	t.Parallel()
	for _, height := range []int{0, 5, 8, 24} {
		for width := 0; width <= 250; width += 1 + width/4 {
			s := newScreen(t, width, height, true)
			s.source.snapshot.Losses = monitor.Losses{Checks: 12, Executions: 3}
			s.source.snapshot.Trouble = strings.Repeat("no space ", 50)
			s.refresh()
			s.keys("enter", "G", "esc", "a", "esc", "?", "esc", "/", "web", "enter", "p")
			if width < leastTerminalWidth && width > 20 && height >= 8 {
				s.has("capmon top needs")
			}
		}
	}
	s := newScreen(t, 80, 24, true)
	s.keys("enter", "G")
	for _, size := range [][2]int{{200, 50}, {40, 8}, {10, 2}, {80, 24}} {
		s.send(tea.WindowSizeMsg{Width: size[0], Height: size[1]})
	}
	s.has("docker run")
}

// check verifies after each message that no hostile text reaches the terminal.
func TestHostileTexts(t *testing.T) {
	t.Parallel()
	for _, text := range []string{hostile, strings.Repeat(hostile, 10000), strings.Repeat("漢", 300000), strings.Repeat("a", 1<<20), strings.Repeat("\u0301", 1<<20)} {
		for _, width := range []int{40, 120} {
			s := newScreen(t, width, 24, false)
			s.model.options.Host = text
			c := containerOf("web", "nginx:1.27", capability.Chown)
			c.ID, c.Title, c.Name, c.Image, c.Unconfirmed = strings.Repeat("1", 64), text, text, text, text
			s.source.snapshot = snapshotOf(c, containerOf("db", "postgres:17"))
			s.source.snapshot.Engine, s.source.snapshot.Hook, s.source.snapshot.LastLoss, s.source.snapshot.Trouble = text, monitor.Hook(text), text, text
			s.source.details = someDetails(text)
			s.source.details.Cautions = append(s.source.details.Cautions, text)
			s.source.alerts = someAlerts()
			s.source.alerts[0].Use.Container.Name, s.source.alerts[0].Rule, s.source.alerts[0].Summary = text, text, text
			s.source.alerts[0].Severity = "\x1b[2J"
			s.source.alerts[0].ID, s.source.alerts[0].Use.Container.ID = "hostile", c.ID
			s.refresh()
			s.keys("enter", "pgdown", "pgdown", "esc", "a", "G", "esc", "0", "G")
			s.send(notice(text))
			s.source.err = errors.New(text)
			s.refresh()
			s.keys("enter")
			s.send(tea.KeyPressMsg{Code: tea.KeyEscape})
			s.keys("/")
			s.send(tea.PasteMsg{Content: text[:min(len(text), 1000)]})
			s.keys("enter")
		}
	}
}

func TestListWithoutDetails(t *testing.T) {
	t.Parallel()
	if _, err := detailsOf(profile.New(), api.Container{ID: "1"}); err == nil {
		t.Error("no error for a container without runs")
	}
}

func BenchmarkUpdateAndView(b *testing.B) {
	for _, changed := range []string{"unchanged", "checks", "order"} {
		b.Run(changed, func(b *testing.B) {
			containers := manyContainers(1000)
			source := &fakeSource{snapshot: snapshotOf(containers...)}
			m := newModel(b.Context(), source, Options{Host: "alpha", Interval: time.Second, Color: true})
			m.Update(tea.WindowSizeMsg{Width: 200, Height: 50})
			m.Update(readDone{snapshot: source.snapshot})
			b.ReportAllocs()
			defer reportCPU(b)()
			for i := 0; b.Loop(); i++ {
				snapshot := snapshotOf(containers...)
				snapshot.Time = saturday.Add(time.Duration(i+1) * 2 * time.Second)
				for j := range containers {
					switch changed {
					case "checks":
						containers[j].Checks += uint64(j)
					case "order":
						if j%10 == i%10 {
							containers[j].Unused ^= 1 << (uint(j) % 14)
						}
					}
				}
				m.Update(readDone{snapshot: snapshot})
				if len(m.View().Content) == 0 {
					b.Fatal("no content")
				}
			}
		})
	}
}

// reportCPU reports the CPU time of an iteration, which does not depend on what else runs on the machine. The caller
// calls the result at the end.
func reportCPU(b *testing.B) (end func()) {
	spent := func() time.Duration {
		var usage unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
			b.Fatal(err)
		}
		return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	}
	began := spent()
	return func() { b.ReportMetric(float64((spent()-began).Microseconds())/float64(b.N), "cpu-µs/op") }
}
