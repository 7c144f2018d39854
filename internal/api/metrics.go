package api

import (
	"reflect"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/settings"
)

// maxContainers is the maximum number of containers with gauges. Containers change often, and Prometheus stores each
// series for a long time.
const maxContainers = 500

// metrics is a collector that reads a source.
type metrics struct {
	source  Source
	version string

	build, began, saved, failures, lost, late, containers, unlisted *prometheus.Desc
	unused, needed, denied                                          *prometheus.Desc
}

func newMetrics(source Source, version string) *metrics {
	of := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("capmon_"+name, help, labels, nil)
	}
	each := []string{"container_id", "container", "image", "capability"}
	return &metrics{
		source: source, version: version,
		build:      of("build_info", "Always 1. The labels are the version of capmon and the kernel hook that it uses.", "version", "hook"),
		began:      of("recording_start_timestamp_seconds", "When the recording began, possibly in an earlier process."),
		saved:      of("last_save_timestamp_seconds", "Everything recorded until this time is in the database. 0 if nothing was saved since the start."),
		failures:   of("save_failures_total", "Saves that failed. Unsaved data stays in the kernel."),
		lost:       of("lost_total", "Records that were lost, by kind. If any were lost, containers may need capabilities that capmon reports as unused.", "what"),
		late:       of("late_events_total", "Events that arrived faster than capmon read them. capmon found their uses later, in the kernel's maps."),
		containers: of("containers", "Containers whose records are in the kernel: the running ones, and some that ended recently."),
		unlisted:   of("containers_without_gauges", "Running containers without gauges, because too many containers run."),
		unused:     of("unused_capability", "1 for each capability that a running container is granted, but that capmon has not seen it need.", each...),
		needed:     of("needed_capability", "1 for each capability that capmon saw a running container need.", each...),
		denied:     of("denied_capability", "1 for each capability that the kernel denied to a running container, if the denial mattered.", each...),
	}
}

// Describe implements [prometheus.Collector].
func (m *metrics) Describe(out chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{m.build, m.began, m.saved, m.failures, m.lost, m.late, m.containers, m.unlisted, m.unused, m.needed, m.denied} {
		out <- desc
	}
}

// Collect implements [prometheus.Collector].
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
	counter(m.late, state.MissedEvents)
	losses := reflect.ValueOf(state.Losses)
	for i := range losses.NumField() {
		counter(m.lost, losses.Field(i).Uint(), snake(losses.Type().Field(i).Name))
	}
	// Containers with the same value of the label are one, because two series with the same labels are an error.
	summaries := profile.SummariesBy(m.source.Latest(), func(c profile.Container) string { return label(c.ID) })
	gauge(m.containers, float64(len(summaries)))
	listed := 0
	for _, s := range summaries {
		if !s.Running {
			continue
		}
		if listed++; listed > maxContainers {
			continue
		}
		m.container(s, gauge)
	}
	gauge(m.unlisted, float64(max(0, listed-maxContainers)))
}

// label returns a text as valid UTF-8, which labels must be.
func label(text string) string { return strings.ToValidUTF8(text, "\ufffd") }

// container exports the gauges of a running container. The label is the complete ID, because short IDs can be the same.
func (m *metrics) container(s profile.Summary, gauge func(*prometheus.Desc, float64, ...string)) {
	export := func(desc *prometheus.Desc, names []string) {
		for _, name := range names {
			gauge(desc, 1, label(s.Container.ID), label(s.Container.Name), label(s.Container.Image), name)
		}
	}
	if unused, known := s.Unused(); known {
		export(m.unused, settings.Names(unused))
	}
	export(m.needed, settings.Names(s.Needs()))
	export(m.denied, settings.Names(s.Denied()))
}

// snake returns a Go name in snake case: NoCallSite becomes no_call_site.
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
