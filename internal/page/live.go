package page

import (
	"slices"
	"time"

	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/printable"
)

// MaxAlerts is the maximum number of alerts in a page.
const MaxAlerts = 100

// Live is the part of a page that only the page of capmon serve has.
type Live struct {
	Columns []string
	// Alerts are the latest alerts, the newest first.
	Alerts []Alert
}

// Alert is a row of the list of alerts. live.mjs makes the same rows from the alerts that arrive later.
type Alert struct {
	ID string
	// Origin identifies the container, see [alert.Alert.Origin].
	Origin string
	// Texts has the text of each column.
	Texts []string
}

// NewLive returns the live part of a page with the latest [MaxAlerts] of these alerts.
func NewLive(alerts []alert.Alert) *Live {
	live := &Live{Columns: []string{"Time", "Severity", "Container", "Capability", "Program", "Alert"}}
	sorted := slices.SortedStableFunc(slices.Values(alerts), func(one, other alert.Alert) int { return other.Time.Compare(one.Time) })
	for _, a := range sorted[:min(len(sorted), MaxAlerts)] {
		capability, container := "", ""
		if a.Loss == nil && a.Dropped == nil {
			capability = a.Use.Capability.String()
		}
		if c := a.Container(); c.ID != "" || c.Name != "" {
			container = c.Title()
		}
		live.Alerts = append(live.Alerts, Alert{name(a.ID), name(a.Origin().Key), []string{
			a.Time.UTC().Format(time.DateTime + " MST"), name(string(a.Severity)), name(container), capability, name(a.Use.Process.Name()),
			shorten(printable.Lines(a.Summary), maxText), // already safe, so the backslashes stay
		}})
	}
	return live
}

// LivePolicy returns the Content-Security-Policy of a page with a live part. In contrast to [Policy], the page may
// connect to its own origin.
func LivePolicy() string {
	return policy(hash(scriptText)+" "+hash(liveScriptText)) + "; connect-src 'self'"
}
