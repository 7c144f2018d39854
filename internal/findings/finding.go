// Package findings is what a check has found, rule by rule and container by container,
// and writes it in the forms that other programs read.
package findings

import (
	"time"
)

// Status is how a rule is met.
type Status string

// The statuses.
const (
	Pass Status = "pass"
	Fail Status = "fail"
	// Manual: it cannot be decided by what is known; Finding.Text says why, and
	// Finding.Remedy how to find out.
	Manual Status = "manual"
)

// Rule is something that containers have to meet.
type Rule struct {
	// ID is unique and stays, such as CIS-5.4.
	ID    string `json:"id"`
	Title string `json:"title"`
	// Rationale is why it matters, Impact what meeting it may cost, Remedy how to meet it
	// in general.
	Rationale string `json:"rationale,omitempty"`
	Impact    string `json:"impact,omitempty"`
	Remedy    string `json:"remedy,omitempty"`
	// Default is what holds where nothing is set.
	Default string `json:"default,omitempty"`
	// References are the standards' paragraphs that it is about.
	References []string `json:"references,omitempty"`
	Tags       []string `json:"tags,omitempty"`
}

// Finding is how one container meets one rule.
type Finding struct {
	Rule   string `json:"rule"` // its ID
	Status Status `json:"status"`
	// Subject is the container's name, or the service's that it is a task of.
	Subject string `json:"subject"`
	Image   string `json:"image,omitempty"`
	// Text is what was found, in one paragraph.
	Text string `json:"text"`
	// Uncounted: it fails, but does not make its command fail.
	Uncounted bool `json:"-"`
	// Remedy is what to do, as lines of commands or settings; empty if nothing.
	Remedy string `json:"remedy,omitempty"`
	// Properties are for programs: anything that JSON can hold.
	Properties map[string]any `json:"properties,omitempty"`
}

// Report is what one check has found. Everything in Rules is capmon's own text, and
// anything in Findings may be an attacker's: each form quotes it in its way.
type Report struct {
	// Command is the command that found it, such as capmon audit; Version is capmon's.
	Command, Version string
	Time             time.Time
	Rules            []Rule
	// Findings are of Rules, in any order.
	Findings []Finding
}

// of lists the findings of a rule.
func (r Report) of(rule string) []Finding {
	var of []Finding
	for _, f := range r.Findings {
		if f.Rule == rule {
			of = append(of, f)
		}
	}
	return of
}
