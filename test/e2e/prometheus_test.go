package e2e

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/capmon/capmon/internal/testutil"
	"github.com/capmon/capmon/internal/testutil/capmontest"
)

const (
	prometheusExamples = "../../examples/prometheus"
	dashboardFile      = "../../examples/grafana/capmon.json"
	prometheusToken    = "0123456789abcdef"
)

// prometheusProgram returns the path of a program that scripts/setup.sh fetches: prometheus or promtool.
func prometheusProgram(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs("../../.cache/bin/" + name)
	if err != nil {
		t.Fatal(err)
	}
	testutil.NeedCommand(t, path, "--version")
	return path
}

func TestPrometheusRulesPassTheirTests(t *testing.T) {
	t.Parallel()
	promtool := prometheusProgram(t, "promtool")
	for _, command := range [][]string{
		{promtool, "check", "rules", prometheusExamples + "/alerts.yml"},
		{promtool, "check", "config", "--syntax-only", prometheusExamples + "/prometheus.yml"},
		{promtool, "test", "rules", prometheusExamples + "/alerts_test.yml"},
	} {
		mustExecute(t, command...)
	}
}

// collector is a Prometheus server of a test.
type collector struct {
	t       *testing.T
	address string
}

// scrape starts a collector with the example configuration, which scrapes a server with TCP.
func scrape(t *testing.T, target, token, ca string) collector {
	t.Helper()
	config, err := os.ReadFile(prometheusExamples + "/prometheus.yml")
	if err != nil {
		t.Fatal(err)
	}
	rules, err := filepath.Abs(prometheusExamples + "/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("alerts.yml", rules, "/etc/prometheus/capmon-token", token, "/etc/prometheus/capmon-ca.pem", ca,
		"docker-host.example.com:9753", target, "30s", "1s").Replace(string(config))
	directory := t.TempDir()
	file := filepath.Join(directory, "prometheus.yml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	mustExecute(t, prometheusProgram(t, "promtool"), "check", "config", file)
	p := collector{t, freeAddress(t)}
	cmd := exec.Command(prometheusProgram(t, "prometheus"), "--config.file="+file, "--storage.tsdb.path="+directory+"/data", "--web.listen-address="+p.address)
	var log testutil.Transcript
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	return p
}

// query evaluates an expression and returns the labels of each result.
func (p collector) query(expression string) (found []map[string]string, err error) {
	var answer struct {
		Status, Error string
		Data          struct {
			Result []struct{ Metric map[string]string }
		}
	}
	_, body, err := capmontest.GetBy(http.DefaultClient, "http://"+p.address+"/api/v1/query?query="+url.QueryEscape(expression), "")
	if err == nil {
		err = json.Unmarshal([]byte(body), &answer)
	}
	if err != nil {
		return nil, err
	}
	if answer.Status != "success" {
		p.t.Errorf("%s: %s", expression, answer.Error)
	}
	for _, result := range answer.Data.Result {
		found = append(found, result.Metric)
	}
	return found, nil
}

// await waits until an expression has results.
func (p collector) await(expression string) (found []map[string]string) {
	p.t.Helper()
	eventually(p.t, "Prometheus finds "+expression, func() bool {
		var err error
		found, err = p.query(expression)
		return err == nil && len(found) > 0
	})
	return found
}

// The collector uses TCP and the token, as in the example. The queries of the dashboard use existing metrics.
func TestPrometheusScrapesServe(t *testing.T) {
	t.Parallel()
	cert, key, _ := certificate(t)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte(prometheusToken), 0o600); err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	s := serve(t, "--tcp", address, "--tls-cert", cert, "--tls-key", key, "--token-file", token)
	startChecking(t, "collected")(1)
	s.Saved()
	p := scrape(t, address, token, cert)
	if build := p.await("capmon_build_info"); build[0]["hook"] != string(s.State().Hook) || build[0]["instance"] != address || build[0]["version"] == "" {
		t.Errorf("%v", build)
	}
	if raw := p.await(`capmon_unused_capability{container="collected",capability="NET_RAW"} == 1`); raw[0]["image"] != "bb:latest" {
		t.Errorf("%v", raw)
	}
	if needed, err := p.query(`capmon_needed_capability{container="collected"}`); err != nil || len(needed) > 0 {
		t.Errorf("%v, %v", needed, err)
	}
	_, metrics := s.Get("/metrics")
	for _, panel := range dashboard(t) {
		for _, target := range panel.Targets {
			if _, err := p.query(strings.NewReplacer("$instance", ".*", "$job", "capmon").Replace(target.Expr)); err != nil {
				t.Errorf("%s: %v", panel.Title, err)
			}
			areMetrics(t, panel.Title, target.Expr, metrics)
		}
	}
	rules, err := os.ReadFile(prometheusExamples + "/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(rules)) {
		if expression, found := strings.CutPrefix(strings.TrimSpace(line), "expr: "); found {
			areMetrics(t, "alerts.yml", expression, metrics)
		}
	}
	docs, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, match := range regexp.MustCompile(`(?m)^# HELP (capmon_\w+)`).FindAllStringSubmatch(metrics, -1) {
		if !strings.Contains(string(docs), "`"+match[1]) {
			t.Errorf("docs/metrics.md has no %s", match[1])
		}
	}
	areMetrics(t, "docs/metrics.md", strings.Join(regexp.MustCompile("(?m)^\\| `capmon_\\w+").FindAllString(string(docs), -1), " "), metrics)
}

// Panels that show only current values use instant queries: a range query also returns hosts that are gone, and is not
// sorted. Another test checks the form of the dashboard (test/compat/grafana).
func TestPanelsOfCurrentValuesUseInstantQueries(t *testing.T) {
	t.Parallel()
	for _, p := range dashboard(t) {
		for _, target := range p.Targets {
			if p.Type != "timeseries" && !target.Instant {
				t.Errorf("%s uses a range query", p.Title)
			}
		}
	}
}

// areMetrics reports names of metrics that serve does not have. Some metrics exist only when they have a value.
func areMetrics(t *testing.T, where, expression, metrics string) {
	t.Helper()
	for _, name := range regexp.MustCompile(`\b(capmon|process|go)_\w+`).FindAllString(expression, -1) {
		if !strings.Contains(metrics, "# HELP "+name+" ") && name != "capmon_needed_capability" && name != "capmon_denied_capability" {
			t.Errorf("%s: no metric %s", where, name)
		}
	}
}

type panel struct {
	Title      string
	Type       string
	Datasource struct{ Type, UID string }
	Targets    []struct {
		Datasource struct{ UID string }
		Expr       string
		Instant    bool
	}
}

// dashboard returns the panels of the example dashboard, which takes its data source from a variable.
func dashboard(t *testing.T) []panel {
	t.Helper()
	text, err := os.ReadFile(dashboardFile)
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Templating struct {
			List []struct{ Name, Type, Query any }
		}
		Panels []panel
	}
	if err := json.NewDecoder(bytes.NewReader(text)).Decode(&d); err != nil {
		t.Fatal(err)
	}
	if len(d.Panels) == 0 || !slices.ContainsFunc(d.Templating.List, func(v struct{ Name, Type, Query any }) bool {
		return v.Name == "datasource" && v.Type == "datasource" && v.Query == "prometheus"
	}) {
		t.Errorf("%d panels, variables %v", len(d.Panels), d.Templating.List)
	}
	for _, p := range d.Panels {
		if p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 {
			t.Errorf("%s: %+v", p.Title, p)
		}
		for _, target := range p.Targets {
			if target.Datasource.UID != "${datasource}" || target.Expr == "" {
				t.Errorf("%s: %+v", p.Title, target)
			}
		}
	}
	return d.Panels
}
