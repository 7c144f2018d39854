package verify

import (
	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/profile"
)

// secondStart is the kind of the second start of a container. A service may need more when it finds its own files, for
// example a directory that only another user may enter.
type secondStart int

const (
	none secondStart = iota
	// sameContainer keeps the files of the container and its volumes, as docker restart does.
	sameContainer
	// otherContainer keeps only what outlives a container that the engine removes.
	otherContainer
)

// secondStartOf returns what corresponds to the user's next start of the command. lasting: the command has volumes or
// directories that outlive the container.
func secondStartOf(c Command, lasting bool) secondStart {
	switch {
	case !c.autoRemoves():
		return sameContainer
	case lasting:
		return otherContainer
	}
	return none
}

// compareSecondStart checks whether second starts can be compared: a second start must be a success under the original
// flags.
func (t *trials) compareSecondStart(a *attempt) {
	for i := range a.results {
		if second := a.results[i].second; second != nil && second.outcome != t.executor.success {
			t.options.note("under its own flags a second start fails: %s%s; verify tries first starts only", second.outcome, quoted(second.output))
			t.executor.second = none
		}
	}
	for i := range a.results {
		if t.executor.second == none {
			a.results[i].second = nil
		}
	}
}

// noteSecondStart prints and returns what a second start needs in addition to the first one.
func (t *trials) noteSecondStart(original attempt) capability.Set {
	var first, second []profile.Run
	for _, e := range original.results {
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

// all returns the runs of both starts.
func (e runResult) all() []profile.Run {
	if e.second == nil {
		return e.runs
	}
	return append(e.runs[:len(e.runs):len(e.runs)], e.second.runs...)
}
