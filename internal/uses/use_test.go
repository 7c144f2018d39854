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

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/classify"
)

// ping returns the use of ping of busybox.
func ping() Use {
	return Use{
		Schema: Schema, Time: time.Date(2026, 3, 1, 12, 3, 7, 512e6, time.Local), First: true, Count: 1,
		Container: ContainerRef{ID: strings.Repeat("a", 64)},
		Process: Process{
			PID: 4711, InnerPID: 12, Program: "ping", Executable: "/bin/busybox", User: new(uint32),
			Parents: []Parent{{PID: 4700, Program: "sh"}},
		},
		Capability: capability.NetRaw, Class: classify.Required, Granted: true, RawSocket: true, Family: IPv4,
		Site: "inet_create", Stack: []string{"ns_capable", "inet_create", "__sock_create"},
	}
}

var regexpColors = regexp.MustCompile("\x1b\\[\\d+m")

func TestLines(t *testing.T) {
	web := func(u *Use) { u.Container.Name, u.Container.Image = "web", "nginx:1.27" }
	for want, changes := range map[string][]func(*Use){
		"2026-03-01 12:03:07.512  web  nginx:1.27  NET_RAW  granted  raw socket (IPv4)  no system call in inet_create  by ping pid 4711 (12 inside) user 0 /bin/busybox ← sh": {web},
		"2026-03-01 12:03:07.512  aaaaaaaaaaaa  -  NET_RAW  denied  raw socket (IPv4)  no system call in inet_create  by \"p 1\" pid 4711 user 0 ← \"\\x1b\" ← …  " +
			"(late: found later, with fewer details of the process; in a nested user namespace; unsure: why)": {func(u *Use) {
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
		use := ping()
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
	use := ping()
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
		use := ping()
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
