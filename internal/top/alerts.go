package top

import (
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/fairqueue"
)

const (
	// maxAlerts is the number of alerts that the screen keeps.
	maxAlerts = 1000
	// mostBusy is the number of reads in a row that capmon serve may postpone.
	mostBusy = 3
	// alertOverlap is the time by which reads of alerts overlap: late alerts are stored after later ones.
	alertOverlap = time.Minute
)

// alertSpans are how far back a read of alerts goes at most. If there are too many alerts, the next one is used.
var alertSpans = []time.Duration{24 * time.Hour, time.Hour, 5 * time.Minute}

// alertLog has the latest alerts. No container can remove the alerts of others.
type alertLog struct {
	// none: the source has no alerts.
	none bool
	// begin is the time that no read goes before; zero for no limit.
	begin time.Time
	// err is the error of the last read; nil if a read can soon succeed.
	err error
	// busy is the number of the last reads that capmon serve postponed.
	busy int
	// span is an index in alertSpans. skipped: there were too many alerts to read all.
	span    int
	skipped bool
	// alerts has the oldest alert first.
	alerts []alert.Alert
	// discarded is the number of earlier alerts that are no longer in alerts.
	discarded int
	// seen has the times of alerts by ID: of those in alerts, and of discarded ones that a read may return again.
	seen map[string]time.Time
	// last has the last alert of each container, by container ID.
	last map[string]*alert.Alert
}

// since returns the time since which to read alerts.
func (l *alertLog) since(now time.Time) time.Time {
	since := now.Add(-alertSpans[l.span])
	if l.begin.After(since) {
		since = l.begin
	}
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
	status := (*statusError)(nil)
	switch {
	case err == nil:
		l.busy = 0
		return l.addNew(alerts)
	case !errors.As(err, &status):
	case status.code == http.StatusUnprocessableEntity && l.span < len(alertSpans)-1: // too many
		l.span++
		l.err, l.skipped = nil, true
	case status.code == http.StatusServiceUnavailable && l.busy < mostBusy-1: // perhaps another request is in progress
		l.busy++
		l.err = nil
	}
	return false
}

// addNew adds alerts that the log does not have. It returns false if there are none.
func (l *alertLog) addNew(alerts []alert.Alert) (added bool) {
	if l.seen == nil {
		l.seen, l.last = make(map[string]time.Time), make(map[string]*alert.Alert)
	}
	for _, one := range alerts {
		if _, known := l.seen[one.ID]; known {
			continue
		}
		added, l.seen[one.ID] = true, one.Time
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

// trim sorts the alerts, and discards the oldest ones of the containers that have the most.
func (l *alertLog) trim() {
	slices.SortStableFunc(l.alerts, func(one, other alert.Alert) int { return one.Time.Compare(other.Time) })
	before := len(l.alerts)
	l.alerts = fairqueue.Latest(l.alerts, maxAlerts, func(a alert.Alert) string { return a.Origin().Key })
	if len(l.alerts) == before {
		return
	}
	l.discarded += before - len(l.alerts)
	kept := make(map[string]bool, len(l.alerts))
	for _, one := range l.alerts {
		kept[one.ID] = true
	}
	maps.DeleteFunc(l.last, func(_ string, last *alert.Alert) bool { return !kept[last.ID] })
	// Twice the overlap, because the times in requests are in whole seconds.
	again := l.alerts[len(l.alerts)-1].Time.Add(-2 * alertOverlap)
	maps.DeleteFunc(l.seen, func(id string, at time.Time) bool { return !kept[id] && at.Before(again) })
}

// alertSelector returns a function that reports whether to show an alert: whether it is of the open container or, if
// none is open, whether the filter may select its container. Alerts without a container are about capmon itself.
func (m *model) alertSelector() func(alert.Alert) bool {
	selected := make(map[string]bool) // whether the filter selects a row with this container ID
	for _, r := range m.table.rows {
		selected[r.ID] = selected[r.ID] || m.table.filter.matches(r)
	}
	return func(one alert.Alert) bool {
		c := one.Container()
		switch selects, hasRow := selected[c.ID]; {
		case c.ID == "":
			return true
		case m.open != nil:
			return c.ID == m.open.ID
		case hasRow:
			return selects
		}
		return m.table.filter.mayMatch(c) // the recording no longer has a container that has ended
	}
}

// alertLines returns the selected alerts, the latest first.
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
	if m.alerts.skipped {
		add("there were too many alerts to read: some are missing here; capmon db alerts lists all", m.styles.bad)
	}
	if n := m.alerts.discarded; n > 0 {
		add(count(n, "earlier alert is", "earlier alerts are")+" no longer here: capmon db alerts lists all", m.styles.note)
	}
	if len(m.alerts.alerts) == 0 && !m.alerts.none {
		add("no alerts in the last "+spanText(alertSpans[m.alerts.span])+"; capmon db alerts lists earlier ones", m.styles.plain)
	}
	selects := m.alertSelector()
	selected := slices.DeleteFunc(slices.Clone(m.alerts.alerts), func(one alert.Alert) bool { return !selects(one) })
	if n := len(m.alerts.alerts) - len(selected); n > 0 {
		add(count(n, "alert of another container is", "alerts of other containers are")+" not shown", m.styles.plain)
	}
	for _, one := range slices.Backward(selected) {
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
