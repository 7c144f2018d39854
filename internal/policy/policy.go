// Package policy reads policies, which restrict what containers may use and be granted, and checks profiles against
// them.
package policy

import (
	"slices"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/profile"
)

// Version is the version of the policy format that this package reads.
const Version = 1

// Policy is a list of rules. A container must comply with every rule that applies to it. The order of the rules does
// not matter.
type Policy struct {
	// Version of the policy format: 1.
	Version int `yaml:"version"`
	// Unmatched decides about containers to which no rule applies. With pass, the default, they pass with a note. With
	// fail, they violate the policy.
	Unmatched Outcome `yaml:"unmatched,omitempty"`
	// EvenIfStartUnseen: rules with deny or allow also accept containers whose start capmon did not see. Without it,
	// such a container violates each of these rules.
	EvenIfStartUnseen bool `yaml:"even-if-start-unseen,omitempty"`
	// Rules that containers must comply with, at least one.
	Rules []Rule `yaml:"rules"`
	// Path of the file with the policy, "" if there is none.
	Path string `yaml:"-"`
}

// Outcome is the result for containers to which no rule applies.
type Outcome string

// The outcomes.
const (
	Pass Outcome = "pass"
	Fail Outcome = "fail"
)

// Rule is a condition that some containers must comply with. Deny and Allow restrict what is used. DenyGranted and
// AllowGranted restrict what is granted, used or not.
type Rule struct {
	// Name of the rule in reports: unique, in printable characters.
	Name string `yaml:"name"`
	// Match selects the containers that the rule applies to; without it, all.
	Match *Selector `yaml:"match,omitempty"`
	// Except selects containers that the rule does not apply to, although they match.
	Except *Selector `yaml:"except,omitempty"`
	// Deny lists capabilities that must not be used: neither needed, nor tried and denied.
	Deny *Capabilities `yaml:"deny,omitempty"`
	// Allow lists the only capabilities that may be used. [] allows none. A use is allowed if an allowed capability
	// would have been sufficient for it.
	Allow *Capabilities `yaml:"allow,omitempty"`
	// IgnoreDenied: Deny and Allow ignore capabilities that were tried and denied. Without it, such a capability counts
	// as used.
	IgnoreDenied bool `yaml:"ignore-denied,omitempty"`
	// DenyGranted lists capabilities that must not be granted, used or not.
	DenyGranted *Capabilities `yaml:"deny-granted,omitempty"`
	// AllowGranted lists the only capabilities that may be granted. [] allows none.
	AllowGranted *Capabilities `yaml:"allow-granted,omitempty"`
	// MaxUnused is the number of granted capabilities that may be unused: 0 or more.
	MaxUnused *int `yaml:"max-unused,omitempty"`
	// Complete: capmon must have recorded everything that the container did while capmon watched it. It is a violation
	// if records were lost, if capmon saw no workload, or if the needs of executed files or of the seccomp profile are
	// unknown. Without Complete, these are notes.
	Complete bool `yaml:"complete,omitempty"`
	// WholeRun: capmon must have watched the container from its start to its end. Without it, an unwatched part is a
	// note.
	WholeRun bool `yaml:"whole-run,omitempty"`
	// Proved: a proof of capmon verify must cover everything that capmon observed.
	Proved bool `yaml:"proved,omitempty"`
	// Line of the rule in the policy's file, or 0.
	Line int `yaml:"-"`
}

// Selector selects containers: those that match at least one pattern of each list given. In patterns, * and ? match
// anything but a slash, and [...] matches one of several characters.
type Selector struct {
	// Container lists patterns of names, and IDs: complete, or at least their first 12 digits.
	Container []string `yaml:"container,omitempty"`
	// Image lists patterns of image names: nginx:1.27, or nginx for any tag; with or without docker.io/library.
	Image []string `yaml:"image,omitempty"`
	// Service lists patterns of the names of services, of Compose or of a swarm.
	Service []string `yaml:"service,omitempty"`
	// Label lists patterns of labels: KEY with any value, or KEY=VALUE.
	Label []string `yaml:"label,omitempty"`

	filter, services container.Filter
}

// compile compiles the patterns to filters. It returns an error for a malformed pattern.
func (s *Selector) compile() (err error) {
	if s.filter, err = container.NewFilter(s.Container, s.Image, s.Label); err != nil {
		return err
	}
	s.services, err = container.NewFilter(s.Service, nil, nil)
	return err
}

// matches reports whether the selector selects a container.
func (s *Selector) matches(c profile.Container) bool {
	return s.filter.Match(infoOf(c)) && s.matchesService(c)
}

// mayMatch reports whether the selector may select a container. If the profile does not contain the value of a label,
// any pattern may match it.
func (s *Selector) mayMatch(c profile.Container) bool {
	return s.filter.MayMatch(infoOf(c)) && s.matchesService(c)
}

func infoOf(c profile.Container) container.Info {
	return container.Info{ID: c.ID, Name: c.Name, Image: c.Image, Labels: c.Labels}
}

func (s *Selector) matchesService(c profile.Container) bool {
	if len(s.Service) == 0 {
		return true
	}
	_, service := c.ComposeService()
	return slices.ContainsFunc([]string{service, c.Service()}, func(name string) bool {
		return name != "" && s.services.Match(container.Info{Name: name})
	})
}

// appliesTo reports whether the container must comply with the rule. A rule applies if that depends on the value of a
// label that the profile does not contain.
func (r Rule) appliesTo(c profile.Container) bool {
	return (r.Match == nil || r.Match.mayMatch(c)) && (r.Except == nil || !r.Except.matches(c))
}

// lacksLabel reports whether a rule applies only because the profile does not contain the value of a label.
func (r Rule) lacksLabel(c profile.Container) bool {
	return r.Match != nil && !r.Match.matches(c) || r.Except != nil && r.Except.mayMatch(c)
}

// deniesNothing reports whether the rule denies an empty list, for example because a template variable is not set.
func (r Rule) deniesNothing() bool {
	return r.Deny != nil && r.Deny.Empty() || r.DenyGranted != nil && r.DenyGranted.Empty()
}

// requiresNothing reports whether the rule has no condition.
func (r Rule) requiresNothing() bool {
	return r.Deny == nil && r.Allow == nil && r.DenyGranted == nil && r.AllowGranted == nil && r.MaxUnused == nil &&
		!r.Complete && !r.WholeRun && !r.Proved
}

// Capabilities is a set that is written as a list of names, in upper or lower case, with or without CAP_. ALL means all
// capabilities, DEFAULT the 14 that Docker grants by default.
type Capabilities struct{ capability.Set }

// ParseCapabilities reads a list of names.
func ParseCapabilities(names []string) (Capabilities, error) {
	var set Capabilities
	for _, name := range names {
		more, err := capability.ParseSet(name)
		if err != nil {
			return Capabilities{}, err
		}
		set.Set = set.Union(more)
	}
	return set, nil
}
