package monitor

import (
	"errors"
	"fmt"
	"testing"
)

// increase returns how much the count of a kind has grown for a container.
func (k kind) increase(changes []Delta, id string) (count uint64) {
	for _, change := range changes {
		if change.ID == id && kindOf(change.Now) == k {
			count += change.Now.Count - change.Before.Count
		}
	}
	return count
}

func readDeltas(t *testing.T, tally *DeltaReader) []Delta {
	t.Helper()
	all, err := tally.Read()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Read returns each check once, no matter when it is made.
func TestDeltaReaderReturnsEachCheckOnce(t *testing.T) {
	m := start(t, Options{})
	tally := m.NewDeltaReader()
	id := create(t, "bb", "sh", "-c", "probe repeat 4000 rawsock & probe repeat 4000 rawsock & probe repeat 200 setgid0; wait; test $(busybox id -u) = 0")
	docker(t, "start", id)
	var raw, setgid uint64
	eventually(t, "all are told", func() bool {
		all := readDeltas(t, tally)
		raw += rawKind.increase(all, id)
		setgid += setgidKind.increase(all, id)
		return raw >= 8000 && setgid >= 200
	})
	docker(t, "wait", id)
	rest := readDeltas(t, tally)
	raw += rawKind.increase(rest, id)
	setgid += setgidKind.increase(rest, id)
	if raw != 8000 || setgid != 200 {
		t.Errorf("%d raw sockets and %d setgid, wanted 8000 and 200", raw, setgid)
	}
	for _, change := range rest {
		if change.Now.Phase != Workload || m.isMemoryCheckByName(change.Now) {
			t.Errorf("told of %+v", change.Now)
		}
	}
	again := readDeltas(t, tally)
	if n := rawKind.increase(again, id); n != 0 {
		t.Errorf("%d are told again", n)
	}
}

// isMemoryCheckByName is isMemoryCheck by the names of the functions.
func (m *Monitor) isMemoryCheckByName(check Check) bool {
	for _, function := range check.Stack[:min(3, len(check.Stack))] {
		if function == "security_vm_enough_memory_mm" {
			return true
		}
	}
	return false
}

// Read returns the checks of containers that were collected between two calls, and then frees their data.
func TestDeltaReaderReturnsEndedContainers(t *testing.T) {
	m := start(t, Options{})
	tally := m.NewDeltaReader()
	before := run(t, "bb", "probe", "repeat", "11", "rawsock")
	all := readDeltas(t, tally)
	if err := m.CollectEnded(); err != nil {
		t.Fatal(err)
	}
	after := run(t, "bb", "probe", "repeat", "22", "rawsock")
	if err := m.CollectEnded(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		all = append(all, readDeltas(t, tally)...)
	}
	got := fmt.Sprint(rawKind.increase(all, before), rawKind.increase(all, after))
	if got != "11 22" {
		t.Errorf("got %s, wanted 11 22", got)
	}
	for key := range tally.reported {
		if tally.done[key.Container] {
			t.Errorf("kept %+v", key)
		}
	}
}

// A denial is returned when the end of its system call is known, after a while, or after Stop.
func TestDeltaReaderWaitsForOutcomes(t *testing.T) {
	m := start(t, Options{Outcomes: true})
	tally := m.NewDeltaReader()
	id := run(t, "--cap-drop=NET_RAW", "bb", "sh", "-c", "for i in 1 2 3 4 5 6 7; do probe rawsock; done 2>/dev/null; true")
	var refused uint64
	eventually(t, "all are told", func() bool {
		for _, change := range readDeltas(t, tally) {
			if change.ID != id || kindOf(change.Now).site != "inet_create" {
				continue
			}
			refused += change.Now.Count - change.Before.Count
			if change.Now.Count != change.Now.Forbidden {
				t.Errorf("it is not known how the calls ended: %+v", change.Now)
			}
		}
		return refused >= 7
	})
	if refused != 7 {
		t.Errorf("%d were refused, wanted 7", refused)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := tally.Read(); !errors.Is(err, ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
}
