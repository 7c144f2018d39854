package classify

import (
	"testing"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/monitor"
)

func TestInspectionNeed(t *testing.T) {
	chown, ptrace, nice := capability.Of(capability.Chown), capability.Of(capability.SysPtrace), capability.Of(capability.SysNice)
	both := chown.With(capability.Kill)
	for name, test := range map[string]struct {
		does                        monitor.UncheckedKind
		sets, granted, needed, want capability.Set
	}{
		"nothing else is granted":            {monitor.InspectedProcess, both, capability.DockerDefault(), 0, both},
		"some are needed anyway":             {monitor.InspectedProcess, both, capability.DockerDefault(), chown, both},
		"all are needed anyway":              {monitor.InspectedProcess, both, capability.DockerDefault(), both, 0},
		"SYS_PTRACE is granted":              {monitor.InspectedProcess, both, both.Union(ptrace), chown, ptrace},
		"SYS_PTRACE is needed anyway":        {monitor.InspectedProcess, both, both.Union(ptrace), ptrace, 0},
		"SYS_NICE is granted":                {monitor.ScheduledProcess, both, both.Union(nice), 0, nice},
		"SYS_NICE does not allow inspection": {monitor.InspectedProcess, both, both.Union(nice), nice, both},
		"an exec was permitted more":         {monitor.InspectedProcess, both, chown, 0, chown},
		"nothing of the other is granted":    {monitor.InspectedProcess, both, 0, 0, 0},
	} {
		got := InspectionNeed(monitor.UncheckedCall{Kind: test.does, Sets: test.sets}, test.granted, test.needed)
		if got.Capabilities != test.want {
			t.Errorf("%s: got %v, want %v", name, got.Capabilities, test.want)
		}
		if has := !test.want.Empty(); has != (got.Class == Implicit) || has != (got.Unsure != "") {
			t.Errorf("%s: %v", name, got.Verdict)
		}
	}
}

func TestPressureTriggerNeedDependsOnTheWindow(t *testing.T) {
	for pressure, want := range map[monitor.Pressure][2]bool{
		monitor.WindowNeedsSysResource: {true, true},
		monitor.WindowUnknown:          {false, true},
		monitor.WindowNeedsNothing:     {false, false},
	} {
		for i, unwritten := range []bool{false, true} {
			call := monitor.UncheckedCall{Kind: monitor.WrotePressureFile, Pressure: pressure}
			need := PressureTriggerNeed(call, capability.Of(capability.SysResource), unwritten)
			if need.Capabilities.Empty() == want[i] || (need.Unsure != "") != (pressure == monitor.WindowUnknown && unwritten) {
				t.Errorf("%v, not written %v: %v", pressure, unwritten, need)
			}
		}
	}
	// In its own user namespace, a process has SYS_RESOURCE, which the kernel accepts there.
	call := monitor.UncheckedCall{Kind: monitor.WrotePressureFile, Pressure: monitor.WindowNeedsSysResource}
	if need := PressureTriggerNeed(call, capability.DockerDefault(), false); !need.Capabilities.Empty() {
		t.Errorf("needs %v, which the container was not granted", need.Capabilities)
	}
}
