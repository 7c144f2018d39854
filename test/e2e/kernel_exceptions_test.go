package e2e

import (
	"fmt"
	"slices"
	"testing"

	"github.com/capmon/capmon/internal/kernel"
)

// kernelExceptions are the workloads whose checks older kernels do not make visible, with the reason.
var kernelExceptions = []struct {
	before kernel.Version
	why    string
	rows   []string
}{
	{
		// With the tracepoint, cap_capable is too large for inlining.
		kernel.Version{Major: 6, Minor: 14}, "the compiler inlines cap_capable into cap_vm_enough_memory, so no hook sees its irrelevant checks",
		[]string{"forks"},
	},
	{
		kernel.Version{Major: 6, Minor: 14}, "kernel.pid_max is not separate for each PID namespace",
		[]string{"read-pid-max"},
	},
	{
		kernel.Version{Major: 6, Minor: 5}, "mlock_future_check compares with the limit before the check",
		[]string{"map-locked-within", "map-locked-without", "remap-locked-within", "brk-locked-within"},
	},
}

// unseen returns the reason why this kernel does not show the checks of the workload, or "" if it does.
func (w workload) unseen(t *testing.T) string {
	t.Helper()
	running := runningKernel(t)
	for _, u := range kernelExceptions {
		if running.Before(u.before) && slices.Contains(u.rows, w.name) {
			return fmt.Sprintf("unseen before %s: %s", u.before, u.why)
		}
	}
	return ""
}

func runningKernel(t *testing.T) kernel.Version {
	t.Helper()
	running, err := kernel.RunningVersion()
	if err != nil {
		t.Fatal(err)
	}
	return running
}
