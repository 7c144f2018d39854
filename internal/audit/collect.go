package audit

import (
	"context"
	"errors"
	"slices"

	"github.com/capmon/capmon/internal/container"
)

// Engine is the part of a container engine's API that an audit uses.
type Engine interface {
	List(ctx context.Context, all bool) ([]container.Info, error)
	Inspect(ctx context.Context, id string) (container.Info, error)
	Settings(ctx context.Context, id string) (container.Settings, error)
}

// Collect reads the settings of the containers in wanted, by ID or name, from the engine. If wanted is empty, it reads
// the settings of all containers, running or not, except the sandboxes of pods. names maps the IDs of all containers to
// their names. The error is a [*container.UnknownError] if a container in wanted does not exist.
func Collect(ctx context.Context, engine Engine, wanted []string) (subjects []Subject, names map[string]string, err error) {
	all, err := engine.List(ctx, true)
	if err != nil {
		return nil, nil, err
	}
	names = make(map[string]string)
	for _, info := range all {
		names[info.ID] = info.Name
	}
	if len(wanted) > 0 {
		if all, err = container.Find(all, wanted); err != nil {
			return nil, nil, err
		}
	}
	for _, info := range all {
		subject, err := collect(ctx, engine, info.ID)
		switch {
		case errors.Is(err, container.ErrNotFound) && len(wanted) == 0: // removed since List
		case err != nil:
			return nil, nil, err
		case subject.Info.Sandbox && len(wanted) == 0: // it runs no workload
		default:
			subjects = append(subjects, subject)
		}
	}
	return subjects, names, nil
}

// Has reports whether one of the subjects is the container with this ID.
func Has(subjects []Subject, id string) bool {
	return slices.ContainsFunc(subjects, func(s Subject) bool { return s.Info.ID == id })
}

func collect(ctx context.Context, engine Engine, id string) (Subject, error) {
	info, err := engine.Inspect(ctx, id)
	if err != nil {
		return Subject{}, err
	}
	settings, err := engine.Settings(ctx, info.ID)
	return Subject{info, settings}, err
}
