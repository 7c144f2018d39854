package sink

import "github.com/prometheus/client_golang/prometheus"

// queueMetrics tell of each sink that has a queue what becomes of its alerts.
type queueMetrics func() []*courier

// metric is something to tell of a sink.
type metric struct {
	name, help string
	kind       prometheus.ValueType
	value      float64
}

func (m metric) describe() *prometheus.Desc {
	return prometheus.NewDesc("capmon_sink_"+m.name, m.help, []string{"sink"}, nil)
}

func (c *courier) metrics() []metric {
	stats := c.queue.Stats()
	return []metric{
		{"delivered_total", "Alerts and notices that the sink has taken.", prometheus.CounterValue, float64(c.delivered.Load())},
		{"dropped_total", "Alerts that were dropped since too many waited for the sink.", prometheus.CounterValue, float64(stats.Dropped)},
		{"refused_total", "Alerts that the sink has refused for good.", prometheus.CounterValue, float64(c.refused.Load())},
		{"failures_total", "Deliveries that have failed and are tried again.", prometheus.CounterValue, float64(c.failures.Load())},
		{"queue_alerts", "Alerts that wait for the sink.", prometheus.GaugeValue, float64(stats.Length)},
		{"queue_bytes", "Bytes that alerts take that wait for the sink.", prometheus.GaugeValue, float64(stats.Size)},
	}
}

// Describe says nothing: which sinks there are may change.
func (queueMetrics) Describe(chan<- *prometheus.Desc) {}

// Collect sends the metrics as they are now.
func (couriers queueMetrics) Collect(out chan<- prometheus.Metric) {
	for _, c := range couriers() {
		for _, m := range c.metrics() {
			out <- prometheus.MustNewConstMetric(m.describe(), m.kind, m.value, c.name)
		}
	}
}
