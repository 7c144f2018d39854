package verify

import (
	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/profile"
)

// secondStart is how a container is started a second time: a service may need more when it finds
// its own files, such as a directory that only another user may enter.
type secondStart int

const (
	none secondStart = iota
	// sameContainer keeps the files of the container and its volumes, as docker restart does.
	sameContainer
	// otherContainer keeps only what outlives a container that the engine removes.
	otherContainer
)

// secondStartOf chooses what a user's next start of the command comes to. lasting: it has volumes or
// directories that outlive the container.
func secondStartOf(c Command, lasting bool) secondStart {
	switch {
	case !c.removes():
		return sameContainer
	case lasting:
		return otherContainer
	}
	return none
}

// compareSecondStart finds out whether a second start can be compared: it has to be a success
// under the original flags.
func (t *trials) compareSecondStart(a *attempt) {
	for i := range a.ended {
		if second := a.ended[i].second; second != nil && second.outcome != t.bench.success {
			t.options.note("under its own flags a second start fails: %s%s; no second start is tried", second.outcome, quoted(second.output))
			t.bench.second = none
		}
	}
	for i := range a.ended {
		if t.bench.second == none {
			a.ended[i].second = nil
		}
	}
}

// noteSecondStart says what a second start needs more than the first one, and returns it.
func (t *trials) noteSecondStart(original attempt) capability.Set {
	var first, second []profile.Run
	for _, e := range original.ended {
		first = append(first, e.runs...)
		if e.second != nil {
			second = append(second, e.second.runs...)
		}
	}
	more := needs(second).Minus(needs(first))
	if !more.Empty() {
		t.options.note("the second start needs %s, which the first does not", more.Text())
	}
	return more
}

func needs(runs []profile.Run) capability.Set {
	var set capability.Set
	for _, s := range profile.Summaries(profile.New(runs...)) {
		set = set.Union(s.Needs())
	}
	return set
}

// all are the runs of both starts.
func (e ended) all() []profile.Run {
	if e.second == nil {
		return e.runs
	}
	return append(e.runs[:len(e.runs):len(e.runs)], e.second.runs...)
}
