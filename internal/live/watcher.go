package live

import (
	"context"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/observe"
	"github.com/capmon/capmon/monitor"
)

const (
	// nameTime is how long after a sight the engine may take to name its container.
	nameTime = 2 * time.Second
	// outcomeTime is how long after a refusal its system call may take to end. Then it
	// counts as one that mattered.
	outcomeTime = 100 * time.Millisecond
	// glance is how often it is looked whether it has ended.
	glance = 5 * time.Millisecond
)

// Options of a Watcher.
type Options struct {
	Selection Selection
	// Outcomes: it is recorded how the system calls end in which a check is refused.
	Outcomes bool
	// Show takes the uses, one at a time.
	Show func(Use)
	Log  *zap.Logger
}

// Watcher makes uses of sights. Those of one container stay in order, and wait for no other's.
type Watcher struct {
	options Options
	showing sync.Mutex

	mu     sync.Mutex
	idle   *sync.Cond              // signals that a queue is gone
	over   bool                    // no more is taken
	shown  map[uint64]map[way]bool // by cgroup
	queues map[uint64][]taken      // likewise, those that are worked on
	// nameless are containers, by their IDs, that the engine has not told of in time.
	nameless map[string]bool
	count    uint64
	from     map[string]bool
}

// taken is a sight with the moment at which it came here.
type taken struct {
	observe.Sight
	at time.Time
}

// New makes a Watcher.
func New(options Options) *Watcher {
	w := &Watcher{
		options:  options,
		shown:    make(map[uint64]map[way]bool),
		queues:   make(map[uint64][]taken),
		nameless: make(map[string]bool),
		from:     make(map[string]bool),
	}
	w.idle = sync.NewCond(&w.mu)
	return w
}

// Take takes a sight; it is for observe.Options and does not wait.
func (w *Watcher) Take(observer *observe.Observer, sight observe.Sight) {
	if !slices.ContainsFunc(uses(sight, sight.Check.Check), w.mayBeNew(sight.Cgroup)) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		return
	}
	queue, busy := w.queues[sight.Cgroup]
	w.queues[sight.Cgroup] = append(queue, taken{sight, time.Now()})
	if !busy {
		go w.work(observer, sight.Cgroup)
	}
}

// mayBeNew tells which uses of a container may be wanted and were not shown yet. What was
// refused may turn out to be of another class, which is shown only with all.
func (w *Watcher) mayBeNew(cgroup uint64) func(Use) bool {
	return func(use Use) bool {
		return w.options.Selection.wantsUse(use) && (w.options.Selection.All || w.isNew(cgroup, use))
	}
}

func (w *Watcher) isNew(cgroup uint64, use Use) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.shown[cgroup][use.way()]
}

// Finish takes no more, and returns when all that was taken has been shown.
func (w *Watcher) Finish() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	for len(w.queues) > 0 {
		w.idle.Wait()
	}
}

// Shown tells how many uses of how many containers were shown.
func (w *Watcher) Shown() (uses uint64, containers int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.count, len(w.from)
}

// work empties a container's queue.
func (w *Watcher) work(observer *observe.Observer, cgroup uint64) {
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
		for _, sight := range queue {
			w.follow(observer, sight)
		}
	}
}

// follow finds out what there is to know of a sight, and shows its uses.
func (w *Watcher) follow(observer *observe.Observer, sight taken) {
	check := w.outcome(observer, sight.Sight)
	info, told := w.identify(observer, sight)
	if !w.options.Selection.wantsContainer(info, told) {
		return
	}
	for _, use := range uses(sight.Sight, check) {
		use.Container = describe(info, told)
		if w.options.Selection.wantsUse(use) && w.isNew(sight.Cgroup, use) {
			w.show(sight.Cgroup, use)
		}
	}
}

// outcome waits for the end of a system call in which something was refused.
func (w *Watcher) outcome(observer *observe.Observer, sight observe.Sight) monitor.Check {
	check := sight.Check.Check
	if sight.Late || !w.options.Outcomes || classify.Classify(check).Class != classify.Denied {
		return check
	}
	for deadline := time.Now().Add(outcomeTime - observer.Since(check.First)); ; time.Sleep(glance) {
		later, err := observer.Later(sight)
		if err != nil {
			w.options.Log.Debug("looking up how a refused call ended", zap.Error(err))
			return check
		}
		if later.Overruled+later.Succeeded+later.Forbidden+later.Failed > 0 || !time.Now().Before(deadline) {
			return later
		}
	}
}

// identify asks who the container is; false if the engine does not tell in time.
func (w *Watcher) identify(observer *observe.Observer, sight taken) (container.Info, bool) {
	w.mu.Lock()
	patience := nameTime - time.Since(sight.at)
	if w.nameless[sight.ID] {
		patience = 0
	}
	w.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	info, told := observer.Identify(ctx, sight.ID)
	w.mu.Lock()
	defer w.mu.Unlock()
	if told {
		delete(w.nameless, sight.ID)
	} else {
		w.nameless[sight.ID] = true
	}
	return info, told
}

func (w *Watcher) show(cgroup uint64, use Use) {
	w.mu.Lock()
	if w.shown[cgroup] == nil {
		w.shown[cgroup] = make(map[way]bool)
	}
	w.shown[cgroup][use.way()] = true
	w.count++
	w.from[use.Container.ID] = true
	w.mu.Unlock()
	w.showing.Lock()
	defer w.showing.Unlock()
	w.options.Show(use)
}
