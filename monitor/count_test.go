package monitor

import (
	"strconv"
	"testing"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/kernel"
)

// kind has the properties of a kind of check that tests know in advance.
type kind struct {
	capability  capability.Capability
	answer      Answer
	call, site  string
	phase       Phase
	deniedFirst bool
}

func kindOf(c Check) kind {
	site, _ := kernel.CallSite(c.Stack)
	return kind{c.Capability, c.Answer, c.Call.Name(), site, c.Phase, c.HasDeniedFirst}
}

func (k kind) of(c ContainerRecord) []Check {
	return matching(c, func(check Check) bool { return kindOf(check) == k })
}

var (
	setuidKind = kind{capability: capability.Setuid, answer: Held, call: "setuid", site: "__sys_setuid", phase: Workload}
	setgidKind = kind{capability: capability.Setgid, answer: Held, call: "setgid", site: "__sys_setgid", phase: Workload}
	rawKind    = kind{capability: capability.NetRaw, answer: Held, call: "socket", site: "inet_create", phase: Workload}
	// The kernel checks the wider capability because it denied the narrower one.
	readKind   = kind{capability: capability.DACOverride, answer: Held, call: "openat", site: "may_open", phase: Workload, deniedFirst: true}
	deniedKind = kind{capability: capability.DACReadSearch, answer: NotHeld, call: "openat", site: "may_open", phase: Workload}
)

func TestChecksAreCountedExactly(t *testing.T) {
	m := start(t, Options{})
	for name, test := range map[string]struct {
		command []string
		want    map[kind]uint64
	}{
		"once":       {[]string{"probe", "setuid0"}, map[kind]uint64{setuidKind: 1}},
		"many times": {[]string{"probe", "repeat", "4321", "setuid0"}, map[kind]uint64{setuidKind: 4321}},
		"by two processes at once": {
			[]string{"sh", "-c", "probe repeat 3000 setuid0 & probe repeat 3000 setuid0 & wait"},
			map[kind]uint64{setuidKind: 6000},
		},
		"by children of the workload": {
			[]string{"sh", "-c", "for i in 1 2 3; do (probe repeat 5 setuid0); done"},
			map[kind]uint64{setuidKind: 15},
		},
		"of several kinds": {
			[]string{"sh", "-c", "probe repeat 7 setuid0; probe repeat 8 setgid0; probe repeat 9 rawsock"},
			map[kind]uint64{setuidKind: 7, setgidKind: 8, rawKind: 9},
		},
		"one denied before another is granted": {
			[]string{"cat", "/data/secret", "/data/secret", "/data/secret"},
			map[kind]uint64{deniedKind: 3, readKind: 3},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := find(t, m, run(t, append([]string{"bb"}, test.command...)...))
			for kind, want := range test.want {
				if got := total(kind.of(c)); got != want {
					t.Errorf("%+v: counted %d, wanted %d", kind, got, want)
				}
			}
			if c.Lost != 0 || c.ChecksMade != total(c.Checks) {
				t.Errorf("made %d, lost %d, recorded %d", c.ChecksMade, c.Lost, total(c.Checks))
			}
		})
	}
	lossless(t, snapshot(t, m))
}

// fork makes a check for each mapping of the process.
func TestForksAreCountedExactly(t *testing.T) {
	m := start(t, Options{})
	forked := func(n int) ContainerRecord {
		return find(t, m, run(t, "bb", "probe", "fork", strconv.Itoa(n)))
	}
	copying := kind{capability: capability.SysAdmin, answer: NotHeld, call: "clone", site: "security_vm_enough_memory_mm", phase: Workload}
	count := func(c ContainerRecord) uint64 { return total(copying.of(c)) }
	one, many := forked(1), forked(200)
	if count(one) == 0 || count(many) != 200*count(one) {
		t.Errorf("one fork made %d checks, 200 made %d", count(one), count(many))
	}
	if one.Processes != 2 || many.Processes != 201 {
		t.Errorf("saw %d and %d processes, wanted 2 and 201", one.Processes, many.Processes)
	}
	lossless(t, snapshot(t, m))
}

func TestTwoMonitorsCountTheSame(t *testing.T) {
	one, other := start(t, Options{}), start(t, Options{})
	id := run(t, "bb", "sh", "-c", "touch /tmp/f; chown 5 /tmp/f; cat /data/secret; ping -c1 127.0.0.1; probe fork 9")
	c := find(t, one, id)
	counts, others := rawChecks(t, one, c.Cgroup), rawChecks(t, other, c.Cgroup)
	if len(counts) == 0 || len(counts) != len(others) {
		t.Fatalf("%d and %d kinds of check", len(counts), len(others))
	}
	for key, count := range counts {
		if others[key] != count {
			t.Errorf("counted %d and %d times: %+v", count, others[key], key)
		}
	}
}
