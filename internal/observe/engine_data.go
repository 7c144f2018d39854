package observe

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/containerid"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/monitor"
)

// engineData has what the engine has reported about containers, by container ID. The observer's mu guards it.
type engineData struct {
	infos map[string]container.Info
	// names are the latest names from events. They are newer than the name in an answer that the engine sent before the
	// container was renamed.
	names map[string]string
	// exits are the ends of the containers, in the order of time.
	exits map[string][]container.Exit
	// stops are the times at which the first process got a signal that ends most programs, in the order of time.
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
	// engineProcs are the directories in /proc whose roots show files as the engines see them ([kernel.ProcDirectory]),
	// by the Engine of [container.Info]. Engines without a connection are missing.
	engineProcs map[string]string
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

// procOf returns the directory in /proc whose root shows the layers of a container. It is capmon's own directory if the
// engine's is not known.
func (e *engineData) procOf(info container.Info) string {
	return cmp.Or(e.engineProcs[info.Engine], kernel.ProcDirectory(0))
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

// notify wakes the goroutines that wait for changed.
func (e *engineData) notify() {
	close(e.changed)
	e.changed = make(chan struct{})
}

// recordStop records the time of a signal that ends most programs, unless it is recorded already.
func (e *engineData) recordStop(event container.Event) {
	if event.Stops {
		e.stops[event.ID] = insertBounded(e.stops[event.ID], event.Time, time.Time.Compare)
	}
}

// maxExits is the largest number of ends and stops that the observer keeps of each container. The oldest are removed
// first.
const maxExits = 64

// recordExit records how a container ended, unless it is recorded already: an event may be received twice.
func (e *engineData) recordExit(event container.Event) {
	if event.ExitStatus != nil {
		exit := container.Exit{Time: event.Time, Status: *event.ExitStatus}
		e.exits[event.ID] = insertBounded(e.exits[event.ID], exit, func(one, other container.Exit) int { return one.Time.Compare(other.Time) })
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

// setEngineProcs makes the observer see files as the engines with these PIDs do.
func (o *Observer) setEngineProcs(pids map[string]int) {
	procs := make(map[string]string)
	for engine, pid := range pids {
		procs[engine] = kernel.ProcDirectory(pid)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fromEngine.engineProcs = procs
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
	o.fromEngine.recordExit(event)
	o.fromEngine.recordStop(event)
	// Any event can be the first one of a container: the event of its creation may be lost.
	if _, known := o.fromEngine.infos[event.ID]; !known && event.Name != "" {
		o.fromEngine.infos[event.ID] = container.Info{ID: event.ID, Name: event.Name, Image: event.Image, Labels: event.Labels, Engine: event.Engine}
		o.fromEngine.notify()
	}
}

// setName sets the current name of a container that is known. The caller holds mu.
func (o *Observer) setName(id, name string) {
	if info, known := o.fromEngine.infos[id]; known && info.Name != name {
		o.log.Debug("a container was renamed", zap.String("id", id), zap.String("name", name))
		info.Name = name
		o.fromEngine.infos[id] = info
	}
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
func (o *Observer) unknownReasons(containers []monitor.ContainerRecord) map[string]string {
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
