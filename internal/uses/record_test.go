package uses

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/capmon/capmon/monitor"
)

// again is a change of a kind of check, from so many to so many refusals that mattered and
// others.
func again(before, now [2]uint64, changes ...func(*monitor.Check)) monitor.Change {
	counted := func(counts [2]uint64) monitor.Check {
		return ping(append(changes, func(c *monitor.Check) {
			c.Answer, c.Count, c.Forbidden, c.Overruled = monitor.Missing, counts[0]+counts[1], counts[0], counts[1]
			c.Stack = []string{"ns_capable", "sk_setsockopt"}
			c.Last = c.First.Add(time.Duration(c.Count) * time.Second)
		})...)
	}
	return monitor.Change{ID: strings.Repeat("a", 64), Cgroup: 7, Before: counted(before), Now: counted(now)}
}

// owed is what a record tells.
func owed(r *record, all bool) string {
	var told []string
	for _, use := range r.owing(all) {
		told = append(told, fmt.Sprintf("%d %s first=%v late=%v", use.Count, use.Class, use.First, use.Late))
		r.note(use)
	}
	slices.Sort(told)
	return strings.Join(told, ", ")
}

func TestARecordOwesWhatNoLineHasTold(t *testing.T) {
	everything := func(Use) bool { return true }
	needs := Selection{}.wantsUse
	named := func(c *monitor.Check) { c.Program = "other" }
	for name, test := range map[string]struct {
		first   bool // is told before
		changes []monitor.Change
		wanted  func(Use) bool
		all     bool
		want    string
	}{
		"the first alone":                      {true, []monitor.Change{again([2]uint64{}, [2]uint64{1})}, needs, true, ""},
		"with later ones":                      {true, []monitor.Change{again([2]uint64{}, [2]uint64{5})}, needs, false, "4 denied first=false late=false"},
		"only what is new counts":              {true, []monitor.Change{again([2]uint64{5}, [2]uint64{8})}, needs, false, "2 denied first=false late=false"},
		"its message may still come":           {false, []monitor.Change{again([2]uint64{}, [2]uint64{5})}, needs, false, ""},
		"but not at the end":                   {false, []monitor.Change{again([2]uint64{}, [2]uint64{5})}, needs, true, "5 denied first=true late=true"},
		"kinds of one way add up":              {true, []monitor.Change{again([2]uint64{}, [2]uint64{5}), again([2]uint64{1}, [2]uint64{3})}, needs, false, "6 denied first=false late=false"},
		"another program is another way":       {true, []monitor.Change{again([2]uint64{}, [2]uint64{5}, named)}, needs, false, ""},
		"what did not matter is not wanted":    {false, []monitor.Change{again([2]uint64{}, [2]uint64{1, 9})}, needs, true, "1 denied first=true late=true"},
		"unless all is, which is another way":  {false, []monitor.Change{again([2]uint64{}, [2]uint64{2, 9})}, everything, true, "2 denied first=true late=true, 9 tolerated first=true late=true"},
		"one that turned out not to matter":    {true, []monitor.Change{again([2]uint64{4, 0}, [2]uint64{3, 1}), again([2]uint64{}, [2]uint64{9})}, needs, true, "7 denied first=false late=false"},
		"fewer than were told are made up for": {true, []monitor.Change{again([2]uint64{4, 0}, [2]uint64{2, 2})}, needs, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRecord()
			if test.first {
				use := first(again([2]uint64{}, [2]uint64{1}).Now)
				r.note(use)
			}
			for _, change := range test.changes {
				r.add(change, test.wanted)
			}
			if got := owed(r, test.all); got != test.want {
				t.Errorf("got %q, wanted %q", got, test.want)
			}
			if test.want != "" && (r.owes() || owed(r, true) != "") {
				t.Error("it is owed again")
			}
		})
	}
}

// Of the process of a later use nothing is told but what all of its kind have.
func TestLaterUsesAreNotOfTheFirstProcess(t *testing.T) {
	change := again([2]uint64{}, [2]uint64{3}, func(c *monitor.Check) { c.UID = 1000 })
	use := repeated(change, parts(change.Now)[0].meaning)
	if p := use.Process; p.Program != "ping" || p.PID != 0 || p.User != nil || p.Executable != "" || !use.Time.Equal(change.Now.Last) {
		t.Errorf("%+v", use)
	}
}

// The counts may be looked at before the kernel's message of the first use is dealt with.
func TestWhatIsOwedKeepsItsNameWhenTheFirstIsToldLate(t *testing.T) {
	r := newRecord()
	change := again([2]uint64{}, [2]uint64{5})
	r.add(change, Selection{}.wantsUse)
	first := uses(sightOf(change.Now), change.Now)[0]
	r.note(first)
	owing := r.owing(false)
	if len(owing) != 1 || owing[0].Count != 4 || owing[0].way() != first.way() {
		t.Errorf("owing %+v", owing)
	}
	for _, use := range owing {
		r.note(use)
	}
	if owing := r.owing(true); len(owing) > 0 {
		t.Errorf("told, and still owing %+v", owing)
	}
}

// The last look at the counts may come when the record of a container has left the kernel.
func TestWhatIsOwedIsToldBeforeAContainerIsForgotten(t *testing.T) {
	var told []string
	w := New(Options{Log: zap.NewNop(), Show: func(use Use) { told = append(told, fmt.Sprint(use.Count, " first=", use.First)) }})
	w.addChange(again([2]uint64{}, [2]uint64{5}))
	w.Forget([]uint64{7})
	w.Finish()
	if !slices.Equal(told, []string{"5 first=true"}) || len(w.told) > 0 {
		t.Errorf("told %v, and still kept %v", told, w.told)
	}
}
