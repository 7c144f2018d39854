package top

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/capmon/capmon/internal/alert"
)

const (
	// maxAlerts is the number of alerts that the screen keeps.
	maxAlerts = 1000
	// alertOverlap is the time by which reads of alerts overlap: late alerts are stored after later ones.
	alertOverlap = time.Minute
)

// alertSpans are how far back a read of alerts goes at most. If there are too many alerts, the next one is used.
var alertSpans = []time.Duration{24 * time.Hour, time.Hour, 5 * time.Minute}

// alertLog has the latest alerts.
type alertLog struct {
	none   bool          // the source has no alerts
	err    error         // of the last read
	span   int           // index in alertSpans
	alerts []alert.Alert // the oldest first
	seen   map[string]bool
	last   map[string]*alert.Alert // by container ID
}

// since returns the time since which to read alerts.
func (l *alertLog) since(now time.Time) time.Time {
	since := now.Add(-alertSpans[l.span])
	if len(l.alerts) > 0 {
		if latest := l.alerts[len(l.alerts)-1].Time.Add(-alertOverlap); latest.After(since) {
			return latest
		}
	}
	return since
}

// add adds the result of a read. It reports whether there are new alerts.
func (l *alertLog) add(alerts []alert.Alert, err error) bool {
	l.err = err
	if status := (*statusError)(nil); errors.As(err, &status) {
		switch {
		case status.code == http.StatusUnprocessableEntity && l.span < len(alertSpans)-1: // too many
			l.span++
			l.err = nil
		case status.code == http.StatusServiceUnavailable: // another request is in progress: try again later
			l.err = nil
		}
	}
	if err != nil {
		return false
	}
	if l.seen == nil {
		l.seen, l.last = make(map[string]bool), make(map[string]*alert.Alert)
	}
	added := false
	for _, one := range alerts {
		if l.seen[one.ID] {
			continue
		}
		added, l.seen[one.ID] = true, true
		l.alerts = append(l.alerts, one)
		if id := one.Container().ID; id != "" && (l.last[id] == nil || !one.Time.Before(l.last[id].Time)) {
			l.last[id] = &one
		}
	}
	if added {
		l.trim()
	}
	return added
}

// trim sorts the alerts, and removes the oldest ones beyond maxAlerts.
func (l *alertLog) trim() {
	slices.SortStableFunc(l.alerts, func(one, other alert.Alert) int { return one.Time.Compare(other.Time) })
	more := len(l.alerts) - maxAlerts
	if more <= 0 {
		return
	}
	for _, old := range l.alerts[:more] {
		delete(l.seen, old.ID)
		if id := old.Container().ID; l.last[id] != nil && l.last[id].ID == old.ID {
			delete(l.last, id)
		}
	}
	l.alerts = slices.Clone(l.alerts[more:])
}

// alertLines returns the alerts, the latest first.
func (m *model) alertLines() []string {
	var lines []string
	add := func(text string, paint style) {
		for _, line := range wrap(text, m.width, "  ") {
			lines = append(lines, paint.Render(line))
		}
	}
	switch {
	case m.alerts.none:
		add(ErrNoAlerts.Error(), m.styles.plain)
	case !m.snapshot.RulesApply && m.snapshot.Hook != "":
		add("capmon serve runs without --rules: only losses raise alerts", m.styles.plain)
	}
	if m.alerts.err != nil {
		add("cannot read the alerts: "+safe(m.alerts.err.Error()), m.styles.bad)
	}
	if len(m.alerts.alerts) == 0 && !m.alerts.none {
		add("no alerts in the last "+spanText(alertSpans[m.alerts.span])+"; capmon db alerts lists earlier ones", m.styles.plain)
	}
	for _, one := range slices.Backward(m.alerts.alerts) {
		at := one.Time.Local().Format(time.DateTime)
		head := strings.Join([]string{at, severitySigns[one.Severity] + " " + safe(string(one.Severity)), safe(one.Rule), titleOf(one)}, "  ")
		lines = append(lines, m.styles.severity(one.Severity).Render(cutEnd(head, m.width)))
		for _, line := range wrap(escape(bound(one.Summary)), m.width-2, "") {
			lines = append(lines, "  "+line)
		}
	}
	return lines
}

func titleOf(one alert.Alert) string {
	c := one.Container()
	if c.ID == "" && c.Name == "" {
		return ""
	}
	return safe(c.Title())
}

func spanText(d time.Duration) string {
	if d < time.Hour {
		return count(int(d.Minutes()), "minute", "minutes")
	}
	return count(int(d.Hours()), "hour", "hours")
}
