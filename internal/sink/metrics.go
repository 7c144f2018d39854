package sink

import "github.com/prometheus/client_golang/prometheus"

// queueMetrics is a collector of the metrics of all sinks that have a queue.
type queueMetrics func() []*sendLoop

// metric is one metric of one sink.
type metric struct {
	name, help string
	kind       prometheus.ValueType
	value      float64
}

func (m metric) describe() *prometheus.Desc {
	return prometheus.NewDesc("capmon_sink_"+m.name, m.help, []string{"sink"}, nil)
}

func (l *sendLoop) metrics() []metric {
	stats := l.queue.Stats()
	return []metric{
		{"delivered_total", "Alerts and notices that were delivered to the sink.", prometheus.CounterValue, float64(l.delivered.Load())},
		{"dropped_total", "Alerts that were dropped because too many waited for the sink.", prometheus.CounterValue, float64(stats.Dropped)},
		{"rejected_total", "Alerts that the sink rejected permanently.", prometheus.CounterValue, float64(l.rejections.Load())},
		{"failures_total", "Failed deliveries that capmon retries.", prometheus.CounterValue, float64(l.failures.Load())},
		{"queue_alerts", "Alerts that wait for the sink.", prometheus.GaugeValue, float64(stats.Length)},
		{"queue_bytes", "Size of the alerts that wait for the sink, in bytes.", prometheus.GaugeValue, float64(stats.Size)},
	}
}

// Describe sends nothing, because the set of sinks can change.
func (queueMetrics) Describe(chan<- *prometheus.Desc) {}

// Collect sends the current values.
func (loops queueMetrics) Collect(out chan<- prometheus.Metric) {
	for _, l := range loops() {
		for _, m := range l.metrics() {
			out <- prometheus.MustNewConstMetric(m.describe(), m.kind, m.value, l.name)
		}
	}
}
