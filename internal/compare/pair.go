package compare

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/distribution/reference"

	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/containerid"
	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/profile"
)

// PairedBy is the criterion by which the containers of two profiles were matched.
type PairedBy string

// The kinds of matches, in the order in which they are tried.
const (
	ByChoice  PairedBy = "choice"
	ByService PairedBy = "service" // of a swarm or of Compose, or the owner of pods
	ByName    PairedBy = "name"
	ByImage   PairedBy = "image" // without its tag, if each profile has one container of it
	ByOnly    PairedBy = "only"  // each profile has one container
	Unpaired  PairedBy = ""      // it is in one profile only
)

// Options are the options of a comparison.
type Options struct {
	// Choices select the containers to compare; all if there are none.
	Choices []Choice
	// Images: all containers of an image, with any tag, are compared as one.
	Images bool
}

// Choice names a container, service or image in the earlier profile, and its counterpart in the later profile.
type Choice struct{ Before, After string }

// ParseChoice parses NAME, for the same name in both profiles, or BEFORE=AFTER.
func ParseChoice(s string) (Choice, error) {
	before, after, two := strings.Cut(s, "=")
	if !two {
		after = before
	}
	if before == "" || after == "" {
		return Choice{}, fmt.Errorf("invalid choice %q: give a name that is in both profiles, or BEFORE=AFTER", s)
	}
	return Choice{before, after}, nil
}

// identity identifies a container in a profile. The replicas of a service have one identity, and so have all runs with
// one name, even if their images differ. Containers of different engines have different identities, and a command is
// not a container.
type identity struct {
	kind          PairedBy
	workload      container.Kind
	engine        string
	project, name string // project is the namespace of a pod
	unconfirmed   string // a user may have named the cgroup after another container
}

func (o Options) groups(p profile.Profile) []*profile.Summary {
	key := identify
	if o.Images {
		key = func(c profile.Container) identity {
			return identity{kind: ByImage, name: cmp.Or(repository(c.Image), c.ID)}
		}
	}
	var groups []*profile.Summary
	for _, s := range profile.SummariesBy(p, key) {
		groups = append(groups, &s)
	}
	return groups
}

func identify(c profile.Container) identity {
	id := identity{workload: c.Kind, engine: c.Engine, unconfirmed: c.Unconfirmed}
	project, service := c.ComposeService()
	switch {
	case c.Unconfirmed != "":
		id.kind, id.name = Unpaired, c.ID
	case c.Service() != "":
		id.kind, id.name = ByService, c.Service()
	case strings.Contains(c.Owner, "/"): // its pods have random names, unlike static pods, whose owner is Node
		id.kind, id.project, id.name = ByService, c.Namespace, c.Owner+"/"+path.Base(c.Name)
	case service != "" && c.OneOff():
		id.kind, id.project, id.name = ByService, project, service+" (one-off)"
	case service != "":
		id.kind, id.project, id.name = ByService, project, service
	case c.Name != "":
		id.kind, id.name = ByName, c.Name
	default:
		id.kind, id.name = Unpaired, c.ID
	}
	return id
}

// repository returns the shortest name of an image, without its tag or digest.
func repository(image string) string {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return image
	}
	return reference.FamiliarName(named)
}

// nameOf returns the container's name for a reader.
func nameOf(s profile.Summary) string {
	if id := identify(s.Container); id.kind != Unpaired {
		return id.name
	}
	return containerid.Short(s.Container.ID)
}

// pairing is a container in both profiles, or in one of them.
type pairing struct {
	by            PairedBy
	before, after *profile.Summary
}

func pair(before, after []*profile.Summary, choices []Choice) ([]pairing, error) {
	if len(choices) > 0 {
		return choose(before, after, choices)
	}
	var pairs []pairing
	single := len(before) == 1 && len(after) == 1
	for _, by := range []struct {
		by  PairedBy
		key func(profile.Container) (identity, bool)
	}{
		{"", identified}, // the kind is that of the identity
		{ByService, withoutProject},
		{"", withoutEngine},
		{ByImage, imageOf},
	} {
		var err error
		if pairs, before, after, err = match(pairs, before, after, by.by, by.key); err != nil {
			return nil, err
		}
	}
	if single && len(before) == 1 {
		return []pairing{{ByOnly, before[0], after[0]}}, nil
	}
	for _, s := range after {
		pairs = append(pairs, pairing{after: s})
	}
	slices.SortStableFunc(pairs, func(one, other pairing) int { return one.after.Since.Compare(other.after.Since) })
	for _, s := range before {
		pairs = append(pairs, pairing{before: s})
	}
	return pairs, nil
}

func identified(c profile.Container) (identity, bool) {
	id := identify(c)
	return id, true
}

func withoutProject(c profile.Container) (identity, bool) {
	id := identify(c)
	id.project = ""
	return id, id.kind == ByService
}

// withoutEngine pairs a container with the one that replaces it in another engine.
func withoutEngine(c profile.Container) (identity, bool) {
	id := identify(c)
	id.engine = ""
	return id, id.kind != Unpaired
}

// imageOf leaves out services, because the names of services are stable.
func imageOf(c profile.Container) (identity, bool) {
	return identity{kind: ByImage, name: repository(c.Image)}, identify(c).kind != ByService && c.Kind == "" && c.Image != ""
}

// match pairs the containers that have the same key, and returns the others. It returns an error if a key that is in
// both profiles is not unique in each of them.
func match(pairs []pairing, before, after []*profile.Summary, by PairedBy, key func(profile.Container) (identity, bool)) (
	matched []pairing, restBefore, restAfter []*profile.Summary, err error,
) {
	then, now := index(before, key), index(after, key)
	paired := make(map[*profile.Summary]bool)
	for _, s := range after {
		id, applies := key(s.Container)
		if !applies || len(then[id]) == 0 {
			continue
		}
		if len(then[id]) > 1 || len(now[id]) > 1 {
			return nil, nil, nil, &AmbiguousError{By: id.kind, Name: id.name, Before: titles(then[id]), After: titles(now[id])}
		}
		pairs = append(pairs, pairing{cmp.Or(by, id.kind, ByName), then[id][0], s})
		paired[then[id][0]], paired[s] = true, true
	}
	isPaired := func(s *profile.Summary) bool { return paired[s] }
	return pairs, slices.DeleteFunc(before, isPaired), slices.DeleteFunc(after, isPaired), nil
}

func index(all []*profile.Summary, key func(profile.Container) (identity, bool)) map[identity][]*profile.Summary {
	index := make(map[identity][]*profile.Summary)
	for _, s := range all {
		if id, applies := key(s.Container); applies {
			index[id] = append(index[id], s)
		}
	}
	return index
}

// AmbiguousError means that several containers of one profile match.
type AmbiguousError struct {
	By   PairedBy // what Name is: ByService, ByName or ByImage
	Name string
	// Before and After are the names of the candidates.
	Before, After []string
}

func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("cannot match the containers of %s %q: the earlier profile has %s, the later profile has %s", e.By, e.Name, listed(e.Before), listed(e.After))
}

// listed makes a list safe for a terminal.
func listed(names []string) string {
	const few = 5
	names = slices.Clone(names)
	for i, name := range names {
		names[i] = printable.Text(name)
	}
	if len(names) > few {
		return fmt.Sprintf("%s and %d others", strings.Join(names[:few], ", "), len(names)-few)
	}
	return strings.Join(names, ", ")
}

// titles returns a name for each container that a user can give as a choice.
func titles(all []*profile.Summary) []string {
	var titles []string
	for _, s := range all {
		id := identify(s.Container)
		switch {
		case id.project != "":
			titles = append(titles, id.project+"/"+id.name)
		default:
			titles = append(titles, nameOf(*s))
		}
	}
	count := make(map[string]int)
	for _, title := range titles {
		count[title]++
	}
	for i, title := range titles {
		if count[title] > 1 { // in several engines
			titles[i] = containerid.Short(all[i].Container.ID)
		}
	}
	return titles
}

// choose pairs the chosen containers.
func choose(before, after []*profile.Summary, choices []Choice) ([]pairing, error) {
	var pairs []pairing
	for _, choice := range choices {
		then, err := find(before, choice.Before, "earlier")
		if err != nil {
			return nil, err
		}
		now, err := find(after, choice.After, "later")
		if err != nil {
			return nil, err
		}
		pairs = append(pairs, pairing{ByChoice, then, now})
	}
	return pairs, nil
}

func find(all []*profile.Summary, name, which string) (*profile.Summary, error) {
	var found []*profile.Summary
	for _, s := range all {
		if hasName(s.Container, name) {
			found = append(found, s)
		}
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("the %s profile has no container %q: it has %s", which, name, cmp.Or(listed(titles(all)), "none"))
	case 1:
		return found[0], nil
	}
	return nil, fmt.Errorf("the %s profile has several containers %q: choose one of %s", which, name, listed(titles(found)))
}

// hasName reports whether the name identifies the container: its own name, the name of its service with or without the
// Compose project, the name of its image, its ID or the short form of its ID.
func hasName(c profile.Container, name string) bool {
	names := []string{c.Service(), c.Name, c.Image, repository(c.Image), c.ID, containerid.Short(c.ID)}
	if id := identify(c); id.kind == ByService {
		names = append(names, id.name, id.project+"/"+id.name)
	}
	return name != "" && slices.Contains(names, name)
}
