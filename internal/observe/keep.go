package observe

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/monitor"
)

const (
	// nameless is how long the record of a container that has ended waits in the kernel for
	// the engine to tell who it was, and pressing how long that may take while room is needed.
	nameless, pressing = 5 * time.Minute, 2 * time.Second
	// lingering is how long after the end of a container something may be told of it.
	lingering = 10 * time.Second
	// scarce is how much of the room is taken when none waits any more.
	scarce = 0.5
)

// Save hands all that was recorded to Options.Keep, and forgets what it has kept of containers
// that have ended. What it did not keep is handed on again the next time. The profile is of the
// others.
func (o *Observer) Save(ctx context.Context) (profile.Profile, error) {
	if err := o.catchUp(ctx); err != nil {
		return profile.Profile{}, err
	}
	handOver := o.handOver(o.isTold)
	p, err := o.Profile() // even so
	if err == nil {
		err = o.keep(p)
	}
	return p, errors.Join(handOver, err)
}

// isTold reports whether the engine has told who a container is that has ended, or will not.
func (o *Observer) isTold(cgroup uint64, id string) bool {
	if o.engine == nil {
		return true
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	place, _ := o.place(cgroup)
	own, decided := o.owns(cgroup, id, false)
	if !decided { // the event of its start may still be on its way
		return o.monitor.Now().Sub(place.Seen) > pressing
	}
	if !own {
		return true
	}
	// Where it has none such any more, its events may still be on their way.
	if o.known.infos[id].Inspected || o.known.strangers[id] || o.known.infos[id].ID != "" && errors.Is(o.known.failures[id], container.ErrNotFound) {
		return true
	}
	since, waiting := o.waiting[id]
	if !waiting {
		since = time.Now()
		o.waiting[id] = since
	}
	return time.Since(since) > nameless
}

// handOver hands on what was recorded of the wanted containers that have ended, whose
// record then leaves the kernel.
func (o *Observer) handOver(wanted func(cgroup uint64, id string) bool) error {
	var kept []monitor.Container
	err := o.monitor.HandOver(wanted, func(ended monitor.Snapshot) error {
		if err := o.showMissed(ended.Containers); err != nil { // while they have the IDs of their cgroups
			return err
		}
		if err := o.keep(o.profileOf(ended)); err != nil {
			return fmt.Errorf("keeping what was recorded: %w", err)
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

// makeRoomBy has what ended containers recorded kept: of those that the engine has told of, and
// where the room runs out, of all.
func (o *Observer) makeRoomBy(ctx context.Context) error {
	if o.keep == nil {
		return o.monitor.Harvest()
	}
	asking, cancel := context.WithTimeout(ctx, pressing)
	defer cancel()
	err := errors.Join(o.catchUp(asking), o.handOver(o.isTold))
	filled, fillErr := o.monitor.Filled()
	if filled > scarce {
		err = errors.Join(err, o.handOver(func(uint64, string) bool { return true }))
	}
	return errors.Join(err, fillErr)
}

// departure are containers that have been kept, in the order in which they were.
type departure []departed

type departed struct {
	cgroups []uint64
	at      time.Time
}

// add takes more, and forgets those that left before a moment: nothing more is told of them.
func (d *departure) add(cgroups []uint64, before time.Time, forget func([]uint64)) {
	if len(cgroups) > 0 {
		*d = append(*d, departed{cgroups, time.Now()})
	}
	for len(*d) > 0 && (*d)[0].at.Before(before) {
		forget((*d)[0].cgroups)
		*d = (*d)[1:]
	}
}

// forget frees what is known of runs that have ended. Of the container there may be others.
func (o *Observer) forget(ended []monitor.Container) {
	gone := make(map[uint64]bool)
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, c := range ended {
		gone[c.Cgroup] = true
		delete(o.firsts, c.Cgroup)
		o.lookups.Forget(c.Cgroup)
	}
	before := time.Now().Add(-lingering)
	if o.counting && o.looked.Before(before) { // looks may be rare, and the next one tells of them
		before = o.looked
	}
	o.left.add(slices.Collect(maps.Keys(gone)), before, func(cgroups []uint64) {
		o.identities.forgetCgroups(cgroups)
		if o.forgotten != nil {
			o.forgotten(cgroups)
		}
	})
	maps.DeleteFunc(o.files, func(program profile.Program, _ kernel.FileCapabilities) bool { return gone[program.Cgroup] })
	maps.DeleteFunc(o.paths, func(program profile.Program, _ string) bool { return gone[program.Cgroup] })
	o.ways.forget(gone)
}

// forgetRemoved frees what is known of containers of which neither the engine nor the kernel
// has anything any more: of those that were known before both were asked.
func (o *Observer) forgetRemoved(before map[string]bool, engines []container.Info, kernels []string) {
	for _, info := range engines {
		delete(before, info.ID)
	}
	for _, id := range kernels {
		delete(before, id)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for id := range before {
		o.identities.forgetContainer(id)
		o.known.forget(id)
		delete(o.waiting, id)
		delete(o.watches.since, id)
	}
}

// acquainted are the containers of which anything is known.
func (o *Observer) acquainted() map[string]bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	ids := make(map[string]bool)
	note := func(id string) { ids[id] = true }
	o.known.eachID(note)
	eachKey(o.waiting, note)
	eachKey(o.watches.since, note)
	return ids
}

func eachKey[V any](m map[string]V, visit func(string)) {
	for key := range m {
		visit(key)
	}
}

// takeUp goes on where an earlier process left off, whose last word on containers is asked for.
func (o *Observer) takeUp(options Options) error {
	if !o.monitor.TakenUp() {
		return nil
	}
	named, err := o.monitor.Named()
	if err != nil {
		return err
	}
	ids := slices.Compact(slices.Sorted(maps.Values(named)))
	o.log.Debug("took a recording up", zap.String("recording", o.observation.ID), zap.Time("told until", o.monitor.Told()))
	if calls := o.monitor.WatchedCalls(); len(calls) > 0 { // other programs do not watch on
		o.watchOn(calls, options.Earlier(ids))
	}
	if options.Sights == nil {
		return nil
	}
	// What was told of, and not yet noted to be, is told again; nothing is left out.
	o.missed.Store(math.MaxUint64)
	if options.Told == nil {
		return nil
	}
	changes, err := o.monitor.Recorded()
	if err != nil {
		return fmt.Errorf("reading what was told before: %w", err)
	}
	options.Told(o, slices.DeleteFunc(changes, o.isUntold))
	return nil
}

// watchOn goes on with the calls that are watched, of containers since when they were.
func (o *Observer) watchOn(calls []monitor.WatchedCall, earlier profile.Profile) {
	for _, call := range calls {
		o.watches.calls[call.Name] = call
	}
	for _, run := range earlier.Runs {
		if run.Observation.ID != o.observation.ID || run.Unwatched != nil {
			continue
		}
		since := run.Since()
		if known, ok := o.watches.since[run.Container.ID]; !ok || since.After(known) {
			o.watches.since[run.Container.ID] = since
		}
	}
}

// isUntold reports whether a kind of check is newer than what an earlier process has told of.
func (o *Observer) isUntold(change monitor.Change) bool {
	return change.Now.First.After(o.monitor.Told())
}

// NoteTold notes that all Sights and Changes of what was recorded until a moment have been
// dealt with, for a later process that takes the recording up.
func (o *Observer) NoteTold(until time.Time) error { return o.monitor.NoteTold(until) }
