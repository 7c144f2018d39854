package main

import (
	"fmt"
	"slices"
	"testing"

	"github.com/capmon/capmon/internal/kernel"
)

// unseen are the rows of the table of which older kernels show nothing, and why.
var unseen = []struct {
	before kernel.Version
	why    string
	rows   []string
}{
	{
		// With the tracepoint in it, it is too large for that.
		kernel.Version{Major: 6, Minor: 14}, "the compiler builds cap_capable into cap_vm_enough_memory, which needs nothing",
		[]string{"forks"},
	},
	{
		kernel.Version{Major: 6, Minor: 14}, "kernel.pid_max is not the PID namespace's own",
		[]string{"read-pid-max"},
	},
	{
		kernel.Version{Major: 6, Minor: 5}, "mlock_future_check looks at the limit before it asks",
		[]string{"map-locked-within", "map-locked-without", "remap-locked-within", "brk-locked-within"},
	},
}

// unseen tells why this kernel shows nothing of the workload, "" if it does.
func (w workload) unseen(t *testing.T) string {
	t.Helper()
	running := runningKernel(t)
	for _, u := range unseen {
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
