package uses

import (
	"cmp"
	"slices"
	"time"

	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/observe"
	"github.com/capmon/capmon/monitor"
)

// eventTime is how long the kernel's message of a use may take until its way is told without
// what only the message has.
const eventTime = 3 * time.Second

// record is what was told of a container, and what is still to be told.
type record struct {
	ways      map[way]*tally
	container Container // as known when it was told last
	scheduled bool      // it will be told what is owed
}

// tally is how much of a way was told.
type tally struct {
	told    bool
	waiting bool // a late sight of it is in the queue
	// owed are the uses that no line has told of. While the kernel's counts were not looked
	// at it is less than 0 by those that were told.
	owed   int64
	since  time.Time // of the use that was told last
	due    time.Time // when some were owed first, if none was told
	latest Use       // of those that are owed
}

// tally of a way, for reading; r may be nil.
func (r *record) tally(w way) tally {
	if r == nil || r.ways[w] == nil {
		return tally{}
	}
	return *r.ways[w]
}

// at is the tally of a way, for writing.
func (r *record) at(w way) *tally {
	if r.ways[w] == nil {
		r.ways[w] = &tally{}
	}
	return r.ways[w]
}

func newRecord() *record { return &record{ways: make(map[way]*tally)} }

// note notes that a use was told.
func (r *record) note(use Use) {
	t := r.at(use.way())
	t.told, t.since = true, use.Time
	if t.owed -= int64(use.Count); t.owed <= 0 { // else the counts were looked at before the kernel's message came
		t.latest = Use{}
	}
}

// add adds what has changed; uses that are not wanted are passed over.
func (r *record) add(change monitor.Change, wanted func(Use) bool) {
	for _, part := range parts(change.Before) {
		if use := repeated(change, part.meaning); wanted(use) {
			r.at(use.way()).owed -= int64(part.count)
		}
	}
	for _, part := range parts(change.Now) {
		use := repeated(change, part.meaning)
		if !wanted(use) {
			continue
		}
		t := r.at(use.way())
		t.owed += int64(part.count)
		if !use.Time.Before(t.latest.Time) {
			t.latest = use
		}
	}
}

// owing takes what is to be told now, the earliest first. Ways that were not told yet wait for
// the kernel's message, unless all are to be told.
func (r *record) owing(all bool) (owing []Use) {
	for _, t := range r.ways {
		if t.owed <= 0 {
			continue
		}
		if !t.told && t.due.IsZero() {
			t.due = time.Now()
		}
		if !t.told && !all && time.Since(t.due) < eventTime {
			continue
		}
		use := t.latest
		if r.container.ID != "" {
			use.Container = r.container
		}
		use.Count, use.Since = uint64(t.owed), t.since
		use.First, use.Late = !t.told, !t.told
		owing = append(owing, use)
	}
	slices.SortFunc(owing, func(a, b Use) int { return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.Call, b.Call)) })
	return owing
}

func (r *record) owes() bool {
	for _, t := range r.ways {
		if t.owed > 0 {
			return true
		}
	}
	return false
}

// id of the container of what is owed.
func (r *record) id() string {
	for _, t := range r.ways {
		if t.owed > 0 {
			return t.latest.Container.ID
		}
	}
	return ""
}

// part is how many checks of a kind have one meaning.
type part struct {
	meaning
	count uint64
}

// parts are the checks of a kind by what they mean.
func parts(check monitor.Check) (all []part) {
	for _, outcome := range classify.Outcomes(check) {
		all = append(all, part{meaning{check.Capability, check.Answer.Granted(), outcome.Verdict, false}, outcome.Count})
	}
	for _, demanded := range demands(check) {
		all = append(all, part{demanded, check.Count})
	}
	return all
}

// repeated is the latest use of a kind with a meaning, as far as counts tell of it: of the
// process nothing but the name is known, since the record has that of the first.
func repeated(change monitor.Change, meaning meaning) Use {
	use := newUse(change.ID, change.Now, meaning)
	use.Time = change.Now.Last
	use.Process = Process{Program: change.Now.Program, Others: change.Now.Folding != monitor.Whole, Parents: []Parent{}}
	return use
}

// TakeChanges takes what was made since the last time; it is for observe.Options and does not
// wait. However slowly uses are shown, no more is kept than there are ways.
func (w *Watcher) TakeChanges(observer *observe.Observer, changes []monitor.Change) {
	at := time.Now()
	for _, change := range changes {
		w.addChange(change)
	}
	w.mu.Lock()
	var owing []uint64
	for cgroup, r := range w.told {
		if !r.scheduled && r.owes() {
			r.scheduled = true
			owing = append(owing, cgroup)
		}
	}
	w.mu.Unlock()
	for _, cgroup := range owing {
		w.enqueue(cgroup, func() { w.repeat(observer, cgroup, at) })
	}
}

// addChange notes what is owed by a change, if any of it is wanted.
func (w *Watcher) addChange(change monitor.Change) {
	wanted := func(p part) bool { return w.options.Selection.wantsUse(repeated(change, p.meaning)) }
	if !slices.ContainsFunc(append(parts(change.Before), parts(change.Now)...), wanted) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.record(change.Cgroup).add(change, w.options.Selection.wantsUse)
}

// record is that of a container. The caller holds mu.
func (w *Watcher) record(cgroup uint64) *record {
	if w.told[cgroup] == nil {
		w.told[cgroup] = newRecord()
	}
	return w.told[cgroup]
}

// repeat tells what is owed of a container, since a moment.
func (w *Watcher) repeat(observer *observe.Observer, cgroup uint64, since time.Time) {
	w.mu.Lock()
	r := w.record(cgroup)
	id := r.id()
	r.scheduled = id != ""
	w.mu.Unlock()
	if id == "" { // the kernel's message came first
		return
	}
	container, wanted := w.container(observer, cgroup, id, since)
	if !wanted {
		w.forget(cgroup)
		return
	}
	w.mu.Lock()
	r.container, r.scheduled = container, false
	owing := r.owing(false)
	w.mu.Unlock()
	for _, use := range owing {
		w.tell(cgroup, use)
	}
}

// forget drops what is owed of a container that turned out not to be wanted.
func (w *Watcher) forget(cgroup uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.told, cgroup)
	delete(w.nameless, cgroup)
}

// tellRest tells all that is owed. Nothing else is going on any more.
func (w *Watcher) tellRest() {
	w.mu.Lock()
	rest := make(map[uint64][]Use)
	for cgroup, record := range w.told {
		rest[cgroup] = record.owing(true)
	}
	w.mu.Unlock()
	for cgroup, uses := range rest {
		for _, use := range uses {
			w.tell(cgroup, use)
		}
	}
}

// TakeTold takes what an earlier process has told of: it is not told again as the first of its
// way. It is for observe.Options.
func (w *Watcher) TakeTold(_ *observe.Observer, changes []monitor.Change) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, change := range changes {
		for _, part := range parts(change.Now) {
			t := w.record(change.Cgroup).at(repeated(change, part.meaning).way())
			t.told, t.since = true, change.Now.Last
		}
	}
}

// Forget frees what was noted of containers of which nothing more will be told, when all that is
// owed of them has been told.
func (w *Watcher) Forget(cgroups []uint64) {
	for _, cgroup := range cgroups {
		w.enqueue(cgroup, func() {
			for _, use := range w.owing(cgroup) {
				w.tell(cgroup, use)
			}
			w.forget(cgroup)
		})
	}
}

// owing takes all that is owed of a container.
func (w *Watcher) owing(cgroup uint64) []Use {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.record(cgroup).owing(true)
}
