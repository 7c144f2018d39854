package loss

import (
	"context"
	"maps"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/uses"
	"github.com/capmon/capmon/monitor"
)

// fake is a recording whose map of checks is full.
type fake struct {
	losses monitor.Losses
	lost   map[uint64]monitor.ContainerLosses
	most   monitor.LargestContainer
}

func (f *fake) Losses() (monitor.Losses, error) { return f.losses, nil }
func (f *fake) ContainerLosses() (map[uint64]monitor.ContainerLosses, error) {
	return maps.Clone(f.lost), nil
}
func (f *fake) LargestContainers(monitor.Losses) ([]monitor.LargestContainer, error) {
	return []monitor.LargestContainer{f.most}, nil
}
func identify(_ context.Context, _ uint64, id string) uses.ContainerRef {
	return uses.ContainerRef{ID: id, Name: "name-of-" + id}
}

func (f *fake) lose(cgroup uint64, id string, n uint64) {
	f.losses.Checks += n
	f.lost[cgroup] = monitor.ContainerLosses{ID: id, Checks: monitor.MapLosses{Lost: f.lost[cgroup].Checks.Lost + n}}
}

// Every increase is reported, and the increases of one period together. The cause is the container that fills the map,
// not its victim.
func TestEveryIncreaseIsAnAlert(t *testing.T) {
	source := &fake{lost: make(map[uint64]monitor.ContainerLosses), most: monitor.LargestContainer{Map: "checks", ID: "flood", Entries: 900, Used: 1000, Capacity: 1000}}
	var got []alert.Alert
	tracker := New(Options{
		Source: source, Identify: identify, Recording: "r", Every: time.Minute, Log: zap.NewNop(),
		Report: func(one alert.Alert) { got = append(got, one) },
	})
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	read := func(seconds int, end bool, want int) {
		t.Helper()
		if tracker.Read(now.Add(time.Duration(seconds)*time.Second), end); len(got) != want {
			t.Fatalf("%d alerts after %d s, wanted %d", len(got), seconds, want)
		}
	}
	read(0, false, 0)
	source.lose(1, "victim", 5)
	read(1, false, 1)
	source.lose(1, "victim", 2)
	read(2, false, 1)
	source.lose(2, "other", 3)
	read(60, false, 1)
	read(61, false, 2)
	read(600, false, 2)
	source.lose(1, "victim", 1)
	read(601, false, 3)
	source.lose(1, "victim", 4)
	read(602, true, 4)
	if one := got[1]; one.Count != 5 || one.Severity != alert.Critical || one.Container().ID != "flood" || len(one.Loss.Losers) != 2 ||
		one.Loss.Losers[0].Container.ID != "other" || one.Loss.Total.Checks != 10 || !strings.Contains(one.Summary, "name-of-flood has 900 of the 1000 entries") {
		t.Errorf("%+v, %+v", one, one.Loss)
	}
	// A later process reports only what was lost after the last alert.
	got = nil
	tracker = New(Options{Source: source, Identify: identify, Earlier: monitor.Losses{Checks: 14}, Every: time.Minute, Log: zap.NewNop(), Report: tracker.options.Report})
	read(603, false, 1)
	if got[0].Count != 1 {
		t.Errorf("%d losses since the last alert, wanted 1", got[0].Count)
	}
}

// An alert names a container that ended before the alert.
func TestAlertsNameEndedContainers(t *testing.T) {
	source := &fake{lost: make(map[uint64]monitor.ContainerLosses), most: monitor.LargestContainer{Map: "checks", Used: 4, Capacity: 1000}}
	var got []alert.Alert
	tracker := New(Options{
		Source: source, Identify: identify, Every: time.Minute, Log: zap.NewNop(),
		Report: func(one alert.Alert) { got = append(got, one) },
	})
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	source.lose(1, "first", 5)
	tracker.Read(now, false)
	source.lose(2, "second", 3)
	tracker.Read(now.Add(time.Second), false)
	delete(source.lost, 2)
	tracker.Read(now.Add(2*time.Second), false)
	tracker.Read(now.Add(time.Minute), false)
	if len(got) != 2 || len(got[1].Loss.Losers) != 1 || got[1].Loss.Losers[0].Container.ID != "second" || got[1].Loss.Losers[0].Lost != 3 {
		t.Errorf("%d alerts, %+v", len(got), got[len(got)-1].Loss)
	}
}

func TestVictimsAreNotTheCause(t *testing.T) {
	lost := func(cgroup uint64, id string, entries uint64) affected {
		return affected{cgroup: cgroup, id: id, now: monitor.ContainerLosses{Checks: monitor.MapLosses{Lost: 9, Entries: entries}}}
	}
	of := func(taken uint64) []monitor.LargestContainer {
		return []monitor.LargestContainer{{Map: "checks", Cgroup: 1, ID: "big", Entries: 30, Used: taken, Capacity: 100}}
	}
	for what, test := range map[string]struct {
		taken    uint64
		affected affected
		want     string
	}{
		"full, no container has half of it": {100, lost(2, "victim", 4), ""},
		"no longer full":                    {40, lost(2, "victim", 4), ""},
		"own quota, most entries":           {40, lost(1, "big", 30), "big"},
		"own quota, nearly as many entries": {40, lost(2, "other", 29), "other"},
	} {
		if got := cause(of(test.taken), []affected{test.affected}).id; got != test.want {
			t.Errorf("%s: the cause is %q, wanted %q", what, got, test.want)
		}
	}
	full := monitor.LargestContainer{Map: "checks", Cgroup: 1, ID: "big", Entries: 60, Used: 100, Capacity: 100}
	if got := cause([]monitor.LargestContainer{full}, []affected{lost(2, "victim", 4)}).id; got != "big" {
		t.Errorf("%q is the cause of a full map", got)
	}
}
