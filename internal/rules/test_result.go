package rules

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/uses"
)

// TestResult is the result of testing rules with recorded profiles.
type TestResult struct {
	// Version of the format.
	Schema int `json:"schema"`
	// Whether certainly no rule would alert.
	Passed bool         `json:"passed"`
	Rules  []RuleResult `json:"rules"`
}

// RuleResult is the result of one rule.
type RuleResult struct {
	Rule string `json:"rule"`
	// Line of the rule in the file of rules.
	Line int `json:"line"`
	// The uses that match the rule, including those that an exception allows.
	Uses []UseResult `json:"uses"`
}

// UseResult is a recorded use that matches a rule.
type UseResult struct {
	Outcome Outcome `json:"outcome"`
	// If the outcome is unsure: what the profile does not contain.
	Unsure string `json:"unsure,omitempty"`
	// The number of the exception that allows the use, from 1 on; missing if none does.
	Exception int `json:"exception,omitempty"`
	// The summary that an alert would have.
	Summary   string             `json:"summary"`
	Container profile.Container  `json:"container"`
	Use       profile.UsePattern `json:"use"`
}

// Outcome is whether a rule alerts on a use.
type Outcome string

// The outcomes.
const (
	Alerts  Outcome = "alerts"
	Unsure  Outcome = "unsure"  // it is unknown whether the rule alerts
	Allowed Outcome = "allowed" // an exception allows the use
)

// Outcomes returns all outcomes.
func Outcomes() []Outcome { return []Outcome{Alerts, Unsure, Allowed} }

// Test tests rules, whose profiles are loaded, with a recorded profile. It reports whether the rules would have
// alerted, but not how often.
func Test(file File, p profile.Profile) TestResult {
	result := TestResult{Schema: 2, Passed: true}
	for i := range file.Rules {
		rule := &file.Rules[i]
		ruleResult := RuleResult{Rule: rule.Name, Line: rule.Line, Uses: []UseResult{}}
		for _, run := range p.Runs {
			ruleResult.Uses = append(ruleResult.Uses, rule.test(run)...)
		}
		for _, use := range ruleResult.Uses {
			result.Passed = result.Passed && use.Outcome == Allowed
		}
		result.Rules = append(result.Rules, ruleResult)
	}
	return result
}

// test tests the rule with a run.
func (r *Rule) test(run profile.Run) (all []UseResult) {
	var burst []profile.UsePattern
	uses := recordedUses(run)
	for i, use := range uses {
		j := r.judge(use)
		if j.alerts == no && j.allowed < 0 {
			continue
		}
		useResult := UseResult{
			Outcome: Alerts, Unsure: j.unsure, Container: run.Container, Use: run.Uses[i],
			Summary: (&Rule{Profiles: r.Profiles}).summary(match{use: use}, use.Count),
		}
		switch {
		case j.allowed >= 0:
			useResult.Outcome, useResult.Unsure, useResult.Exception = Allowed, "", j.allowed+1
		case j.alerts == perhaps:
			useResult.Outcome = Unsure
		}
		if useResult.Outcome != Allowed {
			burst = append(burst, run.Uses[i])
		}
		all = append(all, useResult)
	}
	if r.Burst == nil {
		return all
	}
	isBurst := r.Burst.matches(burst)
	kept := all[:0]
	for _, useResult := range all {
		switch {
		case useResult.Outcome == Allowed:
		case isBurst == no:
			continue
		case isBurst == perhaps:
			useResult.Outcome, useResult.Unsure = Unsure, firstOf(useResult.Unsure, "a profile does not contain the times of all uses")
		}
		kept = append(kept, useResult)
	}
	return kept
}

// matches reports whether uses of a container were a burst. Only the times of the first and the last use of each
// pattern of use are known.
func (b Burst) matches(uses []profile.UsePattern) answer {
	var count uint64
	var first, last time.Time
	for _, use := range uses {
		count += use.Count
		if first.IsZero() || use.First.Before(first) {
			first = use.First
		}
		if use.Last.After(last) {
			last = use.Last
		}
	}
	switch {
	case count < uint64(b.Uses):
		return no
	case last.Sub(first) <= time.Duration(b.Within):
		return yes
	}
	return perhaps
}

// recordedUses returns the uses of a run as package uses would have reported them: one for each pattern of use. A
// profile does not contain the process.
func recordedUses(run profile.Run) []uses.Use {
	all := make([]uses.Use, 0, len(run.Uses))
	of := uses.ContainerRef{
		ID: run.Container.ID, Unconfirmed: run.Container.Unconfirmed, Name: run.Container.Name, Image: run.Container.Image,
		ImageID: run.Container.ImageID, Labels: run.Container.Labels, Unidentified: run.EngineError != "" && run.Container.Name == "",
	}
	for _, use := range run.Uses {
		family := uses.RawSocketOf(use.Capability, use.Stack)
		if use.Class == classify.Setup {
			family = ""
		}
		all = append(all, uses.Use{
			Time: use.First, First: true, Count: use.Count, Container: of,
			Process:    uses.Process{Program: use.Program, Others: use.Others, User: &use.User},
			Capability: use.Capability, Class: use.Class, Granted: use.Granted, RawSocket: family != "", Family: family,
			Nested: use.Class == classify.NestedUserns, Call: use.Call, Site: use.Site, Stack: use.Stack,
			Reason: use.Reason, Unsure: use.Unsure,
		})
	}
	return all
}

// WriteText writes the result as text.
func (t TestResult) WriteText(out io.Writer) error {
	var text strings.Builder
	for _, rule := range t.Rules {
		fmt.Fprintf(&text, "%s: %s\n", printable.Word(rule.Rule), rule.counts())
		for _, use := range rule.Uses {
			fmt.Fprintf(&text, "  %-7s  %s%s\n", use.Outcome, use.Summary, use.detail())
		}
	}
	_, err := io.WriteString(out, text.String())
	return err
}

func (r RuleResult) counts() string {
	counts := make(map[Outcome]int)
	for _, use := range r.Uses {
		counts[use.Outcome]++
	}
	var texts []string
	for _, outcome := range Outcomes() {
		if counts[outcome] > 0 {
			texts = append(texts, outcome.count(counts[outcome]))
		}
	}
	if len(texts) == 0 {
		return "would not alert"
	}
	return strings.Join(texts, ", ")
}

// count returns a number of uses with this outcome, such as "2 alerts".
func (o Outcome) count(n int) string {
	if o == Alerts && n == 1 {
		return "1 alert"
	}
	return fmt.Sprintf("%d %s", n, o)
}

func (u UseResult) detail() string {
	switch u.Outcome {
	case Allowed:
		return fmt.Sprintf(" (exception %d)", u.Exception)
	case Unsure:
		return " (" + u.Unsure + ")"
	case Alerts:
	}
	return ""
}
