// Package alert is what a rule has found, as a value: rules make it, sinks deliver it.
package alert

import (
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	"github.com/capmon/capmon/internal/live"
)

// schema is the version of the form in which an Alert is written.
const schema = 1

// Severity says how bad it is, in the words of Prometheus' Alertmanager.
type Severity string

// The severities, the least first.
const (
	Info     Severity = "info"
	Warning  Severity = "warning"
	Critical Severity = "critical"
)

// Severities lists all, the least first.
func Severities() []Severity { return []Severity{Info, Warning, Critical} }

// ParseSeverity reads a severity. The error names those that there are.
func ParseSeverity(name string) (Severity, error) {
	if severity := Severity(name); slices.Contains(Severities(), severity) {
		return severity, nil
	}
	return "", fmt.Errorf("unknown severity %q: choose one of %v", name, Severities())
}

// Alert is what a rule has found.
type Alert struct {
	// Version of the form.
	Schema int `json:"schema"`
	// ID is the same in every delivery of the alert, and no other alert's.
	ID string `json:"id"`
	// When the kernel asked for the capability.
	Time time.Time `json:"time"`
	// Name of the rule.
	Rule     string   `json:"rule"`
	Severity Severity `json:"severity"`
	// What has happened, in one line that is safe for terminals and logs.
	Summary string `json:"summary"`
	// How many uses it tells of: with those that the rule's cool-down held back before it.
	Count uint64 `json:"count"`
	// The use, the last one if there were several.
	Use live.Use `json:"use"`
}

// New makes an alert of a use, with an ID of its own.
func New(rule string, severity Severity, summary string, count uint64, use live.Use) Alert {
	return Alert{
		Schema: schema, ID: rand.Text(), Time: use.Time, Rule: rule, Severity: severity,
		Summary: summary, Count: count, Use: use,
	}
}
