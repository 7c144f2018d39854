package monitor

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/testutil"
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
	details, err := m.Details(event.Check)
	if err != nil || details == nil || details.Executable.Inode == 0 || details.InnerPID != 1 || len(details.Parents) != 0 || details.MoreParents {
		t.Fatalf("details of the only process of its container: %+v", details)
	}
	all, known, err := m.CurrentCheck(event.Check)
	all.Count, all.Last = of[0].Count, of[0].Last // the map may lack the latest
	if err != nil || !known || !reflect.DeepEqual(all, of[0]) {
		t.Errorf("CurrentCheck returned %+v, %v, %v; the snapshot has %+v", all, known, err, of[0])
	}
	atFirst := of[0]
	atFirst.Count, atFirst.Last = 1, atFirst.First
	if !reflect.DeepEqual(details.Check, atFirst) {
		t.Errorf("the event has %+v, the snapshot %+v", details.Check, atFirst)
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
		details, err := m.Details(event.Check)
		if err != nil || details == nil {
			t.Fatal(details, err)
		}
		return details
	}
	id := run(t, "bb", "sh", "-c", `sh -c 'sh -c "echo \$\$; exec probe rawsock"; true'; true`)
	details, number := rawSocketOf(id), strings.TrimSpace(testutil.Docker(t, "logs", id))
	var names []string
	for _, parent := range details.Parents {
		names = append(names, parent.Program)
	}
	if details.Program != "probe" || fmt.Sprint(details.InnerPID) != number || !slices.Equal(names, []string{"sh", "sh"}) || details.MoreParents {
		t.Errorf("%+v, PID %s, parents %q", details, number, names)
	}
	details = rawSocketOf(run(t, "bb", "probe", "nest", "9", "rawsock"))
	if details.InnerPID < 10 || len(details.Parents) != 8 || !details.MoreParents || details.Parents[7].Program != "probe" {
		t.Errorf("%+v", details)
	}
}

// Events about runtime setup have no details.
func TestEventsOfRuntimeSetupHaveNoDetails(t *testing.T) {
	m := start(t, Options{})
	event := nextEvent(t, m, run(t, "bb", "true"), func(e Event) bool { return e.Check != nil && e.Check.Phase == Setup })
	if details, err := m.Details(event.Check); details != nil || err != nil {
		t.Errorf("%+v, %v", details, err)
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
		t.Errorf("after Close: %v", err)
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
