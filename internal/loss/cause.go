package loss

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/monitor"
)

// loser is a container of which something was lost since the last alert.
type loser struct {
	cgroup      uint64
	id          string
	now, before monitor.OwnLosses
}

func (l loser) lost() uint64 { return l.now.Sum() - min(l.now.Sum(), l.before.Sum()) }

// lostIn is how much of it found no room in one map.
func (l loser) lostIn(name string) uint64 {
	now, before := l.now.In(name).Lost, l.before.In(name).Lost
	return now - min(now, before)
}

// losers returns the containers of which something was lost since the last alert, those of which
// most was first, and what of all was lost until now.
func (t *Tracker) losers() (all []loser, lost map[uint64]monitor.OwnLosses) {
	lost, err := t.options.Source.OwnLosses()
	if err != nil {
		return nil, t.lost
	}
	latest := maps.Clone(t.pending)
	if latest == nil {
		latest = make(map[uint64]monitor.OwnLosses)
	}
	maps.Copy(latest, lost)
	for cgroup, now := range latest {
		if one := (loser{cgroup, now.ID, now, t.lost[cgroup]}); one.lost() > 0 {
			all = append(all, one)
		}
	}
	slices.SortFunc(all, func(a, b loser) int {
		return cmp.Or(cmp.Compare(b.lost(), a.lost()), strings.Compare(a.id, b.id), cmp.Compare(a.cgroup, b.cgroup))
	})
	return all, lost
}

// remember notes of which containers something was lost that is not reported yet: the kernel's map
// may have them no more when it is.
func (t *Tracker) remember() {
	losers, _ := t.losers()
	if losers == nil { // they could not be read
		return
	}
	t.pending = make(map[uint64]monitor.OwnLosses, len(losers))
	for _, l := range losers {
		t.pending[l.cgroup] = l.now
	}
}

// culprit is a container that caused a loss; it has no ID if that is not known.
type culprit struct {
	cgroup uint64
	id     string
}

// cause is the container that caused a loss. Who lost something may be a victim. If a map is full,
// the cause is who has at least half of its entries. If none is full now, it is who lost most by its
// own quota.
func cause(occupants []monitor.Occupant, losers []loser) culprit {
	for _, o := range occupants {
		if o.Full() && o.Entries >= o.Taken/2 {
			return culprit{o.Cgroup, o.ID}
		}
	}
	for _, o := range occupants {
		if most := mostLost(o.Map, losers); !o.Full() && most.tookMost(o) {
			return culprit{most.cgroup, most.id}
		}
	}
	return culprit{}
}

// mostLost is of whom most found no room in a map.
func mostLost(name string, losers []loser) (most loser) {
	for _, l := range losers {
		if l.lostIn(name) > most.lostIn(name) {
			most = l
		}
	}
	return most
}

// tookMost reports whether a loser has as many entries in a map as anybody, or nearly: several can
// have used up the same quota. While others fill half of the map the quota of a victim is an eighth
// of theirs.
func (l loser) tookMost(o monitor.Occupant) bool {
	return l.lostIn(o.Map) > 0 && l.now.In(o.Map).Entries > o.Entries/2
}

// summary is a loss in one line that is safe for terminals and logs.
func summary(loss alert.Loss, occupants []monitor.Occupant, names naming) string {
	parts := profile.LossTexts(loss.Lost)
	for _, o := range occupants {
		if o.Full() && o.ID != "" {
			parts = append(parts, fmt.Sprintf("%s has %d of the %d entries of the kernel map of %s",
				printable.Word(names.of(o.Cgroup, o.ID).Title()), o.Entries, o.Room, o.Map))
		}
	}
	var lost []string
	for _, l := range loss.Losers {
		lost = append(lost, fmt.Sprintf("%s (%d)", printable.Word(l.Container.Title()), l.Lost))
	}
	if loss.MoreLosers > 0 {
		lost = append(lost, fmt.Sprintf("and %d further containers", loss.MoreLosers))
	}
	if len(lost) > 0 {
		parts = append(parts, "these were of "+strings.Join(lost, ", "))
	}
	return strings.Join(parts, "; ")
}
