package store

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/docker/go-units"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/containerid"
	"github.com/capmon/capmon/internal/profile"
)

// Selection selects runs, proofs or alerts. The zero value selects all. The syntax of patterns is that of
// [container.NewFilter]. A run is selected if it matches at least one value of each field that is set.
type Selection struct {
	// Containers are patterns of names, or IDs.
	Containers []string
	// Images are patterns of image names, or complete IDs or digests: sha256:….
	Images []string
	// Labels are patterns of KEY or KEY=VALUE.
	Labels []string
	// ComposeServices are patterns of SERVICE or PROJECT/SERVICE of Compose.
	ComposeServices []string
	// Since excludes runs that ended before that time. Until excludes runs that began after that time. Zero for no
	// limit.
	Since, Until time.Time
	// Limit is the maximum size of the runs, proofs and alerts that are read into memory, as bytes of their JSON
	// form. If they are larger, the error is [ErrTooMuch]. 0 for no limit.
	Limit int64
}

// Options returns the selection as options of the command line, without Limit; "" if it selects everything.
func (s Selection) Options() string {
	var options []string
	add := func(name string, patterns []string) {
		for _, pattern := range patterns {
			options = append(options, fmt.Sprintf("--%s %q", name, pattern))
		}
	}
	add("container", s.Containers)
	add("image", s.Images)
	add("label", s.Labels)
	add("compose-service", s.ComposeServices)
	if !s.Since.IsZero() {
		options = append(options, "--since "+s.Since.Format(time.RFC3339))
	}
	if !s.Until.IsZero() {
		options = append(options, "--until "+s.Until.Format(time.RFC3339))
	}
	return strings.Join(options, " ")
}

// WithoutLabelValues returns the selection with … in place of the values of labels, which may be secret.
func (s Selection) WithoutLabelValues() Selection {
	s.Labels = slices.Clone(s.Labels)
	for i, label := range s.Labels {
		if key, _, hasValue := strings.Cut(label, "="); hasValue {
			s.Labels[i] = key + "=…"
		}
	}
	return s
}

// selector is a [Selection] with valid, parsed patterns.
type selector struct {
	Selection
	read     *int64 // bytes that were read, for Limit
	filter   container.Filter
	byName   container.Filter
	imageIDs []string // complete IDs and digests of images
}

// hashPrefix is the prefix of IDs and digests of images.
const hashPrefix = "sha256:"

func (s Selection) selector() (selector, error) {
	var names, ids []string
	for _, image := range s.Images {
		if strings.HasPrefix(image, hashPrefix) {
			ids = append(ids, image)
		} else {
			names = append(names, image)
		}
	}
	filter, err := container.NewFilter(s.Containers, nil, s.Labels)
	if err != nil {
		return selector{}, err
	}
	byName, err := container.NewFilter(s.ComposeServices, names, nil) // to validate all patterns
	if err == nil {
		byName, err = container.NewFilter(nil, names, nil)
	}
	return selector{s, new(int64), filter, byName, ids}, err
}

// countRead adds to the number of bytes that were read. It returns [ErrTooMuch] if they exceed the limit.
func (s selector) countRead(bytes int) error {
	if s.Limit == 0 {
		return nil
	}
	if *s.read += int64(bytes); *s.read > s.Limit {
		return fmt.Errorf("%w: more than %s", ErrTooMuch, units.BytesSize(float64(s.Limit)))
	}
	return nil
}

// withoutUnknown returns the selection without the conditions on unknown fields of a container.
func (s Selection) withoutUnknown(c profile.Container) Selection {
	if c.Name == "" {
		s.Containers = nil
	}
	if c.Image == "" { // then the engine has reported nothing about it
		s.Images, s.Labels, s.ComposeServices = nil, nil, nil
	}
	return s
}

// Unknown describes containers that may match a selection. It is unknown whether they do, because the engine could not
// report their names or images, or because the values of their labels were not stored.
type Unknown struct {
	// Containers contains their IDs.
	Containers []string
	// Needed contains the capabilities that any of them needed.
	Needed capability.Set

	added map[string]bool // set of Containers, for fast lookups
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

// Unknown returns the containers of a profile that may match the selection.
func (s Selection) Unknown(p profile.Profile) (unknown Unknown, err error) {
	selector, err := s.selector()
	if err != nil {
		return unknown, err
	}
	for _, run := range p.FillFrom(profile.Profile{}).Runs {
		if !selector.maySelect(run.Container) || !selector.overlaps(run) {
			continue
		}
		unknown.add(run.Container.ID)
		for _, use := range run.Uses {
			unknown.needed(use.Class, use.Capability)
		}
	}
	return unknown, nil
}

// maySelect reports whether a container may match the selection, because some of its fields are unknown.
func (s selector) maySelect(c profile.Container) bool {
	if s.lacksLabel(c) {
		return true
	}
	if c.Name != "" && c.Image != "" || s.container(c) || strings.HasPrefix(c.ID, containerid.UnknownPrefix) {
		return false // the engine has reported that it does not have the container
	}
	selector, err := s.withoutUnknown(c).selector()
	return err == nil && selector.container(c) // err is nil, because the patterns of s are valid
}

// lacksLabel reports whether the selection of a container depends on the value of a label that was not stored.
func (s selector) lacksLabel(c profile.Container) bool {
	info := container.Info{ID: c.ID, Name: c.Name, Labels: c.Labels}
	return !s.filter.Match(info) && s.filter.MayMatch(info) && s.image(c.Image, c.ImageID, c.ImageDigest) && s.composed(c)
}

// Of returns the selected runs and proofs of a profile. The error names an invalid pattern.
func (s Selection) Of(p profile.Profile) (profile.Profile, error) {
	selector, err := s.selector()
	if err != nil {
		return profile.Profile{}, err
	}
	var selected profile.Profile
	for _, run := range p.FillFrom(profile.Profile{}).Runs {
		if selector.run(run) {
			selected.Runs = append(selected.Runs, run)
		}
	}
	for _, proof := range p.Proofs {
		if selector.proof(proof) {
			selected.Proofs = append(selected.Proofs, proof)
		}
	}
	return profile.Merge(selected), nil
}

// AnyOf reports whether at least one of the containers is selected, regardless of Since and Until.
func (s Selection) AnyOf(all []profile.Container) (bool, error) {
	selector, err := s.selector()
	return err == nil && slices.ContainsFunc(all, selector.container), err
}

// OfAlerts returns the alerts that are selected, and those that may match the selection, because the engine could not
// identify their containers. The error names an invalid pattern.
func (s Selection) OfAlerts(all []alert.Alert) (selected []alert.Alert, err error) {
	selector, err := s.selector()
	if err != nil {
		return nil, err
	}
	for _, a := range all {
		if c := containerOf(a); selector.during(a.Time, a.Time) && (selector.container(c) || selector.maySelect(c)) {
			selected = append(selected, a)
		}
	}
	return selected, nil
}

// containerOf returns what an alert contains about its container.
func containerOf(a alert.Alert) profile.Container {
	c := a.Container()
	return profile.Container{ID: c.ID, Name: c.Name, Image: c.Image, ImageID: c.ImageID, Labels: c.Labels}
}

func (s selector) run(run profile.Run) bool { return s.container(run.Container) && s.overlaps(run) }

// overlaps reports whether a run overlaps the selected interval.
func (s selector) overlaps(run profile.Run) bool {
	began := run.Ended
	if run.Started != nil {
		began = *run.Started
	}
	return s.during(began, run.Ended)
}

// proof reports whether a proof is selected. The time does not matter, because a proof is valid for runs at any time.
func (s selector) proof(proof profile.Proof) bool { return s.container(proof.Container) }

func (s selector) during(began, ended time.Time) bool {
	return (s.Since.IsZero() || !ended.Before(s.Since)) && (s.Until.IsZero() || !began.After(s.Until))
}

func (s selector) container(c profile.Container) bool {
	return s.filter.Match(container.Info{ID: c.ID, Name: c.Name, Labels: c.Labels}) && s.image(c.Image, c.ImageID, c.ImageDigest) && s.composed(c)
}

func (s selector) image(name string, ids ...string) bool {
	switch {
	case len(s.Images) == 0, slices.ContainsFunc(ids, func(id string) bool { return slices.Contains(s.imageIDs, id) }):
		return true
	}
	return len(s.imageIDs) < len(s.Images) && s.byName.Match(container.Info{Image: name})
}

func (s selector) composed(c profile.Container) bool {
	project, service := c.ComposeService()
	return len(s.ComposeServices) == 0 || slices.ContainsFunc(s.ComposeServices, func(pattern string) bool {
		name := service
		if strings.Contains(pattern, "/") {
			name = project + "/" + service
		}
		matches, _ := path.Match(pattern, name) // selector has validated the pattern
		return service != "" && matches
	})
}

// maySelectPruned reports whether removed rows of an image that ended until a time may have been selected.
func (s selector) maySelectPruned(image string, until time.Time) bool {
	return (s.Since.IsZero() || !until.Before(s.Since)) && (image == "" || len(s.imageIDs) > 0 || s.image(image))
}
