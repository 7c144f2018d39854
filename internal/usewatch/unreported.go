package usewatch

import (
	"cmp"
	"slices"
	"time"

	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/observe"
	"github.com/capmon/capmon/internal/uses"
	"github.com/capmon/capmon/monitor"
)

// eventTimeout is the longest time that a use waits for the kernel's event. After that time the use is reported without
// the details that only the event has.
const eventTimeout = 3 * time.Second

// containerState has the reported and the unreported uses of a container.
type containerState struct {
	uses      map[useKey]*useState
	container uses.ContainerRef // as known at the last report
	scheduled bool              // a report of the unreported uses is in the queue
}

// useState has the number of reported and unreported uses with the same key.
type useState struct {
	reported bool
	queued   bool // a late check of it is in the queue
	// unreported is the number of uses that no line has reported. It is negative if uses were reported before the
	// kernel's counts were read.
	unreported   int64
	since        time.Time // time of the last reported use
	waitingSince time.Time // since when uses are unreported, if none was reported before
	latest       uses.Use  // of the unreported uses
}

// lookup returns a copy of the state of a key. s may be nil.
func (s *containerState) lookup(key useKey) useState {
	if s == nil || s.uses[key] == nil {
		return useState{}
	}
	return *s.uses[key]
}

// of returns the state of a key, which it creates if needed.
func (s *containerState) of(key useKey) *useState {
	if s.uses[key] == nil {
		s.uses[key] = &useState{}
	}
	return s.uses[key]
}

func newContainerState() *containerState { return &containerState{uses: make(map[useKey]*useState)} }

// markReported records that a use was reported.
func (s *containerState) markReported(use uses.Use) {
	t := s.of(keyOf(use))
	t.reported, t.since = true, use.Time
	if t.unreported -= int64(use.Count); t.unreported <= 0 { // otherwise the counts were read before the kernel's event
		t.latest = uses.Use{}
	}
}

// add adds the uses of a change. It skips uses that are not wanted.
func (s *containerState) add(change monitor.Delta, wanted func(uses.Use) bool) {
	for _, part := range classifiedCounts(change.Before) {
		if use := repeatedUse(change, part.classifiedUse); wanted(use) {
			s.of(keyOf(use)).unreported -= int64(part.count)
		}
	}
	for _, part := range classifiedCounts(change.Now) {
		use := repeatedUse(change, part.classifiedUse)
		if !wanted(use) {
			continue
		}
		t := s.of(keyOf(use))
		t.unreported += int64(part.count)
		if !use.Time.Before(t.latest.Time) {
			t.latest = use
		}
	}
}

// takeUnreported returns the uses to report now, the earliest first. A use that is the first of its key waits for the
// kernel's event, unless all is set.
func (s *containerState) takeUnreported(all bool) (unreported []uses.Use) {
	for _, t := range s.uses {
		if t.unreported <= 0 {
			continue
		}
		if !t.reported && t.waitingSince.IsZero() {
			t.waitingSince = time.Now()
		}
		if !t.reported && !all && time.Since(t.waitingSince) < eventTimeout {
			continue
		}
		use := t.latest
		if s.container.ID != "" {
			use.Container = s.container
		}
		use.Count, use.Since = uint64(t.unreported), t.since
		use.First, use.Late = !t.reported, !t.reported
		unreported = append(unreported, use)
	}
	slices.SortFunc(unreported, func(a, b uses.Use) int { return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.Call, b.Call)) })
	return unreported
}

func (s *containerState) hasUnreported() bool {
	for _, t := range s.uses {
		if t.unreported > 0 {
			return true
		}
	}
	return false
}

// id returns the ID of the container with unreported uses, "" if there are none.
func (s *containerState) id() string {
	for _, t := range s.uses {
		if t.unreported > 0 {
			return t.latest.Container.ID
		}
	}
	return ""
}

// classifiedCount is the number of checks that are one classified use.
type classifiedCount struct {
	classifiedUse
	count uint64
}

// classifiedCounts returns the classified uses of a check, with their numbers of checks.
func classifiedCounts(check monitor.Check) (all []classifiedCount) {
	for _, outcome := range classify.Outcomes(check) {
		all = append(all, classifiedCount{classifiedUse{check.Capability, check.Answer.Granted(), outcome.Verdict, false}, outcome.Count})
	}
	for _, implicit := range implicitUses(check) {
		all = append(all, classifiedCount{implicit, check.Count})
	}
	return all
}

// repeatedUse returns the latest use of its kind, with the details that the counts have. Of the process, only the name
// is known: the kernel's entry has the other details of the first process.
func repeatedUse(change monitor.Delta, classified classifiedUse) uses.Use {
	use := newUse(change.ID, change.Now, classified)
	use.Time = change.Now.Last
	use.Process = uses.Process{Program: change.Now.Program, Others: change.Now.Folding != monitor.Unfolded, Parents: []uses.Parent{}}
	return use
}

// HandleChanges accepts the checks that were made since the last call. It implements [observe.Consumer]. If showing
// uses is slow, memory is bounded by the number of patterns of use.
func (w *Watcher) HandleChanges(observer *observe.Observer, changes []monitor.Delta) {
	at := time.Now()
	for _, change := range changes {
		w.addChange(change)
	}
	w.mu.Lock()
	var unreported []uint64
	for cgroup, state := range w.states {
		if !state.scheduled && state.hasUnreported() {
			state.scheduled = true
			unreported = append(unreported, cgroup)
		}
	}
	w.mu.Unlock()
	for _, cgroup := range unreported {
		w.enqueue(cgroup, func() { w.reportRepeated(observer, cgroup, at) })
	}
}

// addChange adds a change to the state of its container, if any use in it is wanted.
func (w *Watcher) addChange(change monitor.Delta) {
	wanted := func(p classifiedCount) bool {
		return w.options.Selection.wantsUse(repeatedUse(change, p.classifiedUse))
	}
	if !slices.ContainsFunc(append(classifiedCounts(change.Before), classifiedCounts(change.Now)...), wanted) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state(change.Cgroup).add(change, w.options.Selection.wantsUse)
}

// state returns the state of a container. The caller holds mu.
func (w *Watcher) state(cgroup uint64) *containerState {
	if w.states[cgroup] == nil {
		w.states[cgroup] = newContainerState()
	}
	return w.states[cgroup]
}

// reportRepeated reports the unreported uses of a container. since is when they became known.
func (w *Watcher) reportRepeated(observer *observe.Observer, cgroup uint64, since time.Time) {
	w.mu.Lock()
	state := w.state(cgroup)
	id := state.id()
	state.scheduled = id != ""
	w.mu.Unlock()
	if id == "" { // the kernel's event was handled first
		return
	}
	container, wanted := w.identify(observer, cgroup, id, since)
	if !wanted {
		w.forget(cgroup)
		return
	}
	w.mu.Lock()
	state.container, state.scheduled = container, false
	unreported := state.takeUnreported(false)
	w.mu.Unlock()
	for _, use := range unreported {
		w.report(cgroup, use)
	}
}

// forget removes the state of a container.
func (w *Watcher) forget(cgroup uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.states, cgroup)
	delete(w.unidentified, cgroup)
}

// reportRest reports all unreported uses. No queue may run any more.
func (w *Watcher) reportRest() {
	w.mu.Lock()
	rest := make(map[uint64][]uses.Use)
	for cgroup, state := range w.states {
		rest[cgroup] = state.takeUnreported(true)
	}
	w.mu.Unlock()
	for cgroup, unreported := range rest {
		for _, use := range unreported {
			w.report(cgroup, use)
		}
	}
}

// HandleReported accepts the uses that an earlier process has reported. They are not reported again as first uses. It
// implements [observe.Consumer].
func (w *Watcher) HandleReported(_ *observe.Observer, changes []monitor.Delta) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, change := range changes {
		for _, part := range classifiedCounts(change.Now) {
			t := w.state(change.Cgroup).of(keyOf(repeatedUse(change, part.classifiedUse)))
			t.reported, t.since = true, change.Now.Last
		}
	}
}

// ForgetContainers reports the unreported uses of containers and then removes their state. It implements
// [observe.Consumer].
func (w *Watcher) ForgetContainers(cgroups []uint64) {
	for _, cgroup := range cgroups {
		w.enqueue(cgroup, func() {
			for _, use := range w.takeUnreported(cgroup) {
				w.report(cgroup, use)
			}
			w.forget(cgroup)
		})
	}
}

// takeUnreported returns all unreported uses of a container.
func (w *Watcher) takeUnreported(cgroup uint64) []uses.Use {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state(cgroup).takeUnreported(true)
}
