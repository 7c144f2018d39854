package profile

import (
	"slices"

	"github.com/capmon/capmon/internal/classify"
)

// Recall adds to the runs of which no engine tells what earlier sights of them knew, and what other
// runs of the same containers tell, here or in the earlier profile.
func (p Profile) Recall(earlier Profile) Profile {
	if !slices.ContainsFunc(p.Runs, func(run Run) bool { return run.EngineError != "" }) {
		return p
	}
	before, others := make(map[string]Run), make(map[string]Run)
	for _, run := range earlier.Runs {
		before[run.ID] = run
	}
	for _, run := range slices.Concat(earlier.Runs, p.Runs) {
		if run.Container.Name != "" {
			others[run.Container.ID] = run
		}
	}
	p.Runs = slices.Clone(p.Runs)
	for i, run := range p.Runs {
		if sight, ok := before[run.ID]; ok {
			run = run.Recall(sight)
		}
		if other, ok := others[run.Container.ID]; ok {
			run = run.Recall(other)
		}
		p.Runs[i] = run
	}
	return p
}

// Recall adds to a run what an earlier sight of it knew that the engine and the executed files
// told, and nobody can tell any more: by whom the run was made, and what was demanded. What
// was demanded afterwards is not known: Unwatched and Unexamined stay as they are. Another run
// of the same container tells the former alone, and nothing if no engine says that this is it.
func (r Run) Recall(earlier Run) Run {
	if r.EngineError == "" || r.Container.Unconfirmed != "" && earlier.ID != r.ID {
		return r
	}
	if earlier.EngineError == "" || r.Container.Name == "" && earlier.Container.Name != "" {
		named := r.Container.Name
		r.Container, r.EngineError = earlier.Container, earlier.EngineError
		if named != "" { // an event has told, and perhaps of another name
			r.Container.Name = named
		}
		r.Grants.Engine, r.Grants.Privileged = nil, earlier.Grants.Privileged
		if earlier.Grants.Engine != nil {
			r.Grants.setEngine(*earlier.Grants.Engine, r.Existed)
		}
	}
	if earlier.ID != r.ID {
		return r
	}
	if r.New == nil {
		r.New = earlier.New
	}
	var recalled []Use
	for _, use := range earlier.Uses {
		again := func(other Use) bool { return keyOf(other) == keyOf(use) }
		if use.Class == classify.Implicit && !slices.ContainsFunc(r.Uses, again) {
			recalled = append(recalled, use)
		}
	}
	if len(recalled) > 0 {
		r.Uses = addUp(slices.Concat(r.Uses, recalled))
	}
	return r
}
