// Package alert defines alerts. Rules return them, and sinks deliver them.
package alert

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/capmon/capmon/internal/fairqueue"
	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/uses"
	"github.com/capmon/capmon/monitor"
)

// Schema is the version of the JSON format of an [Alert].
const Schema = 2

// Severity is the severity of an alert, with the usual names of Prometheus' Alertmanager.
type Severity string

// The severities, the lowest first.
const (
	Info     Severity = "info"
	Warning  Severity = "warning"
	Critical Severity = "critical"
)

// Severities returns all severities, the lowest first.
func Severities() []Severity { return []Severity{Info, Warning, Critical} }

// ParseSeverity parses a severity. The error lists the valid ones.
func ParseSeverity(name string) (Severity, error) {
	if severity := Severity(name); slices.Contains(Severities(), severity) {
		return severity, nil
	}
	return "", fmt.Errorf("unknown severity %q: choose one of %s, %s, %s", name, Info, Warning, Critical)
}

// Alert is a use that a rule found, or a problem of capmon itself: a loss or dropped alerts.
type Alert struct {
	// Version of the format.
	Schema int `json:"schema"`
	// Unique ID. It is the same in every delivery of the alert.
	ID string `json:"id"`
	// When the kernel checked the capability. For a loss: when capmon noticed it. For dropped alerts: the time of the
	// last one.
	Time time.Time `json:"time"`
	// Name of the rule. The rules capmon-loss and capmon-alerts-dropped are part of capmon.
	Rule     string   `json:"rule"`
	Severity Severity `json:"severity"`
	// What happened, in one line that is safe for terminals and logs.
	Summary string `json:"summary"`
	// Number of uses that the alert reports, including uses during the rule's preceding cool-down. For a loss: how
	// much was lost. For dropped alerts: their number.
	Count uint64 `json:"count"`
	// The use; the last one if there were several. Missing in alerts of losses and of dropped alerts.
	Use uses.Use `json:"use,omitzero"`
	// What capmon could not record; only in alerts of losses.
	Loss *Loss `json:"loss,omitempty"`
	// Which alerts were dropped; only in alerts of dropped alerts.
	Dropped *Dropped `json:"dropped,omitempty"`
}

// The rules of capmon's own alerts. A file of rules cannot disable them.
const (
	LossRule    = "capmon-loss"
	DroppedRule = "capmon-alerts-dropped"
)

// Loss describes what capmon could not record in an interval.
type Loss struct {
	// Start of the interval: when the counters were read before.
	Since time.Time `json:"since"`
	// What was lost in the interval, and in total since the recording began.
	Lost  monitor.Losses `json:"lost"`
	Total monitor.Losses `json:"total"`
	// ID of the recording.
	Recording string `json:"recording"`
	// Container that caused the loss; missing if unknown. It is the container with most entries of the full map, or,
	// if no map is full, the container that lost checks because of its own quota.
	Container uses.ContainerRef `json:"container,omitzero"`
	// The containers that lost most checks, executions or system calls: at most 10, the one that lost most first.
	Losers []Loser `json:"losers"`
	// Number of further containers that lost something.
	MoreLosers int `json:"moreLosers,omitempty"`
}

// UnmarshalJSON reads a loss in JSON. It also reads the former names of the counters, which old databases and spools
// contain. Former names that differ only in case need no code, because package json ignores the case of names.
func (l *Loss) UnmarshalJSON(text []byte) error {
	type loss Loss // without this method
	var former struct{ Lost, Total formerLosses }
	if err := errors.Join(json.Unmarshal(text, (*loss)(l)), json.Unmarshal(text, &former)); err != nil {
		return err
	}
	former.Lost.addTo(&l.Lost)
	former.Total.addTo(&l.Total)
	return nil
}

// formerLosses has the counters of [monitor.Losses] that have got other names.
type formerLosses struct{ TooDeep, NoSite, Chains, Verdicts uint64 }

func (f formerLosses) addTo(l *monitor.Losses) {
	l.CgroupTooDeep += f.TooDeep
	l.NoCallSite += f.NoSite
	l.WrongCachedSites += f.Chains
	l.AnswerMismatches += f.Verdicts
}

// Loser is a container that lost checks, executions or system calls.
type Loser struct {
	Container uses.ContainerRef `json:"container"`
	// Number of its lost checks, executions and system calls.
	Lost uint64 `json:"lost"`
}

// Dropped describes alerts of one container that a sink will never get.
type Dropped struct {
	// Name of the sink, or stdout or database.
	Sink  string `json:"sink"`
	Count uint64 `json:"count"`
	// Times of the first and of the last dropped alert.
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	// ID and title of the container; missing if it has none, or for the alerts of several containers.
	ContainerID string `json:"containerID,omitempty"`
	Container   string `json:"container,omitempty"`
}

// NewLoss returns the alert of a loss, with a new ID.
func NewLoss(at time.Time, summary string, loss Loss) Alert {
	return Alert{
		Schema: Schema, ID: rand.Text(), Time: at, Rule: LossRule, Severity: Critical,
		Summary: summary, Count: loss.Lost.Sum(), Loss: &loss,
	}
}

// NewDropped returns the alert of dropped alerts, with the given ID.
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

// Container returns the container of the alert. Its ID is "" if there is none.
func (a Alert) Container() uses.ContainerRef {
	switch {
	case a.Loss != nil:
		return a.Loss.Container
	case a.Dropped != nil:
		return uses.ContainerRef{ID: a.Dropped.ContainerID, Name: a.Dropped.Container}
	}
	return a.Use.Container
}

// Origin returns the source of the alert for queues (package fairqueue). Alerts with the same origin share the space
// and the turns of one container. capmon's own alerts have a separate origin, so that the alerts of containers do not
// delay them.
func (a Alert) Origin() fairqueue.Source {
	if a.Loss != nil || a.Dropped != nil {
		return fairqueue.Source{Key: fairqueue.Own}
	}
	c := a.Use.Container
	return fairqueue.Source{Key: c.ID, Title: c.Title()}
}

// New returns an alert of a use, with a new ID.
func New(rule string, severity Severity, summary string, count uint64, use uses.Use) Alert {
	return Alert{
		Schema: Schema, ID: rand.Text(), Time: use.Time, Rule: rule, Severity: severity,
		Summary: summary, Count: count, Use: use,
	}
}
