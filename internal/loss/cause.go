package loss

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/monitor"
)

// loser is a container and how many of its checks were lost.
type loser struct {
	cgroup uint64
	id     string
	lost   uint64
}

// losers returns the containers that lost checks since the last alert, most first, and what all
// have lost now.
func (t *Tracker) losers() (all []loser, lost map[uint64]uint64) {
	checks, err := t.options.Source.LostChecks()
	if err != nil {
		return nil, t.lost
	}
	lost = make(map[uint64]uint64)
	for cgroup, now := range checks {
		lost[cgroup] = now.Lost
		if grew := now.Lost - min(now.Lost, t.lost[cgroup]); grew > 0 {
			all = append(all, loser{cgroup, now.ID, grew})
		}
	}
	slices.SortFunc(all, func(a, b loser) int {
		return cmp.Or(cmp.Compare(b.lost, a.lost), strings.Compare(a.id, b.id), cmp.Compare(a.cgroup, b.cgroup))
	})
	return all, lost
}

// cause is the container that caused a loss; it has no ID if that is not known. Who lost checks may
// be a victim. If a map is full, the cause is who has at least half of its entries. If none is full
// now, it is who lost most checks, if it has most entries as well.
func cause(occupants []monitor.Occupant, losers []loser) monitor.Occupant {
	for _, o := range occupants {
		if o.Full() && o.Entries >= o.Taken/2 {
			return o
		}
	}
	for _, o := range occupants {
		if !o.Full() && len(losers) > 0 && o.Cgroup == losers[0].cgroup {
			return o
		}
	}
	return monitor.Occupant{}
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
		parts = append(parts, "checks were lost of "+strings.Join(lost, ", "))
	}
	return strings.Join(parts, "; ")
}
