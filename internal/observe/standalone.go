package observe

import (
	"context"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/bundle"
	"github.com/capmon/capmon/internal/container"
)

// followStandalone returns a function that adds containers without an engine as soon as they appear, until ctx ends.
func (o *Observer) followStandalone(ctx context.Context) func() {
	return func() {
		err := o.standalone.Follow(ctx, func(state bundle.State) { o.addStandaloneInBackground(ctx, state) }, o.warnIfMissed)
		if err != nil {
			o.log.Warn("capmon does not see the starts of containers without an engine", zap.Error(err))
		}
	}
}

// addAllStandalone adds the containers without an engine that run.
func (o *Observer) addAllStandalone(ctx context.Context) {
	for _, state := range o.standalone.List() {
		o.addStandalone(ctx, state)
	}
}

// addStandaloneInBackground must be called from a goroutine that o.done waits for. It records an expected container at
// once, so that what is known when the container has started replaces it.
func (o *Observer) addStandaloneInBackground(ctx context.Context, state bundle.State) {
	if state.Pid == 0 {
		o.addStandalone(ctx, state)
		return
	}
	o.done.Go(func() {
		if o.bundles.begin(ctx) {
			defer o.bundles.end()
			o.addStandalone(ctx, state)
		}
	})
}

// addStandalone makes the kernel record a container without an engine, and records what its runtime has stored about
// it. If the runtime has not made the cgroup yet, the kernel records the container as soon as it exists.
func (o *Observer) addStandalone(ctx context.Context, state bundle.State) {
	info := infoOf(state.Bundle, state.Pid, nil)
	info.Cgroup = state.Cgroup
	if state.Pid == 0 {
		info.NeverStarted = true
		o.addStartingStandalone(ctx, info)
		o.mu.Lock()
		defer o.mu.Unlock()
		o.fromEngine.infos[info.ID] = info // it can end before its runtime stores the first process
		o.recordIfNew(info)
		if err := o.setGrant(info); err != nil {
			o.log.Warn("storing a container's granted capabilities in the kernel failed", zap.String("id", info.ID), zap.Error(err))
		}
		o.fromEngine.notify()
		return
	}
	cgroup := o.findCgroup(info)
	if cgroup == 0 {
		o.warnIfMissed(info.ID)
		return
	}
	if state.Bounding != nil && !o.hasBundle(cgroup, info.ID) {
		o.addBundle(cgroup, state.Bundle, state.Pid)
	}
}

const (
	// maxStarting is the number of containers whose cgroups are awaited at the same time.
	maxStarting = 64
	// startingTime is how long the cgroup of a container is awaited.
	startingTime = 5 * time.Second
)

// addStartingStandalone makes the kernel record a container as soon as it has a cgroup.
func (o *Observer) addStartingStandalone(ctx context.Context, info container.Info) {
	select {
	case o.startingStandalone <- struct{}{}:
	default:
		return // the container is added when its runtime has stored the first process
	}
	o.done.Go(func() {
		defer func() { <-o.startingStandalone }()
		ctx, cancel := context.WithTimeout(ctx, startingTime)
		defer cancel()
		if _, err := o.monitor.AddStartingContainer(ctx, info.Cgroup, info.ID); err != nil && ctx.Err() == nil {
			o.log.Debug("adding a starting container failed", zap.String("id", info.ID), zap.Error(err))
		}
	})
}

// maxWarned is the number of containers that the observer warned about and still knows.
const maxWarned = 4096

// warnIfMissed logs once that a container was not recorded, unless the kernel has seen it.
func (o *Observer) warnIfMissed(id string) {
	named, err := o.monitor.ContainerIDs()
	o.mu.Lock()
	defer o.mu.Unlock()
	if err == nil && !slices.Contains(slices.Collect(maps.Values(named)), id) && !o.bundleData.missed[id] {
		if len(o.bundleData.missed) >= maxWarned {
			clear(o.bundleData.missed)
		}
		o.bundleData.missed[id] = true
		o.log.Warn("a container ended before the kernel knew its cgroup, or has no cgroup of its own; capmon recorded nothing about it", zap.String("id", id))
	}
}

// hasBundle reports whether the description of the container in a cgroup is known.
func (o *Observer) hasBundle(cgroup uint64, id string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.bundleData.read[cgroup] == id
}
