package sink

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/unixsocket"
)

const (
	// maxRules is the maximum number of rules with separate counters. Alerts of further rules are counted
	// together, as otherRules.
	maxRules   = 1000
	otherRules = "others"
)

// Prometheus is a destination that counts alerts and serves the counters at /metrics.
type Prometheus struct {
	// Listen is the address: HOST:PORT or unix:PATH.
	Listen string `yaml:"listen,omitempty"`
	// Group of users that can use the socket unix:PATH; "" for the user of capmon only.
	Group string `yaml:"group,omitempty"`
	// Expose permits an address that other hosts can reach.
	Expose bool `yaml:"expose,omitempty"`
}

// exposition serves the counters of a [Prometheus] and the metrics of the other sinks.
type exposition struct {
	Prometheus
	server *http.Server
	alerts *prometheus.CounterVec

	mu    sync.Mutex
	rules map[string]bool
}

func (p Prometheus) resolved() (Destination, error) { return p, nil }

func (p Prometheus) serve(queues prometheus.Collector) (*exposition, error) {
	e := &exposition{Prometheus: p, rules: make(map[string]bool)}
	e.alerts = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "capmon_alerts_total", Help: "Alerts, by rule and severity.",
	}, []string{"rule", "severity"})
	registry := prometheus.NewRegistry()
	if err := errors.Join(registry.Register(e.alerts), registry.Register(queues)); err != nil {
		return nil, err
	}
	listener, err := p.open()
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	e.server = &http.Server{Handler: mux, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second}
	go func() { _ = e.server.Serve(listener) }() // until close
	return e, nil
}

// count counts an alert. It does not wait.
func (e *exposition) count(a alert.Alert) {
	e.alerts.WithLabelValues(e.label(a.Rule), string(a.Severity)).Inc()
}

func (e *exposition) label(rule string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	rule = strings.ToValidUTF8(rule, "\uFFFD") // labels must be valid UTF-8
	if !e.rules[rule] && len(e.rules) == maxRules {
		return otherRules
	}
	e.rules[rule] = true
	return rule
}

// permit changes the group of the socket.
func (e *exposition) permit(group string) error {
	if group == e.Group {
		return nil
	}
	path, _ := strings.CutPrefix(e.Listen, "unix:")
	if err := unixsocket.Permit(path, group); err != nil {
		return err
	}
	e.Group = group
	return nil
}

func (e *exposition) close(ctx context.Context) error {
	if path, isUnix := strings.CutPrefix(e.Listen, "unix:"); isUnix {
		_ = os.Remove(path) // if this fails, the next listener replaces the socket
	}
	return e.server.Shutdown(ctx)
}

// open listens at HOST:PORT or unix:PATH.
func (p Prometheus) open() (net.Listener, error) {
	if path, isUnix := strings.CutPrefix(p.Listen, "unix:"); isUnix {
		return unixsocket.Listen(path, p.Group)
	}
	return net.Listen("tcp", p.Listen)
}

// check validates the destination. It rejects addresses that other hosts can reach, unless Expose is set.
func (p Prometheus) check() error {
	if path, ok := strings.CutPrefix(p.Listen, "unix:"); ok {
		if path == "" {
			return errors.New("unix: requires a path")
		}
		return nil
	}
	if p.Group != "" {
		return fmt.Errorf("group %s: only unix:PATH has a group", p.Group)
	}
	host, _, err := net.SplitHostPort(p.Listen)
	if err != nil {
		return fmt.Errorf("%q is neither HOST:PORT nor unix:PATH", p.Listen)
	}
	ip := net.ParseIP(host)
	if p.Expose || host == "localhost" || ip != nil && ip.IsLoopback() {
		return nil
	}
	return fmt.Errorf("other hosts can reach %q and read the names of rules: use 127.0.0.1, or set expose: true", p.Listen)
}
