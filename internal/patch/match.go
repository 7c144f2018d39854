package patch

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/settings"
)

// Kind is a kind of file that capmon can write lists into.
type Kind struct {
	// Target is the name of the [settings.Target] for such files.
	Target string
	// Services: the file has services. Otherwise, it has containers.
	Services bool
	// MayBeNew: capmon may make the file.
	MayBeNew bool
	// nameOf returns the name of a container in the file, "" if it is not known.
	nameOf func(settings.LabeledContainer) string
	change func([]byte, []Setting) (after []byte, notes []string, err error)
}

// Kinds returns all kinds of files.
func Kinds() []Kind {
	return []Kind{
		{Target: "compose", Services: true, nameOf: settings.LabeledContainer.ComposeService, change: Compose},
		{Target: "kubernetes", nameOf: func(c settings.LabeledContainer) string { return cmp.Or(c.KubernetesName(), c.Container.Name) }, change: Kubernetes},
		{
			Target: "quadlet",
			// A quadlet has one container only, with any name.
			nameOf: func(c settings.LabeledContainer) string { return c.Label },
			change: func(text []byte, changes []Setting) ([]byte, []string, error) {
				if err := requireOne("a quadlet", "container", changes); err != nil {
					return nil, nil, err
				}
				after, err := Quadlet(text, changes[0].Needs)
				return after, nil, err
			},
		},
		{
			Target: settings.Systemd, MayBeNew: true,
			nameOf: func(c settings.LabeledContainer) string { return c.Label },
			change: func(text []byte, changes []Setting) ([]byte, []string, error) {
				if err := requireOne("a unit", "service", changes); err != nil {
					return nil, nil, err
				}
				after, err := Systemd(text, changes[0].Needs, changes[0].Ambient)
				return after, nil, err
			},
		},
	}
}

// requireOne returns an error if there are settings of several containers for a file that has one.
func requireOne(file, one string, changes []Setting) error {
	if len(changes) == 1 {
		return nil
	}
	return fmt.Errorf("%s has one %s and the profiles have several: choose with --container %s", file, one, names(changes))
}

// ParseKind returns the kind of file for a target.
func ParseKind(target string) (Kind, error) {
	for _, kind := range Kinds() {
		if kind.Target == target {
			return kind, nil
		}
	}
	return Kind{}, fmt.Errorf("--patch is for compose, kubernetes, quadlet and systemd, not for %s: choose one of them with --for", target)
}

// Result is the result of [Kind.Patch].
type Result struct {
	Text []byte
	// Containers are those whose needs are in the text. Skipped are the reasons why others are not.
	Containers []settings.LabeledContainer
	Skipped    []error
	// Notes say why lists have no effect.
	Notes []string
}

// Patch writes the needs of containers into the text of a file that has these containers. name is the name in the file
// of the only container to change, "" for all. Patch returns an error if it can write none.
func (k Kind) Patch(text []byte, all []settings.LabeledContainer, name string) (Result, error) {
	all, skipped := k.included(all, name)
	if len(all) == 0 {
		return Result{}, errors.Join(skipped...)
	}
	groups, err := k.groups(all, name)
	if err != nil {
		return Result{}, err
	}
	target, err := settings.ParseTarget(k.Target)
	if err != nil {
		return Result{}, err
	}
	for {
		var changes []Setting
		var of []settings.LabeledContainer
		var limits []string
		for _, group := range groups {
			group, notes := target.WithLiftedLimits(group)
			limits = append(limits, notes...)
			changes = append(changes, Setting{group.Label, group.Needs, group.Ambient(), !slices.ContainsFunc(group.Members, startsAsRoot)})
			of = append(of, group.Members...)
		}
		after, notes, err := k.change(text, changes)
		if err == nil {
			err = settings.CheckGroups(groups)
		}
		var missing *MissingError
		switch {
		case err == nil:
			return Result{after, of, skipped, slices.Concat(notes, limits, oneOffs(of))}, nil
		case !errors.As(err, &missing) || len(groups) == 1:
			for _, other := range skipped {
				err = fmt.Errorf("%w; %w", other, err)
			}
			return Result{}, err
		}
		skipped = append(skipped, err)
		groups = slices.DeleteFunc(groups, func(g settings.Group) bool { return g.Label == missing.Name })
	}
}

// included returns the containers that may be in the file, and the reasons why others are not: they do not represent a
// service. A single container is included if the user gives it the name of a service.
func (k Kind) included(all []settings.LabeledContainer, name string) (included []settings.LabeledContainer, skipped []error) {
	if !k.Services || name != "" && len(all) == 1 {
		return all, nil
	}
	for _, c := range all {
		if reason := c.OneOff(); reason != "" {
			skipped = append(skipped, fmt.Errorf("%s: %s", c.Label, reason))
		} else {
			included = append(included, c)
		}
	}
	return included, skipped
}

// oneOffs returns notes about containers that the user named as a service although they do not represent it.
func oneOffs(all []settings.LabeledContainer) []string {
	var notes []string
	for _, c := range all {
		if reason := c.OneOff(); reason != "" {
			notes = append(notes, fmt.Sprintf("%s: %s", c.Label, reason))
		}
	}
	return notes
}

func startsAsRoot(c settings.LabeledContainer) bool { return slices.Contains(c.Users, 0) }

// groups groups the containers by their names in the file.
func (k Kind) groups(all []settings.LabeledContainer, name string) ([]settings.Group, error) {
	if name != "" {
		return namedGroup(all, name)
	}
	if groups := settings.Groups(all, k.nameOf); len(groups) > 0 {
		return groups, nil
	}
	if reason := unavailable(all); reason != nil {
		return nil, reason
	}
	if k.Services {
		return nil, fmt.Errorf("capmon does not know which service %s is, because it has no label com.docker.compose.service: name the service with --service", labels(all))
	}
	return nil, fmt.Errorf("capmon does not know which container of the file %s is: name it with --container", labels(all))
}

// namedGroup returns the containers that have the name, or the only container.
func namedGroup(all []settings.LabeledContainer, name string) ([]settings.Group, error) {
	var found []settings.LabeledContainer
	for _, c := range all {
		if c.HasName(name) {
			found = append(found, c)
		}
	}
	if len(found) == 0 && len(all) > 1 {
		return nil, fmt.Errorf("none of the containers in the profiles is named %q, and there are several: %s", name, labels(all))
	}
	if len(found) == 0 {
		found = all
	}
	groups := settings.Groups(found, func(settings.LabeledContainer) string { return name })
	if len(groups) == 0 {
		return nil, unavailable(found)
	}
	return groups, nil
}

// unavailable returns the reason why there is no list for one of the containers, nil if there is one for all.
func unavailable(all []settings.LabeledContainer) error {
	for _, c := range all {
		if reason := c.Unavailable(); reason != "" {
			return fmt.Errorf("%s: %s", c.Label, reason)
		}
	}
	return nil
}

func labels(all []settings.LabeledContainer) string {
	var labels []string
	for _, c := range all {
		labels = append(labels, c.Label)
	}
	return strings.Join(labels, ", ")
}

func names(changes []Setting) string {
	var names []string
	for _, s := range changes {
		names = append(names, s.Name)
	}
	return printable.Choice(names)
}
