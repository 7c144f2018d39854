package monitor

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/capmon/capmon/internal/capability"
)

// nextEvent returns the next event of a container for which holds returns true.
func nextEvent(t *testing.T, m *Monitor, id string, holds func(Event) bool) Event {
	t.Helper()
	m.events.SetDeadline(time.Now().Add(5 * time.Minute))
	for {
		event, err := m.Next()
		if err != nil {
			t.Fatal(err)
		}
		if event.ID == id && holds(event) {
			return event
		}
	}
}

func TestEventsAnnounceContainersThenChecks(t *testing.T) {
	m := start(t, Options{})
	before := time.Now()
	id := run(t, "bb", "probe", "repeat", "5", "setuid0")
	c := find(t, m, id)

	first := nextEvent(t, m, id, func(Event) bool { return true })
	if first.Check != nil || first.Cgroup != c.Cgroup || first.PID == 0 || first.Time.Before(before) || first.Time.After(time.Now()) {
		t.Errorf("the first event is %+v, not the container's", first)
	}
	event := nextEvent(t, m, id, func(e Event) bool {
		return e.Check != nil && e.Check.Capability == capability.Setuid && e.Check.Answer == Held && e.Check.Phase == Workload
	})
	of := setuidKind.of(c)
	if event.Cgroup != c.Cgroup || len(of) != 1 || event.PID != of[0].PID || !event.Time.Equal(of[0].First) {
		t.Errorf("event %+v is not that of the check %+v", event, of)
	}
	whole, err := m.Details(event.Check)
	if err != nil || whole == nil || whole.Executable.Inode == 0 || whole.InnerPID != 1 || len(whole.Parents) != 0 || whole.MoreParents {
		t.Fatalf("the only process of its container is told as %+v", whole)
	}
	all, known, err := m.CurrentCheck(event.Check)
	all.Count, all.Last = of[0].Count, of[0].Last // the map may lack the latest
	if err != nil || !known || !reflect.DeepEqual(all, of[0]) {
		t.Errorf("later it is %+v, %v, %v; in the snapshot %+v", all, known, err, of[0])
	}
	atFirst := of[0]
	atFirst.Count, atFirst.Last = 1, atFirst.First
	if !reflect.DeepEqual(whole.Check, atFirst) {
		t.Errorf("told was %+v, recorded %+v", whole.Check, atFirst)
	}
}

// A kind of check produces one event, however often the check is made.
func TestEverythingIsAnnouncedOnce(t *testing.T) {
	m := start(t, Options{})
	c := find(t, m, run(t, "bb", "probe", "repeat", "500", "rawsock"))
	containers, checks, executions := 0, 0, 0
	for checks < len(c.Checks) || executions < len(c.Executions) {
		switch event := nextEvent(t, m, c.ID, func(Event) bool { return true }); {
		case event.Execution != nil:
			executions++
		case event.Check != nil:
			checks++
		default:
			containers++
		}
	}
	// Other events of the container would arrive before the events of this container.
	other := run(t, "bb", "true")
	m.events.SetDeadline(time.Now().Add(5 * time.Minute))
	for {
		event, err := m.Next()
		if err != nil {
			t.Fatal(err)
		}
		if event.ID == c.ID {
			t.Errorf("one event too many: %+v", event)
		}
		if event.ID == other {
			break
		}
	}
	if containers != 1 || executions != 1 {
		t.Errorf("the container was announced %d times, its program %d times", containers, executions)
	}
}

// Events identify a process even if it has ended when they are read.
func TestEventsNameTheParentsOfAProcess(t *testing.T) {
	m := start(t, Options{})
	rawSocketOf := func(id string) *CheckDetails {
		event := nextEvent(t, m, id, func(e Event) bool {
			return e.Check != nil && e.Check.Capability == capability.NetRaw && e.Check.Phase == Workload
		})
		whole, err := m.Details(event.Check)
		if err != nil || whole == nil {
			t.Fatal(whole, err)
		}
		return whole
	}
	id := run(t, "bb", "sh", "-c", `sh -c 'sh -c "echo \$\$; exec probe rawsock"; true'; true`)
	whole, number := rawSocketOf(id), strings.TrimSpace(docker(t, "logs", id))
	var names []string
	for _, parent := range whole.Parents {
		names = append(names, parent.Program)
	}
	if whole.Program != "probe" || fmt.Sprint(whole.InnerPID) != number || !slices.Equal(names, []string{"sh", "sh"}) || whole.MoreParents {
		t.Errorf("%+v, itself %s, descended from %q", whole, number, names)
	}
	whole = rawSocketOf(run(t, "bb", "probe", "nest", "9", "rawsock"))
	if whole.InnerPID < 10 || len(whole.Parents) != 8 || !whole.MoreParents || whole.Parents[7].Program != "probe" {
		t.Errorf("%+v", whole)
	}
}

// Events about runtime setup have no details.
func TestEventsOfRuntimeSetupHaveNoDetails(t *testing.T) {
	m := start(t, Options{})
	event := nextEvent(t, m, run(t, "bb", "true"), func(e Event) bool { return e.Check != nil && e.Check.Phase == Setup })
	if whole, err := m.Details(event.Check); whole != nil || err != nil {
		t.Errorf("%+v, %v", whole, err)
	}
}

func TestNextReturnsWhenTheMonitorIsClosed(t *testing.T) {
	m := start(t, Options{})
	ended := make(chan error)
	go func() {
		for {
			if _, err := m.Next(); err != nil {
				ended <- err
				return
			}
		}
	}()
	run(t, "bb", "true")
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, ErrClosed) {
		t.Errorf("waiting for an event ended with %v", err)
	}
	if _, err := m.Next(); !errors.Is(err, ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
}

// Close is called while events arrive.
func TestCloseWhileEventsAreRead(t *testing.T) {
	for range 3 {
		m := start(t, Options{})
		run(t, manyKinds...)
		first, ended := make(chan struct{}), make(chan error)
		go func() {
			for n := 0; ; n++ {
				if n == 1 {
					close(first)
				}
				if _, err := m.Next(); err != nil {
					ended <- err
					return
				}
			}
		}()
		<-first
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; !errors.Is(err, ErrClosed) {
			t.Errorf("reading events ended with %v", err)
		}
	}
}
