package profile

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/monitor"
	"github.com/capmon/capmon/syscalls"
)

var (
	id          = strings.Repeat("ab", 32)
	observation = Observation{ID: "o", Kernel: "6.18.1", Start: saturday}
)

// seen returns a container that ran for a minute and used nothing.
func seen() monitor.ContainerRecord {
	return monitor.ContainerRecord{
		Cgroup: 77, ID: id, FirstSeen: saturday, Started: saturday.Add(time.Second), LastActivity: saturday.Add(time.Minute), Ended: true,
		Bounding: capability.DockerDefault(), Permitted: capability.DockerDefault(), UID: 0, Processes: 3, ChecksMade: 9,
	}
}

func snapshot(containers ...monitor.ContainerRecord) monitor.Snapshot {
	return monitor.Snapshot{Time: saturday.Add(time.Hour), Hook: monitor.Fexit, Containers: containers}
}

func record(t *testing.T, s monitor.Snapshot, infos map[string]container.Info) Run {
	t.Helper()
	runs := Record(s, observation, Sources{Infos: infos, Last: capability.CheckpointRestore})
	if len(runs) != 1 {
		t.Fatalf("got %d runs, want one", len(runs))
	}
	return runs[0]
}

func TestRecordWithoutAnEngine(t *testing.T) {
	want := Run{
		ID:          "o/77",
		Observation: Observation{ID: "o", Kernel: "6.18.1", Hook: monitor.Fexit, Start: saturday, End: saturday.Add(time.Hour)},
		Container:   Container{ID: id},
		Grants:      Grants{Kernel: ptr(capability.DockerDefault()), Permitted: ptr(capability.DockerDefault())},
		Started:     ptr(saturday.Add(time.Second)), Ended: saturday.Add(time.Minute),
		Processes: 3, Checks: 9, Incomplete: []string{}, Kept: ptr(capability.Set(0)), Uses: []UsePattern{},
	}
	if diff := cmp.Diff(want, record(t, snapshot(seen()), nil)); diff != "" {
		t.Error(diff)
	}
}

func TestRecordHasTheEnginesDescription(t *testing.T) {
	info := container.Info{
		ID: id, Name: "web", Image: "nginx", ImageID: "sha256:1", ImageDigest: "sha256:2", User: "33",
		Labels: map[string]string{"a": "b", "com.docker.compose.service": "web"},
		CapAdd: []string{"SYS_TIME"}, CapDrop: []string{"ALL"}, NetworkMode: "bridge", Inspected: true,
	}
	for _, test := range []struct {
		name   string
		change func(*container.Info)
		engine *capability.Set
	}{
		{"inspected", func(*container.Info) {}, ptr(capability.Of(capability.SysTime))},
		{"only listed", func(i *container.Info) { i.Inspected = false }, nil},
		{"privileged", func(i *container.Info) { i.Privileged = true }, ptr(capability.Known(capability.CheckpointRestore))},
		{"invalid settings", func(i *container.Info) { i.CapAdd = []string{"NET_ROW"} }, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			info := info
			test.change(&info)
			got := record(t, snapshot(seen()), map[string]container.Info{id: info})
			labels := map[string]string{"a": container.Redacted, "com.docker.compose.service": "web"}
			if diff := cmp.Diff(Container{ID: id, Name: "web", Image: "nginx", ImageID: "sha256:1", ImageDigest: "sha256:2", Labels: labels, User: "33", NetworkMode: "bridge"}, got.Container); diff != "" {
				t.Error(diff)
			}
			want := Grants{test.engine, ptr(capability.DockerDefault()), ptr(capability.DockerDefault()), nil, info.Privileged}
			if diff := cmp.Diff(want, got.Grants); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRecordOfARunningContainer(t *testing.T) {
	c := seen()
	c.Ended = false
	if got := record(t, snapshot(c), nil); !got.Running || !got.Ended.Equal(saturday.Add(time.Hour)) {
		t.Errorf("running %v until %v, want until the end of the observation", got.Running, got.Ended)
	}
}

// docker create, or a run that failed before its first instruction.
func TestRecordOfAContainerThatNeverStarted(t *testing.T) {
	c := seen()
	c.Started, c.LastActivity = time.Time{}, time.Time{}
	got := record(t, snapshot(c), nil)
	if got.Started != nil || got.Grants.Kernel != nil || got.Grants.Permitted != nil {
		t.Errorf("got %+v, want neither a start nor the kernel's grants", got)
	}
	if !got.Ended.Equal(c.FirstSeen) {
		t.Errorf("ended at %v, want when it was seen", got.Ended)
	}
}

func TestEveryLossIsReported(t *testing.T) {
	for _, test := range []struct {
		losses            monitor.Losses
		lost              uint64
		executions, calls uint64
		want              []string // parts
	}{
		{},
		{lost: 4, want: []string{"4 checks of this container could not be recorded"}},
		// Each container has its own count of these.
		{losses: monitor.Losses{Checks: 2, Executions: 2, Calls: 2}},
		{executions: 3, want: []string{"file capabilities of the programs of 3 executions are unknown"}},
		{calls: 3, want: []string{"3 system calls of this container that may need a capability"}},
		{losses: monitor.Losses{Containers: 2}, want: []string{"2 checks came from containers that did not fit"}},
		{losses: monitor.Losses{CgroupTooDeep: 2}, want: []string{"2 checks came from cgroups that are nested too deep"}},
		{losses: monitor.Losses{TaskStates: 2}, want: []string{"could not store the phase of 2 tasks"}},
		{losses: monitor.Losses{Skipped: 2}, want: []string{"the kernel skipped 2 runs"}},
		{losses: monitor.Losses{WrongCachedSites: 1}, want: []string{"the cached call site was wrong in 1 of the checks that capmon compared"}},
		{losses: monitor.Losses{NoCallSite: 2}, want: []string{"2 checks were recorded without their call site"}},
		{losses: monitor.Losses{AnswerMismatches: 2}, want: []string{"2 checks had a result that differs"}},
		{losses: monitor.Losses{Checks: 1, Skipped: 3}, lost: 1, want: []string{"1 checks of this", "the kernel skipped 3 runs"}},
	} {
		c := seen()
		c.Lost, c.UnrecordedExecutions, c.UnrecordedCalls = test.lost, test.executions, test.calls
		s := snapshot(c)
		s.Losses = test.losses
		got := record(t, s, nil)
		if len(got.Incomplete) != len(test.want) || got.Lost != test.lost || got.Incomplete == nil {
			t.Fatalf("%+v: got %q, want %q", test.losses, got.Incomplete, test.want)
		}
		for i, want := range test.want {
			if !strings.Contains(got.Incomplete[i], want) {
				t.Errorf("%+v: got %q, want %q", test.losses, got.Incomplete[i], want)
			}
		}
	}
}

func TestIndistinguishableChecksAreOneUse(t *testing.T) {
	check := monitor.Check{
		Capability: capability.Chown, Answer: monitor.Held, Credential: monitor.OwnCredential, Phase: monitor.Workload,
		Condition: monitor.Untested, Stack: []string{"ns_capable", "setattr_prepare"},
		Call: syscalls.Call{Arch: syscalls.NativeArch(), Nr: -1}, Program: "sh", Opts: -1, Count: 2,
		First: saturday, Last: saturday, PID: 10,
	}
	later := check
	later.Stack = []string{"capable_wrt_inode_uidgid", "setattr_prepare"}
	later.Opts, later.PID, later.UID, later.Count = 2, 11, 33, 5
	later.First, later.Last = saturday.Add(time.Second), saturday.Add(time.Minute)
	setup := check
	setup.Phase = monitor.Setup
	denied := check
	denied.Answer = monitor.NotHeld
	c := seen()
	c.Checks = []monitor.Check{setup, denied, later, check}

	want := []UsePattern{
		{
			Capability: capability.Chown, Class: classify.Required, Granted: true, Program: "sh", Site: "setattr_prepare",
			Stack: check.Stack, Count: 7, First: saturday, Last: saturday.Add(time.Minute),
		},
		{
			Capability: capability.Chown, Class: classify.Denied, Program: "sh", Site: "setattr_prepare",
			Stack: check.Stack, Count: 2, First: saturday, Last: saturday,
		},
		{
			Capability: capability.Chown, Class: classify.Setup, Granted: true, Program: "sh", Site: "setattr_prepare",
			Stack: check.Stack, Count: 2, First: saturday, Last: saturday,
			Reason: "checked by the container runtime before the workload's first instruction",
		},
	}
	if diff := cmp.Diff(want, record(t, snapshot(c), nil).Uses); diff != "" {
		t.Error(diff)
	}
}

func TestAlternativesAreRecorded(t *testing.T) {
	c := seen()
	c.Checks = []monitor.Check{{
		Capability: capability.DACOverride, Answer: monitor.Held, Credential: monitor.OwnCredential, Phase: monitor.Workload,
		Condition: monitor.Untested, DeniedFirst: capability.DACReadSearch, HasDeniedFirst: true,
		Stack: []string{"generic_permission", "inode_permission", "may_open"}, Call: syscalls.Call{Arch: syscalls.NativeArch(), Nr: -1}, Count: 1,
	}}
	uses := record(t, snapshot(c), nil).Uses
	if len(uses) != 1 || uses[0].Alternative == nil || *uses[0].Alternative != capability.DACReadSearch {
		t.Errorf("got %+v", uses)
	}
}

func TestOneContainerStartedTwiceMakesTwoRuns(t *testing.T) {
	again := seen()
	again.Cgroup = 78
	runs := Record(snapshot(seen(), again), observation, Sources{Last: capability.CheckpointRestore})
	if len(runs) != 2 || runs[0].ID == runs[1].ID {
		t.Errorf("got %+v", runs)
	}
	if got := Summaries(New(runs...)); len(got) != 1 || got[0].Runs != 2 || got[0].Checks != 18 {
		t.Errorf("got %+v", got)
	}
}

// The exit of a run is the first one of its container after the start of the run.
func TestARunHasItsOwnExitStatus(t *testing.T) {
	first, again, running := seen(), seen(), seen()
	again.Cgroup, again.Started, again.LastActivity = 78, saturday.Add(2*time.Minute), saturday.Add(3*time.Minute)
	running.Cgroup, running.Started, running.Ended = 79, saturday.Add(4*time.Minute), false
	exits := []container.Exit{{Time: saturday, Status: 1}, {Time: saturday.Add(time.Minute), Status: 3}, {Time: saturday.Add(3 * time.Minute), Status: 143}}
	runs := Record(snapshot(first, again, running), observation, Sources{Exits: map[string][]container.Exit{id: exits}, Last: capability.CheckpointRestore})
	var got []*int
	for _, run := range runs {
		got = append(got, run.ExitStatus)
	}
	if diff := cmp.Diff([]*int{ptr(3), ptr(143), nil}, got); diff != "" {
		t.Error(diff)
	}
	if s := Summaries(New(runs...))[0]; s.Failed == nil || *s.Failed != 3 {
		t.Errorf("got %v", s.Failed)
	}
}

// Programs that read the JSON must not have to distinguish null from an empty list.
func TestNoListIsNull(t *testing.T) {
	for name, p := range map[string]Profile{"no runs": New(), "a run": New(record(t, snapshot(seen()), nil))} {
		if text := encoded(t, p); strings.Contains(text, "null") {
			t.Errorf("%s: %s", name, text)
		}
	}
}

// A file that changed shortly before may have changed again shortly after, with the same ctime.
func TestFilesThatMayHaveChangedAreUnexamined(t *testing.T) {
	raw := kernel.FileCapabilities{Permitted: capability.Of(capability.NetRaw), Effective: true}
	for name, test := range map[string]struct {
		sets    bool
		age     time.Duration
		carried kernel.FileCapabilities
		want    []string
	}{
		"older":                       {sets: true, age: time.Second},
		"new":                         {sets: true, age: time.Millisecond, want: []string{"/program"}},
		"new by the clock's tick":     {sets: true, age: -time.Millisecond, want: []string{"/program"}},
		"new and carries some":        {sets: true, age: time.Millisecond, carried: raw},
		"nobody can have changed it":  {age: time.Millisecond},
		"changed long after the time": {sets: true, age: -time.Hour},
	} {
		execution := monitor.Execution{
			File: monitor.FileID{Device: 1, Inode: 2}, Path: "/program", First: saturday, Last: saturday, Count: 1,
			Version: monitor.FileVersion{Generation: 3, Changed: saturday.Add(-test.age).UnixNano()},
		}
		seen := monitor.ContainerRecord{Cgroup: 4, UsedSetfcap: test.sets, Executions: []monitor.Execution{execution}}
		var run Run
		run.addFileCapabilities(seen, map[Program]kernel.FileCapabilities{ProgramOf(4, execution): test.carried})
		if !slices.Equal(run.Unexamined, test.want) || (len(run.Uses) > 0) != test.carried.Effective {
			t.Errorf("%s: unexamined %v, uses %+v", name, run.Unexamined, run.Uses)
		}
		other := execution
		other.Version.Changed++
		run = Run{}
		run.addFileCapabilities(seen, map[Program]kernel.FileCapabilities{ProgramOf(4, other): test.carried})
		if len(run.Unexamined) != 1 || len(run.Uses) > 0 {
			t.Errorf("%s: the capabilities of another version of the file were used: %+v", name, run)
		}
	}
}

// For folded executions, the ambient set is known, and whether the capabilities of the files count.
func TestFoldedExecutions(t *testing.T) {
	net := capability.Of(capability.NetRaw)
	for _, test := range []struct {
		name       string
		noSuid     bool
		incomplete string
	}{
		{"memory files", true, ""},
		{"others", false, "programs of 7 executions are unknown"},
	} {
		c := seen()
		c.Executions = []monitor.Execution{{Folded: true, NoSuid: test.noSuid, Ambient: net, Count: 7, Path: "/"}}
		run := record(t, snapshot(c), nil)
		if incomplete := strings.Join(run.Incomplete, "\n"); (incomplete == "") != (test.incomplete == "") || !strings.Contains(incomplete, test.incomplete) {
			t.Errorf("%s: incomplete: %q, wanted %q", test.name, incomplete, test.incomplete)
		}
		if len(run.Uses) != 1 || run.Uses[0].Capability != capability.NetRaw || run.Uses[0].Count != 7 || !run.Uses[0].Others || run.Uses[0].Program != "" || len(run.Unexamined) > 0 {
			t.Errorf("%s: %+v, unexamined %v", test.name, run.Uses, run.Unexamined)
		}
	}
}
