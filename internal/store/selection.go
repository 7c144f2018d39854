package store

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/docker/go-units"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/profile"
)

// Selection says which runs, proofs or alerts are meant. The zero value means all. Patterns
// are those of container.NewFilter; one of each kind that is given has to match.
type Selection struct {
	// Containers are patterns of names or IDs.
	Containers []string
	// Images are patterns of image names, or IDs or digests in full: sha256:….
	Images []string
	// Labels are KEY or KEY=VALUE.
	Labels []string
	// ComposeServices are patterns of SERVICE or PROJECT/SERVICE of compose.
	ComposeServices []string
	// Since leaves out what ended before it, Until what began after it; zero for no limit.
	Since, Until time.Time
	// Limit bounds what is read of the database into memory: the bytes of the JSON form of the runs,
	// proofs and alerts. Beyond it the error is ErrTooMuch. 0 is no limit.
	Limit int64
}

// selector is a Selection whose patterns were found right.
type selector struct {
	Selection
	read       *int64 // bytes, against the Limit
	filter     container.Filter
	byName     container.Filter
	identified []string
}

// hash is how IDs and digests of images begin.
const hash = "sha256:"

func (s Selection) selector() (selector, error) {
	var names, identified []string
	for _, image := range s.Images {
		if strings.HasPrefix(image, hash) {
			identified = append(identified, image)
		} else {
			names = append(names, image)
		}
	}
	filter, err := container.NewFilter(s.Containers, nil, s.Labels)
	if err != nil {
		return selector{}, err
	}
	byName, err := container.NewFilter(s.ComposeServices, names, nil) // to find faults in all patterns
	if err == nil {
		byName, err = container.NewFilter(nil, names, nil)
	}
	return selector{s, new(int64), filter, byName, identified}, err
}

// spend counts bytes that were read against the limit.
func (s selector) spend(bytes int) error {
	if s.Limit == 0 {
		return nil
	}
	if *s.read += int64(bytes); *s.read > s.Limit {
		return fmt.Errorf("%w: more than %s", ErrTooMuch, units.BytesSize(float64(s.Limit)))
	}
	return nil
}

// unknowing is the selection without what cannot be told of a container.
func (s Selection) unknowing(c profile.Container) Selection {
	if c.Name == "" {
		s.Containers = nil
	}
	if c.Image == "" { // so the engine has told nothing of it
		s.Images, s.Labels, s.ComposeServices = nil, nil, nil
	}
	return s
}

// Unknown are containers of which nobody knows whether they are meant: the engine could not tell
// their names or images, or the values of their labels were left out.
type Unknown struct {
	// Containers by their IDs.
	Containers []string
	// Needed is what any of them has needed.
	Needed capability.Set

	added map[string]bool // Containers: there may be very many
}

func (u *Unknown) add(id string) {
	if u.added[id] {
		return
	}
	if u.added == nil {
		u.added = make(map[string]bool)
	}
	u.added[id] = true
	u.Containers = append(u.Containers, id)
}

func (u *Unknown) needed(class classify.Class, c capability.Capability) {
	if class.Need() {
		u.Needed = u.Needed.With(c)
	}
}

// Unknown are those containers of a profile.
func (s Selection) Unknown(p profile.Profile) (unknown Unknown, err error) {
	selector, err := s.selector()
	if err != nil {
		return unknown, err
	}
	for _, run := range p.Recall(profile.Profile{}).Runs {
		if !selector.mayMean(run.Container) || !selector.timely(run) {
			continue
		}
		unknown.add(run.Container.ID)
		for _, use := range run.Uses {
			unknown.needed(use.Class, use.Capability)
		}
	}
	return unknown, nil
}

// mayMean reports whether nobody knows if a container is meant.
func (s selector) mayMean(c profile.Container) bool {
	if s.lacksLabel(c) {
		return true
	}
	if c.Name != "" && c.Image != "" || s.container(c) || strings.HasPrefix(c.ID, container.UnknownPrefix) {
		return false // the engine has told: it is none of its containers
	}
	unknowing, err := s.unknowing(c).selector()
	return err == nil && unknowing.container(c) // it has no other patterns than s
}

// lacksLabel reports whether it depends on the value of a label whether a container is meant, and
// that was left out.
func (s selector) lacksLabel(c profile.Container) bool {
	info := container.Info{ID: c.ID, Name: c.Name, Labels: c.Labels}
	return !s.filter.Match(info) && s.filter.MayMatch(info) && s.image(c.Image, c.ImageID, c.ImageDigest) && s.composed(c)
}

// Of are the runs and proofs of a profile that are meant. The error says which pattern is
// malformed.
func (s Selection) Of(p profile.Profile) (profile.Profile, error) {
	selector, err := s.selector()
	if err != nil {
		return profile.Profile{}, err
	}
	var meant profile.Profile
	for _, run := range p.Recall(profile.Profile{}).Runs {
		if selector.run(run) {
			meant.Runs = append(meant.Runs, run)
		}
	}
	for _, proof := range p.Proofs {
		if selector.proof(proof) {
			meant.Proofs = append(meant.Proofs, proof)
		}
	}
	return profile.Merge(meant), nil
}

// AnyOf reports whether any of some containers is meant, at whatever time.
func (s Selection) AnyOf(all []profile.Container) (bool, error) {
	selector, err := s.selector()
	return err == nil && slices.ContainsFunc(all, selector.container), err
}

func (s selector) run(run profile.Run) bool { return s.container(run.Container) && s.timely(run) }

func (s selector) timely(run profile.Run) bool {
	began := run.Ended
	if run.Started != nil {
		began = *run.Started
	}
	return s.during(began, run.Ended)
}

// proof reports whether a proof is meant: it holds for runs at any time.
func (s selector) proof(proof profile.Proof) bool { return s.container(proof.Container) }

func (s selector) during(began, ended time.Time) bool {
	return (s.Since.IsZero() || !ended.Before(s.Since)) && (s.Until.IsZero() || !began.After(s.Until))
}

func (s selector) container(c profile.Container) bool {
	return s.filter.Match(container.Info{ID: c.ID, Name: c.Name, Labels: c.Labels}) && s.image(c.Image, c.ImageID, c.ImageDigest) && s.composed(c)
}

func (s selector) image(name string, ids ...string) bool {
	switch {
	case len(s.Images) == 0, slices.ContainsFunc(ids, func(id string) bool { return slices.Contains(s.identified, id) }):
		return true
	}
	return len(s.identified) < len(s.Images) && s.byName.Match(container.Info{Image: name})
}

func (s selector) composed(c profile.Container) bool {
	project, service := c.ComposeService()
	return len(s.ComposeServices) == 0 || slices.ContainsFunc(s.ComposeServices, func(pattern string) bool {
		name := service
		if strings.Contains(pattern, "/") {
			name = project + "/" + service
		}
		matches, _ := path.Match(pattern, name) // selector has seen the pattern
		return service != "" && matches
	})
}

// mayHave reports whether something of an image, of which no more is known, may have been
// meant. It ended by a moment.
func (s selector) mayHave(image string, until time.Time) bool {
	return (s.Since.IsZero() || !until.Before(s.Since)) && (image == "" || len(s.identified) > 0 || s.image(image))
}
