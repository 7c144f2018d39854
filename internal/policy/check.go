package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/compare"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/monitor"
)

// Kind is what a violation is about.
type Kind string

// The kinds.
const (
	Used        Kind = "used"        // a capability that the rule denies, or does not allow
	Denied      Kind = "denied"      // such a capability was tried in earnest
	Granted     Kind = "granted"     // capabilities that the rule denies, or does not allow
	Unused      Kind = "unused"      // more than the rule admits are granted and unused
	Unknown     Kind = "unknown"     // what is granted is not known, and the rule is about that
	LongSetup   Kind = "long-setup"  // capabilities used in a runtime setup that took too long
	Incomplete  Kind = "incomplete"  // not all was recorded
	Unwitnessed Kind = "unwitnessed" // it was not watched from its start to its end
	Unproved    Kind = "unproved"    // no proof holds
	Unmatched   Kind = "unmatched"   // no rule applies
	New         Kind = "new"         // a capability that the baseline does not need
)

// Violation is one way in which a container does not keep to a rule.
type Violation struct {
	Kind Kind
	// Rule is its name, "" if it is none of the policy's; Line is its line in the policy's file.
	Rule string
	Line int
	// Capabilities that it is about: one for Used, Denied and New, any number for Granted,
	// Unused and LongSetup, else none.
	Capabilities capability.Set
	// Text says what is wrong, in a clause.
	Text string
	// Unsure is why it may be no violation after all; empty if it is certain.
	Unsure string
	// Uses of the capabilities, the most frequent of each first.
	Uses []profile.Use
}

// Container is how one container keeps to a policy.
type Container struct {
	profile.Summary
	// Rules that apply to it, by name.
	Rules      []string
	Violations []Violation
	// Notes are what a reader has to know although it is no violation.
	Notes []string
}

// Result of a check.
type Result struct {
	Policy     Policy
	Containers []Container
	// Idle are the names of rules that applied to no container.
	Idle []string
	// Missing are containers of the baseline that were not seen now, by what people call
	// them: nothing is known of them.
	Missing []string
}

// Passed reports whether nothing violates the policy.
func (r Result) Passed() bool { return r.Violating() == 0 }

// Violating is how many containers violate the policy.
func (r Result) Violating() (n int) {
	for _, c := range r.Containers {
		if len(c.Violations) > 0 {
			n++
		}
	}
	return n
}

// Check tells how the containers of a profile keep to a policy, and where they need more than
// those of a baseline, of which comparison tells; nil if there is none.
func Check(p profile.Profile, policy Policy, comparison *compare.Comparison) Result {
	result := Result{Policy: policy}
	applied := make(map[string]bool)
	for _, s := range profile.Summaries(p) {
		c := Container{Summary: s}
		for _, rule := range policy.Rules {
			if rule.appliesTo(s.Container) {
				applied[rule.Name] = true
				c.Rules = append(c.Rules, rule.Name)
				c.Violations = append(c.Violations, rule.violations(s, policy)...)
				if rule.lacksLabel(s.Container) {
					c.Notes = append(c.Notes, fmt.Sprintf("whether rule %s applies depends on the value of a label, which was left out of the profile (--keep-label keeps it): it is taken to apply", rule.Name))
				}
			}
		}
		c.Violations = append(c.Violations, longSetup(s)...)
		if comparison != nil {
			c.Violations = append(c.Violations, newNeeds(s, *comparison, policy)...)
		}
		c.unmatched(policy)
		c.Notes = append(c.Notes, s.Missing()...)
		c.Notes = append(c.Notes, s.Unwitnessed()...)
		result.Containers = append(result.Containers, c)
	}
	if comparison != nil {
		for _, c := range comparison.Containers {
			if c.After == nil {
				result.Missing = append(result.Missing, c.Before.Container.Title())
			}
		}
	}
	for _, rule := range policy.Rules {
		if !applied[rule.Name] {
			result.Idle = append(result.Idle, rule.Name)
		}
	}
	return result
}

// longSetup is the violation of a container that used capabilities in a runtime setup that took
// longer than a container runtime takes, whatever the rules are: a workload may hide there.
func longSetup(s profile.Summary) []Violation {
	used := s.Having(classify.LongSetup)
	if used.Empty() {
		return nil
	}
	v := Violation{
		Kind: LongSetup, Capabilities: used,
		Text: fmt.Sprintf("%s used after more than %v of runtime setup, where a workload may hide", used.Text()+be(used), monitor.SetupTime),
	}
	for _, c := range used.Sorted() {
		v.Uses = append(v.Uses, s.UsesOf(c, classify.LongSetup)...)
	}
	return []Violation{v}
}

func (c *Container) unmatched(policy Policy) {
	const text = "no rule of the policy applies to it"
	switch {
	case len(policy.Rules) == 0 || len(c.Rules) > 0:
	case policy.Unmatched == Deny:
		c.Violations = append(c.Violations, Violation{Kind: Unmatched, Text: text})
	default:
		c.Notes = append(c.Notes, text)
	}
}

// violations lists what the container does not keep to.
func (r Rule) violations(s profile.Summary, policy Policy) []Violation {
	var all []Violation
	if text := policy.unseen(s); text != "" && (r.Deny != nil || r.Allow != nil) {
		all = append(all, Violation{Kind: Incomplete, Text: text})
	}
	all = slices.Concat(all, r.uses(s), r.grants(s))
	if missing := s.Missing(); r.Complete && len(missing) > 0 {
		all = append(all, Violation{Kind: Incomplete, Text: "not all was recorded: " + strings.Join(missing, "; ")})
	}
	if unwitnessed := s.Unwitnessed(); r.WholeRun && len(unwitnessed) > 0 {
		all = append(all, Violation{Kind: Unwitnessed, Text: "not its whole run was watched: " + strings.Join(unwitnessed, "; ")})
	}
	if r.Proved && !s.Proved() {
		all = append(all, Violation{Kind: Unproved, Text: unproved(s)})
	}
	for i := range all {
		all[i].Rule, all[i].Line = r.Name, r.Line
	}
	return all
}

func unproved(s profile.Summary) string {
	switch {
	case s.Proof == nil:
		return "no proof of capmon verify is in the profile"
	case !s.Proof.Works:
		return "the proof of capmon verify failed"
	case s.Proof.Container.ImageID != s.Container.ImageID:
		return "the proof of capmon verify is of another image"
	case s.SeveralBuilds:
		return "the proof of capmon verify is of one build of the image, and several were observed"
	}
	return "the proof of capmon verify does not tell of " + s.Untried().Text()
}

// uses finds what is used or was tried, and must not be.
func (r Rule) uses(s profile.Summary) []Violation {
	var all []Violation
	used := usedBy(s)
	for _, c := range used.Sorted() {
		text := r.against(s, c)
		if text == "" {
			continue
		}
		v := Violation{Kind: Used, Capabilities: capability.Of(c), Text: c.String() + " is used" + text, Unsure: unsure(s, c), Uses: s.UsesOf(c, classify.Needs()...)}
		if len(v.Uses) == 0 {
			v.Text = c.String() + " is needed, as verify has shown" + text
		}
		all = append(all, v)
	}
	if r.Denied == Allow {
		return all
	}
	for _, c := range s.Denied().Minus(used).Sorted() {
		text := ", which the rule does not allow"
		switch {
		case r.Deny != nil && r.Deny.Has(c):
			text = ", which the rule denies"
		case r.Allow == nil || r.Allow.Has(c):
			continue
		}
		all = append(all, Violation{
			Kind: Denied, Capabilities: capability.Of(c), Text: c.String() + " was tried and denied" + text, Uses: s.UsesOf(c, classify.Denied),
		})
	}
	return all
}

// unseen is why it is not known what a container uses, or what it uses to start; "" if the policy
// does not ask for more than was seen.
func (p Policy) unseen(s profile.Summary) string {
	switch {
	case !s.Started:
		return "capmon never saw its workload, so what it uses is not known"
	case !s.StartSeen() && !p.EvenIfStartUnseen:
		return s.StartUnseen() + ", so what it uses then is not known"
	}
	return ""
}

// usedBy is what was used, or is known to be needed, but for what a proof shows to be unneeded.
func usedBy(s profile.Summary) capability.Set {
	unneeded := s.Needs().Minus(s.List())
	return s.Needs().Union(s.Spared()).Union(s.List()).Minus(unneeded)
}

// against says what the rule has against the use of c; "" if nothing.
func (r Rule) against(s profile.Summary, c capability.Capability) string {
	if r.Deny != nil && r.Deny.Has(c) {
		text := ", which the rule denies"
		if s.Spared().Has(c) {
			text += ", although others that are needed anyway do for it"
		} else if narrower, ok := s.Advised(c); ok {
			text += fmt.Sprintf("; %s would do instead", narrower)
		}
		return text
	}
	if r.Allow != nil && s.List().Has(c) && !r.allows(s, c) {
		return ", which the rule does not allow"
	}
	return ""
}

// allows reports whether every use of c would have done with what is allowed.
func (r Rule) allows(s profile.Summary, c capability.Capability) bool {
	uses := s.UsesOf(c, classify.Needs()...)
	if r.Allow.Has(c) || len(uses) == 0 {
		return r.Allow.Has(c)
	}
	return !slices.ContainsFunc(uses, func(u profile.Use) bool { return u.Alternative == nil || !r.Allow.Has(*u.Alternative) })
}

func unsure(s profile.Summary, c capability.Capability) string {
	if !s.Unsure().Has(c) || s.Proved() {
		return ""
	}
	if doubt := s.UnsureReason(c); doubt != "" {
		return "it may not be needed: " + doubt
	}
	return ""
}

// grants finds what is granted and must not be.
func (r Rule) grants(s profile.Summary) []Violation {
	if r.DenyGranted == nil && r.AllowGranted == nil && r.MaxUnused == nil {
		return nil
	}
	granted, known := s.Grants.Set()
	if !known {
		return []Violation{{Kind: Unknown, Text: "it is not known what is granted, and the rule is about that"}}
	}
	var all []Violation
	if r.DenyGranted != nil {
		if denied := granted.Intersect(r.DenyGranted.Set); !denied.Empty() {
			all = append(all, Violation{Kind: Granted, Capabilities: denied, Text: denied.Text() + areGranted(denied) + ", which the rule denies"})
		}
	}
	if r.AllowGranted != nil {
		if beyond := granted.Minus(r.AllowGranted.Set); !beyond.Empty() {
			all = append(all, Violation{Kind: Granted, Capabilities: beyond, Text: beyond.Text() + areGranted(beyond) + ", which the rule does not allow"})
		}
	}
	if unused, _ := s.Unused(); r.MaxUnused != nil && unused.Len() > *r.MaxUnused {
		v := Violation{Kind: Unused, Capabilities: unused, Text: fmt.Sprintf("%d of %d granted capabilities were never used, the rule admits %d: %s", unused.Len(), granted.Len(), *r.MaxUnused, unused.Text())}
		v.Unsure = strings.Join(s.Missing(), "; ")
		all = append(all, v)
	}
	return all
}

func areGranted(set capability.Set) string { return be(set) + " granted" }

// be agrees with a set as the subject.
func be(set capability.Set) string {
	if set.Len() == 1 {
		return " is"
	}
	return " are"
}

// newNeeds are the capabilities that the container needs or tries, and did not in the
// baseline.
func newNeeds(s profile.Summary, comparison compare.Comparison, policy Policy) []Violation {
	compared, found := comparison.Find(s.Container)
	if !found {
		return nil
	}
	var all []Violation
	if text := policy.unseen(s); text != "" {
		all = append(all, Violation{Kind: Incomplete, Text: text})
	}
	for _, c := range compared.New().Intersect(s.List().Union(s.Denied())).Sorted() {
		v := Violation{
			Kind: New, Capabilities: capability.Of(c), Text: c.String() + " is needed", Unsure: unsure(s, c), Uses: s.UsesOf(c, classify.Needs()...),
		}
		if !s.List().Has(c) {
			v.Text, v.Uses = c.String()+" was tried and denied", s.UsesOf(c, classify.Denied)
		}
		if compared.Before == nil {
			v.Text += ", and the container is not in the baseline"
		} else {
			v.Text += ", and was not asked for in the baseline"
			v.Unsure = cmp.Or(strings.Join(compared.NewUnsure, "; "), v.Unsure)
		}
		all = append(all, v)
	}
	return all
}
