package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/compare"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/waiver"
	"github.com/capmon/capmon/monitor"
)

// ViolationKind is the kind of a violation.
type ViolationKind string

// The kinds.
const (
	// Used means that the container used a capability that the rule denies, or does not allow.
	Used ViolationKind = "used"
	// Denied means that the container tried to use such a capability, and the kernel denied it.
	Denied ViolationKind = "denied"
	// Granted means that the container was granted capabilities that the rule denies, or does not allow.
	Granted ViolationKind = "granted"
	// Unused means that more capabilities are granted and unused than the rule allows.
	Unused ViolationKind = "unused"
	// Unknown means that the rule restricts grants, but the container's grant is unknown.
	Unknown ViolationKind = "unknown"
	// LongSetup means that capabilities were used in a runtime setup that took too long.
	LongSetup ViolationKind = "long-setup"
	// Incomplete means that capmon did not record everything.
	Incomplete ViolationKind = "incomplete"
	// Unwitnessed means that capmon did not watch the container from its start to its end.
	Unwitnessed ViolationKind = "unwitnessed"
	// Unproved means that there is no valid proof.
	Unproved ViolationKind = "unproved"
	// Unmatched means that no rule applies.
	Unmatched ViolationKind = "unmatched"
	// New means that the container needs a capability that the baseline does not need.
	New ViolationKind = "new"
)

// Violation is a violation of one rule by one container.
type Violation struct {
	Kind ViolationKind
	// Rule is the name of the violated rule, "" if there is none. Line is the line of the rule in the policy's file.
	Rule string
	Line int
	// Capabilities of the violation: one for Used, Denied and New, any number for Granted, Unused and LongSetup,
	// otherwise none.
	Capabilities capability.Set
	// Text describes the violation.
	Text string
	// Unsure is the reason why this may not be a violation; empty if the violation is certain.
	Unsure string
	// Uses of the capabilities, the most frequent of each first.
	Uses []profile.UsePattern
	// Waivers that cover some of the capabilities, see [Result.Waive].
	Waivers waiver.Coverage

	// allowed is the number of the capabilities that the rule would allow: not 0 only for Unused.
	allowed int
}

// ContainerResult is the result for one container.
type ContainerResult struct {
	profile.Summary
	// Rules that apply to it, by name.
	Rules      []string
	Violations []Violation
	// Waived are the violations that waivers cover. The container passes in spite of them.
	Waived []Violation
	// Notes are important facts that are not violations.
	Notes []string
}

// Result of a check.
type Result struct {
	Policy     Policy
	Containers []ContainerResult
	// Idle are the names of rules that applied to no container.
	Idle []string
	// Missing are the titles of the containers of the baseline that are not in the profile: their needs are unknown.
	Missing []string
	// Waivers are the waivers of [Result.Waive]; nil if there are none.
	Waivers *waiver.Review
}

// Passed reports whether no container violates the policy.
func (r Result) Passed() bool { return r.Violating() == 0 }

// Violating returns the number of containers that violate the policy.
func (r Result) Violating() (n int) {
	for _, c := range r.Containers {
		if len(c.Violations) > 0 {
			n++
		}
	}
	return n
}

// PassingWithWaivers returns the number of containers that pass only because waivers cover all their violations.
func (r Result) PassingWithWaivers() (n int) {
	for _, c := range r.Containers {
		if len(c.Violations) == 0 && len(c.Waived) > 0 {
			n++
		}
	}
	return n
}

// Check checks the containers of a profile against a policy. With a comparison to a baseline, it also reports needs
// that are new. comparison may be nil. Check leaves out the sandboxes of pods that needed nothing.
func Check(p profile.Profile, policy Policy, comparison *compare.Comparison) Result {
	result := Result{Policy: policy}
	applied := make(map[string]bool)
	judged, _ := p.Judged()
	for _, s := range profile.Summaries(judged) {
		c := ContainerResult{Summary: s}
		for _, rule := range policy.Rules {
			if rule.appliesTo(s.Container) {
				applied[rule.Name] = true
				c.Rules = append(c.Rules, rule.Name)
				c.Violations = append(c.Violations, rule.violations(s, policy)...)
				if rule.lacksLabel(s.Container) {
					c.Notes = append(c.Notes, fmt.Sprintf("rule %s depends on the value of a label that the profile does not contain, so the rule may not apply. capmon checks it anyway. --keep-label saves the values of labels", rule.Name))
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

// longSetup returns a violation if a container used capabilities in a runtime setup that took longer than a container
// runtime needs. No rule can allow this, because a workload may hide in such a setup.
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

func (c *ContainerResult) unmatched(policy Policy) {
	const text = "no rule of the policy applies to the container"
	switch {
	case len(policy.Rules) == 0 || len(c.Rules) > 0:
	case policy.Unmatched == Fail:
		c.Violations = append(c.Violations, Violation{Kind: Unmatched, Text: text})
	default:
		c.Notes = append(c.Notes, text)
	}
}

// violations returns the violations of the rule by a container.
func (r Rule) violations(s profile.Summary, policy Policy) []Violation {
	var all []Violation
	if text := policy.startText(s); text != "" && (r.Deny != nil || r.Allow != nil) {
		all = append(all, Violation{Kind: Incomplete, Text: text})
	}
	all = slices.Concat(all, r.uses(s), r.grants(s))
	if missing := s.Missing(); r.Complete && len(missing) > 0 {
		all = append(all, Violation{Kind: Incomplete, Text: "capmon did not record everything: " + strings.Join(missing, "; ")})
	}
	if unwitnessed := s.Unwitnessed(); r.WholeRun && len(unwitnessed) > 0 {
		all = append(all, Violation{Kind: Unwitnessed, Text: "capmon did not watch the whole run: " + strings.Join(unwitnessed, "; ")})
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
		return "the profile contains no proof of capmon verify"
	case !s.Proof.Works:
		return "the proof of capmon verify failed"
	case s.Proof.Container.ImageID != s.Container.ImageID:
		return "the proof of capmon verify is for another build of the image"
	case s.SeveralBuilds:
		return "the proof of capmon verify is for one build of the image, but capmon observed several builds"
	}
	return "the proof of capmon verify does not cover " + s.Untried().Text()
}

// uses returns violations for capabilities that were used or tried, and must not be.
func (r Rule) uses(s profile.Summary) []Violation {
	var all []Violation
	used := usedBy(s)
	for _, c := range used.Sorted() {
		text := r.usedText(s, c)
		if text == "" {
			continue
		}
		v := Violation{Kind: Used, Capabilities: capability.Of(c), Text: fmt.Sprintf("the container uses %s; %s", c, text), Unsure: unsure(s, c), Uses: s.UsesOf(c, classify.Needs()...)}
		if len(v.Uses) == 0 {
			v.Text = fmt.Sprintf("capmon verify has shown that the container needs %s; %s", c, text)
		}
		all = append(all, v)
	}
	if r.IgnoreDenied {
		return all
	}
	for _, c := range s.Denied().Minus(used).Sorted() {
		text := "the rule does not allow"
		switch {
		case r.Deny != nil && r.Deny.Has(c):
			text = "the rule denies"
		case r.Allow == nil || r.Allow.Has(c):
			continue
		}
		all = append(all, Violation{
			Kind: Denied, Capabilities: capability.Of(c), Uses: s.UsesOf(c, classify.Denied),
			Text: fmt.Sprintf("the container tried %s, and the kernel denied it; %s %[1]s", c, text),
		})
	}
	return all
}

// startText describes why a container's uses, or its uses at the start, are unknown; "" if the policy accepts what
// capmon saw.
func (p Policy) startText(s profile.Summary) string {
	switch {
	case !s.Started:
		return "capmon did not see the workload of the container, so its uses are unknown"
	case !s.StartSeen() && !p.EvenIfStartUnseen:
		return s.StartUnseen() + ", so its uses at the start are unknown"
	}
	return ""
}

// usedBy returns the capabilities that the container used or is known to need, except those that are proved unneeded.
func usedBy(s profile.Summary) capability.Set {
	unneeded := s.Needs().Minus(s.List())
	return s.Needs().Union(s.Spared()).Union(s.List()).Minus(unneeded)
}

// usedText describes why the rule forbids the use of c; "" if it does not.
func (r Rule) usedText(s profile.Summary, c capability.Capability) string {
	if r.Deny != nil && r.Deny.Has(c) {
		text := "the rule denies " + c.String()
		if s.Spared().Has(c) {
			text += "; other capabilities that the container needs are sufficient"
		} else if narrower, ok := s.Advised(c); ok {
			text += fmt.Sprintf("; %s would be sufficient", narrower)
		}
		return text
	}
	if r.Allow != nil && s.List().Has(c) && !r.allows(s, c) {
		return "the rule does not allow " + c.String()
	}
	return ""
}

// allows reports whether an allowed capability would have been sufficient for every use of c.
func (r Rule) allows(s profile.Summary, c capability.Capability) bool {
	uses := s.UsesOf(c, classify.Needs()...)
	if r.Allow.Has(c) || len(uses) == 0 {
		return r.Allow.Has(c)
	}
	return !slices.ContainsFunc(uses, func(u profile.UsePattern) bool { return u.Alternative == nil || !r.Allow.Has(*u.Alternative) })
}

func unsure(s profile.Summary, c capability.Capability) string {
	if !s.Unsure().Has(c) || s.Proved() {
		return ""
	}
	if reason := s.UnsureReason(c); reason != "" {
		return "it may not be needed: " + reason
	}
	return ""
}

// grants returns violations for capabilities that are granted and must not be.
func (r Rule) grants(s profile.Summary) []Violation {
	if r.DenyGranted == nil && r.AllowGranted == nil && r.MaxUnused == nil {
		return nil
	}
	granted, known := s.Grants.Set()
	if !known {
		return []Violation{{Kind: Unknown, Text: "the rule restricts the grants, which are unknown"}}
	}
	var all []Violation
	if r.DenyGranted != nil {
		if denied := granted.Intersect(r.DenyGranted.Set); !denied.Empty() {
			all = append(all, Violation{Kind: Granted, Capabilities: denied, Text: denied.Text() + areGranted(denied) + ", which the rule denies"})
		}
	}
	if r.AllowGranted != nil {
		if notAllowed := granted.Minus(r.AllowGranted.Set); !notAllowed.Empty() {
			all = append(all, Violation{Kind: Granted, Capabilities: notAllowed, Text: notAllowed.Text() + areGranted(notAllowed) + ", which the rule does not allow"})
		}
	}
	if unused, _ := s.Unused(); r.MaxUnused != nil && unused.Len() > *r.MaxUnused {
		v := Violation{Kind: Unused, Capabilities: unused, Text: fmt.Sprintf("%d of %d granted capabilities were never used; the rule allows %d: %s", unused.Len(), granted.Len(), *r.MaxUnused, unused.Text()), allowed: *r.MaxUnused}
		v.Unsure = strings.Join(s.Missing(), "; ")
		all = append(all, v)
	}
	return all
}

func areGranted(set capability.Set) string { return be(set) + " granted" }

// be returns the form of "be" for a set as the subject.
func be(set capability.Set) string {
	if set.Len() == 1 {
		return " is"
	}
	return " are"
}

// newNeeds returns violations for capabilities that the container needs or tries, and did not in the baseline.
func newNeeds(s profile.Summary, comparison compare.Comparison, policy Policy) []Violation {
	compared, found := comparison.Find(s.Container)
	if !found {
		return nil
	}
	var all []Violation
	if text := policy.startText(s); text != "" {
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
			v.Text += ", and was neither needed nor tried in the baseline"
			v.Unsure = cmp.Or(strings.Join(compared.NewUnsure, "; "), v.Unsure)
		}
		all = append(all, v)
	}
	return all
}
