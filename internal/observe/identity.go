package observe

import (
	"cmp"
	"fmt"
	"maps"
	"time"

	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/containerid"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/monitor"
)

// identities maps cgroups to containers. The name of a cgroup is only a claim: anyone who can create cgroups can choose
// it. The engine confirms a cgroup with the PID of the container's first process, which is in the cgroup. Many
// containers end before capmon can inspect them. The claim of their cgroups is accepted if only root can have created
// the cgroups, unless the engine has confirmed another cgroup of the same start. The observer's mu guards it.
type identities struct {
	places    map[uint64]monitor.CgroupInfo
	paths     map[uint64]string // of cgroups that may not belong to a container
	confirmed map[uint64]string // container IDs
	decided   map[uint64]bool   // whether the claim of an unconfirmed cgroup is accepted
	unread    string            // the last logged error about cgroups that cannot be read
	// By container ID:
	latest      map[string]start     // the latest confirmed start
	inspectedAt map[string]time.Time // by the monitor's clock, a time before the engine's latest answer
	stale       map[string]bool      // the container has to be inspected again
}

// start is a start of a container whose cgroup the engine has confirmed.
type start struct {
	at     time.Time // as the engine reports it
	cgroup uint64
	again  bool // the engine has reported a later start
}

func newIdentities() identities {
	return identities{
		places: make(map[uint64]monitor.CgroupInfo), paths: make(map[uint64]string), confirmed: make(map[uint64]string), decided: make(map[uint64]bool),
		latest: make(map[string]start), inspectedAt: make(map[string]time.Time), stale: make(map[string]bool),
	}
}

func (i *identities) forgetCgroups(cgroups []uint64) {
	for _, cgroup := range cgroups {
		delete(i.places, cgroup)
		delete(i.paths, cgroup)
		delete(i.confirmed, cgroup)
		delete(i.decided, cgroup)
	}
}

func (i *identities) forgetContainer(id string) {
	delete(i.latest, id)
	delete(i.inspectedAt, id)
	delete(i.stale, id)
}

// place returns where a cgroup is in the hierarchy. The caller holds mu.
func (o *Observer) place(cgroup uint64) (monitor.CgroupInfo, bool) {
	place, known := o.identities.places[cgroup]
	if !known {
		var err error
		if place, known, err = o.monitor.CgroupInfo(cgroup); err == nil && known {
			o.identities.places[cgroup] = place
		}
	}
	return place, known
}

// owns reports whether a cgroup belongs to the container in its name, and whether the engine has reported enough to
// decide that. If final is set, owns decides with what the engine has reported until now. The caller holds mu.
func (o *Observer) owns(cgroup uint64, id string, final bool) (own, decided bool) {
	if id != "" && o.identities.confirmed[cgroup] == id {
		return true, true
	}
	place, _ := o.place(cgroup)
	info, reported := o.fromEngine.infos[id]
	switch {
	case place.Folded:
		return false, true
	case !reported: // it may belong to another engine
		return true, true
	}
	if own, decided := o.identities.decided[cgroup]; decided {
		return own, true
	}
	latest, confirmed := o.identities.latest[id]
	fresh := !o.identities.inspectedAt[id].Before(place.FirstSeen)
	running := fresh && confirmed && info.Running && info.Pid != 0 && latest.at.Equal(info.StartedAt)
	decide := func(own bool) (bool, bool) {
		o.identities.decided[cgroup] = own
		return own, true
	}
	switch {
	case !place.OnlyRootCanCreate && running:
		return decide(false)
	case !place.OnlyRootCanCreate:
		return false, final
	case !confirmed:
		return true, true
	case o.seenBefore(place, latest.cgroup): // the cgroup of an earlier start
		return true, true
	case !fresh:
		return true, final
	case running: // the container runs in another cgroup
		return decide(false)
	case latest.again || !latest.at.Equal(info.StartedAt):
		return decide(true)
	}
	return false, final
}

func (o *Observer) seenBefore(place monitor.CgroupInfo, other uint64) bool {
	otherPlace, known := o.place(other)
	return known && place.FirstSeen.Before(otherPlace.FirstSeen)
}

// confirm records the cgroup of a container that the engine has confirmed: the cgroup of its first process. The caller
// holds mu.
func (o *Observer) confirm(info container.Info, cgroup uint64) {
	o.identities.confirmed[cgroup] = info.ID
	o.identities.latest[info.ID] = start{at: info.StartedAt, cgroup: cgroup}
	delete(o.identities.decided, cgroup)
}

// recordNewCgroup records a cgroup that the kernel has seen for the first time, and its path. If the claim of the
// cgroup needs a decision, the container is inspected again.
func (o *Observer) recordNewCgroup(event monitor.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	place, known := o.place(event.Cgroup)
	_, confirmed := o.identities.latest[event.ID]
	if !known || place.OnlyRootCanCreate && !confirmed {
		return
	}
	o.identities.stale[event.ID] = true
	if where, ok := o.monitor.CgroupPath(event.Cgroup, int(event.PID)); ok {
		o.identities.paths[event.Cgroup] = where
	}
}

// markRestarted records that a container was started again, in another cgroup than before.
func (o *Observer) markRestarted(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.identities.stale[id] = true
	if latest, ok := o.identities.latest[id]; ok {
		latest.again = true
		o.identities.latest[id] = latest
	}
}

// reinspectUndecided marks containers for another inspection if it is not decided whether their cgroups belong to them.
func (o *Observer) reinspectUndecided(named map[uint64]string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for cgroup, id := range named {
		if _, decided := o.owns(cgroup, id, false); !decided {
			o.identities.stale[id] = true
		}
	}
}

// unknownContainer returns the description of a container that no engine confirms for its cgroup. capmon gives it a
// name.
func (o *Observer) unknownContainer(cgroup uint64) container.Info {
	return container.Info{ID: fmt.Sprintf("%s%d", containerid.UnknownPrefix, cgroup), Unconfirmed: o.describeCgroup(cgroup)}
}

// unnamedContainer returns the description of a container that the engine does not report.
func (o *Observer) unnamedContainer(cgroup uint64, id string) container.Info {
	o.mu.Lock()
	defer o.mu.Unlock()
	info := container.Info{ID: id}
	if place, known := o.place(cgroup); known && !place.OnlyRootCanCreate && o.identities.confirmed[cgroup] != id {
		info.Unconfirmed = o.describeCgroup(cgroup)
	}
	return info
}

// describeCgroup returns the path of a cgroup, or its name if the path is not known.
func (o *Observer) describeCgroup(cgroup uint64) string {
	place, _ := o.place(cgroup)
	where := cmp.Or(kernel.ShortPath(o.identities.paths[cgroup]), "…/"+place.Name)
	if place.Folded {
		return "below " + where
	}
	return where
}

// findCgroupPaths finds the paths of the cgroups that a user other than root may have created. Containers that no
// engine confirms are reported with these paths.
func (o *Observer) findCgroupPaths(containers []monitor.ContainerRecord) {
	missing := make(map[uint64]bool)
	o.mu.Lock()
	for _, c := range containers {
		if !c.CgroupInfo.OnlyRootCanCreate && o.identities.paths[c.Cgroup] == "" && o.identities.confirmed[c.Cgroup] == "" {
			missing[c.Cgroup] = true
		}
	}
	o.mu.Unlock()
	if len(missing) == 0 {
		return
	}
	paths, err := o.monitor.CgroupPaths(missing)
	if err != nil {
		o.log.Debug("finding the paths of cgroups that no engine confirms failed", zap.Error(err))
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	maps.Copy(o.identities.paths, paths)
}

// assignIDs sets the IDs of the containers in a snapshot to those that the engine confirms. It returns the descriptions
// of the unconfirmed cgroups. The caller holds mu.
func (o *Observer) assignIDs(containers []monitor.ContainerRecord) map[uint64]string {
	unconfirmed := make(map[uint64]string)
	for i := range containers {
		c := &containers[i]
		o.identities.places[c.Cgroup] = c.CgroupInfo
		own, _ := o.owns(c.Cgroup, c.ID, true)
		if !own {
			info := o.unknownContainer(c.Cgroup)
			c.ID = info.ID
		}
		if !own || !c.CgroupInfo.OnlyRootCanCreate && o.identities.confirmed[c.Cgroup] != c.ID {
			unconfirmed[c.Cgroup] = o.describeCgroup(c.Cgroup)
		}
	}
	return unconfirmed
}
