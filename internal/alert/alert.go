// Package alert is what a rule has found, as a value: rules make it, sinks deliver it.
package alert

import (
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	"github.com/capmon/capmon/internal/fair"
	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/uses"
	"github.com/capmon/capmon/monitor"
)

// Schema is the version of the form in which an Alert is written.
const Schema = 2

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
	// When the kernel asked for the capability; when capmon noticed a loss; the time of the last
	// dropped alert.
	Time time.Time `json:"time"`
	// Name of the rule; capmon-loss and capmon-alerts-dropped are capmon's own.
	Rule     string   `json:"rule"`
	Severity Severity `json:"severity"`
	// What has happened, in one line that is safe for terminals and logs.
	Summary string `json:"summary"`
	// How many uses it tells of: with those that the rule's cool-down held back before it. How many
	// checks were lost, or alerts dropped.
	Count uint64 `json:"count"`
	// The use, the last one if there were several; missing in an alert of a loss or of dropped alerts.
	Use uses.Use `json:"use,omitzero"`
	// What capmon could not record; missing in all other alerts.
	Loss *Loss `json:"loss,omitempty"`
	// Which alerts were dropped; missing in all other alerts.
	Dropped *Dropped `json:"dropped,omitempty"`
}

// The rules of capmon's own alerts. No file of rules contains them, so none switches them off.
const (
	LossRule    = "capmon-loss"
	DroppedRule = "capmon-alerts-dropped"
)

// Loss is what capmon could not record in some time.
type Loss struct {
	// Since is when the counters were read before.
	Since time.Time `json:"since"`
	// Lost counts what was lost since then, Total what was lost since the recording began.
	Lost  monitor.Losses `json:"lost"`
	Total monitor.Losses `json:"total"`
	// Recording is the ID of the recording.
	Recording string `json:"recording"`
	// Container that caused the loss; missing if that is not known. It holds most of the entries of
	// the full map, or is the one whose own checks were lost while the map had room for others.
	Container uses.Container `json:"container,omitzero"`
	// Containers of which checks, executions or system calls were lost, those with most first, and at
	// most 10.
	Losers []Loser `json:"losers"`
	// MoreLosers is the number of further ones.
	MoreLosers int `json:"moreLosers,omitempty"`
}

// Loser is a container of which something was lost.
type Loser struct {
	Container uses.Container `json:"container"`
	// Lost counts its checks, executions and system calls that were lost.
	Lost uint64 `json:"lost"`
}

// Dropped are alerts of one container that were not delivered to a sink, and will not be.
type Dropped struct {
	// Sink that they were for: its name, or stdout or database.
	Sink  string `json:"sink"`
	Count uint64 `json:"count"`
	// Times of the first and of the last one.
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	// ContainerID and Container are the container's ID and title; missing if it has none, or if these
	// are the alerts of several containers.
	ContainerID string `json:"containerID,omitempty"`
	Container   string `json:"container,omitempty"`
}

// NewLoss makes the alert of a loss, with an ID of its own.
func NewLoss(at time.Time, summary string, loss Loss) Alert {
	return Alert{
		Schema: Schema, ID: rand.Text(), Time: at, Rule: LossRule, Severity: Critical,
		Summary: summary, Count: loss.Lost.Sum(), Loss: &loss,
	}
}

// NewDropped makes the alert of dropped alerts; it has the given ID.
func NewDropped(id string, d Dropped) Alert {
	of := "alerts"
	if d.Container != "" {
		of = "further alerts of container " + printable.Word(d.Container)
	}
	return Alert{
		Schema: Schema, ID: id, Time: d.To, Rule: DroppedRule, Severity: Critical,
		Summary: fmt.Sprintf("%d %s were dropped between %s and %s: too many waited for the sink %s",
			d.Count, of, d.From.UTC().Format(time.RFC3339), d.To.UTC().Format(time.RFC3339), d.Sink),
		Count: d.Count, Dropped: &d,
	}
}

// Container is the container that the alert is about; its ID is empty if there is none.
func (a Alert) Container() uses.Container {
	switch {
	case a.Loss != nil:
		return a.Loss.Container
	case a.Dropped != nil:
		return uses.Container{ID: a.Dropped.ContainerID, Name: a.Dropped.Container}
	}
	return a.Use.Container
}

// Origin is the queue's key for the container that made the alert: all alerts with one origin share
// the room and the turns of one container. Alerts of capmon's own have an origin of their own, so
// that no container's alerts stand in their way.
func (a Alert) Origin() fair.Source {
	if a.Loss != nil || a.Dropped != nil {
		return fair.Source{Key: fair.Own}
	}
	c := a.Use.Container
	return fair.Source{Key: c.ID, Title: c.Title()}
}

// New makes an alert of a use, with an ID of its own.
func New(rule string, severity Severity, summary string, count uint64, use uses.Use) Alert {
	return Alert{
		Schema: Schema, ID: rand.Text(), Time: use.Time, Rule: rule, Severity: severity,
		Summary: summary, Count: count, Use: use,
	}
}
