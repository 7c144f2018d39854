package e2e

import (
	"strings"
	"testing"
)

// Cool-downs and bursts count repeated identical uses.
func TestRepeatedUsesAreCountedByRules(t *testing.T) {
	t.Parallel()
	l := watchRules(t, `
rules:
  - {name: every, raw-socket: true, alert: every, cool-down: 1h}
  - {name: first, raw-socket: true}
  - {name: burst, answer: denied, burst: {uses: 500, within: 1h}, cool-down: 1h}
`, "alert-again-*")
	mustExecute(t, "docker", "run", "--rm", "--name", "alert-again-granted", "bb", "probe", "repeat", "1000", "socket", "2", "3", "1")
	mustExecute(t, "docker", "run", "--rm", "--name", "alert-again-denied", "--cap-drop=CHOWN", "bb", "sh", "-c", "i=0; while [ $i -lt 600 ]; do chown 5 /tmp 2>/dev/null; i=$((i+1)); done")
	var every, burst uint64
	l.endAlerts()
	for _, one := range l.alerts() {
		switch one.Rule {
		case "every":
			every += one.Count
		case "burst":
			burst += one.Count
		case "first":
			if one.Count != 1 || strings.Contains(one.Summary, "times") {
				t.Errorf("%+v", one)
			}
		}
	}
	if every != 1000 || burst != 600 {
		t.Errorf("alerts count %d uses of 1000, and %d of 600", every, burst)
	}
}
