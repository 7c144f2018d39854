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
	lost   map[uint64]monitor.OwnLosses
	most   monitor.Occupant
}

func (f *fake) Losses() (monitor.Losses, error)                  { return f.losses, nil }
func (f *fake) OwnLosses() (map[uint64]monitor.OwnLosses, error) { return maps.Clone(f.lost), nil }
func (f *fake) Occupants(monitor.Losses) ([]monitor.Occupant, error) {
	return []monitor.Occupant{f.most}, nil
}
func identify(_ context.Context, _ uint64, id string) uses.Container {
	return uses.Container{ID: id, Name: "name-of-" + id}
}

func (f *fake) lose(cgroup uint64, id string, n uint64) {
	f.losses.Checks += n
	f.lost[cgroup] = monitor.OwnLosses{ID: id, Checks: monitor.OwnLoss{Lost: f.lost[cgroup].Checks.Lost + n}}
}

// Every growth is reported, those of one period together, with who fills the map, and not with its
// victim as the cause.
func TestEveryGrowthIsAnAlert(t *testing.T) {
	source := &fake{lost: make(map[uint64]monitor.OwnLosses), most: monitor.Occupant{Map: "checks", ID: "flood", Entries: 900, Taken: 1000, Room: 1000}}
	var got []alert.Alert
	tracker := New(Options{
		Source: source, Identify: identify, Recording: "r", Every: time.Minute, Log: zap.NewNop(),
		Report: func(one alert.Alert) { got = append(got, one) },
	})
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	look := func(seconds int, end bool, want int) {
		t.Helper()
		if tracker.Look(now.Add(time.Duration(seconds)*time.Second), end); len(got) != want {
			t.Fatalf("%d alerts after %d s, wanted %d", len(got), seconds, want)
		}
	}
	look(0, false, 0)
	source.lose(1, "victim", 5)
	look(1, false, 1)
	source.lose(1, "victim", 2)
	look(2, false, 1)
	source.lose(2, "other", 3)
	look(60, false, 1)
	look(61, false, 2)
	look(600, false, 2)
	source.lose(1, "victim", 1)
	look(601, false, 3)
	source.lose(1, "victim", 4)
	look(602, true, 4)
	if one := got[1]; one.Count != 5 || one.Severity != alert.Critical || one.Container().ID != "flood" || len(one.Loss.Losers) != 2 ||
		one.Loss.Losers[0].Container.ID != "other" || one.Loss.Total.Checks != 10 || !strings.Contains(one.Summary, "name-of-flood has 900 of the 1000 entries") {
		t.Errorf("%+v, %+v", one, one.Loss)
	}
	// A later process reports what came after the last alert, and no more.
	got = nil
	tracker = New(Options{Source: source, Identify: identify, Earlier: monitor.Losses{Checks: 14}, Every: time.Minute, Log: zap.NewNop(), Report: tracker.options.Report})
	look(603, false, 1)
	if got[0].Count != 1 {
		t.Errorf("%d were lost meanwhile, wanted 1", got[0].Count)
	}
}

// Who caused a loss is named though it has ended before the time of the next alert.
func TestContainersThatEndedAreNamed(t *testing.T) {
	source := &fake{lost: make(map[uint64]monitor.OwnLosses), most: monitor.Occupant{Map: "checks", Taken: 4, Room: 1000}}
	var got []alert.Alert
	tracker := New(Options{
		Source: source, Identify: identify, Every: time.Minute, Log: zap.NewNop(),
		Report: func(one alert.Alert) { got = append(got, one) },
	})
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	source.lose(1, "first", 5)
	tracker.Look(now, false)
	source.lose(2, "second", 3)
	tracker.Look(now.Add(time.Second), false)
	delete(source.lost, 2)
	tracker.Look(now.Add(2*time.Second), false)
	tracker.Look(now.Add(time.Minute), false)
	if len(got) != 2 || len(got[1].Loss.Losers) != 1 || got[1].Loss.Losers[0].Container.ID != "second" || got[1].Loss.Losers[0].Lost != 3 {
		t.Errorf("%d alerts, %+v", len(got), got[len(got)-1].Loss)
	}
}

func TestAVictimIsNotTheCause(t *testing.T) {
	lost := func(cgroup uint64, id string, entries uint64) loser {
		return loser{cgroup: cgroup, id: id, now: monitor.OwnLosses{Checks: monitor.OwnLoss{Lost: 9, Entries: entries}}}
	}
	of := func(taken uint64) []monitor.Occupant {
		return []monitor.Occupant{{Map: "checks", Cgroup: 1, ID: "big", Entries: 30, Taken: taken, Room: 100}}
	}
	for what, test := range map[string]struct {
		taken uint64
		loser loser
		want  string
	}{
		"full, and nobody has half of it":     {100, lost(2, "victim", 4), ""},
		"not full any more":                   {40, lost(2, "victim", 4), ""},
		"by the quota of who has most":        {40, lost(1, "big", 30), "big"},
		"by the quota of one who has as many": {40, lost(2, "other", 29), "other"},
	} {
		if got := cause(of(test.taken), []loser{test.loser}).id; got != test.want {
			t.Errorf("%s: %q is blamed, not %q", what, got, test.want)
		}
	}
	full := monitor.Occupant{Map: "checks", Cgroup: 1, ID: "big", Entries: 60, Taken: 100, Room: 100}
	if got := cause([]monitor.Occupant{full}, []loser{lost(2, "victim", 4)}).id; got != "big" {
		t.Errorf("%q is blamed for a full map", got)
	}
}
