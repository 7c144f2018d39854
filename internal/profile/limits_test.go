package profile

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/monitor"
	"github.com/capmon/capmon/syscalls"
)

// flood returns uses by many programs, each with a different name, and one use of another capability.
func flood(from, to int) []UsePattern {
	uses := []UsePattern{{Capability: capability.NetRaw, Class: classify.Required, Granted: true, Program: "ping", Call: "socket(AF_INET, SOCK_RAW, ICMP)", Site: "inet_create", Count: 1, First: saturday, Last: saturday}}
	for i := range to - from {
		uses = append(uses, UsePattern{
			Capability: capability.Chown, Class: classify.Required, Granted: true, Program: fmt.Sprint("n", from+i),
			Call: "chown", Site: "setattr_prepare", Count: 2, First: saturday, Last: saturday,
		})
	}
	return uses
}

func TestTooManyUsesAreAddedUp(t *testing.T) {
	uses := addUp(flood(0, 5*MaxUses))
	want := []UsePattern{
		{Capability: capability.Chown, Class: classify.Required, Granted: true, Others: true, Call: "chown", Site: "setattr_prepare", Count: 10 * MaxUses, First: saturday, Last: saturday},
		flood(0, 0)[0],
	}
	if !reflect.DeepEqual(uses, want) {
		t.Errorf("got %+v", uses)
	}
	if uses := addUp(flood(0, MaxUses-1)); len(uses) != MaxUses || slices.ContainsFunc(uses, func(u UsePattern) bool { return u.Others }) {
		t.Errorf("of %d uses %d are listed", MaxUses, len(uses))
	}
}

// The limits also apply to a container that restarts again and again, each time with other names.
func TestTooManyUsesOfManyRunsAreAddedUp(t *testing.T) {
	var p Profile
	for i := range 20 {
		run := Run{ID: fmt.Sprint(i), Container: Container{ID: "same"}, Started: &saturday, Ended: saturday, Uses: flood(i*100, i*100+100)}
		for j := range 10 {
			run.Incomplete = append(run.Incomplete, fmt.Sprint(i, " times ", j))
		}
		p.Runs = append(p.Runs, run)
	}
	s := Summaries(p)[0]
	if len(s.Uses) > MaxUses || s.Others() == 0 || s.Needs() != capability.Of(capability.Chown, capability.NetRaw) {
		t.Errorf("%d uses, %d checks of others, needs %v", len(s.Uses), s.Others(), s.Needs())
	}
	if len(s.Incomplete) != maxReasons+1 {
		t.Errorf("%d reasons", len(s.Incomplete))
	}
	var sum uint64
	for _, use := range s.Uses {
		sum += use.Count
	}
	if sum != 20*(1+200) {
		t.Errorf("%d checks are listed", sum)
	}
}

// Without the arguments of capset, capmon does not know which capabilities the call needs.
func TestFoldedCapsetMakesARunIncomplete(t *testing.T) {
	capset := syscalls.Call{Arch: syscalls.NativeArch()}
	for capset.Name() != "capset" {
		capset.Nr++
	}
	check := monitor.Check{
		Capability: capability.Setpcap, Answer: monitor.Held, Credential: monitor.OwnCredential, Phase: monitor.Workload,
		Stack: []string{"cap_capset"}, Call: capset, Opts: -1, Count: 2, First: saturday, Last: saturday,
	}
	for folding, incomplete := range map[monitor.Folding]bool{monitor.Unfolded: false, monitor.Nameless: true, monitor.Coarse: true} {
		check.Folding = folding
		c := seen()
		c.Checks = []monitor.Check{check}
		if got := record(t, snapshot(c), nil); (len(got.Incomplete) > 0) != incomplete {
			t.Errorf("folding %d: incomplete for %q", folding, got.Incomplete)
		}
	}
}
