package page

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/capmon/capmon/internal/overview"
	"github.com/capmon/capmon/internal/profile"
)

// axis maps the time since the beginning to a percentage of the width. It is logarithmic, because most capabilities are
// first used soon after the start. It is almost linear below unit.
type axis struct{ length, unit time.Duration }

func newAxis(length time.Duration) axis {
	return axis{length, max(min(100*time.Millisecond, length/10), 1)}
}

func (a axis) at(t time.Duration) float64 {
	scale := func(d time.Duration) float64 { return math.Log1p(float64(d) / float64(a.unit)) }
	return 100 * scale(min(max(t, 0), a.length)) / scale(a.length)
}

func percent(at float64) string { return strconv.FormatFloat(at, 'f', 1, 64) + "%" }

// roundTimes are the times at which an axis has labels, if there is room.
var roundTimes = []time.Duration{
	time.Second, 10 * time.Second, time.Minute, 10 * time.Minute, time.Hour, 10 * time.Hour,
	24 * time.Hour, 10 * 24 * time.Hour, 100 * 24 * time.Hour,
}

// ticks returns the labels of the axis.
func (a axis) ticks() []Tick {
	const room = 14.0 // for one label, in percent
	all, last := []Tick{{percent(0), "0"}}, 0.0
	for _, t := range roundTimes {
		if at := a.at(t); t < a.length && at-last >= room && 100-at >= room {
			all, last = append(all, Tick{percent(at), overview.Duration(t)}), at
		}
	}
	return append(all, Tick{percent(100), overview.Duration(a.length)})
}

// timeline returns when the container used each capability first and last.
func timeline(s profile.Summary) []Block {
	type lane struct {
		name        string
		first, last time.Duration
	}
	var lanes []lane
	length := s.Observed
	for _, c := range s.Needs().Union(s.Denied()).Sorted() {
		uses := s.UsesOf(c, matters...)
		first := earliest(uses)
		if first.IsZero() {
			continue
		}
		l := lane{c.String(), max(first.Sub(s.Since), 0), max(latest(uses).Sub(s.Since), 0)}
		lanes, length = append(lanes, l), max(length, l.last)
	}
	if len(lanes) == 0 || length <= 0 {
		return nil
	}
	slices.SortStableFunc(lanes, func(one, other lane) int { return cmp.Compare(one.first, other.first) })
	axis := newAxis(length)
	block := Block{Kind: TimelineBlock, Title: "First uses", Ticks: axis.ticks()}
	for _, l := range lanes {
		block.Marks = append(block.Marks, Mark{l.name, "after " + overview.Duration(l.first), percent(axis.at(l.first)), percent(axis.at(l.last))})
	}
	latest := lanes[len(lanes)-1]
	block.Lines = Lines{fmt.Sprintf("The last capability to be used for the first time was %s, %s after capmon began to observe. There was no new one in the %s after that.",
		latest.name, overview.Duration(latest.first), overview.Duration(length-latest.first))}
	return []Block{block}
}
