package uses

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/observe"
	"github.com/capmon/capmon/monitor"
)

const (
	// nameTime is how long after a sight the engine may take to name its container, and
	// longestNameTime the longest time until it is asked again about a container that only it can
	// select.
	nameTime        = 2 * time.Second
	longestNameTime = time.Minute
	// outcomeTime is how long after a refusal its system call may take to end. Then it
	// counts as one that mattered.
	outcomeTime = 100 * time.Millisecond
	// glance is how often it is looked whether it has ended.
	glance = 5 * time.Millisecond
)

// Options of a Watcher.
type Options struct {
	Selection Selection
	// Outcomes: it is recorded how the system calls end in which a check is denied.
	Outcomes bool
	// Show takes the uses, one at a time.
	Show func(Use)
	Log  *zap.Logger
}

// Watcher makes uses of sights: the first of each way, and if it also gets changes, what was
// made later, as one use of each way and batch of changes. The uses of one container stay in
// order, and wait for no other's.
type Watcher struct {
	options Options
	showing sync.Mutex

	mu     sync.Mutex
	idle   *sync.Cond         // signals that a queue is gone
	over   bool               // no more is taken
	told   map[uint64]*record // by cgroup
	queues map[uint64][]func()
	// nameless are containers, by their cgroups, that the engine has not told of in time.
	nameless map[uint64]bool
	// withheld are containers, by their cgroups, of which only the engine can tell whether they are
	// wanted, and their IDs. Their uses wait in their queues until it does.
	withheld map[uint64]string
	// ending ends when no use may wait any longer for the engine.
	ending context.Context
	end    context.CancelFunc

	shown, unshown uint64 // uses; unshown are those that were withheld to the end
	from           map[string]bool
}

// New makes a Watcher.
func New(options Options) *Watcher {
	w := &Watcher{
		options:  options,
		told:     make(map[uint64]*record),
		queues:   make(map[uint64][]func()),
		nameless: make(map[uint64]bool),
		withheld: make(map[uint64]string),
		from:     make(map[string]bool),
	}
	w.idle = sync.NewCond(&w.mu)
	w.ending, w.end = context.WithCancel(context.Background())
	return w
}

// Take takes a sight; it is for observe.Options and does not wait.
func (w *Watcher) Take(observer *observe.Observer, sight observe.Sight) {
	uses := uses(sight, sight.Check.Check)
	if sight.Late && w.wait(sight.Cgroup, uses) || !sight.Late && slices.ContainsFunc(uses, w.mayBeNew(sight.Cgroup)) {
		at := time.Now()
		w.enqueue(sight.Cgroup, func() { w.follow(observer, sight, at) })
	}
}

// wait notes that late uses are in the queue, and reports whether there are any that are wanted
// and neither shown nor in the queue: the same may be found late over and over.
func (w *Watcher) wait(cgroup uint64, uses []Use) (any bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, use := range uses {
		if !w.options.Selection.wantsUse(use) {
			continue
		}
		if t := w.record(cgroup).at(use.way()); !t.told && !t.waiting {
			t.waiting, any = true, true
		}
	}
	return any
}

// mayBeNew tells which uses of a container may be wanted and were not shown yet. What was
// denied may turn out to be of another class, which is shown only with all.
func (w *Watcher) mayBeNew(cgroup uint64) func(Use) bool {
	return func(use Use) bool {
		return w.options.Selection.wantsUse(use) && (w.options.Selection.All || w.isNew(cgroup, use))
	}
}

func (w *Watcher) isNew(cgroup uint64, use Use) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.told[cgroup].tally(use.way()).told
}

// enqueue has something done for a container after what was to be done for it before.
func (w *Watcher) enqueue(cgroup uint64, job func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		return
	}
	queue, busy := w.queues[cgroup]
	w.queues[cgroup] = append(queue, job)
	if !busy {
		go w.work(cgroup)
	}
}

// Finish takes no more, and returns when all that was taken has been shown, or counted as withheld.
func (w *Watcher) Finish() {
	w.end()
	w.mu.Lock()
	w.over = true
	for len(w.queues) > 0 {
		w.idle.Wait()
	}
	w.mu.Unlock()
	w.tellRest()
}

// Shown tells how many uses of how many containers were shown.
func (w *Watcher) Shown() (uses uint64, containers int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.shown, len(w.from)
}

// Withheld returns the IDs of containers of which only the engine can tell whether they are
// wanted, and it has not. Their uses are shown when it has; Finish counts those that remain.
func (w *Watcher) Withheld() (uses uint64, ids []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.unshown, slices.Compact(slices.Sorted(maps.Values(w.withheld)))
}

// work empties a container's queue.
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

// follow finds out what there is to know of a sight that came at a moment, and shows its uses.
func (w *Watcher) follow(observer *observe.Observer, sight observe.Sight, at time.Time) {
	check := w.outcome(observer, sight)
	container, wanted := w.container(observer, sight.Cgroup, sight.ID, at)
	if !wanted {
		return
	}
	for _, use := range uses(sight, check) {
		use.Container = container
		if w.options.Selection.wantsUse(use) && w.isNew(sight.Cgroup, use) {
			w.tell(sight.Cgroup, use)
		}
	}
}

// outcome waits for the end of a system call in which something was denied.
func (w *Watcher) outcome(observer *observe.Observer, sight observe.Sight) monitor.Check {
	check := sight.Check.Check
	if sight.Late || !w.options.Outcomes || classify.Classify(check).Class != classify.Denied {
		return check
	}
	for deadline := time.Now().Add(outcomeTime - observer.Since(check.First)); ; time.Sleep(glance) {
		later, err := observer.Later(sight)
		if err != nil {
			w.options.Log.Debug("looking up how a denied call ended", zap.Error(err))
			return check
		}
		if later.Overruled+later.Succeeded+later.Forbidden+later.Failed > 0 || !time.Now().Before(deadline) {
			return later
		}
	}
}

// container is who a cgroup that is named by an ID belongs to, and whether it may be wanted. The
// engine has some time to tell, from a moment on. If only the engine can tell whether the container
// is wanted, the engine has until the end.
func (w *Watcher) container(observer *observe.Observer, cgroup uint64, id string, from time.Time) (Container, bool) {
	w.mu.Lock()
	patience := nameTime - time.Since(from)
	if w.nameless[cgroup] {
		patience = 0
	}
	w.mu.Unlock()
	ctx := context.Background()
	for again := nameTime; ; again = min(2*again, longestNameTime) {
		over := w.ending.Err() != nil // else the engine may have told at the same moment
		asking, cancel := context.WithTimeout(ctx, patience)
		info, told := observer.Identify(asking, cgroup, id)
		never := asking.Err() == nil // there is no engine
		cancel()
		wanted, certain := w.options.Selection.wantsContainer(info, told)
		w.note(cgroup, id, told, certain)
		if certain || never || over {
			return describe(observer, info, told), wanted || !certain
		}
		ctx, patience = w.ending, again
	}
}

// note notes whether the engine has told of a container, and whether it is certain that it is
// wanted or not.
func (w *Watcher) note(cgroup uint64, id string, told, certain bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if told {
		delete(w.nameless, cgroup)
	} else {
		w.nameless[cgroup] = true
	}
	if certain {
		delete(w.withheld, cgroup)
	} else {
		w.withheld[cgroup] = id
	}
}

// tell shows a use of a container, or counts it if it is withheld to the end.
func (w *Watcher) tell(cgroup uint64, use Use) {
	w.mu.Lock()
	if !use.Open {
		w.record(cgroup).note(use)
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
