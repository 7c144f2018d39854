// Package compare tells what two profiles differ in: which capabilities, and which ways
// to use them, are new, gone or changed.
package compare

import (
	"fmt"
	"slices"
	"time"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/profile"
)

// Comparison is of all containers of two profiles.
type Comparison struct {
	// Containers in the order of their start in the later profile, those that are not in
	// it last.
	Containers []Container
}

// Container is one container, or one service, in both profiles.
type Container struct {
	// PairedBy says how it was told which of the one profile is which of the other.
	PairedBy PairedBy
	// Before and After are what it did; one of them is nil if the container is not in that
	// profile.
	Before, After *profile.Summary
	// Capabilities are those that were needed or denied in either, by name.
	Capabilities []Capability
	// Uses are the ways in which capabilities were asked for: new and changed ones first,
	// of each kind in the order of reports. Set-up is left out.
	Uses []Use
	// Granted and Withdrawn are capabilities that are granted only after or only before;
	// empty if it is not known what one of the two was granted.
	Granted, Withdrawn capability.Set
	// NewUnsure are the reasons why what looks new may have been needed before, GoneUnsure
	// why what looks gone may still be needed; none if it is certain.
	NewUnsure, GoneUnsure []string
}

// Status is what a capability was to a container.
type Status string

// The statuses. Denied is what was tried in earnest, and would have been needed.
const (
	Unused   Status = ""
	Needed   Status = "needed"
	Denied   Status = "denied"
	Unneeded Status = "proved unneeded" // although it was used
)

// Capability is what became of the need for a capability.
type Capability struct {
	Capability    capability.Capability
	Before, After Status
}

// New reports whether it is needed, or was tried and denied, and nothing of the kind was
// so before. What was denied before and is needed now is new as well: the list grows.
func (c Capability) New() bool {
	switch c.After {
	case Needed:
		return c.Before == Unused || c.Before == Denied
	case Denied:
		return c.Before == Unused
	}
	return false
}

// Gone reports whether it was needed or denied, and is asked for no more.
func (c Capability) Gone() bool {
	return c.After == Unused && (c.Before == Needed || c.Before == Denied)
}

// New lists the containers that need a capability, or tried it and were denied, that they did
// not before.
func (c Comparison) New() []Container {
	return slices.DeleteFunc(slices.Clone(c.Containers), func(c Container) bool { return c.New().Empty() })
}

// New are the capabilities that are new.
func (c Container) New() capability.Set { return c.having(Capability.New) }

// Gone are the capabilities that are gone.
func (c Container) Gone() capability.Set { return c.having(Capability.Gone) }

func (c Container) having(has func(Capability) bool) capability.Set {
	var set capability.Set
	for _, each := range c.Capabilities {
		if has(each) {
			set = set.With(each.Capability)
		}
	}
	return set
}

// Of is what became of one capability.
func (c Container) Of(of capability.Capability) Capability {
	for _, each := range c.Capabilities {
		if each.Capability == of {
			return each
		}
	}
	return Capability{Capability: of}
}

// Name is that under which the container is known, in the later profile if it is there.
func (c Container) Name() string { return nameOf(c.latest()) }

func (c Container) latest() profile.Summary {
	if c.After != nil {
		return *c.After
	}
	return *c.Before
}

// Profiles compares two profiles. The error says which containers cannot be told apart, or
// which of those chosen do not exist.
func Profiles(before, after profile.Profile, options Options) (Comparison, error) {
	pairs, err := pair(options.groups(before), options.groups(after), options.Choices)
	if err != nil {
		return Comparison{}, err
	}
	var comparison Comparison
	for _, p := range pairs {
		comparison.Containers = append(comparison.Containers, compareContainer(p))
	}
	return comparison, nil
}

func compareContainer(p pairing) Container {
	c := Container{PairedBy: p.by, Before: p.before, After: p.after}
	var before, after profile.Summary // without uses, if there is none
	if p.before != nil {
		before = *p.before
	}
	if p.after != nil {
		after = *p.after
	}
	c.Capabilities = capabilities(before, after)
	c.Uses = uses(before.Uses, after.Uses)
	if granted, known := after.Grants.Set(); known {
		if previously, known := before.Grants.Set(); known {
			c.Granted, c.Withdrawn = granted.Minus(previously), previously.Minus(granted)
		}
	}
	switch {
	case p.before == nil:
		c.NewUnsure = []string{"it is not in the earlier profile"}
	case p.after == nil:
		c.GoneUnsure = []string{"it is not in the later profile"}
	default:
		c.NewUnsure, c.GoneUnsure = doubts(before, after), doubts(after, before)
	}
	return c
}

// capabilities compares what is needed. What was observed before and proved unneeded is
// not new if it is observed again; what was proved unneeded in the later profile is no need.
func capabilities(before, after profile.Summary) []Capability {
	then, now := statuses(before), statuses(after)
	var all []Capability
	for _, c := range touched(before).Union(touched(after)).Sorted() {
		all = append(all, Capability{Capability: c, Before: then(c), After: now(c)})
	}
	return all
}

func touched(s profile.Summary) capability.Set {
	return s.List().Union(s.Needs()).Union(s.Denied())
}

func statuses(s profile.Summary) func(capability.Capability) Status {
	list, observed, denied := s.List(), s.Needs(), s.Denied()
	return func(c capability.Capability) Status {
		switch {
		case list.Has(c):
			return Needed
		case observed.Has(c):
			return Unneeded
		case denied.Has(c):
			return Denied
		}
		return Unused
	}
}

// A container that was watched for less than this part of the other's time, and by so much
// less that it is no chance, may just not have come to what the other did.
const (
	shorter = 2
	atLeast = time.Second
)

// doubts are the reasons why one may have done, unseen, what the other did.
func doubts(one, other profile.Summary) []string {
	reasons := slices.Concat(one.Missing(), one.Unwitnessed())
	if one.Observed*shorter < other.Observed && other.Observed-one.Observed >= atLeast {
		reasons = append(reasons, fmt.Sprintf("it was watched for %s, the other for %s", rounded(one.Observed), rounded(other.Observed)))
	}
	if one.Runs < other.Runs {
		reasons = append(reasons, fmt.Sprintf("fewer of its runs were seen: %d, of the other %d", one.Runs, other.Runs))
	}
	return reasons
}

// rounded leaves a time as exact as a reader wants it.
func rounded(d time.Duration) time.Duration {
	if d < time.Second {
		return d.Round(time.Millisecond)
	}
	return d.Round(100 * time.Millisecond)
}

// Find returns what became of a container of the later profile.
func (c Comparison) Find(of profile.Container) (found Container, ok bool) {
	for _, each := range c.Containers {
		if each.After != nil && identify(each.After.Container) == identify(of) {
			return each, true
		}
	}
	return Container{}, false
}
