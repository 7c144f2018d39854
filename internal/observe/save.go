package observe

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/monitor"
)

const (
	// identifyTimeout is the longest time for which the data of an ended container stays in the kernel until the engine
	// reports the container. identifyTimeoutMapsFull is that time while the maps need space.
	identifyTimeout, identifyTimeoutMapsFull = 5 * time.Minute, 2 * time.Second
	// If a map is filled to nearlyFull or more, no container waits for the engine any longer.
	nearlyFull = 0.5
)

// Save passes all recorded data to Options.Storage, and then forgets the data of ended containers. Data that could
// not be saved is passed again the next time. The returned profile has the other containers.
func (o *Observer) Save(ctx context.Context) (profile.Profile, error) {
	if err := o.syncWithEngine(ctx); err != nil {
		return profile.Profile{}, err
	}
	endedErr := o.saveEnded(o.isIdentified)
	p, err := o.Profile() // also after an error
	if err == nil {
		err = o.storage.SaveProfile(p)
	}
	return p, errors.Join(endedErr, err)
}

// isIdentified reports whether the engine has reported an ended container, or will not report it.
func (o *Observer) isIdentified(cgroup uint64, id string) bool {
	if o.engine == nil {
		return true
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	cgroupInfo, _ := o.cgroupInfo(cgroup)
	belongs, decided := o.cgroupBelongsTo(cgroup, id, false)
	if !decided { // the event of its start may still be under way
		return o.monitor.Now().Sub(cgroupInfo.FirstSeen) > identifyTimeoutMapsFull
	}
	if !belongs {
		return true
	}
	// If the engine no longer has the container, its events may still be under way.
	if o.fromEngine.infos[id].Inspected || o.fromEngine.foreign[id] || o.fromEngine.infos[id].ID != "" && errors.Is(o.fromEngine.failures[id], container.ErrNotFound) {
		return true
	}
	return o.ended.waitedForEngine(id) > identifyTimeout
}

// saveEnded saves the data of those ended containers that are wanted. Their entries are then removed from the kernel's
// maps.
func (o *Observer) saveEnded(wanted func(cgroup uint64, id string) bool) error {
	var kept []monitor.ContainerRecord
	err := o.monitor.SaveEnded(wanted, func(ended monitor.Snapshot) error {
		if err := o.late.passOnEnded(ended.Containers); err != nil { // before profileOf replaces the IDs
			return err
		}
		if err := o.storage.SaveProfile(o.profileOf(ended)); err != nil {
			return fmt.Errorf("saving ended containers: %w", err)
		}
		kept = ended.Containers
		return nil
	})
	if errors.Is(err, monitor.ErrClosed) {
		return nil
	}
	o.forget(kept)
	return err
}

// makeRoomInMaps saves the ended containers that the engine has reported. If the maps are almost full, it saves all
// ended containers.
func (o *Observer) makeRoomInMaps(ctx context.Context) error {
	if o.storage == nil {
		return o.monitor.CollectEnded()
	}
	engineCtx, cancel := context.WithTimeout(ctx, identifyTimeoutMapsFull)
	defer cancel()
	err := errors.Join(o.syncWithEngine(engineCtx), o.saveEnded(o.isIdentified))
	filled, fillErr := o.monitor.Utilization()
	if filled > nearlyFull {
		err = errors.Join(err, o.saveEnded(func(uint64, string) bool { return true }))
	}
	return errors.Join(err, fillErr)
}

// forget removes what is known about runs that have ended. The container may have other runs.
func (o *Observer) forget(ended []monitor.ContainerRecord) {
	gone := make(map[uint64]bool)
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, c := range ended {
		gone[c.Cgroup] = true
		o.lookups.Forget(c.Cgroup)
	}
	o.ended.saved.add(slices.Collect(maps.Keys(gone)), o.ended.forgetLimit(), func(cgroups []uint64) {
		o.owners.forgetCgroups(cgroups)
		o.bundleData.forgetCgroups(cgroups, o.forgetWithoutEngine)
		if o.consumer != nil {
			o.consumer.ForgetContainers(cgroups)
		}
	})
	o.files.forget(gone)
}

// forgetWithoutEngine removes what is known about a container whose cgroups are gone, unless the engine knows the
// container and reports its removal. The caller holds mu.
func (o *Observer) forgetWithoutEngine(id string) {
	if o.fromEngine.infos[id].BundleOnly {
		o.owners.forgetContainer(id)
		o.fromEngine.forget(id)
		o.stopRecordingCalls(id)
		delete(o.ended.waiting, id)
		delete(o.seccompCalls.since, id)
	}
}

// forgetRemoved removes what is known about containers that neither the engine nor the kernel has any longer. before
// are the containers that were known before both lists were read.
func (o *Observer) forgetRemoved(before map[string]bool, engines []container.Info, kernels map[uint64]string) {
	for _, info := range engines {
		delete(before, info.ID)
	}
	for _, id := range kernels {
		delete(before, id)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for id := range before {
		o.owners.forgetContainer(id)
		o.fromEngine.forget(id)
		delete(o.ended.waiting, id)
		delete(o.seccompCalls.since, id)
	}
}

// knownIDs returns the IDs of the containers about which anything is known.
func (o *Observer) knownIDs() map[string]bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	ids := make(map[string]bool)
	add := func(id string) { ids[id] = true }
	o.fromEngine.eachID(add)
	eachKey(o.ended.waiting, add)
	eachKey(o.seccompCalls.since, add)
	return ids
}

func eachKey[V any](m map[string]V, visit func(string)) {
	for key := range m {
		visit(key)
	}
}
