// Package findings represents the results of a check, for each rule and container, and writes them as CSV, JUnit XML
// and SARIF.
package findings

import (
	"time"

	"github.com/capmon/capmon/internal/profile"
)

// Status states whether a container complies with a rule.
type Status string

// Values of [Status].
const (
	Pass Status = "pass"
	Fail Status = "fail"
	// Manual means that capmon cannot decide. Finding.Text explains the reason, and Finding.Remedy describes how to
	// find out.
	Manual Status = "manual"
	// Waived means that the container does not comply, and that somebody has accepted this for a time. Finding.Waivers
	// explains why. The command does not fail because of it.
	Waived Status = "waived"
)

// Rule is a requirement on containers.
type Rule struct {
	// ID is unique and never changes, such as CIS-5.4.
	ID    string `json:"id"`
	Title string `json:"title"`
	// Rationale explains why the rule matters. Impact describes possible disadvantages of compliance. Remedy describes
	// how to comply in general.
	Rationale string `json:"rationale,omitempty"`
	Impact    string `json:"impact,omitempty"`
	Remedy    string `json:"remedy,omitempty"`
	// Default is the value that applies without a setting.
	Default string `json:"default,omitempty"`
	// References are the sections of standards that the rule implements.
	References []string `json:"references,omitempty"`
	Tags       []string `json:"tags,omitempty"`
}

// Finding is the result for one container and one rule.
type Finding struct {
	Rule   string `json:"rule"` // the ID of the rule
	Status Status `json:"status"`
	// Subject is the name of the container, or of the service that it is a task of.
	Subject string `json:"subject"`
	Image   string `json:"image,omitempty"`
	// Text explains the status in one paragraph.
	Text string `json:"text"`
	// Uncounted means that the finding fails but does not change the exit code of the command.
	Uncounted bool `json:"-"`
	// Remedy describes how to fix the finding, in lines of commands or settings; empty if there is nothing to fix.
	Remedy string `json:"remedy,omitempty"`
	// Waivers describes the waivers that accept the finding, if Status is Waived.
	Waivers []string `json:"-"`
	// File and Line are the place of a finding about a line of a file; empty for a finding about a container.
	File string `json:"-"`
	Line int    `json:"-"`
	// Properties contains additional values for programs. Each value must be encodable as JSON.
	Properties map[string]any `json:"properties,omitempty"`
}

// Report is the result of one command. capmon wrote the texts in Rules. The texts in Findings may come from an
// attacker, so each output format escapes them.
type Report struct {
	// Command is the command that made the report, such as capmon audit. Version is the version of capmon.
	Command, Version string
	Time             time.Time
	Evidence         profile.Evidence
	Rules            []Rule
	// Findings refers to Rules, in any order.
	Findings []Finding
	// Waivers is true if the command read waivers. SARIF then states for each finding whether it is waived.
	Waivers bool
}

// of returns the findings of a rule.
func (r Report) of(rule string) []Finding {
	var of []Finding
	for _, f := range r.Findings {
		if f.Rule == rule {
			of = append(of, f)
		}
	}
	return of
}
