package usewatch

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/uses"
	"github.com/capmon/capmon/monitor"
)

// again returns a change of a check, from and to numbers of denials that mattered and of others.
func again(before, now [2]uint64, changes ...func(*monitor.Check)) monitor.Delta {
	counted := func(counts [2]uint64) monitor.Check {
		return ping(append(changes, func(c *monitor.Check) {
			c.Answer, c.Count, c.Forbidden, c.Overruled = monitor.NotHeld, counts[0]+counts[1], counts[0], counts[1]
			c.Stack = []string{"ns_capable", "sk_setsockopt"}
			c.Last = c.First.Add(time.Duration(c.Count) * time.Second)
		})...)
	}
	return monitor.Delta{ID: strings.Repeat("a", 64), Cgroup: 7, Before: counted(before), Now: counted(now)}
}

// unreportedText returns the uses that a state reports.
func unreportedText(r *containerState, all bool) string {
	var reported []string
	for _, use := range r.takeUnreported(all) {
		reported = append(reported, fmt.Sprintf("%d %s first=%v late=%v", use.Count, use.Class, use.First, use.Late))
		r.markReported(use)
	}
	slices.Sort(reported)
	return strings.Join(reported, ", ")
}

func TestUnreportedUsesAreThoseWithoutALine(t *testing.T) {
	everything := func(uses.Use) bool { return true }
	needs := Selection{}.wantsUse
	named := func(c *monitor.Check) { c.Program = "other" }
	for name, test := range map[string]struct {
		first   bool // reported before
		changes []monitor.Delta
		wanted  func(uses.Use) bool
		all     bool
		want    string
	}{
		"only the first":                  {true, []monitor.Delta{again([2]uint64{}, [2]uint64{1})}, needs, true, ""},
		"first and later ones":            {true, []monitor.Delta{again([2]uint64{}, [2]uint64{5})}, needs, false, "4 denied first=false late=false"},
		"only what is new counts":         {true, []monitor.Delta{again([2]uint64{5}, [2]uint64{8})}, needs, false, "2 denied first=false late=false"},
		"the event may still arrive":      {false, []monitor.Delta{again([2]uint64{}, [2]uint64{5})}, needs, false, ""},
		"no event until the end":          {false, []monitor.Delta{again([2]uint64{}, [2]uint64{5})}, needs, true, "5 denied first=true late=true"},
		"checks with one key add up":      {true, []monitor.Delta{again([2]uint64{}, [2]uint64{5}), again([2]uint64{1}, [2]uint64{3})}, needs, false, "6 denied first=false late=false"},
		"another program has another key": {true, []monitor.Delta{again([2]uint64{}, [2]uint64{5}, named)}, needs, false, ""},
		"tolerated ones are not selected": {false, []monitor.Delta{again([2]uint64{}, [2]uint64{1, 9})}, needs, true, "1 denied first=true late=true"},
		"tolerated ones have another key": {false, []monitor.Delta{again([2]uint64{}, [2]uint64{2, 9})}, everything, true, "2 denied first=true late=true, 9 tolerated first=true late=true"},
		"one turned out to be tolerated":  {true, []monitor.Delta{again([2]uint64{4, 0}, [2]uint64{3, 1}), again([2]uint64{}, [2]uint64{9})}, needs, true, "7 denied first=false late=false"},
		"fewer than were reported":        {true, []monitor.Delta{again([2]uint64{4, 0}, [2]uint64{2, 2})}, needs, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := newContainerState()
			if test.first {
				use := first(again([2]uint64{}, [2]uint64{1}).Now)
				r.markReported(use)
			}
			for _, change := range test.changes {
				r.add(change, test.wanted)
			}
			if got := unreportedText(r, test.all); got != test.want {
				t.Errorf("got %q, wanted %q", got, test.want)
			}
			if test.want != "" && (r.hasUnreported() || unreportedText(r, true) != "") {
				t.Error("it is reported twice")
			}
		})
	}
}

// Of the process of a later use, only what all processes of the pattern share is known.
func TestLaterUsesHaveNoDetailsOfTheFirstProcess(t *testing.T) {
	change := again([2]uint64{}, [2]uint64{3}, func(c *monitor.Check) { c.UID = 1000 })
	use := repeatedUse(change, classifiedCounts(change.Now)[0].classifiedUse)
	if p := use.Process; p.Program != "ping" || p.PID != 0 || p.User != nil || p.Executable != "" || !use.Time.Equal(change.Now.Last) {
		t.Errorf("%+v", use)
	}
}

// The counts may be read before the kernel's event of the first use is handled.
func TestUnreportedUsesKeepTheirKeyWhenTheFirstIsReportedLate(t *testing.T) {
	r := newContainerState()
	change := again([2]uint64{}, [2]uint64{5})
	r.add(change, Selection{}.wantsUse)
	first := usesOf(distinctOf(change.Now), change.Now)[0]
	r.markReported(first)
	unreported := r.takeUnreported(false)
	if len(unreported) != 1 || unreported[0].Count != 4 || keyOf(unreported[0]) != keyOf(first) {
		t.Errorf("unreported %+v", unreported)
	}
	for _, use := range unreported {
		r.markReported(use)
	}
	if unreported := r.takeUnreported(true); len(unreported) > 0 {
		t.Errorf("reported, and still unreported %+v", unreported)
	}
}

// The last read of the counts may be after the removal of a container's entries from the kernel's maps.
func TestUnreportedUsesAreReportedBeforeAContainerIsForgotten(t *testing.T) {
	var reported []string
	w := New(Options{Log: zap.NewNop(), Show: func(use uses.Use) { reported = append(reported, fmt.Sprint(use.Count, " first=", use.First)) }})
	w.addChange(again([2]uint64{}, [2]uint64{5}))
	w.ForgetContainers([]uint64{7})
	w.Finish()
	if !slices.Equal(reported, []string{"5 first=true"}) || len(w.states) > 0 {
		t.Errorf("reported %v, and still kept %v", reported, w.states)
	}
}
