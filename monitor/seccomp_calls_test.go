package monitor

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/bpf"
	"github.com/capmon/capmon/syscalls"
)

// calls counts the selected calls of a container by name.
func calls(c ContainerRecord) map[string]uint64 {
	counts := make(map[string]uint64)
	for _, call := range c.SeccompCalls {
		counts[call.Call.Name()] += call.Count
	}
	return counts
}

func TestCallsAreRecordedWhileTheyAreSelected(t *testing.T) {
	m := start(t, Options{})
	policy := func() ContainerRecord {
		return find(t, m, run(t, "--cap-add=SYS_NICE", "bb", "probe", "repeat", "3", "set-mempolicy"))
	}
	if got := calls(policy()); len(got) != 0 || m.attached.syscallExitLinks != nil {
		t.Errorf("without a selection recorded %v, attached to %v", got, m.attached.syscallExitLinks)
	}
	if err := m.SelectSeccompCalls([]SeccompCallSelector{{Name: "set_mempolicy"}, {Name: "clone", Masks: [6]uint64{unix.CLONE_NEWUSER}}}); err != nil {
		t.Fatal(err)
	}
	selected := policy()
	if got := calls(selected); got["set_mempolicy"] != 3 {
		t.Errorf("recorded %v", got)
	}
	for _, call := range selected.SeccompCalls {
		if call.Program != "probe" || call.Error != 0 && !errors.Is(call.Error, unix.ENOSYS) {
			t.Errorf("recorded %+v", call)
		}
	}
	// The mask selects the bit that says that no namespace was made.
	forks := find(t, m, run(t, "bb", "probe", "fork", "5"))
	if got := calls(forks); len(forks.SeccompCalls) != 1 || got["clone"]+got["clone3"] != 5 || forks.SeccompCalls[0].Call.Args[0]&unix.CLONE_NEWUSER != 0 {
		t.Errorf("of five forks recorded %+v", forks.SeccompCalls)
	}
	if err := m.SelectSeccompCalls(nil); err != nil {
		t.Fatal(err)
	}
	if got := calls(policy()); len(got) != 0 || m.attached.syscallExitLinks != nil {
		t.Errorf("afterwards recorded %v, attached to %v", got, m.attached.syscallExitLinks)
	}
	lossless(t, snapshot(t, m))
}

// A process that is killed while it pins the links for the end of system calls leaves none of them, or one of the two
// that a preemptible kernel needs.
func TestHalfPinnedReturnsAreRepaired(t *testing.T) {
	t.Parallel()
	pins := newPinDirectory(t)
	for left, all := 0, 1; left < all; left++ {
		m := start(t, Options{PinDirectory: pins})
		if err := m.SelectSeccompCalls([]SeccompCallSelector{{Name: "set_mempolicy"}}); err != nil {
			t.Fatal(err)
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		links, err := filepath.Glob(filepath.Join(pins, "*", syscallExitsPin, "*"))
		if err != nil || len(links) == 0 {
			t.Fatalf("pinned are %v, %v", links, err)
		}
		all = len(links)
		for _, link := range links[left:] {
			if err := os.Remove(link); err != nil {
				t.Fatal(err)
			}
		}
		m = start(t, Options{PinDirectory: pins})
		if got := calls(find(t, m, run(t, "--cap-add=SYS_NICE", "bb", "probe", "repeat", "3", "set-mempolicy"))); got["set_mempolicy"] != 3 {
			t.Errorf("with %d links recorded %v", left, got)
		}
		lossless(t, snapshot(t, m))
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestClone3HasTheSelectorOfClone(t *testing.T) {
	m := &Monitor{arch: syscalls.NativeArch()}
	mask := [6]uint64{unix.CLONE_NEWUSER}
	for _, calls := range [][]SeccompCallSelector{
		{{Name: "clone", Masks: mask}, {Name: "clone3"}},
		{{Name: "clone3"}, {Name: "clone", Masks: mask}},
	} {
		selector := m.seccompSelectorTable(calls)[unix.SYS_CLONE3]
		if selector.Kind != uint64(bpf.CapmonSeccompCallKindSECCOMP_CALL_CLONE3) || selector.Masks[0]&unix.CLONE_NEWUSER == 0 {
			t.Errorf("of %v: %+v", calls, selector)
		}
	}
}
