package patch

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/capmon/capmon/internal/settings"
)

// Kind is a kind of files that lists can be put into.
type Kind struct {
	// Target is the name of the settings.Target that has such files.
	Target string
	// Services: a file of the kind has services; else it has containers.
	Services bool
	// nameOf is what such a file calls a container, "" if that is not known.
	nameOf func(settings.Container) string
	change func([]byte, []Setting) (after []byte, notes []string, err error)
}

// Kinds lists them.
func Kinds() []Kind {
	return []Kind{
		{Target: "compose", Services: true, nameOf: settings.Container.ComposeService, change: Compose},
		{Target: "kubernetes", nameOf: func(c settings.Container) string { return cmp.Or(c.KubernetesName(), c.Container.Name) }, change: Kubernetes},
		{
			Target: "quadlet",
			// There is only one container in it, whatever it is called.
			nameOf: func(c settings.Container) string { return c.Label },
			change: func(text []byte, changes []Setting) ([]byte, []string, error) {
				if len(changes) > 1 {
					return nil, nil, fmt.Errorf("a quadlet has one container and the profiles have several: choose with --container %s", names(changes))
				}
				after, err := Quadlet(text, changes[0].Needs)
				return after, nil, err
			},
		},
	}
}

// ParseKind finds the kind of the files of a target.
func ParseKind(target string) (Kind, error) {
	for _, kind := range Kinds() {
		if kind.Target == target {
			return kind, nil
		}
	}
	return Kind{}, fmt.Errorf("--patch is for compose, kubernetes and quadlet, not for %s: choose one of them with --for", target)
}

// Result is a file's text with the lists in it.
type Result struct {
	Text []byte
	// Of are the containers whose needs were put in, Left why others were not.
	Of   []settings.Container
	Left []error
	// Notes say where the lists have no effect.
	Notes []string
}

// Patch puts what containers need into the text of a file, where it has them. name is
// what the file calls the only one that is meant, "" for all. The error says why
// nothing could be put in.
func (k Kind) Patch(text []byte, all []settings.Container, name string) (Result, error) {
	all, left := k.taken(all, name)
	if len(all) == 0 {
		return Result{}, errors.Join(left...)
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
		var of []settings.Container
		var limits []string
		for _, group := range groups {
			group, notes := target.WithLiftedLimits(group)
			limits = append(limits, notes...)
			changes = append(changes, Setting{group.Label, group.Needs, !slices.ContainsFunc(group.Members, startsAsRoot)})
			of = append(of, group.Members...)
		}
		after, notes, err := k.change(text, changes)
		if err == nil {
			err = settings.CheckGroups(groups)
		}
		var missing *MissingError
		switch {
		case err == nil:
			return Result{after, of, left, slices.Concat(notes, limits, oneOffs(of))}, nil
		case !errors.As(err, &missing) || len(groups) == 1:
			for _, other := range left {
				err = fmt.Errorf("%w; %w", other, err)
			}
			return Result{}, err
		}
		left = append(left, err)
		groups = slices.DeleteFunc(groups, func(g settings.Group) bool { return g.Label == missing.Name })
	}
}

// taken are the containers that are meant, and why others are not: they are no services of the file.
// The only one there is may be given the name of a service.
func (k Kind) taken(all []settings.Container, name string) (taken []settings.Container, left []error) {
	if !k.Services || name != "" && len(all) == 1 {
		return all, nil
	}
	for _, c := range all {
		if reason := c.OneOff(); reason != "" {
			left = append(left, fmt.Errorf("%s: %s", c.Label, reason))
		} else {
			taken = append(taken, c)
		}
	}
	return taken, left
}

// oneOffs are notes on the containers that a service was said to be and is not.
func oneOffs(all []settings.Container) []string {
	var notes []string
	for _, c := range all {
		if reason := c.OneOff(); reason != "" {
			notes = append(notes, fmt.Sprintf("%s: %s", c.Label, reason))
		}
	}
	return notes
}

func startsAsRoot(c settings.Container) bool { return slices.Contains(c.Users, 0) }

// groups are the containers by their name in the file.
func (k Kind) groups(all []settings.Container, name string) ([]settings.Group, error) {
	if name != "" {
		return meant(all, name)
	}
	if groups := settings.Groups(all, k.nameOf); len(groups) > 0 {
		return groups, nil
	}
	if reason := withheld(all); reason != nil {
		return nil, reason
	}
	if k.Services {
		return nil, fmt.Errorf("it is not known which service of it %s is, for want of the label com.docker.compose.service: name the service with --service", labels(all))
	}
	return nil, fmt.Errorf("it is not known which container of it %s is: name it with --container", labels(all))
}

// meant is what a file calls by a name: the container that is called so, or the only
// one that there is.
func meant(all []settings.Container, name string) ([]settings.Group, error) {
	var found []settings.Container
	for _, c := range all {
		if c.HasName(name) {
			found = append(found, c)
		}
	}
	if len(found) == 0 && len(all) > 1 {
		return nil, fmt.Errorf("none of the containers in the profiles is called %q, and there are several: %s", name, labels(all))
	}
	if len(found) == 0 {
		found = all
	}
	groups := settings.Groups(found, func(settings.Container) string { return name })
	if len(groups) == 0 {
		return nil, withheld(found)
	}
	return groups, nil
}

// withheld is why there is no list for one of the containers, nil if there is one for all.
func withheld(all []settings.Container) error {
	for _, c := range all {
		if reason := c.Unavailable(); reason != "" {
			return fmt.Errorf("%s: %s", c.Label, reason)
		}
	}
	return nil
}

func labels(all []settings.Container) string {
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
	return strings.Join(names, " or ")
}
