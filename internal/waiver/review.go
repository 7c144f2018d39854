package waiver

import (
	"time"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/container"
)

// State is the state of a waiver at a time.
type State string

// The states.
const (
	Valid State = "valid"
	// Expiring means that the waiver is valid, and expires within 30 days.
	Expiring State = "expiring"
	// Expired means that the waiver is over: it covers nothing.
	Expired State = "expired"
)

// States returns all states.
func States() []State { return []State{Valid, Expiring, Expired} }

// soon is the number of days before its end from which on a waiver is [Expiring].
const soon = 30

// Review contains the waivers of a file at one time, and how many containers each one selects and covers.
type Review struct {
	// Path of the file.
	File string `json:"file"`
	// All waivers of the file, in its order.
	List []*Reviewed `json:"list"`
}

// Reviewed is a waiver at one time.
type Reviewed struct {
	Waiver
	// Whether the waiver is valid. Only a waiver that has not expired covers findings.
	State State `json:"state"`
	// Days until the waiver expires: 0 on its last day, negative after it.
	Days int `json:"days"`
	// Number of containers that the waiver selects.
	Matches int `json:"matches"`
	// Number of containers with a finding that the waiver covers, at least in part. For an expired waiver: that it
	// would cover.
	Covers int `json:"covers"`
}

// At returns the waivers at a time; nil for a nil file.
func (f *File) At(now time.Time) *Review {
	if f == nil {
		return nil
	}
	review := &Review{File: f.Path, List: []*Reviewed{}}
	for _, w := range f.Waivers {
		r := &Reviewed{Waiver: w, State: Valid, Days: w.Expires.daysFrom(now)}
		switch {
		case r.Days < 0:
			r.State = Expired
		case r.Days <= soon:
			r.State = Expiring
		}
		review.List = append(review.List, r)
	}
	return review
}

// Match returns the waivers that select a container, and counts the container. A nil Review has none.
func (r *Review) Match(c container.Info) *Matching {
	matching := &Matching{covering: make(map[*Reviewed]bool)}
	if r == nil {
		return matching
	}
	matching.file = r.File
	for _, w := range r.List {
		if w.selects(c) {
			w.Matches++
			matching.waivers = append(matching.waivers, w)
		}
	}
	return matching
}

// Matching contains the waivers that select one container.
type Matching struct {
	file     string
	waivers  []*Reviewed
	covering map[*Reviewed]bool // those that already cover a finding
}

// Cover returns the waivers that cover at least one of the capabilities of a finding, and counts them as covering the
// container.
func (m *Matching) Cover(capabilities capability.Set) Coverage {
	var coverage Coverage
	for _, w := range m.waivers {
		covered := w.Capabilities.Intersect(capabilities)
		if covered.Empty() {
			continue
		}
		if !m.covering[w] {
			m.covering[w] = true
			w.Covers++
		}
		cover := Cover{covered, w.Reason, w.Owner, w.Expires, w.Line, w.Days, w.Capabilities.All(), m.file}
		if w.State == Expired {
			coverage.Expired = append(coverage.Expired, cover)
		} else {
			coverage.Valid = append(coverage.Valid, cover)
		}
	}
	return coverage
}

// Coverage contains the waivers that cover capabilities of one finding. Several may cover the same capability.
type Coverage struct {
	Valid []Cover
	// Expired waivers have no effect.
	Expired []Cover
}

// Set returns the capabilities that valid waivers cover.
func (c Coverage) Set() (set capability.Set) {
	for _, cover := range c.Valid {
		set = set.Union(cover.Capabilities)
	}
	return set
}

// All reports whether a valid waiver is for ALL, so that it also covers that the container is privileged.
func (c Coverage) All() bool {
	for _, cover := range c.Valid {
		if cover.all {
			return true
		}
	}
	return false
}

// Cover is what one waiver covers of one finding.
type Cover struct {
	// Capabilities of the finding that the waiver covers.
	Capabilities capability.Set `json:"capabilities"`
	// Why the risk is accepted.
	Reason Text `json:"reason"`
	// Who accepts it.
	Owner Text `json:"owner"`
	// The last day on which the waiver is valid, in UTC.
	Expires Date `json:"expires"`
	// Line of the waiver in its file.
	Line int `json:"line"`

	days int // until the waiver expires, as in [Reviewed]
	all  bool
	file string
}
