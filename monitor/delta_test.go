package monitor

import (
	"errors"
	"fmt"
	"testing"

	"github.com/capmon/capmon/internal/testutil"
)

// increase returns how much the count of a kind has grown for a container.
func (k kind) increase(deltas []Delta, id string) (count uint64) {
	for _, delta := range deltas {
		if delta.ID == id && kindOf(delta.Now) == k {
			count += delta.Now.Count - delta.Before.Count
		}
	}
	return count
}

func readDeltas(t *testing.T, reader *DeltaReader) []Delta {
	t.Helper()
	all, err := reader.Read()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Read returns each check once, no matter when it is made.
func TestDeltaReaderReturnsEachCheckOnce(t *testing.T) {
	m := start(t, Options{})
	reader := m.NewDeltaReader()
	id := create(t, "bb", "sh", "-c", "probe repeat 4000 rawsock & probe repeat 4000 rawsock & probe repeat 200 setgid0; wait; test $(busybox id -u) = 0")
	testutil.Docker(t, "start", id)
	var raw, setgid uint64
	testutil.Eventually(t, "Read has returned all", func() bool {
		all := readDeltas(t, reader)
		raw += rawKind.increase(all, id)
		setgid += setgidKind.increase(all, id)
		return raw >= 8000 && setgid >= 200
	})
	testutil.Docker(t, "wait", id)
	rest := readDeltas(t, reader)
	raw += rawKind.increase(rest, id)
	setgid += setgidKind.increase(rest, id)
	if raw != 8000 || setgid != 200 {
		t.Errorf("%d raw sockets and %d setgid, wanted 8000 and 200", raw, setgid)
	}
	for _, delta := range rest {
		if delta.Now.Phase != Workload || m.isMemoryCheckByName(delta.Now) {
			t.Errorf("returned %+v", delta.Now)
		}
	}
	again := readDeltas(t, reader)
	if n := rawKind.increase(again, id); n != 0 {
		t.Errorf("%d are returned again", n)
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
	reader := m.NewDeltaReader()
	before := run(t, "bb", "probe", "repeat", "11", "rawsock")
	all := readDeltas(t, reader)
	if err := m.CollectEnded(); err != nil {
		t.Fatal(err)
	}
	after := run(t, "bb", "probe", "repeat", "22", "rawsock")
	if err := m.CollectEnded(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		all = append(all, readDeltas(t, reader)...)
	}
	got := fmt.Sprint(rawKind.increase(all, before), rawKind.increase(all, after))
	if got != "11 22" {
		t.Errorf("got %s, wanted 11 22", got)
	}
	for key := range reader.reported {
		if reader.done[key.Container] {
			t.Errorf("still has %+v", key)
		}
	}
}

// Read returns a denial when the result of its system call is known, after pendingCallTime, or after Stop.
func TestDeltaReaderWaitsForOutcomes(t *testing.T) {
	m := start(t, Options{Outcomes: true})
	reader := m.NewDeltaReader()
	id := run(t, "--cap-drop=NET_RAW", "bb", "sh", "-c", "for i in 1 2 3 4 5 6 7; do probe rawsock; done 2>/dev/null; true")
	var denied uint64
	testutil.Eventually(t, "Read has returned all", func() bool {
		for _, delta := range readDeltas(t, reader) {
			if delta.ID != id || kindOf(delta.Now).site != "inet_create" {
				continue
			}
			denied += delta.Now.Count - delta.Before.Count
			if delta.Now.Count != delta.Now.Forbidden {
				t.Errorf("the results of the calls are unknown: %+v", delta.Now)
			}
		}
		return denied >= 7
	})
	if denied != 7 {
		t.Errorf("%d were denied, wanted 7", denied)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Read(); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}
