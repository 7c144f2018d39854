package observe

import (
	"errors"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/monitor"
)

// seccompCalls are the system calls that a seccomp profile allows only with a capability, and the containers that were
// granted such a capability. The calls are recorded only while such a container exists. The observer's mu guards it.
type seccompCalls struct {
	calls      map[string]monitor.SeccompCallSelector // all calls of all such containers so far: masks must not shrink
	containers map[string]bool                        // the IDs of the existing containers
	since      map[string]time.Time                   // by container ID: the time from which on all its calls are recorded
	grown      time.Time                              // when calls were last added
}

func newSeccompCalls() seccompCalls {
	return seccompCalls{calls: make(map[string]monitor.SeccompCallSelector), containers: make(map[string]bool), since: make(map[string]time.Time)}
}

// recordUnlockedCalls records the calls that a container's granted capabilities allow. The caller holds mu.
func (o *Observer) recordUnlockedCalls(info container.Info) {
	granted, err := info.Grants(o.last)
	if err != nil || info.Seccomp == nil || o.seccompCalls.containers[info.ID] {
		return
	}
	unlocked, err := info.Seccomp.Unlocked(granted)
	if err != nil {
		o.log.Warn("reading a seccomp profile failed", zap.String("id", info.ID), zap.Error(err))
		return
	}
	if len(unlocked) == 0 {
		return
	}
	grows := len(o.seccompCalls.containers) == 0
	for _, call := range unlocked {
		recorded := o.seccompCalls.calls[call.Name]
		recorded.Name = call.Name
		for i, mask := range call.Masks {
			recorded.Masks[i] |= mask
		}
		grows = grows || recorded != o.seccompCalls.calls[call.Name]
		o.seccompCalls.calls[call.Name] = recorded
	}
	o.seccompCalls.containers[info.ID] = true
	err = o.monitor.SelectSeccompCalls(slices.Collect(maps.Values(o.seccompCalls.calls)))
	if errors.Is(err, monitor.ErrClosed) { // the engine answered after the end of the recording
		return
	}
	if err != nil {
		o.log.Warn("selecting the system calls that are allowed only with a capability failed; capmon does not record them", zap.Error(err))
		return
	}
	if grows {
		o.seccompCalls.grown = o.monitor.Now()
	}
	if _, before := o.seccompCalls.since[info.ID]; !before { // set by an earlier process
		o.seccompCalls.since[info.ID] = o.seccompCalls.grown
	}
}

// stopRecordingCalls stops recording calls if this was the last container that needs it. The caller holds mu.
func (o *Observer) stopRecordingCalls(id string) {
	if !o.seccompCalls.containers[id] {
		return
	}
	delete(o.seccompCalls.containers, id)
	if len(o.seccompCalls.containers) > 0 {
		return
	}
	if err := o.monitor.SelectSeccompCalls(nil); err != nil && !errors.Is(err, monitor.ErrClosed) {
		o.log.Warn("ending the recording of system calls failed", zap.Error(err))
	}
}
