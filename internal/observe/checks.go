package observe

import (
	"context"
	"fmt"
	"os"
	"path"
	"slices"

	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/untrustedfs"
	"github.com/capmon/capmon/monitor"
)

// memoryGrows is the kernel function that checks a capability whenever memory changes its size. The kernel sends no
// events for it (bpf/events.h).
const memoryGrows = "security_vm_enough_memory_mm"

// DistinctCheck is a check that a container makes for the first time, or an entry of a snapshot. Two checks are
// distinct if they have different keys in the kernel's map.
type DistinctCheck struct {
	// ID and Cgroup are as in [monitor.ContainerRecord].
	ID     string
	Cgroup uint64
	Check  monitor.CheckDetails
	// Executable is the path of the file that the process executes, as seen by the process, or otherwise the path in
	// the file system of the file. It begins with … if its beginning is missing. It is empty if it is not known.
	Executable string
	// Late: the kernel dropped the event, and the check was found later. Only the PID, Program and UID of the process
	// are known.
	Late bool

	first *monitor.FirstCheck // nil if Late
}

// handleCheck passes the check of an event to the consumer.
func (o *Observer) handleCheck(ctx context.Context, event monitor.Event) {
	whole, err := o.monitor.Details(event.Check)
	if err != nil {
		o.log.Warn("reading a check failed", zap.Error(err))
	}
	if whole != nil {
		o.consumer.HandleCheck(o, DistinctCheck{
			ID: event.ID, Cgroup: event.Cgroup, Check: *whole, first: event.Check,
			Executable: o.executable(ctx, event, whole),
		})
	}
}

// handleLateChecks passes all checks of containers to the consumer, as late ones.
func (o *Observer) handleLateChecks(containers []monitor.ContainerRecord) {
	for _, c := range containers {
		for _, check := range c.Checks {
			if check.Phase != monitor.Setup && !slices.Contains(check.Stack, memoryGrows) {
				o.consumer.HandleCheck(o, DistinctCheck{ID: c.ID, Cgroup: c.Cgroup, Check: monitor.CheckDetails{Check: check}, Late: true})
			}
		}
	}
}

// recordExecutable stores the path of an executed file, for the checks of the processes that execute it.
func (o *Observer) recordExecutable(cgroup uint64, execution monitor.Execution) {
	name := execution.Path
	if execution.Cut {
		name = path.Join("…", name)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.files.executables[profile.Program{Cgroup: cgroup, File: execution.File}] = name // of its latest version
}

// executable returns the path of the file that a process executes, as seen by the process. If that is not available, it
// returns the path at which the container executed the file for the first time.
func (o *Observer) executable(ctx context.Context, event monitor.Event, whole *monitor.CheckDetails) string {
	name, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", whole.PID)) // the kernel knows it
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, checkLookupTimeout)
		defer cancel()
		same := untrustedfs.RunsFile{PID: whole.PID, Inode: whole.Executable.Inode}
		if _, ok := o.lookUp(ctx, event.Cgroup, untrustedfs.Request{RunsFile: &same}); ok {
			return name
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.files.executables[profile.Program{Cgroup: event.Cgroup, File: whole.Executable}]
}

// CurrentCheck returns the check as the kernel has it now, with the outcomes of its system calls. It returns a late
// check, or a check of a container that ended long ago, unchanged.
func (o *Observer) CurrentCheck(distinct DistinctCheck) (monitor.Check, error) {
	if distinct.first == nil {
		return distinct.Check.Check, nil
	}
	check, known, err := o.monitor.CurrentCheck(distinct.first)
	if err != nil || !known {
		return distinct.Check.Check, err
	}
	return check, nil
}
