package observe

import (
	"fmt"
	"maps"
	"slices"

	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/monitor"
)

// continueRecording continues the recording of an earlier process. It loads what that process has saved about the
// containers.
func (o *Observer) continueRecording() error {
	if !o.monitor.Continued() {
		return nil
	}
	named, err := o.monitor.ContainerIDs()
	if err != nil {
		return err
	}
	ids := slices.Compact(slices.Sorted(maps.Values(named)))
	o.log.Debug("continued a recording", zap.String("recording", o.observation.ID), zap.Time("reported until", o.monitor.ReportedUntil()))
	if calls := o.monitor.SelectedSeccompCalls(); len(calls) > 0 { // otherwise no calls are recorded
		o.continueSeccompCalls(calls, o.storage.LoadEarlier(ids))
	}
	if o.consumer == nil {
		return nil
	}
	// The checks that the earlier process may not have reported are reported again, so none is left out.
	o.late.markAllLate()
	changes, err := o.monitor.AllDeltas()
	if err != nil {
		return fmt.Errorf("reading the checks of the earlier process: %w", err)
	}
	o.consumer.HandleReported(o, slices.DeleteFunc(changes, o.isUnreported))
	return nil
}

// continueSeccompCalls continues to record the calls. It restores, for each container, the time since which they are
// recorded.
func (o *Observer) continueSeccompCalls(calls []monitor.SeccompCallSelector, earlier profile.Profile) {
	for _, call := range calls {
		o.seccompCalls.calls[call.Name] = call
	}
	for _, run := range earlier.Runs {
		if run.Observation.ID != o.observation.ID || run.Unwatched != nil {
			continue
		}
		since := run.Since()
		if known, ok := o.seccompCalls.since[run.Container.ID]; !ok || since.After(known) {
			o.seccompCalls.since[run.Container.ID] = since
		}
	}
}

// isUnreported reports whether a check was first made after the time up to which an earlier process has reported.
func (o *Observer) isUnreported(change monitor.Delta) bool {
	return change.Now.First.After(o.monitor.ReportedUntil())
}
