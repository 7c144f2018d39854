package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/findings"
	"github.com/capmon/capmon/internal/policy"
	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/profile"
)

// Formats of [WriteCheck] that other commands do not have.
const (
	JUnit Format = "junit"
	SARIF Format = "sarif"
)

// CheckFormats returns the formats of [WriteCheck]. The first one is the default.
func CheckFormats() []Format { return []Format{Table, JSON, JUnit, SARIF} }

// WriteCheck writes the result of a check. version is the version of capmon, and now the present time. Only SARIF and
// JUnit contain them.
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
		page.line("%s %s is in the baseline, but not in these profiles: its present needs are unknown", page.mark("note:", text.FgYellow), printable.Text(name))
	}
	for _, name := range result.Idle {
		page.line("%s rule %q applied to no container", page.mark("note:", text.FgYellow), name)
	}
	page.line("%s", checkVerdict(result))
	_, err := io.WriteString(out, page.String())
	return err
}

func (p *page) checked(c policy.ContainerResult, of policy.Policy) {
	s := c.Summary
	makePrintable(&s)
	word := p.mark("passes", text.FgGreen)
	if n := len(c.Violations); n > 0 {
		word = p.mark(plural(uint64(n), "violation", "violations"), text.FgRed)
	}
	// The line does not begin with the name, which could end the Markdown block that contains the line.
	parts := []string{"container " + title(s)}
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
	p.line("  %s", printable.Text(violationText(v)+ruleReference(v, of)))
	uses := slices.Clone(v.Uses)
	makeUsesPrintable(uses)
	for i, use := range uses {
		if i == usesShown && !p.options.All && len(uses) > usesShown+1 {
			p.line("    and %d other patterns of use (--all shows them)", len(uses)-i)
			return
		}
		p.line("    by %s  %s", Describe(use), plural(use.Count, "time", "times"))
	}
}

func violationText(v policy.Violation) string {
	if v.Unsure != "" {
		return fmt.Sprintf("%s (unsure: %s)", v.Text, v.Unsure)
	}
	return v.Text
}

// ruleReference returns the name of the violated rule and its line in the policy, "" without a rule.
func ruleReference(v policy.Violation, of policy.Policy) string {
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
	return plural(uint64(all), "container", "containers") + " " + word + " a rule"
}

// jsonCheck is the JSON form of the result of a check.
type jsonCheck struct {
	// Version of this JSON format.
	Schema int `json:"schema"`
	// True if no container violates a rule. The exit code is then 0, otherwise 1.
	Passed bool `json:"passed"`
	// The file of the policy; missing if there is none.
	Policy string `json:"policy,omitempty"`
	// Sorted by their start.
	Containers []jsonChecked `json:"containers"`
	// Rules that applied to no container.
	Idle []string `json:"idle"`
	// Containers of the baseline that are not in the checked profiles: their needs are unknown.
	Missing []string `json:"missing"`
}

// jsonChecked is a container with the rules that it violates.
type jsonChecked struct {
	profile.Container
	// True if the container violates no rule.
	Passed bool `json:"passed"`
	// Names of the rules that apply to the container.
	Rules []string `json:"rules"`
	// The violations.
	Violations []jsonViolation `json:"violations"`
	// Facts that are not violations: for example, what capmon did not record or did not watch.
	Notes []string `json:"notes"`
}

// jsonViolation is one violation of a rule by a container.
type jsonViolation struct {
	// Kind of the violation.
	Kind policy.ViolationKind `json:"kind"`
	// Name of the rule; missing for unmatched and new.
	Rule string `json:"rule,omitempty"`
	// Line of the rule in the policy's file; missing if the rule is not from a file.
	Line int `json:"line,omitempty"`
	// Capabilities of the violation.
	Capabilities capability.Set `json:"capabilities"`
	// Description of the violation.
	Text string `json:"text"`
	// Why this may not be a violation; missing if the violation is certain.
	Unsure string `json:"unsure,omitempty"`
	// The uses that violate the rule: program, system call, kernel function.
	Uses []profile.UsePattern `json:"uses"`
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
			j.Violations = append(j.Violations, jsonViolation{v.Kind, v.Rule, v.Line, v.Capabilities, v.Text, v.Unsure, append([]profile.UsePattern{}, v.Uses...)})
		}
		all.Containers = append(all.Containers, j)
	}
	return all
}

// Rules in SARIF and JUnit that do not come from the policy.
const (
	rulePolicy      = "policy"
	ruleObservation = "observation"
)

// checkFindings converts the result of a check. The report has one rule for each kind of violation and capability, so
// that a program that tracks findings over several checks can distinguish them. It has one finding for each of these
// rules that a container violates, one for each container that passes, and one for each container that capmon did not
// observe completely.
func checkFindings(result policy.Result, version string, now time.Time) findings.Report {
	report := findings.Report{
		Command: "capmon check", Version: version, Time: now,
		Rules: []findings.Rule{
			{ID: rulePolicy, Title: "complies with all rules"},
			{ID: ruleObservation, Title: "capmon watched the container from its start to its end and recorded everything", Remedy: "Record the container from its start to its end: capmon profile -- COMMAND"},
		},
	}
	for _, name := range result.Missing {
		report.Findings = append(report.Findings, findings.Finding{Rule: ruleObservation, Status: findings.Manual, Subject: name,
			Text: "the container is in the baseline, but not in these profiles: its present needs are unknown"})
	}
	for _, c := range result.Containers {
		for _, id := range violationIDs(c.Violations) {
			if !slices.ContainsFunc(report.Rules, func(r findings.Rule) bool { return r.ID == id }) {
				report.Rules = append(report.Rules, ruleOf(id, c.Violations))
			}
			report.Findings = append(report.Findings, findingOf(id, c, result.Policy))
		}
		if len(c.Violations) == 0 {
			report.Findings = append(report.Findings, newFinding(rulePolicy, findings.Pass, c, "complies with all rules"))
		}
		if len(c.Notes) > 0 {
			report.Findings = append(report.Findings, newFinding(ruleObservation, findings.Manual, c, strings.Join(c.Notes, "; ")))
		}
	}
	return report
}

// violationID returns the ID of the rule for a violation, such as used-NET_RAW or granted.
func violationID(v policy.Violation) string {
	if slices.Contains([]policy.ViolationKind{policy.Used, policy.Denied, policy.New}, v.Kind) {
		return string(v.Kind) + "-" + v.Capabilities.String()
	}
	return string(v.Kind)
}

func violationIDs(violations []policy.Violation) (ids []string) {
	for _, v := range violations {
		if !slices.Contains(ids, violationID(v)) {
			ids = append(ids, violationID(v))
		}
	}
	return ids
}

var ruleTitles = map[policy.ViolationKind]string{
	policy.Used:        "must not use %s",
	policy.Denied:      "must not try to use %s",
	policy.New:         "must not need %s, which the baseline does not need",
	policy.Granted:     "must be granted only allowed capabilities",
	policy.Unused:      "must not be granted too many unused capabilities",
	policy.Unknown:     "the grants must be known",
	policy.LongSetup:   "must not use capabilities in a runtime setup that takes too long",
	policy.Incomplete:  "capmon must have recorded everything",
	policy.Unwitnessed: "capmon must have watched the whole run",
	policy.Unproved:    "the list must be proved",
	policy.Unmatched:   "a rule must apply to the container",
}

func ruleOf(id string, violations []policy.Violation) findings.Rule {
	v := violations[slices.IndexFunc(violations, func(v policy.Violation) bool { return violationID(v) == id })]
	title := ruleTitles[v.Kind]
	if strings.Contains(title, "%s") {
		title = fmt.Sprintf(title, v.Capabilities)
	}
	return findings.Rule{ID: id, Title: title, Tags: []string{"security", "capabilities"}}
}

// findingOf returns one finding for all violations with the same ID, which different rules of the policy may have
// found.
func findingOf(id string, c policy.ContainerResult, of policy.Policy) findings.Finding {
	var texts []string
	var uses []profile.UsePattern
	var capabilities capability.Set
	for _, v := range c.Violations {
		if violationID(v) != id {
			continue
		}
		texts = append(texts, violationText(v)+ruleReference(v, of))
		uses, capabilities = v.Uses, capabilities.Union(v.Capabilities)
	}
	for i, use := range uses {
		if i == usesShown {
			break
		}
		texts = append(texts, Describe(use))
	}
	f := newFinding(id, findings.Fail, c, strings.Join(texts, "; "))
	f.Properties = map[string]any{"capabilities": capabilities, "uses": append([]profile.UsePattern{}, uses...)}
	return f
}

func newFinding(rule string, status findings.Status, c policy.ContainerResult, text string) findings.Finding {
	return findings.Finding{Rule: rule, Status: status, Subject: title(c.Summary), Image: c.Container.Image, Text: text}
}
