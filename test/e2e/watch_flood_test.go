package e2e

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// A container opens raw sockets as fast as it can: under one name, under as many names as there is room for, and under
// more names. It hides no uses of another container, and each of its own uses is counted or reported as lost.
func TestFloodHidesNothing(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		names   int
		options []string
	}{
		"one-kind":   {1, nil},
		"many-kinds": {3000, nil},
		"too-many":   {3000, []string{"--max-checks=16384"}}, // beyond the container's quota
	} {
		t.Run(name, func(t *testing.T) {
			flood, calm := "live-flood-"+name, "live-calm-"+name
			l := watchLive(t, append(test.options, "--every", "--cap=NET_RAW", "--container="+flood, "--container="+calm)...)
			startSleeper(t, calm)
			mustExecute(t, "docker", "exec", calm, "probe", "setuid0") // adds its container to the kernel's map
			mustExecute(t, "docker", "run", "-d", "--name", flood, "bb", "probe", "rawsock-flood", "2", fmt.Sprint(test.names))
			t.Cleanup(func() { mustExecute(t, "docker", "rm", "-f", flood) })
			l.of(flood)
			mustExecute(t, "docker", "exec", calm, "probe", "repeat", "3", "rawsock")
			eventually(t, "watch reports the calm container during the flood", func() bool { return countOf(l, calm) >= 3 })
			eventually(t, "the flood runs at full speed", func() bool { return countOf(l, flood) >= 20_000 })
			if running := mustExecute(t, "docker", "inspect", "--format={{.State.Running}}", flood); running != "true\n" {
				t.Errorf("the flood is running: %s", running)
			}
			mustExecute(t, "docker", "kill", "--signal=TERM", flood)
			if status := mustExecute(t, "docker", "wait", flood); status != "0\n" {
				t.Fatalf("the flood ended with %s%+v", status, execute(t, "docker", "logs", flood))
			}
			made, err := strconv.ParseUint(strings.TrimSpace(mustExecute(t, "docker", "logs", flood)), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			r := l.interrupt()
			reported, lost := countOf(l, flood), uint64(0)
			if match := regexp.MustCompile(`; more may be missing: (\d+) checks`).FindStringSubmatch(r.stderr); match != nil {
				lost, _ = strconv.ParseUint(match[1], 10, 64)
			}
			t.Logf("made %d, reported %d in %d lines, lost %d\n%s", made, reported, strings.Count(l.lines.String(), "\n"), lost, r.stderr)
			if r.code != 0 || reported != made || lost > 0 || !strings.Contains(r.stderr, "nothing lost") {
				t.Errorf("exit code %d, %d raw sockets, %d reported, %d lost\n%s", r.code, made, reported, lost, r.stderr)
			}
			if calls := countOf(l, calm); calls != 3 {
				t.Errorf("%d uses of %s", calls, calm)
			}
		})
	}
}

// countOf returns the number of uses of a container that watch has reported so far.
func countOf(l *livewatch, container string) (count uint64) {
	for _, use := range l.uses() {
		if use.Container.Name == container {
			count += use.Count
		}
	}
	return count
}
