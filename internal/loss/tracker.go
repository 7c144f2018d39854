// Package loss reports every growth of the counters of what could not be recorded, with the
// container that caused it where that is known.
package loss

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/uses"
	"github.com/capmon/capmon/monitor"
)

const (
	// lookEvery is how often the counters are read.
	lookEvery = time.Second
	// nameTime is how long the engine has to name all containers of one alert.
	nameTime = 2 * time.Second
	// maxLosers is how many losing containers an alert names.
	maxLosers = 10
)

// Source is a recording.
type Source interface {
	Losses() (monitor.Losses, error)
	OwnLosses() (map[uint64]monitor.OwnLosses, error)
	Occupants(of monitor.Losses) ([]monitor.Occupant, error)
}

// Options of a Tracker.
type Options struct {
	Source Source
	// Identify returns what the engine tells of a container before ctx ends.
	Identify func(ctx context.Context, cgroup uint64, id string) uses.Container
	// Recording is the ID of the recording, Began when it began.
	Recording string
	Began     time.Time
	// Earlier is what was lost and reported before; zero for a new recording. What was lost since
	// then is reported at the first look.
	Earlier monitor.Losses
	// Every is the shortest time between two alerts: losses in between are one alert.
	Every time.Duration
	// Report gets the alerts, one at a time. It must not wait.
	Report func(alert.Alert)
	Log    *zap.Logger
}

// Tracker reads the counters of losses and reports each growth, the first one at once. It is safe
// for concurrent use.
type Tracker struct {
	options Options

	looking sync.Mutex // held while the counters are read and an alert is made; locked before mu

	mu       sync.Mutex
	seen     monitor.Losses // the greatest counters that were read
	reported monitor.Losses // those of them that alerts have told of
	grew     time.Time      // when seen grew last; zero if it never did
	latest   alert.Alert    // zero if there was none

	lost  map[uint64]monitor.OwnLosses // by container, at the last alert
	since time.Time                    // the last look before the growth that is not reported
	told  time.Time                    // the last alert
	// pending has those of which something was lost since then: the kernel's map may have them no more
	// at the next alert.
	pending map[uint64]monitor.OwnLosses
	failed  bool // the counters could not be read
}

// New makes a Tracker that has not looked yet.
func New(options Options) *Tracker {
	t := &Tracker{options: options, seen: options.Earlier, reported: options.Earlier, since: options.Began}
	if !options.Earlier.Any() {
		t.lost = make(map[uint64]monitor.OwnLosses) // what containers have lost is new
	}
	return t
}

// Follow looks every second until ctx ends, and once more then.
func (t *Tracker) Follow(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for t.Look(time.Now(), false); ; {
		select {
		case <-ctx.Done():
			t.Look(time.Now(), true)
			return
		case now := <-tick.C:
			t.Look(now, false)
		}
	}
}

// Look reads the counters, and reports their growth unless the last alert is too young. At the end
// of a recording it reports the rest in any case.
func (t *Tracker) Look(now time.Time, end bool) {
	t.looking.Lock()
	defer t.looking.Unlock()
	losses, err := t.options.Source.Losses()
	if err != nil {
		if !t.failed {
			t.options.Log.Error("the counters of losses cannot be read: it is not known whether something was lost", zap.Error(err))
		}
		t.failed = true
		return
	}
	t.failed = false
	growth := t.note(losses, now)
	if t.lost == nil { // which of them are new is not known
		t.lost = t.ownLosses()
	}
	if !growth.Any() {
		t.since = now
		return
	}
	if !t.told.IsZero() && now.Sub(t.told) < t.options.Every && !end {
		t.remember()
		return
	}
	t.report(growth, losses, now)
}

// note notes the counters, and returns what was not reported yet.
func (t *Tracker) note(losses monitor.Losses, now time.Time) (growth monitor.Losses) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if losses.Minus(t.seen).Any() {
		t.grew = now
	}
	t.seen = t.seen.Max(losses)
	return t.seen.Minus(t.reported)
}

func (t *Tracker) ownLosses() map[uint64]monitor.OwnLosses {
	lost, err := t.options.Source.OwnLosses()
	if err != nil {
		t.options.Log.Warn("reading what was lost of which containers", zap.Error(err))
	}
	if lost == nil {
		lost = make(map[uint64]monitor.OwnLosses)
	}
	return lost
}

// report makes the alert of a growth.
func (t *Tracker) report(growth, total monitor.Losses, now time.Time) {
	losers, lost := t.losers()
	occupants, err := t.options.Source.Occupants(growth)
	if err != nil {
		t.options.Log.Warn("reading which container fills the kernel's maps", zap.Error(err))
	}
	ctx, cancel := context.WithTimeout(context.Background(), nameTime)
	defer cancel()
	names := naming{ctx: ctx, identify: t.options.Identify, known: make(map[uint64]uses.Container)}
	loss := alert.Loss{Since: t.since, Lost: growth, Total: total, Recording: t.options.Recording, Losers: []alert.Loser{}}
	if by := cause(occupants, losers); by.id != "" {
		loss.Container = names.of(by.cgroup, by.id)
	}
	for i, l := range losers {
		if i == maxLosers {
			loss.MoreLosers = len(losers) - maxLosers
			break
		}
		loss.Losers = append(loss.Losers, alert.Loser{Container: names.of(l.cgroup, l.id), Lost: l.lost()})
	}
	text := summary(loss, occupants, names)
	one := alert.NewLoss(now, text, loss)
	t.options.Log.Error("capmon lost what it should have recorded: "+text,
		zap.Time("since", loss.Since), zap.String("caused by", printable.Text(loss.Container.ID)))
	t.mu.Lock()
	t.reported, t.latest = t.reported.Max(total), one
	t.mu.Unlock()
	t.told, t.lost, t.pending, t.since = now, lost, nil, now
	t.options.Report(one)
}

// State is what a Tracker knows.
type State struct {
	// Grew is when losses were noticed last, zero for never; the rest is of the latest alert, and is
	// behind if losses go on.
	Grew time.Time
	// Summary is the latest alert's, empty if there was none.
	Summary string
}

// State returns when and what was lost last.
func (t *Tracker) State() State {
	t.mu.Lock()
	defer t.mu.Unlock()
	return State{t.grew, t.latest.Summary}
}

// naming asks for each container once.
type naming struct {
	ctx      context.Context
	identify func(ctx context.Context, cgroup uint64, id string) uses.Container
	known    map[uint64]uses.Container
}

func (n naming) of(cgroup uint64, id string) uses.Container {
	c, ok := n.known[cgroup]
	if !ok {
		c = n.identify(n.ctx, cgroup, id)
		n.known[cgroup] = c
	}
	return c
}
