package waiver

import (
	"fmt"
	"strings"

	"github.com/capmon/capmon/internal/findings"
)

// The texts of this file are not escaped.

// Text describes what the waiver covers, its last day, its owner and its reason.
func (c Cover) Text() string {
	capabilities, when := c.Capabilities.Text(), "waived until "+c.Expires.String()
	if c.all {
		capabilities = all
	}
	switch {
	case c.days < 0:
		when = fmt.Sprintf("the waiver expired on %s, %s", c.Expires, distance(c.days))
	case c.days <= soon:
		when += ", " + distance(c.days)
	}
	return fmt.Sprintf("%s: %s, accepted by %s: %s  [%s:%d]", when, capabilities, c.Owner, c.Reason, c.file, c.Line)
}

// Texts returns the text of each waiver, the valid ones first.
func (c Coverage) Texts() (texts []string) {
	for _, covers := range [][]Cover{c.Valid, c.Expired} {
		for _, cover := range covers {
			texts = append(texts, cover.Text())
		}
	}
	return texts
}

// Text describes the waiver: its capabilities and containers, its last day, its owner and its reason.
func (r *Reviewed) Text() string {
	var of []string
	if r.Container != "" {
		of = append(of, "container "+string(r.Container))
	}
	if r.Image != "" {
		of = append(of, "image "+string(r.Image))
	}
	return fmt.Sprintf("%s of %s, until %s, accepted by %s: %s", r.Capabilities.Text(), strings.Join(of, " and "), r.Expires, r.Owner, r.Reason)
}

// Remark describes whether the waiver is valid, and how many containers it covers.
func (r *Reviewed) Remark() string {
	switch effect := r.effect(); r.State {
	case Expired:
		return fmt.Sprintf("expired on %s, %s; %s", r.Expires, distance(r.Days), effect)
	case Expiring:
		return fmt.Sprintf("expires %s; %s", distance(r.Days), effect)
	default:
		return effect
	}
}

func (r *Reviewed) effect() string {
	switch {
	case r.Matches == 0:
		return "unused: it matches none of these containers"
	case r.Covers == 0:
		return fmt.Sprintf("unused: it matches %s, and covers no finding", containers(r.Matches))
	case r.State == Expired:
		return "no longer covers findings of " + containers(r.Covers)
	}
	return "covers findings of " + containers(r.Covers)
}

// healthy reports whether nobody has to look at the waiver: it is valid for some time, and used.
func (r *Reviewed) healthy() bool { return r.State == Valid && r.Covers > 0 }

// Lines lists all waivers, with two lines for each; nil for a nil Review.
func (r *Review) Lines() []string {
	if r == nil {
		return nil
	}
	lines := []string{fmt.Sprintf("waivers in %s: %d", r.File, len(r.List))}
	for _, w := range r.List {
		lines = append(lines, fmt.Sprintf("  line %d: %s", w.Line, w.Text()), "    "+w.Remark())
	}
	return lines
}

// distance describes when a day is that is some days away from the present day.
func distance(days int) string {
	switch {
	case days == 0:
		return "today"
	case days < 0:
		return number(-days, "day") + " ago"
	}
	return "in " + number(days, "day")
}

func containers(n int) string { return number(n, "container") }

func number(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// Rule is the ID of the rule about waivers in findings.
const Rule = "waivers"

// AddTo adds a rule to a report, with a finding for each waiver. Waivers that are expired, that expire soon or that
// cover nothing are for a person to review. A nil Review adds nothing.
func (r *Review) AddTo(report *findings.Report) {
	if r == nil {
		return
	}
	report.Waivers = true
	report.Rules = append(report.Rules, findings.Rule{
		ID: Rule, Title: "waivers are valid and used",
		Remedy: "Remove waivers that are unused. Remedy the finding before its waiver expires, or let the owner accept the risk again, with a new date.",
	})
	for _, w := range r.List {
		f := findings.Finding{Rule: Rule, Status: findings.Manual, Subject: fmt.Sprintf("%s:%d", r.File, w.Line), File: r.File, Line: w.Line, Text: w.Text() + "; " + w.Remark()}
		if w.healthy() {
			f.Status = findings.Pass
		}
		report.Findings = append(report.Findings, f)
	}
}
