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
	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/alert"
)

const (
	// mostRules is how many rules have counters of their own; those beyond are counted
	// together.
	mostRules  = 1000
	otherRules = "others"
)

// Prometheus counts alerts, for a Prometheus that asks at /metrics.
type Prometheus struct {
	// Listen is where it asks: HOST:PORT, or unix:PATH.
	Listen string `yaml:"listen,omitempty"`
	// Expose allows that other hosts ask.
	Expose bool `yaml:"expose,omitempty"`
}

// exposition serves the counters of a Prometheus, and what becomes of the other sinks.
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
		Name: "capmon_alerts_total", Help: "Alerts by the rule that found them and its severity.",
	}, []string{"rule", "severity"})
	registry := prometheus.NewRegistry()
	if err := errors.Join(registry.Register(e.alerts), registry.Register(queues)); err != nil {
		return nil, err
	}
	listener, err := listen(p.Listen)
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
	rule = strings.ToValidUTF8(rule, "\uFFFD") // others are no label
	if !e.rules[rule] && len(e.rules) == mostRules {
		return otherRules
	}
	e.rules[rule] = true
	return rule
}

func (e *exposition) close(ctx context.Context) error { return e.server.Shutdown(ctx) }

// listen listens at HOST:PORT or unix:PATH, where a socket may be left of a process that was killed.
func listen(address string) (net.Listener, error) {
	path, isUnix := strings.CutPrefix(address, "unix:")
	if !isUnix {
		return net.Listen("tcp", address)
	}
	listener, err := net.Listen("unix", path)
	if errors.Is(err, unix.EADDRINUSE) && isLeft(path) {
		if err := os.Remove(path); err != nil {
			return nil, err
		}
		listener, err = net.Listen("unix", path)
	}
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o660); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return listener, nil
}

// isLeft reports whether a path is a socket that nobody listens at.
func isLeft(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != os.ModeSocket {
		return false
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		_ = conn.Close()
	}
	return errors.Is(err, unix.ECONNREFUSED)
}

// check refuses what others could ask at, unless that is wanted.
func (p Prometheus) check() error {
	if path, ok := strings.CutPrefix(p.Listen, "unix:"); ok {
		if path == "" {
			return errors.New("unix: has no path behind it")
		}
		return nil
	}
	host, _, err := net.SplitHostPort(p.Listen)
	if err != nil {
		return fmt.Errorf("%q is neither HOST:PORT nor unix:PATH", p.Listen)
	}
	ip := net.ParseIP(host)
	if p.Expose || host == "localhost" || ip != nil && ip.IsLoopback() {
		return nil
	}
	return fmt.Errorf("at %q other hosts could read the names of rules: give 127.0.0.1, or say expose: true", p.Listen)
}
