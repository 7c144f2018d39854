// Package usewatch reports uses of capabilities as they happen: the first use of each pattern of use of a container
// and, if wanted, how often the container repeats it.
package usewatch

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/observe"
	"github.com/capmon/capmon/internal/uses"
	"github.com/capmon/capmon/monitor"
)

const (
	// identifyTimeout is the time after a check until which the engine may report its container. maxIdentifyTimeout is
	// the longest delay between two requests about a container that only the engine can select.
	identifyTimeout    = 2 * time.Second
	maxIdentifyTimeout = time.Minute
	// outcomeTimeout is the time after a denied check until which its system call may return. After that time the
	// denial counts as one that mattered.
	outcomeTimeout = 100 * time.Millisecond
	// outcomeInterval is the interval at which capmon checks whether the system call has returned.
	outcomeInterval = 5 * time.Millisecond
)

// Options are the settings of a [Watcher].
type Options struct {
	Selection Selection
	// Outcomes is set if the recording contains the outcomes of system calls with denied checks.
	Outcomes bool
	// Show receives the uses, one at a time.
	Show func(uses.Use)
	Log  *zap.Logger
}

// Watcher reports uses of capabilities: the first use of each pattern and, if it also gets the changes of the counts,
// the later ones as one use per pattern and batch of changes. The uses of one container stay in order and do not wait
// for other containers. A Watcher is an [observe.Consumer] and safe for concurrent use.
type Watcher struct {
	options Options
	showing sync.Mutex

	mu       sync.Mutex
	idle     *sync.Cond                 // signals that a queue was removed
	finished bool                       // accepts no more uses
	states   map[uint64]*containerState // by cgroup
	queues   map[uint64][]func()
	// unidentified are the cgroups of containers that the engine has not reported in time.
	unidentified map[uint64]bool
	// withheld are the containers that only the engine can select, by cgroup, with their IDs. Their uses wait in the
	// queues until the engine has reported them.
	withheld map[uint64]string
	// ending is done when no use may wait for the engine any longer.
	ending context.Context
	end    context.CancelFunc

	shown, unshown uint64 // numbers of uses; unshown are those that were withheld until the end
	from           map[string]bool
}

// New returns a Watcher.
func New(options Options) *Watcher {
	w := &Watcher{
		options:      options,
		states:       make(map[uint64]*containerState),
		queues:       make(map[uint64][]func()),
		unidentified: make(map[uint64]bool),
		withheld:     make(map[uint64]string),
		from:         make(map[string]bool),
	}
	w.idle = sync.NewCond(&w.mu)
	w.ending, w.end = context.WithCancel(context.Background())
	return w
}

// HandleCheck accepts a check. It implements [observe.Consumer].
func (w *Watcher) HandleCheck(observer *observe.Observer, distinct observe.DistinctCheck) {
	all := usesOf(distinct, distinct.Check.Check)
	if distinct.Late && w.queueNew(distinct.Cgroup, all) || !distinct.Late && slices.ContainsFunc(all, w.mayBeNew(distinct.Cgroup)) {
		at := time.Now()
		w.enqueue(distinct.Cgroup, func() { w.reportCheck(observer, distinct, at) })
	}
}

// queueNew marks late uses as queued. It reports whether any of them is wanted, and neither reported nor queued yet.
// The observer may find the same late check many times.
func (w *Watcher) queueNew(cgroup uint64, all []uses.Use) (any bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, use := range all {
		if !w.options.Selection.wantsUse(use) {
			continue
		}
		if t := w.state(cgroup).of(keyOf(use)); !t.reported && !t.queued {
			t.queued, any = true, true
		}
	}
	return any
}

// mayBeNew returns a function that reports whether a use of a container may be wanted and was not reported yet. A
// denied use may turn out to have another class, which is shown only with Selection.All.
func (w *Watcher) mayBeNew(cgroup uint64) func(uses.Use) bool {
	return func(use uses.Use) bool {
		return w.options.Selection.wantsUse(use) && (w.options.Selection.All || w.isNew(cgroup, use))
	}
}

func (w *Watcher) isNew(cgroup uint64, use uses.Use) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.states[cgroup].lookup(keyOf(use)).reported
}

// enqueue appends a job to the queue of a container.
func (w *Watcher) enqueue(cgroup uint64, job func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.finished {
		return
	}
	queue, busy := w.queues[cgroup]
	w.queues[cgroup] = append(queue, job)
	if !busy {
		go w.work(cgroup)
	}
}

// Finish accepts no more uses. It returns when all accepted uses have been shown, or counted as withheld.
func (w *Watcher) Finish() {
	w.end()
	w.mu.Lock()
	w.finished = true
	for len(w.queues) > 0 {
		w.idle.Wait()
	}
	w.mu.Unlock()
	w.reportRest()
}

// Shown returns how many uses of how many containers were shown.
func (w *Watcher) Shown() (count uint64, containers int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.shown, len(w.from)
}

// Withheld returns the IDs of the containers that only the engine can select and that the engine has not reported. The
// watcher shows their uses when the engine reports them. count is the number of uses that Finish could not show.
func (w *Watcher) Withheld() (count uint64, ids []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.unshown, slices.Compact(slices.Sorted(maps.Values(w.withheld)))
}

// work runs the jobs in the queue of a container.
func (w *Watcher) work(cgroup uint64) {
	for {
		w.mu.Lock()
		queue := w.queues[cgroup]
		if len(queue) == 0 {
			delete(w.queues, cgroup)
			w.idle.Broadcast()
			w.mu.Unlock()
			return
		}
		w.queues[cgroup] = nil
		w.mu.Unlock()
		for _, job := range queue {
			job()
		}
	}
}

// reportCheck collects what is known about a check, which arrived at a time, and reports its uses.
func (w *Watcher) reportCheck(observer *observe.Observer, distinct observe.DistinctCheck, at time.Time) {
	check := w.awaitOutcome(observer, distinct)
	container, wanted := w.identify(observer, distinct.Cgroup, distinct.ID, at)
	if !wanted {
		return
	}
	for _, use := range usesOf(distinct, check) {
		use.Container = container
		if w.options.Selection.wantsUse(use) && w.isNew(distinct.Cgroup, use) {
			w.report(distinct.Cgroup, use)
		}
	}
}

// awaitOutcome waits for the end of a system call with a denied check.
func (w *Watcher) awaitOutcome(observer *observe.Observer, distinct observe.DistinctCheck) monitor.Check {
	check := distinct.Check.Check
	if distinct.Late || !w.options.Outcomes || classify.Classify(check).Class != classify.Denied {
		return check
	}
	for deadline := time.Now().Add(outcomeTimeout - observer.Now().Sub(check.First)); ; time.Sleep(outcomeInterval) {
		later, err := observer.CurrentCheck(distinct)
		if err != nil {
			w.options.Log.Debug("reading the outcome of a denied call failed", zap.Error(err))
			return check
		}
		if later.Overruled+later.Succeeded+later.Forbidden+later.Failed > 0 || !time.Now().Before(deadline) {
			return later
		}
	}
}

// identify returns the container of a cgroup that has an ID in its name, and whether it may be wanted. It waits for the
// engine until identifyTimeout after from. If only the engine can select the container, it waits until the end.
func (w *Watcher) identify(observer *observe.Observer, cgroup uint64, id string, from time.Time) (uses.ContainerRef, bool) {
	w.mu.Lock()
	timeout := identifyTimeout - time.Since(from)
	if w.unidentified[cgroup] {
		timeout = 0
	}
	w.mu.Unlock()
	ctx := context.Background()
	for again := identifyTimeout; ; again = min(2*again, maxIdentifyTimeout) {
		ended := w.ending.Err() != nil // read before the answer, which may arrive at the same time
		identifyCtx, cancel := context.WithTimeout(ctx, timeout)
		info, identified := observer.Identify(identifyCtx, cgroup, id)
		noEngine := identifyCtx.Err() == nil
		cancel()
		wanted, certain := w.options.Selection.wantsContainer(info, identified)
		w.recordIdentified(cgroup, id, identified, certain)
		if certain || noEngine || ended {
			return describe(observer, info, identified), wanted || !certain
		}
		ctx, timeout = w.ending, again
	}
}

// recordIdentified records whether the engine has reported a container, and whether it is certain that the container is
// wanted or not.
func (w *Watcher) recordIdentified(cgroup uint64, id string, identified, certain bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if identified {
		delete(w.unidentified, cgroup)
	} else {
		w.unidentified[cgroup] = true
	}
	if certain {
		delete(w.withheld, cgroup)
	} else {
		w.withheld[cgroup] = id
	}
}

// report shows a use of a container, or counts it if it is withheld until the end.
func (w *Watcher) report(cgroup uint64, use uses.Use) {
	w.mu.Lock()
	if !use.Open {
		w.state(cgroup).markReported(use)
	}
	if _, withheld := w.withheld[cgroup]; withheld {
		w.unshown += use.Count
		w.mu.Unlock()
		return
	}
	w.shown += use.Count
	w.from[use.Container.ID] = true
	w.mu.Unlock()
	w.showing.Lock()
	defer w.showing.Unlock()
	w.options.Show(use)
}
