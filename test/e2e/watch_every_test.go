package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/capmon/capmon/internal/testutil/testlock"
	"github.com/capmon/capmon/internal/uses"
)

// sums adds up the counts of the lines of each pattern of use, by its printed properties.
func sums(t *testing.T, uses []uses.Use) map[string]uint64 {
	t.Helper()
	all := make(map[string]uint64)
	for _, use := range uses {
		call, _, _ := strings.Cut(use.Call, "(")
		pattern := fmt.Sprint(use.Process.Program, " ", use.Capability, " ", call, " ", use.Class)
		if use.First != (all[pattern] == 0) || use.First != use.Since.IsZero() || use.Count == 0 {
			t.Errorf("%s: %+v", pattern, use)
		}
		if p := use.Process; !use.First && (p.PID != 0 || p.InnerPID != 0 || p.User != nil || p.Executable != "" || len(p.Parents) != 0) {
			t.Errorf("a later use has a process, which watch cannot know: %+v", p)
		}
		all[pattern] += use.Count
	}
	return all
}

// The lines of a pattern of use count exactly the uses, whichever process made them and however they ended: while the
// container runs, at its end and at the end of watch.
func TestEveryUseIsCountedOnce(t *testing.T) {
	t.Parallel()
	l := watchLive(t, "--every", "--container", "live-every")
	startSleeper(t, "live-every")
	mustExecute(t, "docker", "exec", "live-every", "sh", "-c", "probe repeat 3000 rawsock & probe repeat 3000 rawsock & wait")
	soFar := func() uint64 { return sums(t, l.uses())["probe NET_RAW socket required"] }
	eventually(t, "watch reports later uses while it runs", func() bool { return soFar() == 6000 })
	// Other arguments belong to the same pattern of use, another program does not. A tolerated check is not a use, a
	// denied one is.
	mustExecute(t, "docker", "exec", "live-every", "sh", "-c", "probe repeat 500 socket 2 3 6; probe named other repeat 7 socket 2 3 1; probe repeat 40 chown-open /tmp 5")
	mustExecute(t, "docker", "exec", "--user=1000", "live-every", "sh", "-c", "for i in 1 2 3 4 5; do probe chown-open /tmp 5; probe rawsock; done 2>/dev/null; true")
	all := l.endWith("live-every")
	want := map[string]uint64{
		"probe NET_RAW socket required": 6500, "other NET_RAW socket required": 7, "probe CHOWN fchown required": 40,
		"probe CHOWN fchown denied": 5, "probe NET_RAW socket denied": 5,
	}
	got := sums(t, all)
	for pattern, count := range want {
		if got[pattern] != count {
			t.Errorf("%s: %d uses, wanted %d", pattern, got[pattern], count)
		}
	}
	if len(got) != len(want) {
		t.Errorf("got %v, wanted %v", got, want)
	}
	if r := l.wait(); !strings.Contains(r.stderr, fmt.Sprintf("capmon: %d uses in 1 container, nothing lost", 6557)) {
		t.Error(r.stderr)
	}
	for line := range strings.Lines(l.lines.String()) {
		valid(t, "watch", line)
	}
}

// Uses of containers that have ended are also reported. With an interval that is longer than the recording, they are
// reported at the end.
func TestUsesOfContainersThatEndedAreCounted(t *testing.T) {
	testlock.Losses(t) // other containers would take the room
	l := watchLive(t, "--every", "--every-interval=1h", "--cap=NET_RAW", "--max-checks=1500", "--container", "live-gone-*")
	const containers = 24 // with 80 patterns each: more than fit unless capmon removes ended containers
	for i := range containers {
		mustExecute(t, "docker", "run", "--rm", "--name", fmt.Sprint("live-gone-", i), "bb", "probe", "repeat", fmt.Sprint(100+i), "rawsock")
	}
	l.of(fmt.Sprint("live-gone-", containers-1))
	if before := len(l.uses()); before != containers {
		t.Errorf("%d lines before the end", before)
	}
	r := l.interrupt()
	for i := range containers {
		name := fmt.Sprint("live-gone-", i)
		var count uint64
		for _, use := range l.uses() {
			if use.Container.Name == name {
				count += use.Count
			}
		}
		if count != uint64(100+i) {
			t.Errorf("%s: %d uses, wanted %d", name, count, 100+i)
		}
	}
	if r.code != 0 || !strings.Contains(r.stderr, "nothing lost") {
		t.Errorf("exit code %d, %s", r.code, r.stderr)
	}
}
