package observe

import (
	"errors"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/monitor"
)

// watches are the containers that were granted something which their seccomp profile
// unlocks system calls by. Only while one of them exists are these calls recorded.
type watches struct {
	calls   map[string]monitor.WatchedCall // all that were ever asked for: masks must not shrink
	holders map[string]bool                // the IDs of the containers that exist
	since   map[string]time.Time           // from when on all calls of a container were recorded
	grown   time.Time                      // when calls were last added to those that are recorded
}

func newWatches() watches {
	return watches{calls: make(map[string]monitor.WatchedCall), holders: make(map[string]bool), since: make(map[string]time.Time)}
}

// watch records the calls that a container's grants unlock. The caller holds mu.
func (o *Observer) watch(info container.Info) {
	granted, err := capability.Granted(info.CapAdd, info.CapDrop, info.Privileged, o.last)
	if err != nil || info.Seccomp == nil || o.watches.holders[info.ID] {
		return
	}
	unlocked, err := info.Seccomp.Unlocked(granted)
	if err != nil {
		o.log.Warn("reading a seccomp profile", zap.String("id", info.ID), zap.Error(err))
		return
	}
	if len(unlocked) == 0 {
		return
	}
	grows := len(o.watches.holders) == 0
	for _, call := range unlocked {
		watched := o.watches.calls[call.Name]
		watched.Name = call.Name
		for i, mask := range call.Masks {
			watched.Masks[i] |= mask
		}
		grows = grows || watched != o.watches.calls[call.Name]
		o.watches.calls[call.Name] = watched
	}
	o.watches.holders[info.ID] = true
	err = o.monitor.WatchCalls(slices.Collect(maps.Values(o.watches.calls)))
	if errors.Is(err, monitor.ErrClosed) { // the engine has told after the end
		return
	}
	if err != nil {
		o.log.Warn("watching system calls that are allowed only with a capability", zap.Error(err))
		return
	}
	if grows {
		o.watches.grown = o.monitor.Now()
	}
	if _, before := o.watches.since[info.ID]; !before { // by an earlier process
		o.watches.since[info.ID] = o.watches.grown
	}
}

// unwatch ends that with the last container that it was for. The caller holds mu.
func (o *Observer) unwatch(id string) {
	if !o.watches.holders[id] {
		return
	}
	delete(o.watches.holders, id)
	if len(o.watches.holders) > 0 {
		return
	}
	if err := o.monitor.WatchCalls(nil); err != nil && !errors.Is(err, monitor.ErrClosed) {
		o.log.Warn("watching system calls no longer", zap.Error(err))
	}
}
