package observe

import (
	"cmp"
	"fmt"
	"maps"
	"time"

	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/monitor"
)

// identities holds which cgroups are which containers. The name of a cgroup is a claim that
// anybody who may make cgroups can make. The engine confirms a cgroup by the number of the
// container's first process, which is in it. Many containers end before the engine can be asked for
// that: the claim of their cgroups holds where only root can have made them, unless the engine
// has confirmed another cgroup of the same start.
type identities struct {
	places    map[uint64]monitor.Place
	paths     map[uint64]string // of cgroups that may be nobody's
	confirmed map[uint64]string // by the cgroup, the ID
	settled   map[uint64]bool   // whether the claim of a cgroup that was not confirmed holds
	// Of containers, by their IDs:
	latest map[string]start     // the latest that was confirmed
	asked  map[string]time.Time // by the monitor's clock: the engine's latest answer is of a later moment
	stale  map[string]bool      // the engine has to be asked again
}

// start is one of a container whose cgroup the engine has confirmed.
type start struct {
	at     time.Time // as the engine tells
	cgroup uint64
	again  bool // the engine has told of another start since
}

func newIdentities() identities {
	return identities{
		places: make(map[uint64]monitor.Place), paths: make(map[uint64]string), confirmed: make(map[uint64]string), settled: make(map[uint64]bool),
		latest: make(map[string]start), asked: make(map[string]time.Time), stale: make(map[string]bool),
	}
}

func (i *identities) forgetCgroups(cgroups []uint64) {
	for _, cgroup := range cgroups {
		delete(i.places, cgroup)
		delete(i.paths, cgroup)
		delete(i.confirmed, cgroup)
		delete(i.settled, cgroup)
	}
}

func (i *identities) forgetContainer(id string) {
	delete(i.latest, id)
	delete(i.asked, id)
	delete(i.stale, id)
}

// place is where a cgroup lies. The caller holds mu.
func (o *Observer) place(cgroup uint64) (monitor.Place, bool) {
	place, known := o.identities.places[cgroup]
	if !known {
		var err error
		if place, known, err = o.monitor.Place(cgroup); err == nil && known {
			o.identities.places[cgroup] = place
		}
	}
	return place, known
}

// owns reports whether a cgroup is the container's that it is named by, as far as the engine has
// told, and whether the engine has told enough. In the end, final, what it has told has to do. The
// caller holds mu.
func (o *Observer) owns(cgroup uint64, id string, final bool) (own, decided bool) {
	if id != "" && o.identities.confirmed[cgroup] == id {
		return true, true
	}
	place, _ := o.place(cgroup)
	info, told := o.known.infos[id]
	switch {
	case place.Folded:
		return false, true
	case !told: // it may be another engine's
		return true, true
	}
	if own, settled := o.identities.settled[cgroup]; settled {
		return own, true
	}
	latest, confirmed := o.identities.latest[id]
	fresh := !o.identities.asked[id].Before(place.Seen)
	running := fresh && confirmed && info.Running && info.Pid != 0 && latest.at.Equal(info.StartedAt)
	settle := func(own bool) (bool, bool) {
		o.identities.settled[cgroup] = own
		return own, true
	}
	switch {
	case !place.Rooted && running:
		return settle(false)
	case !place.Rooted:
		return false, final
	case !confirmed:
		return true, true
	case o.seenBefore(place, latest.cgroup): // of an earlier start
		return true, true
	case !fresh:
		return true, final
	case running: // in another cgroup
		return settle(false)
	case latest.again || !latest.at.Equal(info.StartedAt):
		return settle(true)
	}
	return false, final
}

func (o *Observer) seenBefore(place monitor.Place, other uint64) bool {
	otherPlace, known := o.place(other)
	return known && place.Seen.Before(otherPlace.Seen)
}

// confirm takes the engine's word on the cgroup of a container: it is that of the first process.
// The caller holds mu.
func (o *Observer) confirm(info container.Info, cgroup uint64) {
	o.identities.confirmed[cgroup] = info.ID
	o.identities.latest[info.ID] = start{at: info.StartedAt, cgroup: cgroup}
	delete(o.identities.settled, cgroup)
}

// meet notes a cgroup that the kernel has seen for the first time, and where it is. If its claim
// has to be looked into, the engine is asked again.
func (o *Observer) meet(event monitor.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	place, known := o.place(event.Cgroup)
	_, confirmed := o.identities.latest[event.ID]
	if !known || place.Rooted && !confirmed {
		return
	}
	o.identities.stale[event.ID] = true
	if where, ok := o.monitor.PathOf(event.Cgroup, int(event.PID)); ok {
		o.identities.paths[event.Cgroup] = where
	}
}

// restarted notes that a container was started: in another cgroup than before.
func (o *Observer) restarted(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.identities.stale[id] = true
	if latest, ok := o.identities.latest[id]; ok {
		latest.again = true
		o.identities.latest[id] = latest
	}
}

// doubt has the engine asked again about those containers whose cgroups it has not told enough of.
func (o *Observer) doubt(named map[uint64]string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for cgroup, id := range named {
		if _, decided := o.owns(cgroup, id, false); !decided {
			o.identities.stale[id] = true
		}
	}
}

// unknown is a container that no engine knows by its cgroup: it has a name of its own.
func (o *Observer) unknown(cgroup uint64) container.Info {
	return container.Info{ID: fmt.Sprintf("%s%d", container.UnknownPrefix, cgroup), Unconfirmed: o.where(cgroup)}
}

// byName is what is known of a container that the engine tells nothing of.
func (o *Observer) byName(cgroup uint64, id string) container.Info {
	o.mu.Lock()
	defer o.mu.Unlock()
	info := container.Info{ID: id}
	if place, known := o.place(cgroup); known && !place.Rooted && o.identities.confirmed[cgroup] != id {
		info.Unconfirmed = o.where(cgroup)
	}
	return info
}

// where describes a cgroup: by its path, if that is known, or its name.
func (o *Observer) where(cgroup uint64) string {
	place, _ := o.place(cgroup)
	where := cmp.Or(kernel.ShortPath(o.identities.paths[cgroup]), "…/"+place.Name)
	if place.Folded {
		return "below " + where
	}
	return where
}

// findPaths finds where the cgroups are that somebody else than root may have made: that is what can
// be told of those that no engine confirms.
func (o *Observer) findPaths(containers []monitor.Container) {
	missing := make(map[uint64]bool)
	o.mu.Lock()
	for _, c := range containers {
		if !c.Place.Rooted && o.identities.paths[c.Cgroup] == "" && o.identities.confirmed[c.Cgroup] == "" {
			missing[c.Cgroup] = true
		}
	}
	o.mu.Unlock()
	if len(missing) == 0 {
		return
	}
	paths, err := o.monitor.Paths(missing)
	if err != nil {
		o.log.Debug("looking for cgroups that no engine confirms", zap.Error(err))
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	maps.Copy(o.identities.paths, paths)
}

// identify gives the containers of a snapshot the IDs that they have by the engine's word, and
// returns where the others are, by their cgroups. The caller holds mu.
func (o *Observer) identify(containers []monitor.Container) map[uint64]string {
	unconfirmed := make(map[uint64]string)
	for i := range containers {
		c := &containers[i]
		o.identities.places[c.Cgroup] = c.Place
		own, _ := o.owns(c.Cgroup, c.ID, true)
		if !own {
			info := o.unknown(c.Cgroup)
			c.ID = info.ID
		}
		if !own || !c.Place.Rooted && o.identities.confirmed[c.Cgroup] != c.ID {
			unconfirmed[c.Cgroup] = o.where(c.Cgroup)
		}
	}
	return unconfirmed
}
