package observe

import (
	"testing"
	"time"

	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/monitor"
)

// Which claims hold, by what the engine has told. The cgroups are those of one container: 1 was
// seen before 2, and 2 before 3.
func TestClaimsOfCgroups(t *testing.T) {
	const id = "a"
	at := func(second int) time.Time { return time.Unix(int64(second), 0) }
	rooted := func(second int) monitor.Place { return monitor.Place{Rooted: true, Seen: at(second)} }
	delegated := func(second int) monitor.Place { return monitor.Place{Seen: at(second)} }
	running := container.Info{ID: id, Running: true, Pid: 1, StartedAt: at(100)}
	stopped := container.Info{ID: id, StartedAt: at(100)}
	for name, test := range map[string]struct {
		place   monitor.Place
		info    container.Info
		latest  *start // of cgroup 2
		asked   int
		own     bool // in the end
		decided bool // at once
	}{
		"never confirmed":                           {rooted(1), stopped, nil, 1, true, true},
		"never confirmed, of a user":                {delegated(1), stopped, nil, 1, false, false},
		"the real one runs":                         {rooted(3), running, &start{at: at(100)}, 3, false, true},
		"the real one runs, of a user":              {delegated(3), running, &start{at: at(100)}, 3, false, true},
		"before the one that runs":                  {rooted(1), running, &start{at: at(100)}, 3, true, true},
		"before the one that runs, of a user":       {delegated(1), running, &start{at: at(100)}, 3, false, true},
		"the real one ran when the engine answered": {rooted(3), running, &start{at: at(100)}, 2, true, false},
		"after the end":                             {rooted(3), stopped, &start{at: at(100)}, 3, false, false},
		"after the end, of a user":                  {delegated(3), stopped, &start{at: at(100)}, 3, false, false},
		"of a later start":                          {rooted(3), stopped, &start{at: at(90)}, 3, true, true},
		"of a later start that an event told of":    {rooted(3), stopped, &start{at: at(100), again: true}, 3, true, true},
		"of a later start, of a user":               {delegated(3), stopped, &start{at: at(90)}, 3, false, false},
		"one of many":                               {monitor.Place{Folded: true}, running, nil, 3, false, true},
		"another engine's":                          {delegated(3), container.Info{}, nil, 3, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			o := &Observer{known: newKnowledge(), identities: newIdentities()}
			const cgroup = 7
			o.identities.places[cgroup] = test.place
			o.identities.places[2] = rooted(2)
			o.identities.asked[id] = at(test.asked)
			if test.info.ID != "" {
				o.known.infos[id] = test.info
			}
			if test.latest != nil {
				test.latest.cgroup = 2
				o.identities.latest[id], o.identities.confirmed[2] = *test.latest, id
			}
			own, decided := o.owns(cgroup, id, false)
			if decided != test.decided || decided && own != test.own {
				t.Errorf("at once: %v, decided %v", own, decided)
			}
			if own, decided := o.owns(cgroup, id, true); own != test.own || !decided {
				t.Errorf("in the end: %v, decided %v", own, decided)
			}
			o.identities.confirmed[cgroup] = id
			if own, decided := o.owns(cgroup, id, false); !own || !decided {
				t.Errorf("confirmed: %v, decided %v", own, decided)
			}
		})
	}
}
