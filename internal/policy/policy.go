// Package policy says what containers may use and be granted, and checks profiles
// against that.
package policy

import (
	"slices"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/profile"
)

// Version of the form of policies that this package reads.
const Version = 1

// Policy is a list of rules. A container has to keep to every rule that applies to it; their
// order does not matter.
type Policy struct {
	// Version of the form of the policy: 1.
	Version int `yaml:"version"`
	// Unmatched says what a container to which no rule applies does: allow, which is the
	// default, and then a note says so, or deny, and then it violates the policy.
	Unmatched Verdict `yaml:"unmatched,omitempty"`
	// EvenIfStartUnseen: it does not matter that a start was not seen. Without it, a container
	// that was running before it was watched violates each rule with deny or allow.
	EvenIfStartUnseen bool `yaml:"even-if-start-unseen,omitempty"`
	// Rules that containers have to keep to, at least one.
	Rules []Rule `yaml:"rules"`
	// Path of the file that it was read from, "" if it was none.
	Path string `yaml:"-"`
}

// Verdict allows or denies something.
type Verdict string

// The verdicts.
const (
	Allow Verdict = "allow"
	Deny  Verdict = "deny"
)

// Rule is something that some containers have to keep to. Deny and Allow are about what is
// used, DenyGranted and AllowGranted about what is granted, used or not.
type Rule struct {
	// Name of the rule, by which reports call it: unique, in printable characters.
	Name string `yaml:"name"`
	// Match selects the containers that the rule applies to; without it, it applies to all.
	Match *Selector `yaml:"match,omitempty"`
	// Except selects containers that the rule does not apply to, although they match.
	Except *Selector `yaml:"except,omitempty"`
	// Deny lists capabilities that must not be used: needed, or tried in earnest and denied.
	Deny *Capabilities `yaml:"deny,omitempty"`
	// Allow lists the only capabilities that may be used. [] allows none. What would have done
	// with an allowed capability is allowed.
	Allow *Capabilities `yaml:"allow,omitempty"`
	// Denied says whether what was tried in earnest and denied counts as used: deny, which is
	// the default, or allow, and then it may be tried.
	Denied Verdict `yaml:"denied,omitempty"`
	// DenyGranted lists capabilities that must not be granted, whether they are used or not.
	DenyGranted *Capabilities `yaml:"deny-granted,omitempty"`
	// AllowGranted lists the only capabilities that may be granted. [] allows none.
	AllowGranted *Capabilities `yaml:"allow-granted,omitempty"`
	// MaxUnused is how many granted capabilities may be unused: 0 or more.
	MaxUnused *int `yaml:"max-unused,omitempty"`
	// Complete: all that the container did while it was watched has to be recorded. If records
	// were lost, no workload was seen, or it is not known what executed files or the seccomp
	// profile demand, that is a violation. Without it, that is a note.
	Complete bool `yaml:"complete,omitempty"`
	// WholeRun: the container has to be watched from its start to its end. Without it, a note
	// says if it was not.
	WholeRun bool `yaml:"whole-run,omitempty"`
	// Proved: a proof of capmon verify has to hold for what was observed.
	Proved bool `yaml:"proved,omitempty"`
	// Line of the policy's file, or 0.
	Line int `yaml:"-"`
}

// Selector selects containers: those that match one pattern of each list that is given. In
// patterns * and ? stand for anything but a slash, [...] for one of some characters.
type Selector struct {
	// Container lists patterns of names, or of IDs or their first 12 digits.
	Container []string `yaml:"container,omitempty"`
	// Image lists patterns of image names: nginx:1.27 or, for any tag, nginx; with or without
	// docker.io/library.
	Image []string `yaml:"image,omitempty"`
	// Service lists patterns of the names of services, of compose or of a swarm.
	Service []string `yaml:"service,omitempty"`
	// Label lists patterns of labels: KEY, with any value, or KEY=VALUE.
	Label []string `yaml:"label,omitempty"`

	filter, services container.Filter
}

// compile makes filters of the patterns. The error is about a malformed one.
func (s *Selector) compile() (err error) {
	if s.filter, err = container.NewFilter(s.Container, s.Image, s.Label); err != nil {
		return err
	}
	s.services, err = container.NewFilter(s.Service, nil, nil)
	return err
}

// matches reports whether the selector selects a container, and mayMatch whether it may do so: if
// the value of a label was left out of the profile, any pattern may match it.
func (s *Selector) matches(c profile.Container) bool {
	return s.filter.Match(infoOf(c)) && s.matchesService(c)
}

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

// appliesTo reports whether the container has to keep to the rule. If that depends on the value of
// a label that was left out of the profile, it has to.
func (r Rule) appliesTo(c profile.Container) bool {
	return (r.Match == nil || r.Match.mayMatch(c)) && (r.Except == nil || !r.Except.matches(c))
}

// lacksLabel reports whether a rule that applies does so because the value of a label was left out.
func (r Rule) lacksLabel(c profile.Container) bool {
	return r.Match != nil && !r.Match.matches(c) || r.Except != nil && r.Except.mayMatch(c)
}

// deniesNothing reports whether the rule has an empty list of what it denies, as an unset
// variable gives.
func (r Rule) deniesNothing() bool {
	return r.Deny != nil && r.Deny.Empty() || r.DenyGranted != nil && r.DenyGranted.Empty()
}

// demandsNothing reports whether the rule has nothing to keep to.
func (r Rule) demandsNothing() bool {
	return r.Deny == nil && r.Allow == nil && r.DenyGranted == nil && r.AllowGranted == nil && r.MaxUnused == nil &&
		!r.Complete && !r.WholeRun && !r.Proved
}

// Capabilities is a set that is written as a list of names, in any case, with CAP_ in front
// or not. ALL stands for all, DEFAULT for the 14 that Docker grants where nothing is asked for.
type Capabilities struct{ capability.Set }

// ParseCapabilities reads a list of names.
func ParseCapabilities(names []string) (Capabilities, error) {
	var set Capabilities
	for _, name := range names {
		more, err := parseName(name)
		if err != nil {
			return Capabilities{}, err
		}
		set.Set = set.Union(more)
	}
	return set, nil
}
