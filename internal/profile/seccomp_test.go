package profile

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/seccomp"
	"github.com/capmon/capmon/monitor"
	"github.com/capmon/capmon/syscalls"
)

// recordWith records a container that was granted SYS_NICE. since is when the recording of its calls began.
func recordWith(t *testing.T, profile *seccomp.Profile, since time.Time, change func(*monitor.ContainerRecord)) Run {
	t.Helper()
	c := seen()
	c.Bounding = c.Bounding.With(capability.SysNice)
	if change != nil {
		change(&c)
	}
	runs := Record(snapshot(c), observation, Sources{
		Infos:             map[string]container.Info{id: {ID: id, Seccomp: profile}},
		SeccompCallsSince: map[string]time.Time{id: since},
		Last:              capability.CheckpointRestore,
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

func TestUnwatchedCapabilities(t *testing.T) {
	unconfined, err := seccomp.Parse(seccomp.Unconfined)
	if err != nil {
		t.Fatal(err)
	}
	started := seen().Started
	for name, test := range map[string]struct {
		profile *seccomp.Profile
		since   time.Time
		change  func(*monitor.ContainerRecord)
		want    bool
	}{
		"recorded since before the start":   {dockers(t), started.Add(-time.Second), nil, false},
		"recorded too late":                 {dockers(t), started.Add(time.Second), nil, true},
		"never recorded":                    {dockers(t), time.Time{}, nil, true},
		"already running":                   {dockers(t), started.Add(time.Second), func(c *monitor.ContainerRecord) { c.Existed = true }, false},
		"already running, and ended before": {dockers(t), seen().LastActivity.Add(time.Second), func(c *monitor.ContainerRecord) { c.Existed, c.Ended = true, true }, true},
		"unconfined":                        {unconfined, time.Time{}, nil, false},
		"profile not known":                 {nil, time.Time{}, nil, true},
		"no capability that unlocks":        {nil, time.Time{}, func(c *monitor.ContainerRecord) { c.Bounding = capability.DockerDefault() }, false},
	} {
		t.Run(name, func(t *testing.T) {
			run := recordWith(t, test.profile, test.since, test.change)
			if got := run.Unwatched != nil && *run.Unwatched == capability.Of(capability.SysNice); got != test.want {
				t.Errorf("got %v", run.Unwatched)
			}
		})
	}
}

func TestSinceIsNotBeforeTheRecordingOfCalls(t *testing.T) {
	before, after := observation.Start.Add(-time.Second), observation.Start.Add(time.Second)
	for watched, want := range map[time.Time]time.Time{before: observation.Start, after: after} {
		if got := recordWith(t, dockers(t), watched, func(c *monitor.ContainerRecord) { c.Existed = true }).Since(); !got.Equal(want) {
			t.Errorf("calls from %s on: since %s", watched, got)
		}
	}
}

// callOf returns a system call by name.
func callOf(t *testing.T, name string) syscalls.Call {
	t.Helper()
	arch := syscalls.NativeArch()
	for nr := range 512 {
		if arch.SyscallName(nr) == name {
			return syscalls.Call{Arch: arch, Nr: nr}
		}
	}
	t.Fatalf("no system call %s", name)
	return syscalls.Call{}
}

func TestUnlockedCallsAreImplicitNeeds(t *testing.T) {
	call := func(name string, errno unix.Errno) monitor.SeccompCall {
		return monitor.SeccompCall{
			Call: callOf(t, name), Error: errno, CallRecord: monitor.CallRecord{Program: "numactl", Count: 2},
		}
	}
	run := recordWith(t, dockers(t), seen().Started, func(c *monitor.ContainerRecord) {
		c.SeccompCalls = []monitor.SeccompCall{call("mbind", 0), call("set_mempolicy", unix.EPERM), call("read", 0)}
	})
	if len(run.Uses) != 1 {
		t.Fatalf("got %+v", run.Uses)
	}
	use := run.Uses[0]
	if use.Capability != capability.SysNice || use.Class != classify.Implicit || use.Call != "mbind" || use.Count != 2 || !use.Granted {
		t.Errorf("got %+v", use)
	}
}

func TestUnlockedChrootIsAnImplicitNeed(t *testing.T) {
	parse := func(body string) *seccomp.Profile {
		p, err := seccomp.Parse(body)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	byTime := parse(`{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
		{"names": ["chroot"], "action": "SCMP_ACT_ERRNO", "excludes": {"caps": ["CAP_SYS_TIME"]}}]}`)
	chroot, sysTime := capability.Of(capability.SysChroot), capability.Of(capability.SysTime)
	for name, test := range map[string]struct {
		profile        *seccomp.Profile
		change         func(*monitor.Check)
		needed, unsure capability.Set
	}{
		"in a nested user namespace":       {dockers(t), func(c *monitor.Check) { c.Nested = true }, chroot, 0},
		"the check itself shows it":        {dockers(t), func(*monitor.Check) {}, 0, 0},
		"unconfined":                       {parse(seccomp.Unconfined), func(c *monitor.Check) { c.Nested = true }, 0, 0},
		"unlocked with another capability": {byTime, func(*monitor.Check) {}, sysTime, 0},
		"profile not known":                {nil, func(c *monitor.Check) { c.Nested = true }, chroot, chroot},
		"in a long setup":                  {dockers(t), func(c *monitor.Check) { c.Nested, c.Phase = true, monitor.LongSetup }, chroot, chroot},
		"denied":                           {byTime, func(c *monitor.Check) { c.Answer = monitor.NotHeld }, 0, 0},
		"in the runtime setup":             {byTime, func(c *monitor.Check) { c.Phase = monitor.Setup }, 0, 0},
		"setns":                            {byTime, func(c *monitor.Check) { c.Call = callOf(t, "setns") }, 0, 0},
		"folded":                           {byTime, func(c *monitor.Check) { c.Folding, c.Call = monitor.Coarse, syscalls.Call{Nr: -1} }, sysTime, 0},
		"folded setns": {byTime, func(c *monitor.Check) {
			c.Folding, c.Call, c.Stack = monitor.Coarse, syscalls.Call{Nr: -1}, []string{"ns_capable", "mntns_install"}
		}, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			run := recordWith(t, test.profile, seen().Started, func(c *monitor.ContainerRecord) {
				c.Bounding = c.Bounding.With(capability.SysTime)
				check := monitor.Check{
					Capability: capability.SysChroot, Phase: monitor.Workload, Stack: []string{"ns_capable", "__x64_sys_chroot"},
					Call: callOf(t, "chroot"), Count: 1,
				}
				test.change(&check)
				c.Checks = []monitor.Check{check}
			})
			var needed, unsure capability.Set
			for _, use := range run.Uses {
				if use.Site == "seccomp" {
					needed = needed.With(use.Capability)
					if use.Unsure != "" {
						unsure = unsure.With(use.Capability)
					}
				}
			}
			if needed != test.needed || unsure != test.unsure {
				t.Errorf("needed %v, unsure %v: %+v", needed, unsure, run.Uses)
			}
		})
	}
}
