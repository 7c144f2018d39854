package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/findings"
	"github.com/capmon/capmon/internal/policy"
	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/profile"
)

// The formats that only checks have.
const (
	JUnit Format = "junit"
	SARIF Format = "sarif"
)

// ParseCheckFormat reads the name of a format that WriteCheck knows.
func ParseCheckFormat(s string) (Format, error) {
	if !slices.Contains([]Format{Table, JSON, JUnit, SARIF}, Format(s)) {
		return "", fmt.Errorf("unknown format %q: choose table, json, junit or sarif", s)
	}
	return Format(s), nil
}

// WriteCheck renders the result of a check. SARIF and JUnit have the version of capmon and
// the time in them.
func WriteCheck(out io.Writer, result policy.Result, format Format, options Options, version string, now time.Time) error {
	switch format {
	case JSON:
		return encode(out, jsonOfCheck(result))
	case JUnit:
		return findings.WriteJUnit(out, checkFindings(result, version, now))
	case SARIF:
		return findings.WriteSARIF(out, checkFindings(result, version, now))
	}
	page := &page{options: options}
	for _, c := range result.Containers {
		page.checked(c, result.Policy)
	}
	for _, name := range result.Missing {
		page.line("%s %s is in the baseline and was not seen now: nothing is known of it", page.mark("note:", text.FgYellow), printable.Text(name))
	}
	for _, name := range result.Idle {
		page.line("%s rule %q applied to no container", page.mark("note:", text.FgYellow), name)
	}
	page.line("%s", checkVerdict(result))
	_, err := io.WriteString(out, page.String())
	return err
}

func (p *page) checked(c policy.Container, of policy.Policy) {
	s := c.Summary
	makePrintable(&s)
	word := p.mark("passes", text.FgGreen)
	if n := len(c.Violations); n > 0 {
		word = p.mark(plural(uint64(n), "violation", "violations"), text.FgRed)
	}
	parts := []string{"container " + title(s)} // no name can end a block that quotes it
	if s.Container.Image != "" {
		parts = append(parts, s.Container.Image)
	}
	p.line("%s", strings.Join(append(parts, word), "  "))
	for _, v := range c.Violations {
		p.violation(v, of)
	}
	for _, note := range printables(c.Notes) {
		p.line("  %s %s", p.mark("note:", text.FgYellow), note)
	}
	p.line("")
}

func (p *page) violation(v policy.Violation, of policy.Policy) {
	p.line("  %s", printable.Text(violationText(v)+place(v, of)))
	uses := slices.Clone(v.Uses)
	makeUsesPrintable(uses)
	for i, use := range uses {
		if i == usesShown && !p.options.All && len(uses) > usesShown+1 {
			p.line("    and %d other ways (--all shows them)", len(uses)-i)
			return
		}
		p.line("    by %s  %s", by(use), plural(use.Count, "time", "times"))
	}
}

func violationText(v policy.Violation) string {
	if v.Unsure != "" {
		return fmt.Sprintf("%s (unsure: %s)", v.Text, v.Unsure)
	}
	return v.Text
}

// place is which rule it is, and where it is written.
func place(v policy.Violation, of policy.Policy) string {
	switch {
	case v.Rule == "":
		return ""
	case v.Line == 0:
		return "  [" + v.Rule + "]"
	}
	return fmt.Sprintf("  [%s, %s:%d]", v.Rule, of.Path, v.Line)
}

func checkVerdict(result policy.Result) string {
	all := len(result.Containers)
	if n := result.Violating(); n > 0 {
		return fmt.Sprintf("failed: %d of %s", n, violating(n, all))
	}
	return fmt.Sprintf("passed: %s", plural(uint64(all), "container", "containers"))
}

func violating(n, all int) string {
	word := "violate"
	if n == 1 {
		word = "violates"
	}
	return plural(uint64(all), "container", "containers") + " " + word + " what was asked"
}

// jsonCheck is the result of a check, for programs.
type jsonCheck struct {
	// Version of the form of the result.
	Schema int `json:"schema"`
	// Whether nothing violates what was asked: exit code 0, else 1.
	Passed bool `json:"passed"`
	// The policy's file; missing if there was none.
	Policy string `json:"policy,omitempty"`
	// In the order of their start.
	Containers []jsonChecked `json:"containers"`
	// Rules that applied to no container.
	Idle []string `json:"idle"`
	// Containers of the baseline that were not seen now: nothing is known of them.
	Missing []string `json:"missing"`
}

// jsonChecked is a container, and how it keeps to the policy.
type jsonChecked struct {
	profile.Container
	// Whether nothing is violated.
	Passed bool `json:"passed"`
	// Names of the rules that apply to it.
	Rules []string `json:"rules"`
	// What it does not keep to.
	Violations []jsonViolation `json:"violations"`
	// What to know, although it is no violation: what was not recorded or not watched.
	Notes []string `json:"notes"`
}

// jsonViolation is one way in which a container does not keep to a rule.
type jsonViolation struct {
	// What it is about.
	Kind policy.Kind `json:"kind"`
	// The rule; missing for unmatched and new.
	Rule string `json:"rule,omitempty"`
	// Its line in the policy's file; missing if it is in none.
	Line int `json:"line,omitempty"`
	// The capabilities that it is about.
	Capabilities capability.Set `json:"capabilities"`
	// What is wrong, in a clause.
	Text string `json:"text"`
	// Why it may be no violation after all; missing if it is certain.
	Unsure string `json:"unsure,omitempty"`
	// The uses that violate it: program, system call, kernel function.
	Uses []profile.Use `json:"uses"`
}

func jsonOfCheck(result policy.Result) jsonCheck {
	all := jsonCheck{Schema: schema, Passed: result.Passed(), Policy: result.Policy.Path, Containers: []jsonChecked{}, Idle: append([]string{}, result.Idle...),
		Missing: append([]string{}, result.Missing...)}
	for _, c := range result.Containers {
		j := jsonChecked{
			Container: c.Container, Passed: len(c.Violations) == 0, Violations: []jsonViolation{},
			Rules: append([]string{}, c.Rules...), Notes: append([]string{}, c.Notes...),
		}
		for _, v := range c.Violations {
			j.Violations = append(j.Violations, jsonViolation{v.Kind, v.Rule, v.Line, v.Capabilities, v.Text, v.Unsure, append([]profile.Use{}, v.Uses...)})
		}
		all.Containers = append(all.Containers, j)
	}
	return all
}

// The rules of SARIF and JUnit that are none of the policy's.
const (
	rulePolicy      = "policy"
	ruleObservation = "observation"
)

// checkFindings has a rule for each kind of violation and capability, so that what follows a
// finding from one check to the next can tell it from others; a finding for each container
// that passes, and one for each of which not all was seen.
func checkFindings(result policy.Result, version string, now time.Time) findings.Report {
	report := findings.Report{
		Command: "capmon check", Version: version, Time: now,
		Rules: []findings.Rule{
			{ID: rulePolicy, Title: "keeps to what was asked"},
			{ID: ruleObservation, Title: "was watched from its start to its end, and all was recorded", Remedy: "Profile it from its start to its end: capmon profile -- COMMAND"},
		},
	}
	for _, name := range result.Missing {
		report.Findings = append(report.Findings, findings.Finding{Rule: ruleObservation, Status: findings.Manual, Subject: name,
			Text: "it is in the baseline and was not seen now: nothing is known of it"})
	}
	for _, c := range result.Containers {
		for _, id := range violationIDs(c.Violations) {
			if !slices.ContainsFunc(report.Rules, func(r findings.Rule) bool { return r.ID == id }) {
				report.Rules = append(report.Rules, ruleOf(id, c.Violations))
			}
			report.Findings = append(report.Findings, findingOf(id, c, result.Policy))
		}
		if len(c.Violations) == 0 {
			report.Findings = append(report.Findings, about(rulePolicy, findings.Pass, c, "keeps to all that was asked"))
		}
		if len(c.Notes) > 0 {
			report.Findings = append(report.Findings, about(ruleObservation, findings.Manual, c, strings.Join(c.Notes, "; ")))
		}
	}
	return report
}

// idOf is used-NET_RAW, granted, …
func idOf(v policy.Violation) string {
	if slices.Contains([]policy.Kind{policy.Used, policy.Denied, policy.New}, v.Kind) {
		return string(v.Kind) + "-" + v.Capabilities.String()
	}
	return string(v.Kind)
}

func violationIDs(violations []policy.Violation) (ids []string) {
	for _, v := range violations {
		if !slices.Contains(ids, idOf(v)) {
			ids = append(ids, idOf(v))
		}
	}
	return ids
}

var ruleTitles = map[policy.Kind]string{
	policy.Used:        "must not use %s",
	policy.Denied:      "must not try to use %s",
	policy.New:         "needs %s, which the baseline does not",
	policy.Granted:     "is granted what it must not be",
	policy.Unused:      "is granted too much that it does not use",
	policy.Unknown:     "it is not known what is granted",
	policy.LongSetup:   "used capabilities in a runtime setup that took too long",
	policy.Incomplete:  "not all was recorded",
	policy.Unwitnessed: "not its whole run was watched",
	policy.Unproved:    "no proof holds",
	policy.Unmatched:   "no rule applies",
}

func ruleOf(id string, violations []policy.Violation) findings.Rule {
	v := violations[slices.IndexFunc(violations, func(v policy.Violation) bool { return idOf(v) == id })]
	title := ruleTitles[v.Kind]
	if strings.Contains(title, "%s") {
		title = fmt.Sprintf(title, v.Capabilities)
	}
	return findings.Rule{ID: id, Title: title, Tags: []string{"security", "capabilities"}}
}

// findingOf puts together what different rules of the policy say of the same.
func findingOf(id string, c policy.Container, of policy.Policy) findings.Finding {
	var texts []string
	var uses []profile.Use
	var capabilities capability.Set
	for _, v := range c.Violations {
		if idOf(v) != id {
			continue
		}
		texts = append(texts, violationText(v)+place(v, of))
		uses, capabilities = v.Uses, capabilities.Union(v.Capabilities)
	}
	for i, use := range uses {
		if i == usesShown {
			break
		}
		texts = append(texts, by(use))
	}
	f := about(id, findings.Fail, c, strings.Join(texts, "; "))
	f.Properties = map[string]any{"capabilities": capabilities, "uses": append([]profile.Use{}, uses...)}
	return f
}

func about(rule string, status findings.Status, c policy.Container, text string) findings.Finding {
	return findings.Finding{Rule: rule, Status: status, Subject: title(c.Summary), Image: c.Container.Image, Text: text}
}
