package page

import (
	"fmt"
	"slices"
	"strings"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/audit"
	"github.com/capmon/capmon/internal/findings"
	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/settings"
	"github.com/capmon/capmon/internal/waiver"
)

// OfAudit returns the page of an audit.
func OfAudit(a audit.Audit, options Options) Page {
	rule := audit.Rules()[0]
	page := Page{Title: "CIS Docker Benchmark 5.4: " + rule.Title, Made: made(options.Version, a.Time), Notes: []string{}}
	page.About = slices.Concat(evidenceOf("Evidence", a.Evidence), recordAll(a), waivers(a), about(rule))
	if a.Static {
		page.Notes = append(page.Notes, "This is a static audit: it read the grants of the containers, not what they use.")
	}
	all := a.Overview()
	labeled, position := observedContainers(a)
	writer := newSettingsWriter(labeled, a.Thresholds.EvenIfStartUnseen)
	subjects := make([]subject, 0, len(a.Containers))
	denials := false
	for i, c := range a.Containers {
		s := subject{identity: c.Identity(), row: all.Containers[i]}
		s.details = append(s.details, identity(s.identity), result(c))
		s.details = append(s.details, remedy(a, c)...)
		s.details = append(s.details, related(c)...)
		if at, ok := position[c]; ok {
			observed := labeled[at]
			s.row.Denied = observed.Denied()
			denials = denials || !s.row.Denied.Empty()
			s.states = statesOf(&observed.Summary, s.row)
			s.details = append(s.details, observation(observed.Summary))
			s.details = append(s.details, evidence(observed.Summary, s.states)...)
			s.details = append(s.details, writer.block(observed))
		} else {
			s.states = statesOf(nil, s.row)
		}
		waive(s.states, c.Waived)
		subjects = append(subjects, s)
	}
	if denials {
		page.Notes = append(page.Notes, moreDenials)
	}
	page.matrix(all, subjects)
	for i, advice := range page.Advice {
		if command := a.CommandFor(all.Rows[advice.Row].Selector); len(command) <= maxCaution { // part of a command is useless
			page.Advice[i].Command = command
		}
	}
	return page
}

// observedContainers returns the observed containers with labels, and the position of each audited container that has
// an observation of its build of the image.
func observedContainers(a audit.Audit) ([]settings.LabeledContainer, map[*audit.ContainerResult]int) {
	var summaries []profile.Summary
	at, position := make(map[*profile.Summary]int), make(map[*audit.ContainerResult]int)
	for _, c := range a.Containers {
		if c.Summary == nil || !c.OfItsBuild() {
			continue
		}
		if _, known := at[c.Summary]; !known { // tasks of a service have one summary in common
			at[c.Summary] = len(summaries)
			summaries = append(summaries, *c.Summary)
		}
		position[c] = at[c.Summary]
	}
	return settings.Labeled(summaries), position
}

// result returns the status of a container with its reasons.
func result(c *audit.ContainerResult) Block {
	items := []string{"status: " + string(c.Status)}
	for _, reason := range slices.Concat(c.Reasons, c.WaiverTexts()) {
		items = append(items, shorten(printable.Text(reason), maxCaution))
	}
	kind := CautionsBlock
	if c.Status == findings.Pass {
		kind = ListBlock
	}
	return Block{Kind: kind, Title: "CIS 5.4", Items: items}
}

// related returns the related rules that the container violates.
func related(c *audit.ContainerResult) []Block {
	var facts facts
	for _, r := range c.Related {
		if r.Status == findings.Fail {
			facts.add(strings.Replace(r.Rule, "-", " ", 1), shorten(printable.Text(r.Text), maxCaution))
		}
	}
	if len(facts) == 0 {
		return nil
	}
	return []Block{{Kind: FactsBlock, Title: "Related rules that the container violates", Facts: facts}}
}

// waive marks the capabilities that waivers cover, unless the container needs them.
func waive(states map[capability.Capability]byte, covers []waiver.Cover) {
	for _, cover := range covers {
		for _, c := range cover.Capabilities.Sorted() {
			switch key := states[c]; lower(key) {
			case unused, notSeen, unobserved:
				states[c] = waived
				if isUpper(key) {
					states[c] = alsoDenied(waived)
				}
			}
		}
	}
}

// recordAll describes how to observe all containers whose needs are unknown.
func recordAll(a audit.Audit) []Block {
	text := a.RecordAll()
	if text == "" {
		return nil
	}
	lines, short := code(text)
	if !short {
		lines = Lines{"the description is too long for this page: capmon audit prints it"}
	}
	return []Block{{Kind: CodeBlock, Title: audit.RecordAllTitle, Lines: lines}}
}

// waivers lists the waivers of the audit.
func waivers(a audit.Audit) []Block {
	if a.Waivers == nil {
		return nil
	}
	var items []string
	for _, w := range a.Waivers.List {
		items = append(items, shorten(printable.Text(fmt.Sprintf("line %d: %s: %s", w.Line, w.Text(), w.Remark())), maxCaution))
	}
	return []Block{{Kind: ListBlock, Title: "Waivers in " + shorten(printable.Text(a.Waivers.File), maxCaution), Items: items}}
}

func remedy(a audit.Audit, c *audit.ContainerResult) []Block {
	text := a.RemedyText(c)
	if text == "" {
		return nil
	}
	lines, short := code(text)
	if !short {
		return []Block{{Kind: CautionsBlock, Title: "Remedy", Items: []string{"the remedy is too long for this page: capmon audit prints it"}}}
	}
	return []Block{{Kind: CodeBlock, Title: "Remedy", Lines: lines}}
}

// about explains the audited rule.
func about(rule findings.Rule) []Block {
	return []Block{{Kind: FactsBlock, Title: "The rule", Facts: [][2]string{
		{"Rationale", rule.Rationale}, {"Impact", rule.Impact}, {"Remedy", rule.Remedy}, {"Default", rule.Default},
		{"References", strings.Join(rule.References, "; ")},
	}}}
}
