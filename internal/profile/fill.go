package profile

import (
	"slices"

	"github.com/capmon/capmon/internal/classify"
)

// FillFrom completes the runs that the engine did not describe. It uses records of the same runs in the earlier
// profile, and other runs of the same containers in both profiles.
func (p Profile) FillFrom(earlier Profile) Profile {
	if !slices.ContainsFunc(p.Runs, func(run Run) bool { return run.EngineError != "" }) {
		return p
	}
	sameRun, sameContainer := make(map[string]Run), make(map[string]Run)
	for _, run := range earlier.Runs {
		sameRun[run.ID] = run
	}
	for _, run := range slices.Concat(earlier.Runs, p.Runs) {
		if run.Container.Name != "" {
			sameContainer[run.Container.ID] = run
		}
	}
	p.Runs = slices.Clone(p.Runs)
	for i, run := range p.Runs {
		if record, ok := sameRun[run.ID]; ok {
			run = run.FillFrom(record)
		}
		if other, ok := sameContainer[run.Container.ID]; ok {
			run = run.FillFrom(other)
		}
		p.Runs[i] = run
	}
	return p
}

// FillFrom completes a run that the engine did not describe with an earlier record of the same run. The earlier record
// may have the engine's description and implicit needs of executed files that can no longer be read. Implicit needs
// that arose later remain unknown, so Unwatched and Unexamined do not change. If earlier is another run of the same
// container, FillFrom uses only the engine's description, and only if the engine confirmed the container.
func (r Run) FillFrom(earlier Run) Run {
	if r.EngineError == "" || r.Container.Unconfirmed != "" && earlier.ID != r.ID {
		return r
	}
	if earlier.EngineError == "" || r.Container.Name == "" && earlier.Container.Name != "" {
		named := r.Container.Name
		r.Container, r.EngineError = earlier.Container, earlier.EngineError
		if named != "" { // from an event, and possibly a new name
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
	var missing []UsePattern
	for _, use := range earlier.Uses {
		again := func(other UsePattern) bool { return keyOf(other) == keyOf(use) }
		if use.Class == classify.Implicit && !slices.ContainsFunc(r.Uses, again) {
			missing = append(missing, use)
		}
	}
	if len(missing) > 0 {
		r.Uses = addUp(slices.Concat(r.Uses, missing))
	}
	return r
}
