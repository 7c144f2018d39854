package observe

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/containerid"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/monitor"
)

// engineTimeout is the time limit of one request to the engine. A slow engine may cost a name, but never a check.
const engineTimeout = 10 * time.Second

// maxInspections is the number of containers that are inspected at the same time.
const maxInspections = 8

// engineRetry is the first delay before a request is repeated that the engine did not answer.
const engineRetry = time.Second

// allTime is a time before all events that an engine keeps. The observer uses it when it reads the events again. A
// later time could skip events, because the wall clock, which dates the events, may have been set back.
var allTime = time.Unix(0, 0)

// engineData has what the engine has reported about containers, by container ID.
type engineData struct {
	infos map[string]container.Info
	// names are the latest names from events. They are newer than an answer that was under way when the container was
	// renamed.
	names map[string]string
	// exits are the ends of the containers, in the order of time.
	exits map[string][]container.Exit
	// stops are the times at which a signal was sent that ends most programs, in the order of time.
	stops map[string][]time.Time
	// inspecting are the containers that are being inspected. Each has a channel that is closed after the first answer.
	// failures are the errors of the last inspections.
	inspecting map[string]chan struct{}
	failures   map[string]error
	// foreign are the containers that this engine does not know. They belong to another engine.
	foreign map[string]bool
	// newContainers are the containers that were not started before the recording began.
	newContainers map[string]bool
	answered      bool // whether the engine has answered at least once
	// changed is closed and replaced when the engine reports something about a container.
	changed chan struct{}
}

func newEngineData() engineData {
	return engineData{
		infos: make(map[string]container.Info), names: make(map[string]string), exits: make(map[string][]container.Exit), stops: make(map[string][]time.Time),
		inspecting: make(map[string]chan struct{}), failures: make(map[string]error), foreign: make(map[string]bool), newContainers: make(map[string]bool),
		changed: make(chan struct{}),
	}
}

// forget removes everything about a container.
func (e *engineData) forget(id string) {
	delete(e.infos, id)
	delete(e.names, id)
	delete(e.exits, id)
	delete(e.stops, id)
	delete(e.failures, id)
	delete(e.foreign, id)
	delete(e.newContainers, id)
}

// eachID calls visit for each container that forget would remove, for some more than once.
func (e *engineData) eachID(visit func(id string)) {
	eachKey(e.infos, visit)
	eachKey(e.names, visit)
	eachKey(e.exits, visit)
	eachKey(e.stops, visit)
	eachKey(e.failures, visit)
	eachKey(e.foreign, visit)
	eachKey(e.newContainers, visit)
}

// notify wakes the goroutines that wait for changed. The caller holds the observer's mu.
func (e *engineData) notify() {
	close(e.changed)
	e.changed = make(chan struct{})
}

// followEngine follows the engine's events until ctx ends, across restarts and failures of the engine. It logs each
// error once.
func (o *Observer) followEngine(ctx context.Context) func() {
	return func() {
		logged := make(map[string]bool)
		since := o.observation.Start
		for delay := engineRetry; ; delay = min(2*delay, engineTimeout) {
			err := o.followEngineOnce(ctx, since)
			if ctx.Err() != nil {
				return
			}
			if o.hasAnswered() && !logged[err.Error()] { // an engine that never answered has been reported already
				o.log.Warn("the engine's event stream failed, retrying; short-lived containers may have no name", zap.Error(err))
				logged[err.Error()] = true
			}
			if !wait(ctx, delay) {
				return
			}
			since = allTime
		}
	}
}

// followEngineOnce reads names and images from the engine's events, which also cover containers that were removed
// before an inspection. It also inspects the containers that are already running. It returns the reason why the events
// ended.
func (o *Observer) followEngineOnce(ctx context.Context, since time.Time) error {
	following, cancel := context.WithCancel(ctx)
	defer cancel()
	events, errs := o.engine.Events(following, since) // before the list, so that no container is missing in both
	all, err := o.list(ctx)
	if err != nil {
		o.setEngineRead()
		return err
	}
	o.setViewer(o.engine.PID())
	defer o.setViewer(0) // a process of a container may get the process ID of an engine that has exited
	o.inspectRunning(ctx, all)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-errs:
			return err
		case event := <-events:
			o.handleEngineEvent(event)
			if event.Type == container.Started {
				o.markRestarted(event.ID)
			}
			if event.Type == container.Created || event.Type == container.Started {
				o.inspectInBackground(ctx, event.ID)
			}
		}
	}
}

// currentViewer returns the directory in /proc whose root shows files as the engine sees them.
func (o *Observer) currentViewer() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.viewer
}

// setViewer makes the observer see files as the process pid does, or as this process does if pid is 0.
func (o *Observer) setViewer(pid int) {
	viewer := kernel.Viewer(pid)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.viewer = viewer
}

// WaitForEngine waits until the engine has reported the containers that were running when the recording began. From
// then on, the system calls that only their grants allow are recorded. It does not wait longer than 10 seconds for an
// engine that does not answer.
func (o *Observer) WaitForEngine(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, engineTimeout)
	defer cancel()
	select {
	case <-o.engineRead:
	case <-ctx.Done():
	}
}

// inspectRunning inspects the running containers. After one answer for each of them, even a failure, it calls
// setEngineRead.
func (o *Observer) inspectRunning(ctx context.Context, all []container.Info) {
	var answers []<-chan struct{}
	for _, info := range all {
		if info.Running {
			o.markRestarted(info.ID) // perhaps, while no events were received
			answers = append(answers, o.inspectInBackground(ctx, info.ID))
		}
	}
	o.done.Go(func() {
		for _, answer := range answers {
			<-answer
		}
		o.setEngineRead()
	})
}

// handleEngineEvent records what an event reports.
func (o *Observer) handleEngineEvent(event container.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch event.Type {
	case container.Removed: // until then the container may be started again
		o.stopRecordingCalls(event.ID)
	case container.Renamed:
		o.fromEngine.names[event.ID] = event.Name
		o.setName(event.ID, event.Name)
	}
	o.recordExit(event)
	o.recordStop(event)
	// Any event can be the first one of a container: the event of its creation may be lost.
	if _, known := o.fromEngine.infos[event.ID]; !known && event.Name != "" {
		o.fromEngine.infos[event.ID] = container.Info{ID: event.ID, Name: event.Name, Image: event.Image, Labels: event.Labels}
		o.fromEngine.notify()
	}
}

// recordStop records when a signal was sent that ends most programs, unless it is recorded already. The caller holds
// mu.
func (o *Observer) recordStop(event container.Event) {
	if event.Stops {
		o.fromEngine.stops[event.ID] = insertBounded(o.fromEngine.stops[event.ID], event.Time, time.Time.Compare)
	}
}

// maxExits is the largest number of ends and stops that the observer keeps of each container. The oldest are removed
// first.
const maxExits = 64

// recordExit records how a container ended, unless it is recorded already: an event may be received twice. The caller
// holds mu.
func (o *Observer) recordExit(event container.Event) {
	if event.ExitStatus != nil {
		exit := container.Exit{Time: event.Time, Status: *event.ExitStatus}
		o.fromEngine.exits[event.ID] = insertBounded(o.fromEngine.exits[event.ID], exit, func(one, other container.Exit) int { return one.Time.Compare(other.Time) })
	}
}

// insertBounded inserts an element into an ordered list, unless the list has it, and removes the first elements beyond
// maxExits.
func insertBounded[T any](list []T, one T, compare func(one, other T) int) []T {
	i, known := slices.BinarySearchFunc(list, one, compare)
	if !known {
		list = slices.Insert(list, i, one)
	}
	return list[max(0, len(list)-maxExits):]
}

// setName sets the current name of a container that is known. The caller holds mu.
func (o *Observer) setName(id, name string) {
	if info, known := o.fromEngine.infos[id]; known && info.Name != name {
		o.log.Debug("a container was renamed", zap.String("id", id), zap.String("name", name))
		info.Name = name
		o.fromEngine.infos[id] = info
	}
}

// list lists all containers. It applies the changes that may have happened while no events were received.
func (o *Observer) list(ctx context.Context) ([]container.Info, error) {
	ctx, cancel := context.WithTimeout(ctx, engineTimeout)
	defer cancel()
	all, err := o.engine.List(ctx, true)
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fromEngine.answered = true
	for _, info := range all {
		o.setName(info.ID, info.Name)
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

// wait waits for a duration. It returns false if ctx ends first.
func wait(ctx context.Context, some time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(some):
		return true
	}
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
		for !o.endInspecting(id, known || !wait(ctx, engineRetry)) {
			known = o.inspectInSlot(ctx, id)
		}
	})
	return answer
}

// inspectInSlot calls Inspect, but at most maxInspections run at the same time.
func (o *Observer) inspectInSlot(ctx context.Context, id string) bool {
	o.inspectSlots <- struct{}{}
	defer func() { <-o.inspectSlots }()
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

// endInspecting ends an inspection if it is done and nothing has happened since that makes another one necessary. It
// returns whether the inspection has ended.
func (o *Observer) endInspecting(id string, done bool) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if done && !o.identities.stale[id] {
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
		o.identities.inspectedAt[id] = inspectedAt
	case ctx.Err() == nil:
		o.identities.stale[id] = true
	}
	if gone, known := o.fromEngine.infos[id]; known && errors.Is(err, container.ErrNotFound) {
		gone.Running, gone.Pid = false, 0
		o.fromEngine.infos[id] = gone
	}
	if err != nil {
		// The container was removed already, or is another engine's, or the engine is not reachable. What the kernel
		// has recorded remains.
		o.fromEngine.failures[id] = err
		o.log.Debug("inspecting a container failed", zap.String("id", id), zap.Error(err))
		return errors.Is(err, container.ErrNotFound)
	}
	if len(info.Layers) == 0 { // containerd does not answer, or the root file system is no longer mounted
		info.Layers = o.fromEngine.infos[id].Layers
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
		o.log.Warn("storing a container's granted capabilities in the kernel", zap.String("id", id), zap.Error(err))
	}
	if o.profiles() {
		o.recordUnlockedCalls(info)
	}
	o.log.Debug("inspected a container", zap.String("id", id), zap.String("name", info.Name))
	return true
}

// mustInspect reports whether a container has to be inspected, and clears its stale mark.
func (o *Observer) mustInspect(id string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	must := !o.fromEngine.infos[id].Inspected || o.identities.stale[id]
	delete(o.identities.stale, id)
	return must
}

// findCgroup returns the cgroup of a running container, found by its first process. It returns 0 if the process is not
// visible from here or has ended.
func (o *Observer) findCgroup(info container.Info) uint64 {
	cgroup, where, err := o.monitor.CgroupOf(info.Pid, info.ID)
	if err == nil {
		err = o.monitor.TrustSiblings(where)
	}
	if err != nil {
		o.log.Debug("looking for a container's cgroup", zap.String("id", info.ID), zap.Error(err))
		return 0
	}
	return cgroup
}

// setGrant stores what the engine granted a container in the kernel's map.
func (o *Observer) setGrant(info container.Info) error {
	granted, err := capability.Granted(info.CapAdd, info.CapDrop, info.Privileged, o.last)
	if err != nil {
		return err
	}
	if err := o.monitor.SetGrant(info.ID, granted); !errors.Is(err, monitor.ErrClosed) { // the engine answered after the end of the recording
		return err
	}
	return nil
}

func (o *Observer) hasAnswered() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.fromEngine.answered
}

// Answered reports whether the engine has reported a container, or has reported that it does not have it.
func (o *Observer) Answered(id string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.fromEngine.infos[id].Inspected || errors.Is(o.fromEngine.failures[id], container.ErrNotFound)
}

// Labels returns the labels of a container with all values. They are only for filters.
func (o *Observer) Labels(id string) map[string]string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.fromEngine.infos[id].Labels
}

// ShownLabels returns labels without the values that must not be stored or shown.
func (o *Observer) ShownLabels(labels map[string]string) map[string]string {
	return o.keptLabels.Of(labels)
}

func (o *Observer) inspected(id string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.fromEngine.infos[id].Inspected
}

// syncWithEngine inspects the containers that the kernel has seen and the engine's events, which arrive with a delay,
// have not reported yet. It does not wait longer than 10 seconds for an engine that does not answer.
func (o *Observer) syncWithEngine(ctx context.Context) error {
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
	ids := slices.Compact(slices.Sorted(maps.Values(named)))
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
	if o.storage != nil {
		o.forgetRemoved(before, all, ids)
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
	past, err := o.engine.Past(ctx, allTime, time.Now())
	if err != nil {
		o.log.Warn("reading the engine's past events; short-lived containers may have no name", zap.Error(err))
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

func (o *Observer) isKnown(id string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, known := o.fromEngine.infos[id]
	return known
}

func (o *Observer) hasExit(id string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.fromEngine.exits[id]) > 0
}

func (o *Observer) isForeign(id string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.fromEngine.foreign[id]
}

// unknownReasons returns the reasons why the engine has not reported the settings of containers, by container ID. The
// caller holds mu.
func (o *Observer) unknownReasons(containers []monitor.Container) map[string]string {
	reasons := make(map[string]string)
	for _, c := range containers {
		err := o.fromEngine.failures[c.ID]
		switch {
		case strings.HasPrefix(c.ID, containerid.UnknownPrefix):
			reasons[c.ID] = "no engine confirms that this cgroup belongs to a container"
		case o.fromEngine.infos[c.ID].Inspected:
		case o.engine == nil:
			reasons[c.ID] = "no engine is available"
		case err == nil:
			reasons[c.ID] = "the engine has not answered yet"
		case errors.Is(err, container.ErrNotFound):
			reasons[c.ID] = fmt.Sprintf("%s does not have this container, or has removed it", o.engine.Name())
		default:
			reasons[c.ID] = err.Error()
		}
	}
	return reasons
}
