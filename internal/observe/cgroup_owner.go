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

// cgroupOwners maps cgroups to containers. The name of a cgroup is only a claim: anyone who can create cgroups can
// choose it. The engine confirms a cgroup with the PID of the container's first process, which is in the cgroup. Many
// containers end before capmon can inspect them. The claim of their cgroups is accepted if only root can have created
// the cgroups, unless the engine has confirmed another cgroup of the same start. The observer's mu guards it.
type cgroupOwners struct {
	cgroupInfos map[uint64]monitor.CgroupInfo
	paths       map[uint64]string // of cgroups that may not belong to a container
	confirmed   map[uint64]string // container IDs
	decided     map[uint64]bool   // whether the claim of an unconfirmed cgroup is accepted
	unread      string            // the last logged error about cgroups that cannot be read
	// By container ID:
	latest      map[string]start     // the latest confirmed start
	inspectedAt map[string]time.Time // by the monitor's clock, a time before the engine's latest answer
	mustInspect map[string]bool      // the container has to be inspected again
}

// start is a start of a container whose cgroup the engine has confirmed.
type start struct {
	at        time.Time // as the engine reports it
	cgroup    uint64
	restarted bool // the engine has reported a later start
}

func newCgroupOwners() cgroupOwners {
	return cgroupOwners{
		cgroupInfos: make(map[uint64]monitor.CgroupInfo), paths: make(map[uint64]string), confirmed: make(map[uint64]string), decided: make(map[uint64]bool),
		latest: make(map[string]start), inspectedAt: make(map[string]time.Time), mustInspect: make(map[string]bool),
	}
}

func (i *cgroupOwners) forgetCgroups(cgroups []uint64) {
	for _, cgroup := range cgroups {
		delete(i.cgroupInfos, cgroup)
		delete(i.paths, cgroup)
		delete(i.confirmed, cgroup)
		delete(i.decided, cgroup)
	}
}

func (i *cgroupOwners) forgetContainer(id string) {
	delete(i.latest, id)
	delete(i.inspectedAt, id)
	delete(i.mustInspect, id)
}

// cgroupInfo returns where a cgroup is in the hierarchy. The caller holds mu.
func (o *Observer) cgroupInfo(cgroup uint64) (monitor.CgroupInfo, bool) {
	info, known := o.owners.cgroupInfos[cgroup]
	if !known {
		var err error
		if info, known, err = o.monitor.CgroupInfo(cgroup); err == nil && known {
			o.owners.cgroupInfos[cgroup] = info
		}
	}
	return info, known
}

// cgroupBelongsTo reports whether a cgroup belongs to the container in its name, and whether the engine has reported
// enough to decide that. If final is set, cgroupBelongsTo decides with what the engine has reported until now. The
// caller holds mu.
func (o *Observer) cgroupBelongsTo(cgroup uint64, id string, final bool) (belongs, decided bool) {
	if id != "" && o.owners.confirmed[cgroup] == id {
		return true, true
	}
	cgroupInfo, _ := o.cgroupInfo(cgroup)
	info, reported := o.fromEngine.infos[id]
	switch {
	case cgroupInfo.Folded:
		return false, true
	case !reported: // it may belong to another engine
		return true, true
	}
	if belongs, decided := o.owners.decided[cgroup]; decided {
		return belongs, true
	}
	latest, confirmed := o.owners.latest[id]
	fresh := !o.owners.inspectedAt[id].Before(cgroupInfo.FirstSeen)
	running := fresh && confirmed && info.Running && info.Pid != 0 && latest.at.Equal(info.StartedAt)
	decide := func(belongs bool) (bool, bool) {
		o.owners.decided[cgroup] = belongs
		return belongs, true
	}
	switch {
	case !cgroupInfo.OnlyRootCanCreate && running:
		return decide(false)
	case !cgroupInfo.OnlyRootCanCreate:
		return false, final
	case !confirmed:
		return true, true
	case o.seenBefore(cgroupInfo, latest.cgroup): // the cgroup of an earlier start
		return true, true
	case !fresh:
		return true, final
	case running: // the container runs in another cgroup
		return decide(false)
	case latest.restarted || !latest.at.Equal(info.StartedAt):
		return decide(true)
	}
	return false, final
}

func (o *Observer) seenBefore(one monitor.CgroupInfo, other uint64) bool {
	otherInfo, known := o.cgroupInfo(other)
	return known && one.FirstSeen.Before(otherInfo.FirstSeen)
}

// confirm records the cgroup of a container that the engine has confirmed: the cgroup of its first process. The caller
// holds mu.
func (o *Observer) confirm(info container.Info, cgroup uint64) {
	o.owners.confirmed[cgroup] = info.ID
	o.owners.latest[info.ID] = start{at: info.StartedAt, cgroup: cgroup}
	delete(o.owners.decided, cgroup)
}

// recordNewCgroup records a cgroup that the kernel has seen for the first time, and its path. If the claim of the
// cgroup needs a decision, the container is inspected again.
func (o *Observer) recordNewCgroup(event monitor.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	cgroupInfo, known := o.cgroupInfo(event.Cgroup)
	_, confirmed := o.owners.latest[event.ID]
	if !known || cgroupInfo.OnlyRootCanCreate && !confirmed {
		return
	}
	o.owners.mustInspect[event.ID] = true
	if where, ok := o.monitor.CgroupPath(event.Cgroup, int(event.PID)); ok {
		o.owners.paths[event.Cgroup] = where
	}
}

// markRestarted records that a container was started again, in another cgroup than before.
func (o *Observer) markRestarted(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.owners.mustInspect[id] = true
	if latest, ok := o.owners.latest[id]; ok {
		latest.restarted = true
		o.owners.latest[id] = latest
	}
}

// reinspectUndecided marks containers for another inspection if it is not decided whether their cgroups belong to them.
func (o *Observer) reinspectUndecided(named map[uint64]string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for cgroup, id := range named {
		if _, decided := o.cgroupBelongsTo(cgroup, id, false); !decided {
			o.owners.mustInspect[id] = true
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
	if cgroupInfo, known := o.cgroupInfo(cgroup); known && !cgroupInfo.OnlyRootCanCreate && o.owners.confirmed[cgroup] != id {
		info.Unconfirmed = o.describeCgroup(cgroup)
	}
	return info
}

// describeCgroup returns the path of a cgroup, or its name if the path is not known.
func (o *Observer) describeCgroup(cgroup uint64) string {
	cgroupInfo, _ := o.cgroupInfo(cgroup)
	where := cmp.Or(kernel.ShortPath(o.owners.paths[cgroup]), "…/"+cgroupInfo.Name)
	if cgroupInfo.Folded {
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
		if !c.CgroupInfo.OnlyRootCanCreate && o.owners.paths[c.Cgroup] == "" && o.owners.confirmed[c.Cgroup] == "" {
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
	maps.Copy(o.owners.paths, paths)
}

// assignIDs sets the IDs of the containers in a snapshot to those that the engine confirms. It returns the descriptions
// of the unconfirmed cgroups. The caller holds mu.
func (o *Observer) assignIDs(containers []monitor.ContainerRecord) map[uint64]string {
	unconfirmed := make(map[uint64]string)
	for i := range containers {
		c := &containers[i]
		o.owners.cgroupInfos[c.Cgroup] = c.CgroupInfo
		belongs, _ := o.cgroupBelongsTo(c.Cgroup, c.ID, true)
		if !belongs {
			info := o.unknownContainer(c.Cgroup)
			c.ID = info.ID
		}
		if !belongs || !c.CgroupInfo.OnlyRootCanCreate && o.owners.confirmed[c.Cgroup] != c.ID {
			unconfirmed[c.Cgroup] = o.describeCgroup(c.Cgroup)
		}
	}
	return unconfirmed
}
