package observe

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"path"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/containerid"
	"github.com/capmon/capmon/monitor"
)

// maxInspections is the number of containers that are inspected at the same time.
const maxInspections = 8

// inspections limits how many containers are inspected at the same time. It is safe for concurrent use.
type inspections struct {
	slots chan struct{} // has one element for each inspection that runs
	// runningInspected is sent when the engine has reported the containers that were running at the start, or when that
	// has failed.
	runningInspected oneTimeEvent
}

func newInspections() inspections {
	return inspections{slots: make(chan struct{}, maxInspections), runningInspected: newOneTimeEvent()}
}

// inspectInBackground calls Inspect in a goroutine of its own, so that a slow engine does not delay events, and repeats
// it until the engine answers. It returns a channel that is closed after the first attempt. It must be called from a
// goroutine that o.done waits for.
func (o *Observer) inspectInBackground(ctx context.Context, id string) <-chan struct{} {
	answer, inspecting := o.beginInspecting(id)
	if inspecting {
		return answer
	}
	o.done.Go(func() {
		known := o.inspectInSlot(ctx, id)
		close(answer)
		for !o.endInspecting(id, known || !sleep(ctx, engineRetry)) {
			known = o.inspectInSlot(ctx, id)
		}
	})
	return answer
}

// inspectInSlot calls Inspect, but at most maxInspections run at the same time.
func (o *Observer) inspectInSlot(ctx context.Context, id string) bool {
	o.inspections.slots <- struct{}{}
	defer func() { <-o.inspections.slots }()
	return o.Inspect(ctx, id)
}

// beginInspecting returns the channel that is closed after the first answer about a container, and whether another
// goroutine inspects the container already. If none does, the caller has to inspect it, close the channel and call
// endInspecting.
func (o *Observer) beginInspecting(id string) (answer chan struct{}, inspecting bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if answer, inspecting = o.fromEngine.inspecting[id]; !inspecting {
		answer = make(chan struct{})
		o.fromEngine.inspecting[id] = answer
	}
	return answer, inspecting
}

// endInspecting ends an inspection if it is done and no later event makes another inspection necessary. It reports
// whether the inspection has ended.
func (o *Observer) endInspecting(id string, done bool) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if done && !o.owners.mustInspect[id] {
		delete(o.fromEngine.inspecting, id)
		return true
	}
	return false
}

// Inspect inspects a container with the engine, unless the engine has reported it already and the container was not
// restarted since. It reports whether the engine answered.
func (o *Observer) Inspect(ctx context.Context, id string) bool {
	if o.engine == nil || !o.mustInspect(id) {
		return true
	}
	inspectCtx, cancel := context.WithTimeout(ctx, engineTimeout)
	defer cancel()
	inspectedAt := o.monitor.Now()
	info, err := o.engine.Inspect(inspectCtx, id)
	var cgroup uint64
	if err == nil && info.Running && info.Pid != 0 {
		cgroup = o.findCgroup(info)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	defer o.fromEngine.notify()
	switch {
	case err == nil || errors.Is(err, container.ErrNotFound):
		o.owners.inspectedAt[id] = inspectedAt
	case ctx.Err() == nil:
		o.owners.mustInspect[id] = true
	}
	if gone, known := o.fromEngine.infos[id]; known && !gone.BundleOnly && errors.Is(err, container.ErrNotFound) {
		gone.Running, gone.Pid = false, 0
		o.fromEngine.infos[id] = gone
	}
	if err != nil {
		// The container was removed already, or is another engine's, or the engine is not reachable. What the kernel
		// has recorded remains.
		o.fromEngine.failures[id] = err
		o.log.Debug("inspecting a container failed", zap.String("id", id), zap.Error(err))
		return errors.Is(err, container.ErrNotFound) || errors.Is(err, container.ErrTooLarge)
	}
	if len(info.Layers) == 0 { // containerd does not answer, or the root file system is no longer mounted
		info.Layers = o.fromEngine.infos[id].Layers
	}
	if known := o.fromEngine.infos[id]; known.Engine != "" {
		info = info.WithBundle(known)
	}
	o.fromEngine.infos[id] = info
	o.recordIfNew(info)
	if cgroup != 0 {
		o.confirm(info, cgroup)
	}
	if name, renamed := o.fromEngine.names[id]; renamed {
		o.setName(id, name)
	}
	if err := o.setGrant(info); err != nil {
		o.log.Warn("storing a container's granted capabilities in the kernel failed", zap.String("id", id), zap.Error(err))
	}
	if o.wantsProfiles() {
		o.recordUnlockedCalls(info)
	}
	o.log.Debug("inspected a container", zap.String("id", id), zap.String("name", info.Name))
	return true
}

// mustInspect reports whether a container has to be inspected, and clears its mark. A bundle has fewer labels than an
// engine.
func (o *Observer) mustInspect(id string) bool {
	if containerid.IsStandalone(id) {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	info := o.fromEngine.infos[id]
	must := !info.Inspected || info.BundleOnly && !errors.Is(o.fromEngine.failures[id], container.ErrNotFound) || o.owners.mustInspect[id]
	delete(o.owners.mustInspect, id)
	return must
}

// findCgroup returns the cgroup of a running container, found by its first process. It returns 0 if the process is not
// visible from here or has ended.
func (o *Observer) findCgroup(info container.Info) uint64 {
	cgroup, where, err := o.monitor.CgroupOf(info.Pid, info.ID)
	if errors.Is(err, monitor.ErrNotInContainer) {
		if where = cmp.Or(info.Cgroup, o.cgroupLikePod(info)); where != "" {
			cgroup, err = o.monitor.AddContainer(where, info.ID, info.Pid)
		}
	}
	if err == nil {
		err = o.monitor.TrustSiblings(where)
	}
	if err != nil {
		o.log.Debug("finding a container's cgroup failed", zap.String("id", info.ID), zap.Error(err))
		return 0
	}
	return cgroup
}

// cgroupLikePod returns the cgroup of a container that is named like the cgroup of a pod, because the user made the
// container below libpod_parent. If all its processes are in cgroups below, only the engine can tell it from a pod.
func (o *Observer) cgroupLikePod(info container.Info) string {
	own, err := o.lookups.cgroups.Path(info.Pid)
	if err != nil {
		return ""
	}
	above, _, found := strings.Cut(own, "/"+info.ID+"/")
	if where := path.Join(above, info.ID); found && containerid.MayBePod(where) {
		return where
	}
	return ""
}

// addStarting makes the kernel record a container that is about to start. The inspection would do so, but a bit later:
// the container's program may have started then.
func (o *Observer) addStarting(event container.Event) {
	o.mu.Lock()
	info := o.fromEngine.infos[event.ID]
	o.mu.Unlock()
	if info.Cgroup == "" || event.Pid == 0 {
		return
	}
	info.Pid = event.Pid
	o.done.Go(func() {
		if o.findCgroup(info) != 0 {
			return
		}
		named, err := o.monitor.ContainerIDs()
		if err == nil && !slices.Contains(slices.Collect(maps.Values(named)), info.ID) {
			o.log.Warn("a container ended before the kernel knew its cgroup; capmon recorded nothing about it", zap.String("name", info.Name), zap.String("id", info.ID))
		}
	})
}

// setGrant stores what the engine granted a container in the kernel's map.
func (o *Observer) setGrant(info container.Info) error {
	if info.Kind != "" && info.Granted == nil {
		return nil
	}
	granted, err := info.Grants(o.last)
	if err != nil {
		return err
	}
	if err := o.monitor.SetGrant(info.ID, granted); !errors.Is(err, monitor.ErrClosed) { // the engine answered after the end of the recording
		return err
	}
	return nil
}
