// Package compare compares two profiles. It reports the capabilities, and the patterns of use, that are new, gone or
// changed.
package compare

import (
	"fmt"
	"slices"
	"time"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/profile"
)

// Comparison is the result for all containers of two profiles.
type Comparison struct {
	// Containers are in the order of their start in the later profile. Containers that are not in the later profile are
	// last.
	Containers []ContainerComparison
}

// ContainerComparison is one container, or one service, in both profiles.
type ContainerComparison struct {
	// PairedBy is the criterion by which the containers of the two profiles were matched.
	PairedBy PairedBy
	// Before and After are the container in each profile; nil if it is not in that profile.
	Before, After *profile.Summary
	// Capabilities are those that were needed or denied in either profile, sorted by name.
	Capabilities []CapabilityChange
	// Uses are the patterns of use: new and changed ones first, then in the order of reports. Runtime setup is left
	// out.
	Uses []UseChange
	// Granted and Withdrawn are capabilities that are granted only after, or only before; empty if one of the grants is
	// not known.
	Granted, Withdrawn capability.Set
	// NewUnsure are the reasons why a capability that looks new may have been needed before. GoneUnsure are the reasons
	// why a capability that looks gone may still be needed. They are empty if the comparison is certain.
	NewUnsure, GoneUnsure []string
}

// Status is the status of a capability in one profile.
type Status string

// The statuses. A Denied capability would have been needed if it had been granted.
const (
	Unused   Status = ""
	Needed   Status = "needed"
	Denied   Status = "denied"
	Unneeded Status = "proved unneeded" // although it was used
)

// CapabilityChange is the status of a capability in both profiles.
type CapabilityChange struct {
	Capability    capability.Capability
	Before, After Status
}

// New reports whether the container needs the capability and did not need it before, or tried it without success and
// did not use it before. A capability that was denied before and is needed now is new as well, because the list grows.
func (c CapabilityChange) New() bool {
	switch c.After {
	case Needed:
		return c.Before == Unused || c.Before == Denied
	case Denied:
		return c.Before == Unused
	}
	return false
}

// Gone reports whether the capability was needed or denied, and is no longer used.
func (c CapabilityChange) Gone() bool {
	return c.After == Unused && (c.Before == Needed || c.Before == Denied)
}

// New returns the containers with new capabilities.
func (c Comparison) New() []ContainerComparison {
	return slices.DeleteFunc(slices.Clone(c.Containers), func(c ContainerComparison) bool { return c.New().Empty() })
}

// New returns the capabilities that are new.
func (c ContainerComparison) New() capability.Set { return c.having(CapabilityChange.New) }

// Gone returns the capabilities that are gone.
func (c ContainerComparison) Gone() capability.Set { return c.having(CapabilityChange.Gone) }

func (c ContainerComparison) having(has func(CapabilityChange) bool) capability.Set {
	var set capability.Set
	for _, each := range c.Capabilities {
		if has(each) {
			set = set.With(each.Capability)
		}
	}
	return set
}

// Of returns the status of one capability.
func (c ContainerComparison) Of(of capability.Capability) CapabilityChange {
	for _, each := range c.Capabilities {
		if each.Capability == of {
			return each
		}
	}
	return CapabilityChange{Capability: of}
}

// Name returns the container's name, from the later profile if it is there.
func (c ContainerComparison) Name() string { return nameOf(c.latest()) }

func (c ContainerComparison) latest() profile.Summary {
	if c.After != nil {
		return *c.After
	}
	return *c.Before
}

// Profiles compares two profiles. It returns an error if it cannot match the containers, or if a chosen container does
// not exist.
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

func compareContainer(p pairing) ContainerComparison {
	c := ContainerComparison{PairedBy: p.by, Before: p.before, After: p.after}
	var before, after profile.Summary // without uses if the container is not in the profile
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
		c.NewUnsure = []string{"the container is not in the earlier profile"}
	case p.after == nil:
		c.GoneUnsure = []string{"the container is not in the later profile"}
	default:
		c.NewUnsure, c.GoneUnsure = unsureReasons(before, after), unsureReasons(after, before)
	}
	return c
}

// capabilities compares the needs. A capability that was observed before and proved unneeded is not new if it is
// observed again. A capability that is proved unneeded in the later profile is not a need.
func capabilities(before, after profile.Summary) []CapabilityChange {
	then, now := statuses(before), statuses(after)
	var all []CapabilityChange
	for _, c := range neededOrDenied(before).Union(neededOrDenied(after)).Sorted() {
		all = append(all, CapabilityChange{Capability: c, Before: then(c), After: now(c)})
	}
	return all
}

func neededOrDenied(s profile.Summary) capability.Set {
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

// A container that was watched for less than 1/durationFactor of the time of the other one, and for at least
// minDifference less, may not have reached the same operations.
const (
	durationFactor = 2
	minDifference  = time.Second
)

// unsureReasons returns the reasons why one may have used the same capabilities as other although capmon did not see
// it.
func unsureReasons(one, other profile.Summary) []string {
	reasons := slices.Concat(one.Missing(), one.Unwitnessed())
	if one.Observed*durationFactor < other.Observed && other.Observed-one.Observed >= minDifference {
		reasons = append(reasons, fmt.Sprintf("capmon watched the container for %s, in the other profile for %s", rounded(one.Observed), rounded(other.Observed)))
	}
	if one.Runs < other.Runs {
		reasons = append(reasons, fmt.Sprintf("capmon saw fewer runs of the container: %d instead of %d", one.Runs, other.Runs))
	}
	return reasons
}

// rounded rounds a duration for a reader.
func rounded(d time.Duration) time.Duration {
	if d < time.Second {
		return d.Round(time.Millisecond)
	}
	return d.Round(100 * time.Millisecond)
}

// Find returns the comparison of a container of the later profile.
func (c Comparison) Find(of profile.Container) (found ContainerComparison, ok bool) {
	for _, each := range c.Containers {
		if each.After != nil && identify(each.After.Container) == identify(of) {
			return each, true
		}
	}
	return ContainerComparison{}, false
}
