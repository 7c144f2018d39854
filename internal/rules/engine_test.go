package rules

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/uses"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func after(seconds float64) time.Time {
	return noon.Add(time.Duration(seconds * float64(time.Second)))
}

// ping returns a use that opens a raw socket in a container.
func ping(changes ...func(*uses.Use)) uses.Use {
	use := uses.Use{
		Schema: 2, Time: noon, First: true, Count: 1, Capability: capability.NetRaw, Class: classify.Required, Granted: true, RawSocket: true, Family: uses.IPv4,
		Container: uses.ContainerRef{
			ID: strings.Repeat("a", 64), Name: "web", Image: "nginx:1.27",
			Labels: map[string]string{"team": "shop", "com.docker.compose.service": "api", "io.kubernetes.pod.namespace": "prod"},
		},
		Process: uses.Process{PID: 7, Program: "ping", Executable: "/bin/ping"}, Call: "socket(AF_INET, SOCK_RAW, ICMP)",
	}
	for _, change := range changes {
		change(&use)
	}
	return use
}

func denied(u *uses.Use) { u.Granted, u.Class = false, classify.Denied }
func chown(u *uses.Use) {
	u.Capability, u.RawSocket, u.Family, u.Call = capability.Chown, false, "", "fchown"
}
func nested(u *uses.Use)                 { u.Nested, u.Class = true, classify.NestedUserns }
func redundant(u *uses.Use)              { chown(u); u.Class = classify.Redundant }
func anonymous(u *uses.Use)              { u.Container = uses.ContainerRef{ID: u.Container.ID, Unidentified: true} }
func podmans(u *uses.Use)                { u.Container = uses.ContainerRef{ID: u.Container.ID} }
func leftOut(u *uses.Use)                { u.Container.Labels = container.KeptLabels{}.Of(u.Container.Labels) }
func inspected(u *uses.Use)              { u.Container.EngineLabels = map[string]string{"team": "shop"} }
func pathless(u *uses.Use)               { u.Process.Executable = "" }
func open(u *uses.Use)                   { u.Open, u.Class, u.Call = true, "", "" }
func again(u *uses.Use)                  { u.First = false }
func times(n uint64) func(*uses.Use)     { return func(u *uses.Use) { u.Count = n } }
func at(seconds float64) func(*uses.Use) { return func(u *uses.Use) { u.Time = after(seconds) } }
func in(container string) func(*uses.Use) {
	return func(u *uses.Use) { u.Container.ID, u.Container.Name = strings.Repeat(container, 64), container }
}

func TestWhichUsesRulesMatch(t *testing.T) {
	for _, test := range []struct {
		rule string
		use  uses.Use
		want answer
	}{
		{"capabilities: [CHOWN, NET_RAW]", ping(), yes},
		{"capabilities: [CHOWN]", ping(), no},
		{"capabilities: [CHOWN]", ping(redundant), no},
		{"capabilities: [CHOWN], classes: [redundant]", ping(redundant), yes},
		{"capabilities: [CHOWN], classes: [required]", ping(redundant), no},
		{"raw-socket: true", ping(), yes},
		{"raw-socket: true", ping(chown), no},
		{"raw-socket: false", ping(), no},
		{"raw-socket: false", ping(chown), yes},
		{"raw-socket: [packet, IPv4]", ping(), yes},
		{"raw-socket: [packet]", ping(), no},
		{"raw-socket: true", ping(nested), yes},
		{"nested-userns: true", ping(nested), yes},
		{"nested-userns: true", ping(), no},
		{"nested-userns: false", ping(nested), no},
		{"answer: granted", ping(), yes},
		{"answer: granted", ping(denied), no},
		{"answer: denied", ping(denied), yes},
		{"containers: [w*]", ping(), yes},
		{"containers: [db, aaaaaaaaaaaa]", ping(), yes},
		{"containers: [db]", ping(), no},
		{"containers: [db]", ping(anonymous), perhaps},
		{"containers: [db]", ping(podmans), no},
		{"containers: [aaaaaaaaaaaa]", ping(anonymous), yes},
		{"images: ['nginx:*']", ping(), yes},
		{"images: [docker.io/library/nginx]", ping(), yes},
		{"images: [httpd]", ping(), no},
		{"images: [httpd]", ping(anonymous), perhaps},
		{"labels: [team=shop]", ping(), yes},
		{"labels: [team=core]", ping(), no},
		{"labels: [team=core]", ping(leftOut), perhaps},
		{"labels: [team]", ping(leftOut), yes},
		{"labels: [team=core], services: [db]", ping(leftOut), no},
		{"labels: [team=shop]", ping(leftOut, inspected), yes},
		{"labels: [team=core]", ping(leftOut, inspected), no},
		{"raw-socket: true, except: [{labels: [team=core]}]", ping(leftOut), perhaps},
		{"services: [a*]", ping(), yes},
		{"services: [db]", ping(), no},
		{"services: ['*']", ping(podmans), no},
		{"services: [db]", ping(anonymous), perhaps},
		{"services: [shop_api]", ping(func(u *uses.Use) { u.Container.Labels = map[string]string{"com.docker.swarm.service.name": "shop_api"} }), yes},
		{"namespaces: [pro?]", ping(), yes},
		{"namespaces: [test]", ping(), no},
		{"executables: ['/bin/*']", ping(), yes},
		{"executables: ['/*']", ping(), no},
		{"executables: [/bin/nc]", ping(pathless), perhaps},
		{"executables: [/bin/nc]", ping(func(u *uses.Use) { u.Process.Executable = "…/nc" }), perhaps},
		{"executables: [/bin/nc], containers: [db]", ping(pathless), no},
		{"raw-socket: true, except: [{executables: [/bin/ping]}]", ping(), no},
		{"raw-socket: true, except: [{executables: [/bin/ping], images: [httpd]}]", ping(), yes},
		{"raw-socket: true, except: [{images: [httpd]}, {executables: [/bin/ping]}]", ping(), no},
		{"raw-socket: true, except: [{executables: [/bin/ping]}]", ping(pathless), perhaps},
		{"raw-socket: true, except: [{images: [nginx]}]", ping(anonymous), perhaps},
		{"raw-socket: true, except: [{executables: [/bin/ping]}]", ping(again), no},
		{"raw-socket: true, alert: first", ping(again), no},
		{"raw-socket: true, alert: every", ping(again), yes},
		{"raw-socket: true, alert: every, except: [{executables: [/bin/ping]}]", ping(again, pathless), perhaps},
	} {
		alerts := New(parsed(t, "rules: [{name: r, "+test.rule+"}]")).Evaluate(test.use, noon)
		got := no
		if len(alerts) == 1 {
			if got = yes; strings.Contains(alerts[0].Summary, "unsure: ") {
				got = perhaps
			}
		}
		if got != test.want || len(alerts) > 1 {
			t.Errorf("%s: got %v, wanted %v of %+v", test.rule, alerts, test.want, test.use)
		}
	}
}

func TestSummariesAreOneLine(t *testing.T) {
	hostile := func(u *uses.Use) {
		u.Process.Program, u.Container.Name, u.Container.Image, u.Call = "a in b\x1b[2J", "x\n(y)", "\u202e", "write(\x07)"
	}
	for want, test := range map[string]struct {
		rule string
		use  uses.Use
	}{
		"raw socket (IPv4) opened by ping in web (nginx:1.27)":                                       {"raw-socket: true", ping()},
		"raw socket (IPv4) denied to ping in web (nginx:1.27)":                                       {"raw-socket: true", ping(denied)},
		"raw socket (IPv4) opened by ping in web (nginx:1.27), in a nested user namespace":           {"raw-socket: true", ping(nested)},
		"CHOWN used by ping for fchown in web (nginx:1.27), 3 times":                                 {"alert: every, answer: granted", ping(chown, times(3))},
		"raw socket (IPv4) held open by ping in web (nginx:1.27)":                                    {"raw-socket: true", ping(open)},
		"2 raw sockets (IPv4) held open by ping in web (nginx:1.27)":                                 {"raw-socket: true", ping(open, times(2))},
		"CHOWN denied to ping for fchown in aaaaaaaaaaaa":                                            {"capabilities: [CHOWN]", ping(chown, denied, podmans)},
		"20 denials in web (nginx:1.27); the last: CHOWN denied to ping for fchown":                  {"answer: denied, burst: {uses: 20, within: 1s}", ping(chown, denied, times(20))},
		"raw socket (IPv4) opened by ping in web (nginx:1.27), unsure: the executed file is unknown": {"executables: [/bin/nc]", ping(pathless)},
		`CHOWN used by "a in b\x1b[2J" for write(\a) in "x\n(y)" ("\u202e")`:                         {"capabilities: [CHOWN]", ping(chown, hostile)},
	} {
		alerts := New(parsed(t, "rules: [{name: r, severity: critical, "+test.rule+"}]")).Evaluate(test.use, noon)
		if len(alerts) != 1 || alerts[0].Summary != want || alerts[0].Severity != alert.Critical || alerts[0].Rule != "r" || !alerts[0].Time.Equal(noon) {
			t.Fatalf("got %+v\nwant %s", alerts, want)
		}
		for _, line := range []string{alerts[0].Line(false), alerts[0].Summary} {
			if strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsGraphic(r) }) {
				t.Errorf("%q", line)
			}
		}
	}
}

func counts(alerts []alert.Alert) (all []uint64) {
	for _, one := range alerts {
		all = append(all, one.Count)
	}
	return all
}

func TestCoolDownsHoldBackAndCountUses(t *testing.T) {
	e := New(parsed(t, "rules: [{name: r, raw-socket: true, alert: every, cool-down: 10s}]"))
	steps := []struct {
		at   float64
		uses []uses.Use
		due  bool
		want []uint64
	}{
		{0, []uses.Use{ping()}, false, []uint64{1}},
		{1, []uses.Use{ping(again, times(5)), ping(chown)}, false, nil},
		{2, []uses.Use{ping(in("b"))}, false, []uint64{1}}, // another container has a separate cool-down
		{9, []uses.Use{ping(again)}, true, nil},
		{10, nil, true, []uint64{6}},
		{11, []uses.Use{ping(again)}, true, nil}, // a new cool-down has started
		{20.5, []uses.Use{ping(again)}, false, []uint64{2}},
		{31, nil, true, nil},
		{32, []uses.Use{ping(again)}, false, []uint64{1}},
		{33, []uses.Use{ping(times(7)), ping(in("b"))}, false, []uint64{1}},
		{34, []uses.Use{ping(in("b"), times(2))}, false, nil},
	}
	for _, step := range steps {
		var got []uint64
		for _, use := range step.uses {
			got = append(got, counts(e.Evaluate(use, after(step.at)))...)
		}
		if step.due {
			got = append(got, counts(e.Due(after(step.at)))...)
		}
		if diff := cmp.Diff(step.want, got); diff != "" {
			t.Errorf("at %v s: %s", step.at, diff)
		}
	}
	got := counts(e.Close())
	slices.Sort(got)
	if diff := cmp.Diff([]uint64{2, 7}, got); diff != "" {
		t.Error(diff)
	}
	if left := e.Close(); len(left) != 0 {
		t.Errorf("returned twice: %v", left)
	}
}

// A container with a hundred alerts about a capability in a minute, even under a new process name each time, cools down
// although the rule has no cool-down. Other containers and capabilities do not, and all uses are counted.
func TestAFloodOfAlertsCoolsDown(t *testing.T) {
	e := New(parsed(t, "rules: [{name: r, answer: granted, alert: every}, {name: b, answer: granted, raw-socket: true, burst: {uses: 2, within: 1s}}]"))
	type counts struct{ alerts, uses uint64 }
	got := make(map[string]counts)
	count := func(alerts []alert.Alert) {
		for _, one := range alerts {
			at := one.Rule + " " + one.Use.Container.Name + " " + one.Use.Capability.String()
			got[at] = counts{got[at].alerts + 1, got[at].uses + one.Count}
		}
	}
	for i := range 6000 { // 50 a second
		at := after(float64(i) / 50)
		count(e.Evaluate(ping(times(3), func(u *uses.Use) { u.Process.Program, u.Time = fmt.Sprint(i), at }), at))
		if i%50 == 0 {
			count(e.Due(at))
		}
		if i%1000 == 999 {
			count(e.Evaluate(ping(in("b")), at))
			count(e.Evaluate(ping(chown), at))
		}
	}
	count(e.Close())
	want := map[string]counts{"r web NET_RAW": {102, 18000}, "r web CHOWN": {6, 6}, "r b NET_RAW": {6, 6}, "b web NET_RAW": {102, 18000}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(counts{})); diff != "" {
		t.Error(diff)
	}
	count(e.Evaluate(ping(), after(600))) // the flood has ended long ago
	count(e.Evaluate(ping(), after(601)))
	if all := got["r web NET_RAW"].alerts; all != 104 {
		t.Errorf("%d alerts", all)
	}
	e.Due(after(800))
	if len(e.states) != 0 {
		t.Errorf("%d states are left", len(e.states))
	}
}

func TestBurstsAreManyUsesInAShortTime(t *testing.T) {
	e := New(parsed(t, "rules: [{name: r, answer: denied, burst: {uses: 5, within: 10s}, cool-down: 20s}]"))
	for _, step := range []struct {
		at   float64
		use  uses.Use
		want []uint64
	}{
		{0, ping(denied, at(0), times(3)), nil},
		{1, ping(denied, at(1), in("b"), times(4)), nil}, // another container
		{2, ping(at(2), times(9)), nil},                  // granted
		{10.5, ping(denied, at(10.5), again), nil},       // the first three are too old
		{12, ping(denied, at(12), again, times(3)), nil},
		{13, ping(denied, at(13)), []uint64{5}},
		{14, ping(denied, at(14), again, times(6)), nil}, // cooling down
		{20, ping(denied, at(11), again), nil},
		{34, ping(denied, at(34)), []uint64{8}},
		{60, ping(denied, at(60), times(4)), nil},
		{61, ping(denied, at(55)), []uint64{5}}, // late, but within the same ten seconds
		{90, ping(denied, at(90), times(70)), []uint64{70}},
	} {
		if diff := cmp.Diff(step.want, counts(e.Evaluate(step.use, after(step.at)))); diff != "" {
			t.Errorf("at %v s: %s", step.at, diff)
		}
	}
}

// The alerts of a rule and the uses that it holds back add up to the uses that match it.
func TestNoUseIsLostOrCountedTwice(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, rule := range []string{"alert: every", "alert: every, cool-down: 3s", "alert: first, cool-down: 1m"} {
		e := New(parsed(t, "rules: [{name: r, raw-socket: true, except: [{executables: [/bin/su]}], "+rule+"}]"))
		var given, got uint64
		count := func(alerts []alert.Alert) {
			for _, one := range alerts {
				got += one.Count
			}
		}
		for now := 0.0; now < 600; now += random.Float64() {
			use := ping(in(string(rune('a'+random.IntN(5)))), times(random.Uint64N(4)+1), func(u *uses.Use) { u.First = random.IntN(2) == 0 })
			if random.IntN(9) == 0 {
				use.Process.Executable = "/bin/su"
			} else if use.First || strings.Contains(rule, "every") {
				given += use.Count
			}
			count(e.Evaluate(use, after(now)))
			if random.IntN(3) == 0 {
				count(e.Due(after(now)))
			}
		}
		count(e.Close())
		if given == 0 || got != given {
			t.Errorf("%s: reported %d of %d uses", rule, got, given)
		}
	}
}

func TestUnneededStatesAreRemoved(t *testing.T) {
	e := New(parsed(t, "rules: [{name: r, raw-socket: true, cool-down: 10s}, {name: b, answer: denied, burst: {uses: 5, within: 10s}}]"))
	for i := range 100 {
		id := func(u *uses.Use) { u.Container.ID = fmt.Sprint(i) }
		e.Evaluate(ping(id), after(0))
		e.Evaluate(ping(id, denied), after(1))
	}
	e.Due(after(9))
	if len(e.states) != 200 {
		t.Errorf("%d states, wanted 200", len(e.states))
	}
	e.Due(after(11)) // returns alerts of the denied ones
	e.Due(after(22))
	e.Due(after(40))
	if len(e.states) != 0 {
		t.Errorf("%d states are left", len(e.states))
	}
}

// Containers beyond the maximum number of states alert more often, not less, and a warning reports this.
func TestTooManyContainersCauseAWarning(t *testing.T) {
	e := New(parsed(t, "rules: [{name: r, raw-socket: true, alert: every, cool-down: 1h}]"))
	for i := range maxStates + 2 {
		for range 2 {
			got := len(e.Evaluate(ping(func(u *uses.Use) { u.Container.ID = fmt.Sprint(i) }), noon))
			if i < maxStates-1 {
				break
			}
			if i >= maxStates && got != 1 {
				t.Fatalf("container %d: %d alerts", i, got)
			}
		}
	}
	if warnings := e.Warnings(); len(warnings) != 1 || !strings.Contains(warnings[0], "more than 16384 pairs") || len(e.states) != maxStates {
		t.Errorf("%d states, %q", len(e.states), warnings)
	}
	if len(e.Warnings()) != 0 {
		t.Error("warned twice")
	}
}

func TestUnchangedRulesKeepTheirStates(t *testing.T) {
	e := New(parsed(t, "rules:\n  - {name: stays, raw-socket: true, cool-down: 1h}\n  - {name: changes, raw-socket: true, cool-down: 1h}\n  - {name: goes, raw-socket: true, cool-down: 1h}\n"))
	e.Evaluate(ping(), after(0))
	e.Evaluate(ping(times(4)), after(1))
	alerts := e.Replace(parsed(t, "rules:\n  - {name: new, raw-socket: true}\n  - {name: changes, raw-socket: true, cool-down: 2h}\n  - {name: stays, raw-socket: true, cool-down: 1h}\n"))
	var got []string
	for _, one := range alerts {
		got = append(got, fmt.Sprint(one.Rule, one.Count))
	}
	slices.Sort(got)
	if diff := cmp.Diff([]string{"changes4", "goes4"}, got); diff != "" {
		t.Error(diff)
	}
	got = nil
	for _, one := range append(e.Evaluate(ping(), after(2)), e.Close()...) {
		got = append(got, fmt.Sprint(one.Rule, one.Count))
	}
	slices.Sort(got)
	if diff := cmp.Diff([]string{"changes1", "new1", "stays5"}, got); diff != "" {
		t.Error(diff)
	}
}
