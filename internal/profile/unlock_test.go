package profile

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/internal/seccomp"
	"github.com/capmon/capmon/monitor"
)

// recordWith records a container that was granted SYS_NICE, with its profile and since
// when its calls were recorded.
func recordWith(t *testing.T, profile *seccomp.Profile, watched time.Time, change func(*monitor.Container)) Run {
	t.Helper()
	c := seen()
	c.Bounding = c.Bounding.With(capability.SysNice)
	if change != nil {
		change(&c)
	}
	runs := Record(snapshot(c), observation, Sources{
		Infos:   map[string]container.Info{id: {ID: id, Seccomp: profile}},
		Watched: map[string]time.Time{id: watched},
		Last:    capability.CheckpointRestore,
	})
	return runs[0]
}

func dockers(t *testing.T) *seccomp.Profile {
	t.Helper()
	p, err := seccomp.Default("28.5.2")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestUnwatchedCallsAreTold(t *testing.T) {
	unconfined, err := seccomp.Parse(seccomp.Unconfined)
	if err != nil {
		t.Fatal(err)
	}
	started := seen().Started
	for name, test := range map[string]struct {
		profile *seccomp.Profile
		watched time.Time
		change  func(*monitor.Container)
		want    bool
	}{
		"watched before the start": {dockers(t), started.Add(-time.Second), nil, false},
		"watched too late":         {dockers(t), started.Add(time.Second), nil, true},
		"never watched":            {dockers(t), time.Time{}, nil, true},
		"it ran before":            {dockers(t), started.Add(time.Second), func(c *monitor.Container) { c.Existed = true }, false},
		"and ended before":         {dockers(t), seen().Last.Add(time.Second), func(c *monitor.Container) { c.Existed, c.Ended = true, true }, true},
		"unconfined":               {unconfined, time.Time{}, nil, false},
		"profile not known":        {nil, time.Time{}, nil, true},
		"nothing that unlocks":     {nil, time.Time{}, func(c *monitor.Container) { c.Bounding = capability.DockerDefault() }, false},
	} {
		t.Run(name, func(t *testing.T) {
			run := recordWith(t, test.profile, test.watched, test.change)
			if told := run.Unwatched != nil && *run.Unwatched == capability.Of(capability.SysNice); told != test.want {
				t.Errorf("told: %v", run.Unwatched)
			}
		})
	}
}

func TestWhatRanBeforeIsWatchedFromWhenItsCallsAre(t *testing.T) {
	before, after := observation.Start.Add(-time.Second), observation.Start.Add(time.Second)
	for watched, want := range map[time.Time]time.Time{before: observation.Start, after: after} {
		if got := recordWith(t, dockers(t), watched, func(c *monitor.Container) { c.Existed = true }).Since(); !got.Equal(want) {
			t.Errorf("calls from %s on: since %s", watched, got)
		}
	}
}

func TestUnlockedCallsAreDemands(t *testing.T) {
	call := func(name string, errno unix.Errno) monitor.Call {
		arch := kernel.NativeArch()
		for nr := range 512 {
			if arch.SyscallName(nr) == name {
				return monitor.Call{Call: kernel.Call{Arch: arch, Nr: nr}, Error: errno, Program: "numactl", Count: 2}
			}
		}
		t.Fatalf("no system call %s", name)
		return monitor.Call{}
	}
	run := recordWith(t, dockers(t), seen().Started, func(c *monitor.Container) {
		c.Calls = []monitor.Call{call("mbind", 0), call("set_mempolicy", unix.EPERM), call("read", 0)}
	})
	if len(run.Uses) != 1 {
		t.Fatalf("got %+v", run.Uses)
	}
	use := run.Uses[0]
	if use.Capability != capability.SysNice || use.Class != classify.Demanded || use.Call != "mbind" || use.Count != 2 || !use.Granted {
		t.Errorf("got %+v", use)
	}
}
