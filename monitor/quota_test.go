package monitor

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/capmon/capmon/bpf"
	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/testutil"
)

// byFolding counts the patterns and checks of a capability by folding.
func byFolding(checks []Check, c capability.Capability) (patterns map[Folding]int, made map[Folding]uint64) {
	patterns, made = make(map[Folding]int), make(map[Folding]uint64)
	for _, check := range checks {
		if check.Capability == c {
			patterns[check.Folding]++
			made[check.Folding] += check.Count
		}
	}
	return patterns, made
}

// A container that changes its name for every check makes more patterns than its quota. Checks beyond the quota are
// counted without the names; none are lost.
func TestPatternsBeyondTheQuotaAreFolded(t *testing.T) {
	const names = 6000
	m := start(t, Options{})
	quota := int(m.attached.shareSizes()[bpf.CapmonShareSHARE_CHECKS]) / 32
	id := run(t, "bb", "attack-rename", fmt.Sprint(names))
	c := find(t, m, id)
	if c.Lost != 0 {
		t.Errorf("%d checks were lost", c.Lost)
	}
	patterns, made := byFolding(c.Checks, capability.Chown)
	if patterns[Unfolded] == 0 || patterns[Unfolded] > quota {
		t.Errorf("%d unfolded patterns were recorded, the quota is %d", patterns[Unfolded], quota)
	}
	if patterns[Nameless] == 0 || patterns[Nameless] > 8 || patterns[Coarse] != 0 {
		t.Errorf("beyond the quota there are %v", patterns)
	}
	if all := made[Unfolded] + made[Nameless]; all < names || all%names != 0 { // a layered file system makes a second check
		t.Errorf("%d checks were counted in %d calls", all, names)
	}
	for _, check := range c.Checks {
		if check.Folding == Nameless && (check.Program != "" || check.Call.HasArgs || len(check.Stack) < 5) {
			t.Errorf("a folded pattern: %+v", check)
		}
	}
}

// fillShare pretends that other containers use a part of a share, in quarters.
func fillShare(t *testing.T, m *Monitor, share bpf.CapmonShare, quarters uint64) {
	t.Helper()
	room := uint64(m.attached.shareSizes()[share])
	if err := m.attached.maps.EntriesAdded.Put(uint32(share), room*quarters/4); err != nil {
		t.Fatal(err)
	}
}

// A pattern with a new capability, call site, phase or answer is recorded, no matter how many entries other containers
// use.
func TestUsesAreRecordedWhenOthersFillTheMaps(t *testing.T) {
	for _, test := range []struct {
		name                  string
		whole, nameless       uint64 // used quarters of the shares
		mostWhole, mostFolded Folding
	}{
		{"half of the capacity", 2, 0, Unfolded, Nameless},
		{"all capacity for unfolded patterns", 4, 0, Nameless, Nameless},
		{"and all for patterns without names", 4, 4, Coarse, Coarse},
	} {
		m := start(t, Options{})
		fillShare(t, m, bpf.CapmonShareSHARE_CHECKS, test.whole)
		fillShare(t, m, bpf.CapmonShareSHARE_CHECKS_NAMELESS, test.nameless)
		c := find(t, m, run(t, "bb", "sh", "-c", "attack-rename 1000; probe rawsock"))
		if c.Lost != 0 {
			t.Errorf("%s: %d checks were lost", test.name, c.Lost)
		}
		patterns, _ := byFolding(c.Checks, capability.Chown)
		if patterns[test.mostFolded] == 0 {
			t.Errorf("%s: the patterns are %v", test.name, patterns)
		}
		if few := int(m.attached.shareSizes()[bpf.CapmonShareSHARE_CHECKS]) / 256; patterns[Unfolded] > few {
			t.Errorf("%s: %d unfolded patterns, allowed are %d", test.name, patterns[Unfolded], few)
		}
		raw := slices.IndexFunc(c.Checks, func(c Check) bool {
			return c.Capability == capability.NetRaw && c.Phase == Workload && c.Answer == Held && slices.Contains(c.Stack, "inet_create")
		})
		if raw < 0 || test.mostWhole != Unfolded && c.Checks[raw].Folding != test.mostWhole {
			t.Errorf("%s: the raw socket is missing or folded in another way: %+v", test.name, c.Checks)
		}
	}
}

// capmon adds up executions beyond the quota. It has one sum for each combination of the properties that it knows
// without the file.
func TestExecutionsBeyondTheQuotaAreFolded(t *testing.T) {
	m := start(t, Options{})
	fillShare(t, m, bpf.CapmonShareSHARE_EXECUTIONS, 4)
	c := find(t, m, run(t, "bb", "sh", "-c", "probe setuid0 && probe memfd-exec setuid0 && probe memfd-exec setuid0"))
	counts := make(map[bool]uint64) // by NoSuid
	for _, execution := range c.Executions {
		if execution.Folded && execution.File == (FileID{}) {
			counts[execution.NoSuid] += execution.Count
		}
	}
	if want := map[bool]uint64{false: 4, true: 2}; !maps.Equal(counts, want) || c.UnrecordedExecutions != 0 {
		t.Errorf("folded executions by nosuid: %v, wanted %v; %d unrecorded; %+v", counts, want, c.UnrecordedExecutions, c.Executions)
	}
}

// Checks that do not fit at all are counted as lost for their container.
func TestLossesAreCountedForTheirContainer(t *testing.T) {
	m := start(t, Options{})
	id := launch(t, "bb", "sleep", "1000")
	for share := range bpf.CapmonShareSHARE_MAX {
		fillShare(t, m, share, 4)
	}
	before := find(t, m, id)
	testutil.Docker(t, "exec", id, "probe", "setuid0")
	c := find(t, m, id)
	if c.Lost == before.Lost || c.UnrecordedExecutions == 0 {
		t.Errorf("lost %d checks and %d executions", c.Lost, c.UnrecordedExecutions)
	}
}

// The room of ended containers is used again, even if a collection was interrupted.
func TestRoomOfEndedContainersIsReused(t *testing.T) {
	m := start(t, Options{})
	run(t, "bb", "attack-rename", "100")
	for share := range bpf.CapmonShareSHARE_MAX {
		fillShare(t, m, share, 4)
	}
	if err := m.CollectEnded(); err != nil {
		t.Fatal(err)
	}
	c := find(t, m, run(t, "bb", "attack-rename", "100"))
	if patterns, _ := byFolding(c.Checks, capability.Chown); patterns[Unfolded] < 100 || len(patterns) != 1 {
		t.Errorf("patterns of a container that came later: %v", patterns)
	}
	if c.UnrecordedExecutions != 0 || len(c.Executions) == 0 {
		t.Errorf("%d of its executions were not recorded", c.UnrecordedExecutions)
	}
}

// A container whose executions of many different files fail uses only its own room.
func TestFailedExecutionsBeyondTheQuotaAreCountedForTheirContainer(t *testing.T) {
	const room, more = 64, 6
	m := start(t, Options{Outcomes: true})
	failing := func(times int) ContainerRecord {
		return find(t, m, run(t, "--cap-drop=ALL", "bb", "sh", "-c",
			fmt.Sprintf("for i in $(seq %d); do ln -s /bin/probe-bind /tmp/$i; /tmp/$i; done; true", times)))
	}
	many, one := failing(room+more), failing(1)
	for _, test := range []struct {
		container          ContainerRecord
		failed, unrecorded int
	}{{many, room, more}, {one, 1, 0}} {
		failed := 0
		for _, use := range test.container.Files {
			if use.Failed == nil {
				continue
			}
			failed++
			if use.Call != "execve" || use.Program != "sh" || use.Count != 1 || !use.Failed.Bounding.Empty() {
				t.Errorf("got %+v, %+v", use, *use.Failed)
			}
		}
		if failed != test.failed || test.container.UnrecordedFailures != uint64(test.unrecorded) {
			t.Errorf("%d failed executions were recorded and %d were not, wanted %d and %d", failed, test.container.UnrecordedFailures, test.failed, test.unrecorded)
		}
	}
}
