package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/profile"
)

func TestProgressHasTheTime(t *testing.T) {
	t.Parallel()
	const minute = time.Minute
	for _, test := range []struct {
		elapsed, limit time.Duration
		want           string
	}{
		{0, 0, "recorded 0s"},
		{42*time.Second + 999*time.Millisecond, 0, "recorded 42s"},
		{10 * minute, 0, "recorded 10m"},
		{time.Hour, 0, "recorded 1h"},
		{time.Hour + 20*time.Second, 0, "recorded 1h0m20s"},
		{0, 10 * minute, "10m left of 10m"},
		{462 * time.Second, 10 * minute, "2m18s left of 10m"},
		{462*time.Second + 1, 10 * minute, "2m18s left of 10m"},
		{10*minute - 1, 10 * minute, "1s left of 10m"},
		{10 * minute, 10 * minute, "0s left of 10m"},
		{11 * minute, 10 * minute, "0s left of 10m"},
		{0, 90 * minute, "1h30m left of 1h30m"},
		{0, 10 * time.Second, "10s left of 10s"},
		{50 * time.Millisecond, 100 * time.Millisecond, "1s left of 100ms"},
	} {
		if got := timeText(test.elapsed, test.limit); got != test.want {
			t.Errorf("%s of %s: %q, want %q", test.elapsed, test.limit, got, test.want)
		}
	}
}

var noon = time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)

// recordedRun returns a run of a container that is granted CHOWN, KILL and NET_RAW.
func recordedRun(name string, uses ...profile.UsePattern) profile.Run {
	granted := capability.Of(capability.Chown, capability.Kill, capability.NetRaw)
	return profile.Run{
		ID: "o/" + name, Container: profile.Container{ID: strings.Repeat("a", 20) + name, Name: name, Image: "bb"}, Started: &noon,
		Checks: 406, Grants: profile.Grants{Kernel: &granted}, Uses: uses,
	}
}

// useAfter returns a use that was first seen some seconds after noon.
func useAfter(seconds int, c capability.Capability, class classify.Class, program string) profile.UsePattern {
	return profile.UsePattern{Capability: c, Class: class, Program: program, Count: 1, First: noon.Add(time.Duration(seconds) * time.Second)}
}

func TestProgressHasWhatWasFound(t *testing.T) {
	t.Parallel()
	ping := useAfter(2, capability.NetRaw, classify.Required, "ping")
	owns := useAfter(1, capability.Chown, classify.Required, "chown")
	denied := useAfter(3, capability.SysAdmin, classify.Denied, "mount")
	changed := func(change func(*profile.Run)) profile.Run {
		run := recordedRun("web", ping)
		change(&run)
		return run
	}
	restarted := recordedRun("web", owns)
	restarted.ID = "o/2"
	for _, test := range []struct {
		name string
		runs []profile.Run
		want string
	}{
		{"nothing", nil, "no container yet"},
		{"not selected", []profile.Run{recordedRun("other", ping)}, "no container yet"},
		{"no use", []profile.Run{recordedRun("web")}, "1 container, 406 checks; used so far: 0 of 3 granted"},
		{"one container", []profile.Run{recordedRun("web", ping, owns)}, "1 container, 406 checks; used so far: 2 of 3 granted; newest: NET_RAW by ping"},
		{"a denial", []profile.Run{recordedRun("web", denied, owns)}, "1 container, 406 checks; used so far: 1 of 3 granted, 1 denied; newest: CHOWN by chown"},
		{"two runs of one container", []profile.Run{recordedRun("web", ping), restarted}, "1 container, 812 checks; used so far: 2 of 3 granted; newest: NET_RAW by ping"},
		{"two containers without a use", []profile.Run{recordedRun("web"), recordedRun("db")}, "2 containers, 812 checks; used so far: no capability"},
		{"two containers", []profile.Run{recordedRun("web", ping), recordedRun("db", owns)}, "2 containers, 812 checks; used so far: 2 capabilities; newest: NET_RAW by ping in web"},
		{"unknown grants", []profile.Run{changed(func(r *profile.Run) { r.Grants = profile.Grants{} })}, "1 container, 406 checks; used so far: 1 capability; newest: NET_RAW by ping"},
		{"lost checks", []profile.Run{changed(func(r *profile.Run) { r.Lost, r.Incomplete = 12, []string{"full"} })}, "12 LOST; 1 container, 406 checks; used so far: 1 of 3 granted; newest: NET_RAW by ping"},
		{"other losses", []profile.Run{changed(func(r *profile.Run) { r.Incomplete = []string{"full"} })}, "INCOMPLETE; 1 container, 406 checks; used so far: 1 of 3 granted; newest: NET_RAW by ping"},
		{"others", []profile.Run{changed(func(r *profile.Run) { r.Uses[0].Others, r.Uses[0].Program = true, "" })}, "1 container, 406 checks; used so far: 1 of 3 granted; newest: NET_RAW by others"},
		{"no program", []profile.Run{changed(func(r *profile.Run) { r.Uses[0].Program = "" })}, "1 container, 406 checks; used so far: 1 of 3 granted; newest: NET_RAW"},
		{
			"hostile names", []profile.Run{recordedRun("web\n\u202e", useAfter(1, capability.Chown, classify.Required, "\x1b[2Jok  ok")), recordedRun("db")},
			`2 containers, 812 checks; used so far: 1 capability; newest: CHOWN by "\x1b[2Jok  ok" in "web\n\u202e"`,
		},
	} {
		selected := func(run profile.Run) bool { return run.Container.Name != "other" }
		if diff := cmp.Diff(test.want, foundText(profile.New(test.runs...), selected)); diff != "" {
			t.Errorf("%s: %s", test.name, diff)
		}
	}
}

func TestProgressIsReadRarelyIfReadingIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reads := 0
		r := recordingProgress{begun: time.Now(), selected: func(profile.Run) bool { return true }, read: func() (profile.Profile, error) {
			reads++
			time.Sleep(100 * time.Millisecond)
			return profile.Profile{}, errors.New("reading\x1b[2J failed")
		}}
		ctx, cancel := context.WithTimeout(t.Context(), 9500*time.Millisecond)
		defer cancel()
		var last string
		everyInterval(ctx, statusInterval, func(now time.Time) { last = r.text(now) })
		if want := `recorded 9s: reading\x1b[2J failed`; last != want || reads > 5 {
			t.Errorf("%d reads, the last line was %q, want %q", reads, last, want)
		}
	})
}

func TestStatusLineShowsTheProgressUntilTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		line := &statusLine{out: &out, width: func() int { return 80 }}
		r := recordingProgress{
			begun: time.Now(), limit: 3 * time.Second, selected: func(profile.Run) bool { return true },
			read: func() (profile.Profile, error) { return profile.Profile{}, nil },
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer cancel()
		showStatus(ctx, line, r.text)
		var want string
		for _, left := range []string{"3s", "2s", "1s"} {
			want += eraseLine + left + " left of 3s: no container yet"
		}
		if diff := cmp.Diff(want+eraseLine, out.String()); diff != "" {
			t.Error(diff)
		}
	})
}

// What is quick shows nothing. What takes longer shows what it is, and the line disappears at its end.
func TestSlowWorkIsShown(t *testing.T) {
	for _, test := range []struct {
		takes time.Duration
		want  string
	}{
		{900 * time.Millisecond, ""},
		{2500 * time.Millisecond, eraseLine + "reading x: 1s so far" + eraseLine + "reading x: 2s so far" + eraseLine},
	} {
		synctest.Test(t, func(t *testing.T) {
			var out bytes.Buffer
			failure := errors.New("failed")
			err := showSlow(&statusLine{out: &out, width: func() int { return 80 }}, "reading x", func() error {
				time.Sleep(test.takes)
				return failure
			})
			if diff := cmp.Diff(test.want, out.String()); diff != "" || err != failure {
				t.Errorf("%v: %v\n%s", test.takes, err, diff)
			}
		})
	}
}

func TestWithoutATerminalProgressIsALineEveryMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		r := recordingProgress{
			begun: time.Now(), limit: 150 * time.Second, selected: func(profile.Run) bool { return true },
			read: func() (profile.Profile, error) { return profile.New(recordedRun(strings.Repeat("long", 100))), nil },
		}
		ctx, cancel := context.WithTimeout(t.Context(), 150*time.Second)
		defer cancel()
		r.waitShowing(ctx, &out, &out)
		const found = ": 1 container, 406 checks; used so far: 0 of 3 granted\n"
		if diff := cmp.Diff("capmon: 1m30s left of 2m30s"+found+"capmon: 30s left of 2m30s"+found, out.String()); diff != "" {
			t.Error(diff)
		}
	})
}
