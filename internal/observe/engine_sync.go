package observe

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/containerid"
)

// syncWithEngine inspects the containers that the kernel has reported, but the engine has not: the engine's events
// arrive with a delay. It also reads the bundles that were not read yet, and adds containers without an engine. It
// waits at most 10 seconds for an engine that does not answer.
func (o *Observer) syncWithEngine(ctx context.Context) error {
	o.addAllStandalone(ctx)
	o.readMissingBundles(ctx)
	if o.engine == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, engineTimeout)
	defer cancel()
	before := o.knownIDs()
	all, listErr := o.list(ctx)
	named, err := o.monitor.ContainerIDs()
	if err != nil {
		return err
	}
	ids := slices.DeleteFunc(slices.Compact(slices.Sorted(maps.Values(named))), containerid.IsStandalone)
	if listErr != nil {
		if o.hasAnswered() {
			o.log.Warn("the engine does not answer; names of containers may be outdated", zap.Error(listErr))
		}
		ids = slices.DeleteFunc(ids, o.inspected)
		o.mu.Lock()
		defer o.mu.Unlock()
		for _, id := range ids {
			o.fromEngine.failures[id] = listErr
		}
		return nil
	}
	o.describeEngineOnce(ctx)
	if o.storage != nil {
		o.forgetRemoved(before, all, named)
	}
	o.reinspectUndecided(named)
	ids = slices.DeleteFunc(ids, o.isForeign)
	for _, id := range ids {
		o.Inspect(ctx, id)
	}
	running := make(map[string]bool)
	for _, info := range all {
		running[info.ID] = info.Running
	}
	ids = slices.DeleteFunc(ids, func(id string) bool { return o.isKnown(id) && (o.storage != nil || running[id] || o.hasExit(id)) })
	if len(ids) == 0 {
		return nil
	}
	past, err := o.engine.Past(ctx, beforeAllEvents, time.Now())
	if err != nil {
		o.log.Warn("reading the engine's past events failed; short-lived containers may have no name", zap.Error(err))
		return nil
	}
	for _, event := range past {
		o.handleEngineEvent(event)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, id := range ids {
		if _, known := o.fromEngine.infos[id]; !known && errors.Is(o.fromEngine.failures[id], container.ErrNotFound) {
			o.fromEngine.foreign[id] = true
		}
	}
	return nil
}

// list lists all containers. It applies the changes that may have happened while no events were received.
func (o *Observer) list(ctx context.Context) ([]container.Info, error) {
	ctx, cancel := context.WithTimeout(ctx, engineTimeout)
	defer cancel()
	expected := o.monitor.Expected()
	all, err := o.engine.List(ctx, true)
	if err != nil {
		return nil, err
	}
	o.forgetUnlisted(expected, all)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fromEngine.answered = true
	for _, info := range all {
		if info.Name != "" { // a list may lack names that an inspection has
			o.setName(info.ID, info.Name)
		}
		o.recordIfNew(info)
	}
	for id := range o.seccompCalls.containers {
		if !slices.ContainsFunc(all, func(info container.Info) bool { return info.ID == id }) {
			o.stopRecordingCalls(id)
		}
	}
	return all, nil
}

// recordIfNew records whether a container was not started before the recording began. The caller holds mu.
func (o *Observer) recordIfNew(info container.Info) {
	began := o.observation.Start
	firstRun := info.Inspected && info.Running && info.FinishedAt.IsZero() && !info.StartedAt.Before(began)
	if info.NeverStarted || firstRun || info.Inspected && !info.CreatedAt.Before(began) {
		o.fromEngine.newContainers[info.ID] = true
	}
}
