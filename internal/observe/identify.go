package observe

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/container"
)

// Identify returns what the engine reports about a container, which is known by its cgroup and by the ID in the name of
// that cgroup. It waits for the engine until ctx ends. It returns false if the engine does not answer. If the engine
// does not have the container, the result has only the ID. If the cgroup does not belong to that container, the result
// is Unconfirmed and has another ID.
func (o *Observer) Identify(ctx context.Context, cgroup uint64, id string) (container.Info, bool) {
	var inspected, readPast bool
	for {
		o.mu.Lock()
		belongs, decided := o.cgroupBelongsTo(cgroup, id, ctx.Err() != nil)
		if decided && !belongs {
			defer o.mu.Unlock()
			return o.unknownContainer(cgroup), true
		}
		info, known := o.fromEngine.infos[id]
		failure, changed := o.fromEngine.failures[id], o.fromEngine.changed
		_, inspecting := o.fromEngine.inspecting[id]
		answered := o.fromEngine.answered
		o.mu.Unlock()
		gone := errors.Is(failure, container.ErrNotFound) // or another engine's
		// An engine that answers may know more labels than the bundle.
		suffices := known && (!info.BundleOnly || gone || inspected || !answered || ctx.Err() != nil)
		switch {
		case suffices && decided:
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
			if known || !decided {
				continue // decide with what the engine has reported so far
			}
			return o.unnamedContainer(cgroup, id), false
		case <-changed:
		}
	}
}

// readPastEvents handles the events that the engine still has, and reports whether it answered.
func (o *Observer) readPastEvents(ctx context.Context) bool {
	past, err := o.engine.Past(ctx, beforeAllEvents, time.Now())
	if err != nil {
		o.log.Debug("reading the engine's past events failed", zap.Error(err))
		return false
	}
	for _, event := range past {
		o.handleEngineEvent(event)
	}
	return true
}
