package observe

import (
	"testing"
	"time"

	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/monitor"
)

// The cgroups belong to one container: cgroup 1 was seen before cgroup 2, and cgroup 2 before cgroup 3.
func TestClaimsOfCgroupNames(t *testing.T) {
	const id = "a"
	at := func(second int) time.Time { return time.Unix(int64(second), 0) }
	rooted := func(second int) monitor.CgroupInfo {
		return monitor.CgroupInfo{OnlyRootCanCreate: true, FirstSeen: at(second)}
	}
	delegated := func(second int) monitor.CgroupInfo { return monitor.CgroupInfo{FirstSeen: at(second)} }
	running := container.Info{ID: id, Running: true, Pid: 1, StartedAt: at(100)}
	stopped := container.Info{ID: id, StartedAt: at(100)}
	for name, test := range map[string]struct {
		place       monitor.CgroupInfo
		info        container.Info
		latest      *start // of cgroup 2
		inspectedAt int
		own         bool // at the end
		decided     bool // at once
	}{
		"never confirmed":                            {rooted(1), stopped, nil, 1, true, true},
		"never confirmed, user's cgroup":             {delegated(1), stopped, nil, 1, false, false},
		"the confirmed one runs":                     {rooted(3), running, &start{at: at(100)}, 3, false, true},
		"the confirmed one runs, user's cgroup":      {delegated(3), running, &start{at: at(100)}, 3, false, true},
		"seen before the running one":                {rooted(1), running, &start{at: at(100)}, 3, true, true},
		"seen before the running one, user's cgroup": {delegated(1), running, &start{at: at(100)}, 3, false, true},
		"inspected before it was seen":               {rooted(3), running, &start{at: at(100)}, 2, true, false},
		"after the end":                              {rooted(3), stopped, &start{at: at(100)}, 3, false, false},
		"after the end, user's cgroup":               {delegated(3), stopped, &start{at: at(100)}, 3, false, false},
		"later start":                                {rooted(3), stopped, &start{at: at(90)}, 3, true, true},
		"later start reported by an event":           {rooted(3), stopped, &start{at: at(100), restarted: true}, 3, true, true},
		"later start, user's cgroup":                 {delegated(3), stopped, &start{at: at(90)}, 3, false, false},
		"folded":                                     {monitor.CgroupInfo{Folded: true}, running, nil, 3, false, true},
		"another engine's":                           {delegated(3), container.Info{}, nil, 3, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			o := &Observer{fromEngine: newEngineData(), owners: newCgroupOwners()}
			const cgroup = 7
			o.owners.cgroupInfos[cgroup] = test.place
			o.owners.cgroupInfos[2] = rooted(2)
			o.owners.inspectedAt[id] = at(test.inspectedAt)
			if test.info.ID != "" {
				o.fromEngine.infos[id] = test.info
			}
			if test.latest != nil {
				test.latest.cgroup = 2
				o.owners.latest[id], o.owners.confirmed[2] = *test.latest, id
			}
			own, decided := o.cgroupBelongsTo(cgroup, id, false)
			if decided != test.decided || decided && own != test.own {
				t.Errorf("at once: %v, decided %v", own, decided)
			}
			if own, decided := o.cgroupBelongsTo(cgroup, id, true); own != test.own || !decided {
				t.Errorf("at the end: %v, decided %v", own, decided)
			}
			o.owners.confirmed[cgroup] = id
			if own, decided := o.cgroupBelongsTo(cgroup, id, false); !own || !decided {
				t.Errorf("confirmed: %v, decided %v", own, decided)
			}
		})
	}
}
