package observe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/untrustedfs"
	"github.com/capmon/capmon/monitor"
)

const (
	// missedInterval is the interval at which the observer checks whether the kernel has dropped events. missedDelay is
	// the time that it then waits for events that are still unread.
	missedInterval = 200 * time.Millisecond
	missedDelay    = 2 * time.Second
	// missedBackoff times the duration of a search for missed checks is the pause after it. A workload that makes new
	// distinct checks all the time thus cannot keep the observer busy.
	missedBackoff = 4
)

// memoryGrows is the kernel function that checks a capability whenever memory changes its size. The kernel sends no
// events for it (bpf/events.h).
const memoryGrows = "security_vm_enough_memory_mm"

// DistinctCheck is a check that a container makes for the first time, or an entry of a snapshot. Two checks are
// distinct if they have different keys in the kernel's map.
type DistinctCheck struct {
	// ID and Cgroup are as in [monitor.Container].
	ID     string
	Cgroup uint64
	Check  monitor.CheckDetails
	// Executable is the path of the file that the process executes. It is the path as the process has it, or else as
	// its file system has it. It begins with … if its beginning is missing. It is empty if it is not known.
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
		o.log.Warn("reading a check", zap.Error(err))
	}
	if whole != nil {
		o.consumer.HandleCheck(o, DistinctCheck{
			ID: event.ID, Cgroup: event.Cgroup, Check: *whole, first: event.Check,
			Executable: o.executable(ctx, event, whole),
		})
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
	o.executables[profile.Program{Cgroup: cgroup, File: execution.File}] = name // of its latest version
}

// executable returns the path of the file that a process executes: as the process has it, or else as the container had
// it when it executed the file for the first time.
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
	return o.executables[profile.Program{Cgroup: event.Cgroup, File: whole.Executable}]
}

// followMissedEvents passes on the checks whose events the kernel has dropped because there were too many.
func (o *Observer) followMissedEvents(ctx context.Context) func() {
	return func() {
		var since time.Time // since when events are known to be missing
		pause := missedInterval
		for wait(ctx, pause) {
			pause = missedInterval
			dropped, pending, err := o.monitor.DroppedEvents()
			switch {
			case errors.Is(err, monitor.ErrClosed):
				return
			case err != nil:
				o.log.Warn("reading how many events the kernel has dropped", zap.Error(err))
				continue
			case dropped == o.droppedEvents.Load():
				since = time.Time{}
				continue
			case since.IsZero():
				since = time.Now()
			}
			if pending && time.Since(since) < missedDelay {
				continue
			}
			begin := time.Now()
			if err := o.reportMissed(); err != nil && !errors.Is(err, monitor.ErrClosed) {
				o.log.Warn("reading the checks whose events are missing", zap.Error(err))
			}
			pause = max(missedInterval, missedBackoff*time.Since(begin))
			since = time.Time{}
		}
	}
}

// stopWithChecks stops the recording and passes on the remaining checks and changes.
func (o *Observer) stopWithChecks() error {
	if err := o.monitor.Stop(); err != nil {
		return err
	}
	if err := o.monitor.FlushEvents(); err != nil {
		return fmt.Errorf("reading the last events: %w", err)
	}
	<-o.flushed
	return errors.Join(o.reportMissed(), o.readCounts())
}

// reportMissed passes on all recorded checks. For the consumer, only those without an event are new.
func (o *Observer) reportMissed() error {
	o.missedLock.Lock()
	defer o.missedLock.Unlock()
	dropped, _, err := o.monitor.DroppedEvents() // before the snapshot, which has all of these
	if err != nil {
		return err
	}
	snapshot, err := o.monitor.Snapshot()
	if err != nil {
		return err
	}
	o.reportAll(snapshot.Containers)
	o.droppedEvents.Store(dropped)
	return nil
}

// reportAll passes on all checks of containers.
func (o *Observer) reportAll(containers []monitor.Container) {
	for _, c := range containers {
		for _, check := range c.Checks {
			if check.Phase != monitor.Setup && !slices.Contains(check.Stack, memoryGrows) {
				o.consumer.HandleCheck(o, DistinctCheck{ID: c.ID, Cgroup: c.Cgroup, Check: monitor.CheckDetails{Check: check}, Late: true})
			}
		}
	}
}

// reportMissedOf passes on the checks of ended containers whose entries capmon is about to remove from the kernel's
// maps, if the kernel has dropped events since the last reportMissed. The next reportMissed would be too late for
// them.
func (o *Observer) reportMissedOf(ended []monitor.Container) error {
	if o.consumer == nil {
		return nil
	}
	dropped, _, err := o.monitor.DroppedEvents()
	if err == nil && dropped != o.droppedEvents.Load() {
		o.reportAll(ended)
	}
	return err
}

// CurrentCheck returns the check as the kernel has it now, with how its system calls ended. A late check, or one of a
// container that ended long ago, is returned unchanged.
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

// Identify returns what the engine reports about a container, which is known by its cgroup and by the ID in the name of
// that cgroup. It waits for the engine until ctx ends. It returns false if the engine does not answer. If the engine
// does not have the container, the result has only the ID. If the cgroup does not belong to that container, the result
// is Unconfirmed and has another ID.
func (o *Observer) Identify(ctx context.Context, cgroup uint64, id string) (container.Info, bool) {
	var inspected, readPast bool
	for {
		o.mu.Lock()
		own, decided := o.owns(cgroup, id, ctx.Err() != nil)
		if decided && !own {
			defer o.mu.Unlock()
			return o.unknownContainer(cgroup), true
		}
		info, known := o.fromEngine.infos[id]
		failure, changed := o.fromEngine.failures[id], o.fromEngine.changed
		_, inspecting := o.fromEngine.inspecting[id]
		o.mu.Unlock()
		gone := errors.Is(failure, container.ErrNotFound) // or another engine's
		switch {
		case known && decided:
			return info, true
		case o.engine == nil:
			return o.unnamedContainer(cgroup, id), false
		case gone && readPast:
			return o.unnamedContainer(cgroup, id), true
		case gone && o.readPastEvents(ctx):
			readPast = true
			continue
		case !gone && !inspecting && !inspected: // the event with the new container was dropped
			inspected = true
			o.Inspect(ctx, id)
			continue
		}
		select {
		case <-ctx.Done():
			if !decided {
				continue // decide with what the engine has reported so far
			}
			return o.unnamedContainer(cgroup, id), false
		case <-changed:
		}
	}
}

// readPastEvents handles the events that the engine still has, and reports whether it answered.
func (o *Observer) readPastEvents(ctx context.Context) bool {
	past, err := o.engine.Past(ctx, allTime, time.Now())
	if err != nil {
		o.log.Debug("reading the engine's past events", zap.Error(err))
		return false
	}
	for _, event := range past {
		o.handleEngineEvent(event)
	}
	return true
}
