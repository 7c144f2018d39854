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
	id   string
	lost uint64
}

// losers returns the containers that lost checks since the last alert, most first, and what all
// have lost now.
func (t *Tracker) losers() (all []loser, lost map[uint64]uint64) {
	checks, err := t.options.Source.LostChecks()
	if err != nil {
		return nil, t.lost
	}
	lost = make(map[uint64]uint64)
	byID := make(map[string]uint64) // a container that was started again has several cgroups
	for cgroup, now := range checks {
		lost[cgroup] = now.Lost
		if grew := now.Lost - min(now.Lost, t.lost[cgroup]); grew > 0 {
			byID[now.ID] += grew
		}
	}
	for id, n := range byID {
		all = append(all, loser{id, n})
	}
	slices.SortFunc(all, func(a, b loser) int { return cmp.Or(cmp.Compare(b.lost, a.lost), strings.Compare(a.id, b.id)) })
	return all, lost
}

// cause is the ID of the container that caused a loss, "" if that is not known. Who lost checks may
// be a victim. If a map is full, the cause is who has at least half of its entries. If none is full
// now, it is who lost most checks, if it has most entries as well.
func cause(occupants []monitor.Occupant, losers []loser) string {
	for _, o := range occupants {
		if o.Full() && o.Entries >= o.Taken/2 {
			return o.ID
		}
	}
	for _, o := range occupants {
		if !o.Full() && len(losers) > 0 && o.ID == losers[0].id {
			return o.ID
		}
	}
	return ""
}

// summary is a loss in one line that is safe for terminals and logs.
func summary(loss alert.Loss, occupants []monitor.Occupant, names naming) string {
	parts := profile.LossTexts(loss.Lost)
	for _, o := range occupants {
		if o.Full() && o.ID != "" {
			parts = append(parts, fmt.Sprintf("%s has %d of the %d entries of the kernel map of %s",
				printable.Word(names.of(o.ID).Title()), o.Entries, o.Room, o.Map))
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
