package kernel

import "testing"

func TestPreemption(t *testing.T) {
	const dynamic = "#1 SMP PREEMPT_DYNAMIC Debian"
	for _, test := range []struct {
		version     Version
		built, boot string
		want        Preemption
	}{
		{Version{6, 1}, dynamic, "quiet", Preemption{}},
		{Version{6, 1}, dynamic, "quiet preempt=full", Preemption{Trampolines: true}},
		{Version{6, 12}, dynamic, "quiet", Preemption{CanDisable: true}},
		{Version{6, 12}, dynamic, "quiet preempt=full", Preemption{Trampolines: true, CanDisable: true}},
		{Version{6, 18}, dynamic, "", Preemption{Trampolines: true, CanDisable: true}},
		{Version{7, 3}, dynamic, "", Preemption{Trampolines: true, Tracepoints: true, CanDisable: true}},
		{Version{7, 3}, "#1 SMP Debian", "", Preemption{}},
	} {
		if got := preemption(test.version, test.built, test.boot); got != test.want {
			t.Errorf("%v %q %q: got %+v, want %+v", test.version, test.built, test.boot, got, test.want)
		}
	}
}
