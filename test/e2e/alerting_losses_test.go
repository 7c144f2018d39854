package e2e

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/testutil/testlock"
)

// tooManyPrograms is more than capmon records for one container, if each program has another ambient set.
const tooManyPrograms = "700"

// loseExecutions makes a container execute so many programs that capmon loses executions.
func loseExecutions(t *testing.T, name string) {
	t.Helper()
	startSleeper(t, name)
	mustExecute(t, "docker", "exec", name, "attack-exec", tooManyPrograms, "ambient")
}

// blames reports whether one of the alerts reports lost executions that the container caused.
func blames(alerts []alert.Alert, container string) bool {
	return slices.ContainsFunc(alerts, func(one alert.Alert) bool {
		return one.Rule == alert.LossRule && one.Severity == alert.Critical && one.Loss.Lost.Executions > 0 &&
			one.Loss.Container.Name == container && strings.Contains(one.Summary, container)
	})
}

// all returns the alerts that the receiver has received.
func (r *receiver) all() (all []alert.Alert) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, one := range r.got {
		all = append(all, one.Alert)
	}
	return all
}

// A critical alert names the container that makes capmon lose executions, in every output. So does a second one about
// the next container. In the meantime serve is not ready.
func TestLossesRaiseAlerts(t *testing.T) {
	testlock.Losses(t)
	r := newReceiver(t)
	r.start(t)
	rules := written(t, "rules.yaml", `
rules: [{builtin: raw-socket}]
sinks: [{type: webhook, url: "http://`+r.Address+`", headers: {Authorization: Bearer t0ken}}]
`)
	s := serve(t, "--save-every", "10s", "--rules", rules)
	builtin := serve(t, "--rules", "builtin")
	w := watchLive(t, "--rules", "builtin")
	for _, name := range []string{"loss-first", "loss-second"} {
		s.ready()
		loseExecutions(t, name)
		eventually(t, "serve is not ready after "+name, func() bool {
			status, body := s.Get("/readyz")
			return status == http.StatusServiceUnavailable && strings.Contains(body, "capmon lost")
		})
		eventually(t, "the state names "+name, func() bool { return strings.Contains(s.State().LastLoss, name) })
		eventually(t, "the webhook has an alert about "+name, func() bool { return blames(r.all(), name) })
		for _, one := range []*server{s, builtin} {
			eventually(t, "the database has an alert about "+name, func() bool { return blames(one.lossAlerts(name), name) })
			eventually(t, "the log has an error that names "+name, func() bool {
				return slices.ContainsFunc(slices.Collect(strings.Lines(one.Stderr.String())), func(line string) bool {
					return strings.Contains(line, "ERROR") && strings.Contains(line, "capmon lost") && strings.Contains(line, name)
				})
			})
		}
	}
	w.interrupt() // watch reports further losses when it ends
	var shown []alert.Alert
	for line := range strings.Lines(w.lines.String()) {
		var one alert.Alert
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		valid(t, "alert", line)
		shown = append(shown, one)
	}
	for _, name := range []string{"loss-first", "loss-second"} {
		if !blames(shown, name) {
			t.Errorf("watch has no alert about %s:\n%s", name, w.lines.String())
		}
	}
}

// lossAlerts returns the alerts that the API has for a container.
func (s *server) lossAlerts(container string) (alerts []alert.Alert) {
	s.T.Helper()
	_, body := s.Get("/api/v1/alerts?container=" + container)
	if err := json.Unmarshal([]byte(body), &alerts); err != nil {
		s.T.Fatalf("%v: %s", err, body)
	}
	return alerts
}
