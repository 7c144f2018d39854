package rules

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/uses"
)

// run returns the run of a web server that changes the owner of files and opens a raw socket.
func run(changes ...func(*profile.Run)) profile.Run {
	started := after(0)
	of := func(c capability.Capability, class classify.Class, program string, count uint64, stack ...string) profile.UsePattern {
		return profile.UsePattern{
			Capability: c, Class: class, Granted: class != classify.Denied, Program: program, Count: count, Call: "call",
			First: after(1), Last: after(3), Stack: stack,
		}
	}
	r := profile.Run{
		ID: "1/1", Observation: profile.Observation{ID: "1", End: after(100)}, Started: &started, Ended: after(100), Incomplete: []string{},
		Container: profile.Container{ID: strings.Repeat("a", 64), Name: "web", Image: "nginx:1.27"},
		Uses: []profile.UsePattern{
			of(capability.Chown, classify.Required, "nginx", 3),
			of(capability.NetRaw, classify.Required, "ping", 2, "ns_capable", "inet_create"),
			of(capability.SysTime, classify.Denied, "date", 30),
			of(capability.SysAdmin, classify.Redundant, "nginx", 9),
		},
	}
	for _, change := range changes {
		change(&r)
	}
	return r
}

// stored returns a file of rules, and saves a profile to old.json next to it.
func stored(t *testing.T, text string, runs ...profile.Run) File {
	t.Helper()
	file := parsed(t, text)
	directory := t.TempDir()
	file.Path = filepath.Join(directory, "rules.yaml")
	if err := profile.Save(filepath.Join(directory, "old.json"), profile.New(runs...)); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestDriftMatchesCapabilitiesThatTheProfilesDoNotHave(t *testing.T) {
	file := stored(t, "rules: [{builtin: drift, profiles: ['o*.json']}, {name: any answer, profiles: [old.json]}]", run())
	if warnings, err := file.LoadProfiles(); err != nil || len(warnings) > 0 {
		t.Fatal(warnings, err)
	}
	e := New(file)
	for _, test := range []struct {
		use      uses.Use
		want     string
		warnings int
	}{
		{ping(), "", 0},
		{ping(chown), "", 0},
		{ping(chown, denied), "any answer: never denied in the past", 0},
		{ping(func(u *uses.Use) { u.Capability, u.RawSocket, u.Family = capability.SysTime, false, "" }), "both: only denied in the past", 0},
		{ping(func(u *uses.Use) { u.Capability, u.RawSocket, u.Family = capability.SysAdmin, false, "" }), "both: it was redundant", 0},
		{ping(func(u *uses.Use) {
			u.Container.Image = "docker.io/library/nginx:1.27"
			u.Capability = capability.Kill
			u.RawSocket = false
		}), "both: the same image", 0},
		{ping(func(u *uses.Use) {
			u.Container.Image = "nginx:1.28"
			u.Capability = capability.Kill
			u.RawSocket = false
		}), "", 2},
		{ping(func(u *uses.Use) { u.Container.Image = "nginx:1.28" }), "", 0}, // warned already
		{ping(podmans), "", 2},
		{ping(anonymous), "both: unsure", 0},
	} {
		var rules []string
		for _, one := range e.Evaluate(test.use, noon) {
			rules = append(rules, one.Rule)
		}
		want := map[string]int{"": 0, "any": 1, "bot": 2}[test.want[:min(3, len(test.want))]]
		if warnings := e.Warnings(); len(rules) != want || len(warnings) != test.warnings {
			t.Errorf("%v of %+v, %q; wanted %s", rules, test.use, warnings, test.want)
		}
	}
}

func TestMissingProfilesCauseWarnings(t *testing.T) {
	file := stored(t, "rules: [{builtin: drift, profiles: ['none*.json']}]")
	warnings, err := file.LoadProfiles()
	if want := []string{`rule "drift" cannot alert: there is no profile at none*.json`}; err != nil || !cmp.Equal(warnings, want) {
		t.Errorf("%q, %v", warnings, err)
	}
	if alerts := New(file).Evaluate(ping(anonymous), noon); len(alerts) > 0 {
		t.Errorf("it alerts: %+v", alerts)
	}
	file = stored(t, "rules:\n  - {builtin: drift, profiles: [none.json]}\n")
	if _, err := file.LoadProfiles(); err == nil || !strings.HasPrefix(err.Error(), file.Path+`:2: rule "drift": `) {
		t.Error(err)
	}
	file = stored(t, "rules:\n  - {builtin: drift, profiles: ['*']}\n")
	if err := os.WriteFile(filepath.Join(filepath.Dir(file.Path), "other"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := file.LoadProfiles(); err == nil || !strings.Contains(err.Error(), "other") {
		t.Error(err)
	}
}

func TestRulesWithRecordedProfiles(t *testing.T) {
	const burst = "answer: denied, burst: "
	for rule, want := range map[string]string{
		"capabilities: [MKNOD]":                                                       "passed",
		"capabilities: [CHOWN]":                                                       "alerts CHOWN",
		"capabilities: [CHOWN, SYS_ADMIN, NET_RAW]":                                   "alerts CHOWN, alerts NET_RAW",
		"capabilities: [SYS_ADMIN], classes: [redundant]":                             "alerts SYS_ADMIN",
		"raw-socket: [IPv4]":                                                          "alerts NET_RAW",
		"raw-socket: [packet]":                                                        "passed",
		"raw-socket: true, except: [{images: [httpd]}, {images: [nginx]}]":            "passed, allowed 2 NET_RAW",
		"answer: granted, except: [{capabilities: [CHOWN]}]":                          "allowed 1 CHOWN, alerts NET_RAW",
		"raw-socket: true, executables: [/bin/ping]":                                  "unsure NET_RAW: the executed file is unknown",
		"raw-socket: true, except: [{executables: [/bin/ping]}]":                      "unsure NET_RAW: the executed file is unknown",
		"profiles: [old.json]":                                                        "alerts SYS_TIME",
		"profiles: [old.json], answer: granted":                                       "passed",
		burst + "{uses: 31, within: 10s}":                                             "passed",
		burst + "{uses: 30, within: 10s}":                                             "alerts SYS_TIME",
		burst + "{uses: 30, within: 1s}":                                              "unsure SYS_TIME: a profile does not contain the times of all uses",
		burst + "{uses: 5, within: 10s}, except: [{capabilities: [SYS_TIME]}]":        "passed, allowed 1 SYS_TIME",
		"answer: granted, burst: {uses: 5, within: 1m}, except: [{raw-socket: true}]": "passed, allowed 1 NET_RAW",
		"answer: granted, burst: {uses: 3, within: 1m}, except: [{raw-socket: true}]": "alerts CHOWN, allowed 1 NET_RAW",
	} {
		file := stored(t, "rules: [{name: r, "+rule+"}]", run(func(r *profile.Run) { r.Uses = r.Uses[:2] }))
		if _, err := file.LoadProfiles(); err != nil {
			t.Fatal(err)
		}
		result := Test(file, profile.New(run()))
		var got []string
		if result.Passed {
			got = append(got, "passed")
		}
		for _, use := range result.Rules[0].Uses {
			text := string(use.Outcome)
			if use.Exception > 0 {
				text += fmt.Sprint(" ", use.Exception)
			}
			text += " " + use.Use.Capability.String()
			if use.Unsure != "" {
				text += ": " + use.Unsure
			}
			got = append(got, text)
		}
		if got := strings.Join(got, ", "); got != want {
			t.Errorf("%s: got %s, wanted %s", rule, got, want)
		}
	}
}

func TestResultInText(t *testing.T) {
	file := parsed(t, "rules:\n  - {name: raw, raw-socket: true, except: [{images: [nginx]}]}\n  - {name: x y, answer: denied}\n  - {name: never, capabilities: [BPF]}\n  - {name: perhaps, executables: [/a]}\n")
	hostile := run(func(r *profile.Run) { r.Container.Name = "we\x1bb"; r.Uses = r.Uses[1:3] })
	var text strings.Builder
	if err := Test(file, profile.New(hostile)).WriteText(&text); err != nil {
		t.Fatal(err)
	}
	const want = `raw: 1 allowed
  allowed  raw socket (IPv4) opened by ping in "we\x1bb" (nginx:1.27), 2 times (exception 1)
"x y": 1 alert
  alerts   SYS_TIME denied to date for call in "we\x1bb" (nginx:1.27), 30 times
never: would not alert
perhaps: 2 unsure
  unsure   raw socket (IPv4) opened by ping in "we\x1bb" (nginx:1.27), 2 times (the executed file is unknown)
  unsure   SYS_TIME denied to date for call in "we\x1bb" (nginx:1.27), 30 times (the executed file is unknown)
`
	if diff := cmp.Diff(want, text.String()); diff != "" {
		t.Error(diff)
	}
}

func TestResultsNameUnconfirmedContainers(t *testing.T) {
	file := parsed(t, "rules: [{name: raw, raw-socket: true}]")
	unconfirmed := run(func(r *profile.Run) {
		r.Container = profile.Container{ID: strings.Repeat("a", 64), Unconfirmed: "/user.slice/docker-aa.scope"}
		r.Uses = r.Uses[1:2]
	})
	const want = `in aaaaaaaaaaaa-unconfirmed`
	if uses := Test(file, profile.New(unconfirmed)).Rules[0].Uses; len(uses) != 1 || !strings.Contains(uses[0].Summary, want) {
		t.Errorf("got %+v, want %s", uses, want)
	}
}
