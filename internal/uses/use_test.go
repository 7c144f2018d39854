package uses

import (
	"bytes"
	"encoding/json"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/internal/observe"
	"github.com/capmon/capmon/monitor"
)

// ping returns a check as ping of busybox makes it.
func ping(changes ...func(*monitor.Check)) monitor.Check {
	check := monitor.Check{
		Capability: capability.NetRaw, Answer: monitor.Held, Credential: monitor.OwnCredential, Phase: monitor.Workload,
		Stack: []string{"ns_capable", "inet_create", "__sock_create"}, Program: "ping", Count: 1, PID: 4711,
		Call:  kernel.Call{Arch: kernel.NativeArch(), Nr: -1},
		First: time.Date(2026, 3, 1, 12, 3, 7, 512e6, time.Local),
	}
	for _, change := range changes {
		change(&check)
	}
	return check
}

func distinctOf(check monitor.Check) observe.DistinctCheck {
	return observe.DistinctCheck{
		ID: strings.Repeat("a", 64), Cgroup: 7, Executable: "/bin/busybox",
		Check: monitor.CheckDetails{Check: check, InnerPID: 12, Parents: []monitor.Parent{{PID: 4700, Program: "sh"}}},
	}
}

// first returns the first use of a check.
func first(check monitor.Check) Use { return usesOf(distinctOf(check), check)[0] }

func TestRawSocketsAreIdentifiedByTheCreatingFunction(t *testing.T) {
	for function, want := range map[string]RawSocket{
		"inet_create": IPv4, "inet6_create": IPv6, "packet_create": Packet, "xsk_create": XDP,
		"sk_setsockopt": "", "do_ip_setsockopt": "", "packet_setsockopt": "",
	} {
		use := first(ping(func(c *monitor.Check) { c.Stack = []string{"ns_capable", function} }))
		if use.Family != want || use.RawSocket != (want != "") {
			t.Errorf("%s: %+v", function, use)
		}
	}
	if use := first(ping(func(c *monitor.Check) { c.Capability = capability.NetAdmin })); use.RawSocket {
		t.Errorf("another capability: %+v", use)
	}
}

func TestSelection(t *testing.T) {
	id := strings.Repeat("a", 64)
	irrelevant := ping(func(c *monitor.Check) {
		c.Capability, c.Stack = capability.SysAdmin, []string{"security_vm_enough_memory_mm"}
	})
	otherCredential := func(c *monitor.Check) { c.ExceedsGrant = true }
	chown := func(c *monitor.Check) { c.Capability, c.Stack = capability.Chown, []string{"setattr_prepare"} }
	denied := func(c *monitor.Check) { c.Answer, c.Forbidden = monitor.NotHeld, 1 }
	tolerated := func(c *monitor.Check) { c.Answer, c.Overruled = monitor.NotHeld, 1 }
	for name, test := range map[string]struct {
		selection Selection
		check     monitor.Check
		want      bool
	}{
		"a need":                               {Selection{}, ping(), true},
		"a denied need":                        {Selection{}, ping(denied), true},
		"tolerated":                            {Selection{}, ping(chown, tolerated), false},
		"tolerated, all selected":              {Selection{All: true}, ping(chown, tolerated), true},
		"irrelevant":                           {Selection{}, irrelevant, false},
		"docker exec --privileged":             {Selection{}, ping(chown, otherCredential), false},
		"docker exec --privileged, raw socket": {Selection{}, ping(otherCredential), true},
		"another capability":                   {Selection{Capabilities: capability.Of(capability.Chown)}, ping(), false},
		"selected capability":                  {Selection{Capabilities: capability.Of(capability.NetRaw)}, ping(), true},
		"granted":                              {Selection{OnlyGranted: true}, ping(denied), false},
		"denied":                               {Selection{OnlyDenied: true}, ping(), false},
		"another container":                    {Selection{IDs: map[string]bool{"b": true}}, ping(), false},
		"selected container":                   {Selection{IDs: map[string]bool{id: true}}, ping(), true},
	} {
		if got := test.selection.wantsUse(first(test.check)); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// A container that the engine has not reported may be the selected one, unless the ID decides.
func TestOnlyTheEngineOrTheIDSelectsAContainer(t *testing.T) {
	web := func(names ...string) Selection {
		filter, err := container.NewFilter(names, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		return Selection{Filter: filter}
	}
	byID := web("a*")
	elsewhere := web("web")
	elsewhere.IDs = map[string]bool{"b": true}
	for name, test := range map[string]struct {
		selection       Selection
		info            container.Info
		reported        bool
		wanted, certain bool
	}{
		"selected name":                {web("web"), container.Info{ID: "a", Name: "web"}, true, true, true},
		"another name":                 {web("web"), container.Info{ID: "a", Name: "db"}, true, false, true},
		"another engine's":             {web("web"), container.Info{ID: "a"}, true, false, true},
		"not reported":                 {web("web"), container.Info{ID: "a"}, false, false, false},
		"not reported, selected by ID": {byID, container.Info{ID: "a"}, false, true, true},
		"without a filter":             {Selection{}, container.Info{ID: "a"}, false, true, true},
		"another ID":                   {elsewhere, container.Info{ID: "a"}, false, false, true},
	} {
		if wanted, certain := test.selection.wantsContainer(test.info, test.reported); wanted != test.wanted || certain != test.certain {
			t.Errorf("%s: %v, %v", name, wanted, certain)
		}
	}
}

// If only some denials mattered, those decide. An implicit need of the system call is a use of its own.
func TestMeaningsOfACheck(t *testing.T) {
	check := ping(func(c *monitor.Check) { c.Overruled, c.Forbidden, c.Count, c.Answer = 2, 1, 3, monitor.NotHeld })
	if all := meanings(check); len(all) != 1 || all[0].verdict.Class != classify.Denied || all[0].granted {
		t.Errorf("one denial mattered: %+v", all)
	}
	check = ping(func(c *monitor.Check) {
		c.Capability, c.Stack = capability.SysAdmin, []string{"ns_capable", "map_write"}
		c.Call = kernel.Call{Arch: kernel.NativeArch(), Nr: unix.SYS_WRITE, HasArgs: true, Args: [6]uint64{1, monitor.RootMapped}}
	})
	all := meanings(check)
	if len(all) != 2 || all[1].capability != capability.Setfcap || all[1].verdict.Class != classify.Implicit || !all[1].granted {
		t.Errorf("a user namespace map with root: %+v", all)
	}
}

var regexpColors = regexp.MustCompile("\x1b\\[\\d+m")

func TestLines(t *testing.T) {
	web := func(u *Use) { u.Container.Name, u.Container.Image = "web", "nginx:1.27" }
	for want, changes := range map[string][]func(*Use){
		"2026-03-01 12:03:07.512  web  nginx:1.27  NET_RAW  granted  raw socket (IPv4)  no system call in inet_create  by ping pid 4711 (12 inside) user 0 /bin/busybox ← sh": {web},
		"2026-03-01 12:03:07.512  aaaaaaaaaaaa  -  NET_RAW  denied  raw socket (IPv4)  no system call in inet_create  by \"p 1\" pid 4711 user 0 ← \"\\x1b\" ← …  " +
			"(late: found later, with fewer details of the process; in a user namespace of its own; unsure: why)": {func(u *Use) {
			u.Granted, u.Class, u.Late, u.Nested, u.Unsure = false, classify.Denied, true, true, "why"
			u.Process = Process{PID: 4711, User: new(uint32), Program: "p 1", Parents: []Parent{{Program: "\x1b"}}, MoreParents: true}
		}},
		"2026-03-01 12:03:07.512  \"a  NET_ADMIN\"  \"\\u009b\"  SYS_TIME  granted (soft)  no system call  by ping pid 4711 (12 inside) user 0 /bin/busybox ← sh": {func(u *Use) {
			u.Container.Name, u.Container.Image = "a  NET_ADMIN", "\u009b"
			u.Capability, u.Class, u.RawSocket, u.Site = capability.SysTime, classify.Soft, false, ""
		}},
		"2026-03-01 12:03:07.512  web  nginx:1.27  NET_RAW  granted  raw socket (IPv4)  no system call in inet_create  by ping  (36 more since 12:03:01)": {web, func(u *Use) {
			u.First, u.Count, u.Since, u.Process = false, 37, u.Time.Add(-6*time.Second), Process{Program: "ping"}
		}},
		"2026-03-01 12:03:07.512  web  nginx:1.27  NET_RAW  granted  raw socket (IPv4)  no system call in inet_create  by ping  (repeated, previous use at 12:03:01)": {web, func(u *Use) {
			u.First, u.Since, u.Process = false, u.Time.Add(-6*time.Second), Process{Program: "ping"}
		}},
		"2026-03-01 12:03:07.512  web  nginx:1.27  NET_RAW  already open  raw socket (IPv4)  by ping pid 4711 (12 inside) user 0 /bin/busybox  (2 more)": {web, func(u *Use) {
			u.Open, u.Class, u.Count, u.Process.Parents = true, "", 3, nil
		}},
	} {
		use := first(ping())
		for _, change := range changes {
			change(&use)
		}
		if got := use.Line(false); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		if colored := use.Line(true); !strings.Contains(colored, "\x1b[") || regexpColors.ReplaceAllString(colored, "") != want {
			t.Errorf("in colors: %q", colored)
		}
	}
}

func TestJSONLinesAreGraphicAndCanBeReadBack(t *testing.T) {
	use := first(ping())
	use.Container.Name, use.Process.Program = "a\nb\x1b\u009b\u202e\U000e0041\u2028\"\\", "<größe>"
	var line bytes.Buffer
	if err := use.WriteJSON(&line); err != nil {
		t.Fatal(err)
	}
	text := strings.TrimSuffix(line.String(), "\n")
	if i := strings.IndexFunc(text, func(r rune) bool { return !unicode.IsGraphic(r) }); i >= 0 || !strings.Contains(text, "<größe>") {
		t.Errorf("%q", text)
	}
	var read Use
	if err := json.Unmarshal(line.Bytes(), &read); err != nil {
		t.Fatal(err)
	}
	use.Time, read.Time = use.Time.UTC(), read.Time.UTC()
	if !reflect.DeepEqual(use, read) {
		t.Errorf("wrote %+v, read %+v", use, read)
	}
}

func FuzzJSONLines(f *testing.F) {
	f.Add("web", "ping")
	f.Add("\x1b[2J\xff\u202e", "\U000e0041\\\"")
	f.Fuzz(func(t *testing.T, name, program string) {
		use := first(ping())
		use.Container.Name, use.Process.Program = name, program
		var line bytes.Buffer
		if err := use.WriteJSON(&line); err != nil {
			t.Fatal(err)
		}
		var read Use
		if err := json.Unmarshal(line.Bytes(), &read); err != nil || read.Container.Name != strings.ToValidUTF8(name, "\ufffd") && !strings.ContainsRune(read.Container.Name, '\ufffd') {
			t.Errorf("%q became %q, %v", name, read.Container.Name, err)
		}
		for _, text := range []string{strings.TrimSuffix(line.String(), "\n"), use.Line(false)} {
			if strings.IndexFunc(text, func(r rune) bool { return !unicode.IsGraphic(r) }) >= 0 {
				t.Errorf("%q", text)
			}
		}
	})
}
