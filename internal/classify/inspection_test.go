package classify

import (
	"testing"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/monitor"
)

func TestInspectionDemands(t *testing.T) {
	chown, ptrace, nice := capability.Of(capability.Chown), capability.Of(capability.SysPtrace), capability.Of(capability.SysNice)
	both := chown.With(capability.Kill)
	for name, test := range map[string]struct {
		does                          monitor.Unasked
		sets, granted, needed, demand capability.Set
	}{
		"it was granted no more":         {monitor.Traced, both, capability.DockerDefault(), 0, both},
		"it needs some of them anyway":   {monitor.Traced, both, capability.DockerDefault(), chown, both},
		"it needs all of them anyway":    {monitor.Traced, both, capability.DockerDefault(), both, 0},
		"it was granted SYS_PTRACE":      {monitor.Traced, both, both.Union(ptrace), chown, ptrace},
		"it needs SYS_PTRACE anyway":     {monitor.Traced, both, both.Union(ptrace), ptrace, 0},
		"it was granted SYS_NICE":        {monitor.Scheduled, both, both.Union(nice), 0, nice},
		"SYS_NICE does not let it look":  {monitor.Traced, both, both.Union(nice), nice, both},
		"an exec had more than it":       {monitor.Traced, both, chown, 0, chown},
		"the other one has nothing here": {monitor.Traced, both, 0, 0, 0},
	} {
		got := Inspection(monitor.UnaskedCall{Unasked: test.does, Sets: test.sets}, test.granted, test.needed)
		if got.Capabilities != test.demand {
			t.Errorf("%s: demands %v, want %v", name, got.Capabilities, test.demand)
		}
		if wanted := !test.demand.Empty(); wanted != (got.Class == Implicit) || wanted != (got.Unsure != "") {
			t.Errorf("%s: %v", name, got.Verdict)
		}
	}
}

func TestPressureTriggersAreDemandedUnlessTheirWindowIsFree(t *testing.T) {
	for pressure, want := range map[monitor.Pressure][2]bool{
		monitor.WindowRestricted: {true, true},
		monitor.WindowUnknown:    {false, true},
		monitor.WindowFree:       {false, false},
	} {
		for i, unwritten := range []bool{false, true} {
			call := monitor.UnaskedCall{Unasked: monitor.Pressured, Pressure: pressure}
			demand := PressureTrigger(call, capability.Of(capability.SysResource), unwritten)
			if demand.Capabilities.Empty() == want[i] || (demand.Unsure != "") != (pressure == monitor.WindowUnknown && unwritten) {
				t.Errorf("%v, not written %v: %v", pressure, unwritten, demand)
			}
		}
	}
	// A user namespace of its own gives a process SYS_RESOURCE, which satisfies the kernel there.
	call := monitor.UnaskedCall{Unasked: monitor.Pressured, Pressure: monitor.WindowRestricted}
	if demand := PressureTrigger(call, capability.DockerDefault(), false); !demand.Capabilities.Empty() {
		t.Errorf("demands %v, which the container was not granted", demand.Capabilities)
	}
}
