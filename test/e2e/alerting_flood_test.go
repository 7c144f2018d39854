package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A container opens raw sockets as fast as it can, under one name or under constantly changing names. A slow webhook
// receives only as many alerts as it can handle. The first alert of another container still arrives, and the alerts
// count exactly the sockets that the container opened.
func TestFloodDoesNotOverloadSinks(t *testing.T) {
	t.Parallel()
	for kind, names := range map[string]int{"one-name": 1, "new-names": 3000} {
		t.Run(kind, func(t *testing.T) {
			flood, calm := "alert-flood-"+kind, "alert-calm-"+kind
			r := newReceiver(t)
			r.takes = 5 * time.Millisecond
			r.start(t)
			l := watchRules(t, `
rules:
  - {name: first, raw-socket: true}
  - {name: each, raw-socket: true, alert: every}
  - {name: cooled, raw-socket: true, alert: every, cool-down: 1h}
sinks: [{type: webhook, url: "http://`+r.Address+`", headers: {Authorization: Bearer t0ken}}]
`, "alert-*-"+kind)
			startSleeper(t, calm)
			mustExecute(t, "docker", "run", "-d", "--name", flood, "bb", "probe", "rawsock-flood", "2", fmt.Sprint(names))
			t.Cleanup(func() { mustExecute(t, "docker", "rm", "-f", flood) })
			eventually(t, "the flood runs at full speed", func() bool {
				return countOfAlerts(r, "each", flood) >= 2000 || names > 1 && len(r.alerts("each", flood)) >= 90
			})
			mustExecute(t, "docker", "exec", calm, "probe", "rawsock")
			eventually(t, "the webhook has all alerts of the calm container", func() bool { return len(r.alerts("", calm)) == 3 })
			if running := mustExecute(t, "docker", "inspect", "--format={{.State.Running}}", flood); running != "true\n" {
				t.Errorf("the flood is running: %s", running)
			}
			mustExecute(t, "docker", "kill", "--signal=TERM", flood)
			mustExecute(t, "docker", "wait", flood)
			made, err := strconv.ParseUint(strings.TrimSpace(mustExecute(t, "docker", "logs", flood)), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			if end := l.interrupt(); end.code != 0 || !strings.Contains(end.stderr, "nothing lost") || strings.Contains(end.stderr, "WARN") {
				t.Errorf("exit code %d\n%s", end.code, end.stderr)
			}
			t.Logf("%d raw sockets, %d deliveries", made, len(r.alerts("", flood)))
			for rule, most := range map[string]int{"first": 110, "each": 110, "cooled": 2} {
				if got := len(r.alerts(rule, flood)); got == 0 || got > most {
					t.Errorf("%s: %d alerts", rule, got)
				}
			}
			for _, rule := range []string{"each", "cooled"} {
				if counted := countOfAlerts(r, rule, flood); counted != made {
					t.Errorf("%s: alerts of %d raw sockets, wanted %d", rule, counted, made)
				}
			}
			known := make(map[string]bool)
			for _, one := range r.alerts("", flood) {
				if known[one.ID] {
					t.Errorf("delivered twice: %+v", one)
				}
				known[one.ID] = true
			}
		})
	}
}

// countOfAlerts returns the number of uses of a container that the alerts of a rule count.
func countOfAlerts(r *receiver, rule, container string) (count uint64) {
	for _, one := range r.alerts(rule, container) {
		count += one.Count
	}
	return count
}
