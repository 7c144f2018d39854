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

// affected is a container with losses since the last alert.
type affected struct {
	cgroup      uint64
	id          string
	now, before monitor.ContainerLosses
}

func (a affected) lost() uint64 { return a.now.Sum() - min(a.now.Sum(), a.before.Sum()) }

// lostIn returns the number of losses in one map.
func (a affected) lostIn(name string) uint64 {
	now, before := a.now.InMap(name).Lost, a.before.InMap(name).Lost
	return now - min(now, before)
}

// readAffected returns the containers with losses since the last alert, those with most losses first, and the losses of
// all containers until now.
func (t *Tracker) readAffected() (all []affected, lost map[uint64]monitor.ContainerLosses) {
	lost, err := t.options.Source.ContainerLosses()
	if err != nil {
		return nil, t.lost
	}
	latest := maps.Clone(t.pending)
	if latest == nil {
		latest = make(map[uint64]monitor.ContainerLosses)
	}
	maps.Copy(latest, lost)
	for cgroup, now := range latest {
		if a := (affected{cgroup, now.ID, now, t.lost[cgroup]}); a.lost() > 0 {
			all = append(all, a)
		}
	}
	slices.SortFunc(all, func(a, b affected) int {
		return cmp.Or(cmp.Compare(b.lost(), a.lost()), strings.Compare(a.id, b.id), cmp.Compare(a.cgroup, b.cgroup))
	})
	return all, lost
}

// updatePending stores which containers have losses that are not reported yet. At the next alert, the kernel's map may
// no longer have these containers.
func (t *Tracker) updatePending() {
	affectedContainers, _ := t.readAffected()
	if affectedContainers == nil { // the losses could not be read
		return
	}
	t.pending = make(map[uint64]monitor.ContainerLosses, len(affectedContainers))
	for _, a := range affectedContainers {
		t.pending[a.cgroup] = a.now
	}
}

// cgroupID is the container that caused a loss. It has no ID if that container is not known.
type cgroupID struct {
	cgroup uint64
	id     string
}

// cause returns the container that caused a loss. That is not always the container that lost something. If a map is
// full, the cause is a container with at least half of the entries of the map. If no map is full now, the cause is the
// container that lost most because of its own quota.
func cause(largest []monitor.LargestContainer, affectedContainers []affected) cgroupID {
	for _, o := range largest {
		if o.Full() && o.Entries >= o.Used/2 {
			return cgroupID{o.Cgroup, o.ID}
		}
	}
	for _, o := range largest {
		if most := mostLost(o.Map, affectedContainers); !o.Full() && most.hasMostEntries(o) {
			return cgroupID{most.cgroup, most.id}
		}
	}
	return cgroupID{}
}

// mostLost returns the container with most losses in a map.
func mostLost(name string, affectedContainers []affected) (most affected) {
	for _, a := range affectedContainers {
		if a.lostIn(name) > most.lostIn(name) {
			most = a
		}
	}
	return most
}

// hasMostEntries reports whether a container with losses has more than half as many entries in a map as the largest
// container: several containers can have used up the same quota. If other containers fill half of the map, the quota of
// a container that is not the cause is an eighth of theirs.
func (a affected) hasMostEntries(o monitor.LargestContainer) bool {
	return a.lostIn(o.Map) > 0 && a.now.InMap(o.Map).Entries > o.Entries/2
}

// summary describes a loss in one line that is safe for terminals and logs.
func summary(loss alert.Loss, largest []monitor.LargestContainer, names identifier) string {
	parts := profile.LossTexts(loss.Lost)
	for _, o := range largest {
		if o.Full() && o.ID != "" {
			parts = append(parts, fmt.Sprintf("%s has %d of the %d entries of the kernel map of %s",
				printable.Word(names.of(o.Cgroup, o.ID).Title()), o.Entries, o.Capacity, o.Map))
		}
	}
	var lost []string
	for _, a := range loss.Losers {
		lost = append(lost, fmt.Sprintf("%s (%d)", printable.Word(a.Container.Title()), a.Lost))
	}
	if loss.MoreLosers > 0 {
		lost = append(lost, fmt.Sprintf("%d more containers", loss.MoreLosers))
	}
	if len(lost) > 0 {
		parts = append(parts, "affected containers: "+strings.Join(lost, ", "))
	}
	return strings.Join(parts, "; ")
}
