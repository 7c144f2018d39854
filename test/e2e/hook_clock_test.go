package e2e

import (
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/profile"
)

// step moves the wall clock forward.
func step(t *testing.T, by time.Duration) {
	t.Helper()
	now := unix.NsecToTimeval(time.Now().Add(by).UnixNano())
	if err := unix.Settimeofday(&now); err != nil {
		t.Fatal(err)
	}
}

// Steps of the wall clock during a recording change neither the order of times nor durations.
func TestHookClockSteps(t *testing.T) {
	if !inGuest() {
		t.Skip("only in a guest: it sets the clock of the machine")
	}
	const name, later = "clock-stepped", "clock-later"
	file := filepath.Join(t.TempDir(), "profile")
	startSleeper(t, name)
	begin := time.Now()
	observation := watch(t, "--container=clock-*", "--save", file)
	step(t, time.Hour)
	mustExecute(t, "docker", "exec", name, "chroot", "/", "true")
	step(t, -2*time.Hour)
	t.Cleanup(func() { step(t, time.Hour) })
	mustExecute(t, "docker", "exec", name, "chroot", "/", "true")
	mustExecute(t, "docker", "run", "--rm", "--name", later, "bb", "chroot", "/", "true")
	got := parseReport(t, observation.interrupt())
	took := time.Since(begin) // from the monotonic clock

	for _, name := range []string{name, later} {
		c := only(t, got, name)
		workload{required: caps("SYS_CHROOT")}.check(t, c)
	}
	saved, err := profile.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, run := range saved.Runs {
		timesAreTrue(t, run, begin, begin.Add(took))
	}
}

// timesAreTrue verifies that all times of a run lie between two times, and in order.
func timesAreTrue(t *testing.T, run profile.Run, begin, end time.Time) {
	t.Helper()
	inOrder := func(what string, times ...time.Time) {
		t.Helper()
		for i, later := range times[1:] {
			if later.Before(times[i]) {
				t.Errorf("%s, %s: %v", run.Container.Name, what, times)
			}
		}
	}
	begin, end = begin.Round(0), end.Round(0) // remove the monotonic clock reading
	inOrder("observation", begin, run.Observation.Start, run.Observation.End, end)
	inOrder("run", begin, *run.Started, run.Ended, run.Observation.End)
	for _, use := range run.Uses {
		inOrder(use.Call, begin, use.First, use.Last, run.Observation.End)
	}
}
