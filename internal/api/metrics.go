package api

import (
	"reflect"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/settings"
)

// mostContainers is of how many containers there are gauges: containers come and go, and
// who collects keeps each for long.
const mostContainers = 500

// metrics are read from a source whenever they are asked for.
type metrics struct {
	source  Source
	version string

	build, began, saved, failures, lost, untold, containers, unlisted *prometheus.Desc
	unused, needed, denied                                            *prometheus.Desc
}

func newMetrics(source Source, version string) *metrics {
	of := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("capmon_"+name, help, labels, nil)
	}
	each := []string{"container_id", "container", "image", "capability"}
	return &metrics{
		source: source, version: version,
		build:      of("build_info", "1, with the version of capmon and how it listens to the kernel.", "version", "hook"),
		began:      of("recording_start_timestamp_seconds", "When the recording began, which may have been in an earlier process."),
		saved:      of("last_save_timestamp_seconds", "All that was recorded until this moment is in the database; 0: nothing was saved since the start."),
		failures:   of("save_failures_total", "Times that what was recorded could not be saved. It stays in the kernel meanwhile."),
		lost:       of("lost_total", "What could not be recorded, by what it was. If there is any, unused capabilities are a guess.", "what"),
		untold:     of("late_events_total", "Events that came faster than they were read, whose uses were found afterwards."),
		containers: of("containers", "Containers whose record is in the kernel: those that run, and some that have ended lately."),
		unlisted:   of("containers_without_gauges", "Those of them that there are no gauges of their own for, since there are too many."),
		unused:     of("unused_capability", "1 for each capability that a running container is granted and was not seen to need.", each...),
		needed:     of("needed_capability", "1 for each capability that a running container was seen to need.", each...),
		denied:     of("denied_capability", "1 for each capability that a running container was refused where it mattered.", each...),
	}
}

// Describe is prometheus.Collector's.
func (m *metrics) Describe(out chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{m.build, m.began, m.saved, m.failures, m.lost, m.untold, m.containers, m.unlisted, m.unused, m.needed, m.denied} {
		out <- desc
	}
}

// Collect is prometheus.Collector's.
func (m *metrics) Collect(out chan<- prometheus.Metric) {
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	counter := func(desc *prometheus.Desc, value uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(value), labels...)
	}
	state := m.source.State()
	gauge(m.build, 1, m.version, string(state.Hook))
	gauge(m.began, float64(state.Began.UnixMilli())/1000)
	if state.Saved.IsZero() {
		gauge(m.saved, 0)
	} else {
		gauge(m.saved, float64(state.Saved.UnixMilli())/1000)
	}
	counter(m.failures, state.Failures)
	counter(m.untold, state.MissedEvents)
	losses := reflect.ValueOf(state.Losses)
	for i := range losses.NumField() {
		counter(m.lost, losses.Field(i).Uint(), snake(losses.Type().Field(i).Name))
	}
	// One for each value of the label, so that no two series are the same.
	summaries := profile.SummariesBy(m.source.Latest(), func(c profile.Container) string { return label(c.ID) })
	gauge(m.containers, float64(len(summaries)))
	listed := 0
	for _, s := range summaries {
		if !s.Running {
			continue
		}
		if listed++; listed > mostContainers {
			continue
		}
		m.container(s, gauge)
	}
	gauge(m.unlisted, float64(max(0, listed-mostContainers)))
}

// label makes any text one that a label may have: valid UTF-8.
func label(text string) string { return strings.ToValidUTF8(text, "\ufffd") }

// container tells of one that runs, by its ID in full: containers may share its beginning.
func (m *metrics) container(s profile.Summary, gauge func(*prometheus.Desc, float64, ...string)) {
	tell := func(desc *prometheus.Desc, names []string) {
		for _, name := range names {
			gauge(desc, 1, label(s.Container.ID), label(s.Container.Name), label(s.Container.Image), name)
		}
	}
	if unused, known := s.Unused(); known {
		tell(m.unused, settings.Names(unused))
	}
	tell(m.needed, settings.Names(s.Needs()))
	tell(m.denied, settings.Names(s.Denied()))
}

// snake is a Go name as metrics have it: TooDeep becomes too_deep.
func snake(name string) string {
	var out strings.Builder
	for i, r := range name {
		if i > 0 && r >= 'A' && r <= 'Z' {
			out.WriteByte('_')
		}
		out.WriteString(strings.ToLower(string(r)))
	}
	return out.String()
}
