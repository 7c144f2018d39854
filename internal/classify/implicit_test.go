package classify

import (
	"testing"

	"github.com/capmon/capmon/bpf"
	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/monitor"
	"github.com/capmon/capmon/syscalls"
)

// members returns the needed capabilities of a class, with the unsure ones separate.
func members(needs []ImplicitNeed, class Class) (certain, unsure capability.Set) {
	for _, need := range needs {
		switch {
		case need.Class != class:
		case need.Unsure == "":
			certain = certain.Union(need.Capabilities)
		default:
			unsure = unsure.Union(need.Capabilities)
		}
	}
	return certain, unsure
}

func TestCapsetNeeds(t *testing.T) {
	chown, kill, raw := capability.Of(capability.Chown), capability.Of(capability.Kill), capability.Of(capability.NetRaw)
	had := chown.Union(kill)
	many := capability.DockerDefault()
	for _, test := range []struct {
		name                                string
		had, permitted, inheritable, raised capability.Set
		condition                           monitor.Condition
		needed, unsure, denied              capability.Set
	}{
		{name: "the same", had: had, permitted: had, unsure: had},
		{name: "nothing", had: had},
		{name: "a part", had: had, permitted: kill, unsure: kill},
		{name: "more than is permitted", had: had, permitted: had.Union(raw), denied: raw},
		{name: "more than is permitted, inheritable", had: had, permitted: had.Union(raw), inheritable: kill, denied: raw},
		{name: "something else", had: had, permitted: raw, denied: raw},
		{name: "inheritable", had: had, permitted: had, inheritable: kill, needed: kill, unsure: chown},
		{name: "a part, inheritable", had: had, permitted: kill, inheritable: kill, needed: kill},
		{name: "inheritable from the bounding set", had: had, permitted: kill, inheritable: raw, condition: monitor.Matters, needed: raw, unsure: kill},
		{name: "inheritable, but it failed", had: had, inheritable: raw, condition: monitor.NoEffect, denied: raw},
		{name: "effective, but not permitted", had: had, permitted: had, raised: raw, denied: raw},
		{name: "permitted and effective", had: had, permitted: had.Union(raw), raised: raw, denied: raw},
		{name: "the same of many", had: many, permitted: many},
		{name: "all of many raised", had: many, permitted: many, raised: many},
		{name: "one of many raised", had: many, permitted: many, raised: kill, unsure: kill},
		{name: "one of many inheritable", had: many, permitted: many, inheritable: kill, needed: kill},
	} {
		check := granted(capability.Setpcap, "cap_capset")
		check.Call = call(t, syscalls.NativeArch(), "capset")
		check.Call.HasArgs = true
		check.Condition = test.condition
		check.Call.Args = [6]uint64{uint64(test.permitted), uint64(test.inheritable), uint64(test.had), uint64(test.raised)}
		needs := ImplicitNeeds(check)
		needed, unsure := members(needs, Implicit)
		denied, _ := members(needs, Denied)
		if needed != test.needed || unsure != test.unsure || denied != test.denied {
			t.Errorf("%s: needed %v, unsure %v, denied %v", test.name, needed, unsure, denied)
		}
		check.Phase = monitor.LongSetup
		needs = ImplicitNeeds(check)
		_, unsure = members(needs, LongSetup)
		denied, _ = members(needs, Denied)
		if unsure != test.needed.Union(test.unsure) || denied != test.denied {
			t.Errorf("%s in a long setup: %v, denied %v", test.name, unsure, denied)
		}
		check.Phase = monitor.Workload
		for name, change := range map[string]func(*monitor.Check){
			"setup":           func(c *monitor.Check) { c.Phase = monitor.Setup },
			"nested":          func(c *monitor.Check) { c.Nested = true },
			"more privileges": func(c *monitor.Check) { c.ExceedsGrant = true },
			"not recorded":    func(c *monitor.Check) { c.Call.HasArgs = false },
			"another call":    func(c *monitor.Check) { c.Call = call(t, syscalls.NativeArch(), "prctl"); c.Call.HasArgs = true },
			"another check":   func(c *monitor.Check) { c.Capability = capability.Setuid },
			"failed": func(c *monitor.Check) {
				c.Answer, c.Condition = monitor.NotHeld, monitor.Matters
				c.Call.Args[0] = uint64(test.permitted.Intersect(had))
				c.Call.Args[1] = uint64(test.inheritable.Intersect(had))
				c.Call.Args[3] = uint64(test.raised.Intersect(test.had))
			},
		} {
			other := check
			change(&other)
			if needs := ImplicitNeeds(other); len(needs) != 0 {
				t.Errorf("%s, %s: got %+v", test.name, name, needs)
			}
		}
	}
}

func TestRootMapNeeds(t *testing.T) {
	setfcap := capability.Of(capability.Setfcap)
	const others = uint64(bpf.CapmonRootMapROOT_MAP_OTHERS)
	for _, test := range []struct {
		could, wrote         uint64
		needed, unsureNeed   capability.Set
		denied, unsureDenied capability.Set
	}{
		{could: 1, wrote: monitor.RootMapped, needed: setfcap},
		{could: 1, wrote: monitor.RootMapUnknown, unsureNeed: setfcap},
		{could: 1, wrote: others},
		{could: 1},
		{wrote: monitor.RootMapUnknown, unsureDenied: setfcap},
		{wrote: others},
		{},
	} {
		for _, writer := range []string{"proc_uid_map_write", "proc_reg_write", "proc_gid_map_write"} {
			for _, name := range []string{"write", "writev", "io_uring_enter"} {
				check := granted(capability.SysAdmin, "file_ns_capable", "map_write", writer)
				check.Nested = true
				check.Call = call(t, syscalls.NativeArch(), name)
				check.Call.Args = [6]uint64{test.could, test.wrote}
				needs := ImplicitNeeds(check)
				needed, unsureNeed := members(needs, Implicit)
				denied, unsureDenied := members(needs, Denied)
				if writer == "proc_gid_map_write" {
					if len(needs) > 0 {
						t.Errorf("%+v, %s: %+v", test, writer, needs)
					}
				} else if needed != test.needed || unsureNeed != test.unsureNeed || denied != test.denied || unsureDenied != test.unsureDenied {
					t.Errorf("%+v, %s, %s: %+v", test, writer, name, needs)
				}
			}
		}
	}
}

// Where the kernel checks the wide one of two capabilities first, the narrow one is enough.
func TestNarrowNeeds(t *testing.T) {
	realtime := granted(capability.SysAdmin, "capable", "ioprio_check_cap")
	needs := ImplicitNeeds(realtime)
	if needed, unsure := members(needs, Implicit); needed != capability.Of(capability.SysNice) || !unsure.Empty() {
		t.Errorf("got %+v", needs)
	} else if other := needs[0].Alternative; other == nil || *other != capability.SysAdmin {
		t.Errorf("the alternative is %v", other)
	}
	for name, change := range map[string]func(*monitor.Check){
		"less than the container": func(c *monitor.Check) { c.Alternative = monitor.AlternativeNotHeld },
		"denied":                  func(c *monitor.Check) { c.Answer = monitor.NotHeld },
		"nested":                  func(c *monitor.Check) { c.Nested = true },
		"the narrow one":          func(c *monitor.Check) { c.Capability = capability.SysNice },
		"another call site":       func(c *monitor.Check) { c.Stack = []string{"ns_capable", "path_mount"} },
	} {
		check := realtime
		change(&check)
		if needs := ImplicitNeeds(check); len(needs) != 0 {
			t.Errorf("%s: got %+v", name, needs)
		}
	}
}

func TestFailedExecveNeeds(t *testing.T) {
	bind, raw := capability.Of(capability.NetBindService), capability.Of(capability.NetRaw)
	program := func(permitted, inheritable capability.Set) kernel.Program {
		return kernel.Program{Path: "/srv", FileCapabilities: kernel.FileCapabilities{Permitted: permitted, Inheritable: inheritable, Effective: true}}
	}
	nosuid, inert := program(bind, 0), program(bind, 0)
	nosuid.NoSuid, inert.Effective = true, false
	for _, test := range []struct {
		name    string
		failed  monitor.FailedExecve
		program kernel.Program
		denied  capability.Set
	}{
		{"none", monitor.FailedExecve{}, program(0, 0), 0},
		{"one", monitor.FailedExecve{}, program(bind, 0), bind},
		{"one of two", monitor.FailedExecve{Bounding: raw}, program(bind.Union(raw), 0), bind},
		{"given", monitor.FailedExecve{Bounding: bind}, program(bind, 0), 0},
		{"given by the inheritable sets", monitor.FailedExecve{Inheritable: bind}, program(bind, bind), 0},
		{"inheritable for the process only", monitor.FailedExecve{Inheritable: bind}, program(bind, 0), bind},
		{"inheritable for the file only", monitor.FailedExecve{}, program(bind, bind), bind},
		{"not effective", monitor.FailedExecve{}, inert, 0},
		{"nosuid", monitor.FailedExecve{}, nosuid, 0},
	} {
		if got, _ := members(FailedExecveNeeds("/srv", test.failed, test.program), Denied); got != test.denied {
			t.Errorf("%s: got %v, want %v", test.name, got, test.denied)
		}
	}
}

func TestExecutionNeeds(t *testing.T) {
	bind, raw := capability.Of(capability.NetBindService), capability.Of(capability.NetRaw)
	for _, test := range []struct {
		name      string
		execution monitor.Execution
		file      kernel.FileCapabilities
		want      capability.Set
	}{
		{"none", monitor.Execution{}, kernel.FileCapabilities{}, 0},
		{"effective", monitor.Execution{}, kernel.FileCapabilities{Permitted: bind, Effective: true}, bind},
		{"not effective", monitor.Execution{}, kernel.FileCapabilities{Permitted: bind}, 0},
		{"inheritable only", monitor.Execution{}, kernel.FileCapabilities{Inheritable: bind, Effective: true}, 0},
		{"nosuid", monitor.Execution{NoSuid: true}, kernel.FileCapabilities{Permitted: bind, Effective: true}, 0},
		{"nested", monitor.Execution{Nested: true, Ambient: raw}, kernel.FileCapabilities{Permitted: bind, Effective: true}, 0},
		{"ambient", monitor.Execution{Ambient: raw}, kernel.FileCapabilities{}, raw},
		{"both", monitor.Execution{Ambient: raw}, kernel.FileCapabilities{Permitted: bind, Effective: true}, raw.Union(bind)},
	} {
		if got, unsure := members(ExecutionNeeds(test.execution, test.file), Implicit); got != test.want || !unsure.Empty() {
			t.Errorf("%s: got %v, %v", test.name, got, unsure)
		}
	}
}
