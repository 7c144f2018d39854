// Package loss reports every increase of the counters of losses, with the container that caused it if that is known.
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
	// readInterval is the interval at which the counters are read.
	readInterval = time.Second
	// identifyTimeout is the time that the engine may take to report all containers of one alert.
	identifyTimeout = 2 * time.Second
	// maxAffected is the number of affected containers that an alert names.
	maxAffected = 10
)

// Source is a recording whose losses a [Tracker] reads.
type Source interface {
	Losses() (monitor.Losses, error)
	ContainerLosses() (map[uint64]monitor.ContainerLosses, error)
	LargestContainers(of monitor.Losses) ([]monitor.LargestContainer, error)
}

// Options are the settings of a [Tracker].
type Options struct {
	Source Source
	// Identify returns what the engine reports about a container before ctx ends.
	Identify func(ctx context.Context, cgroup uint64, id string) uses.ContainerRef
	// Recording is the ID of the recording, and Began the time when it began.
	Recording string
	Began     time.Time
	// Earlier are the losses that were reported before; zero for a new recording. The first read reports the losses
	// since then.
	Earlier monitor.Losses
	// Every is the shortest time between two alerts. Losses in between are reported in one alert.
	Every time.Duration
	// Report receives the alerts, one at a time. It must not block.
	Report func(alert.Alert)
	Log    *zap.Logger
}

// Tracker reads the counters of losses and reports each increase, the first one at once. It is safe for concurrent use.
type Tracker struct {
	options Options

	reading sync.Mutex // held while the counters are read and an alert is made; locked before mu

	mu       sync.Mutex
	seen     monitor.Losses // the highest counters that were read
	reported monitor.Losses // the counters at the last alert
	grew     time.Time      // when seen last increased; zero if it never did
	latest   alert.Alert    // zero if there was none

	lost      map[uint64]monitor.ContainerLosses // by container, at the last alert
	since     time.Time                          // the last read before the unreported increase
	lastAlert time.Time                          // zero if there was none
	// pending has the containers with losses since lastAlert. At the next alert, the kernel's map may no longer have
	// them.
	pending map[uint64]monitor.ContainerLosses
	failed  bool // the counters could not be read
}

// New returns a Tracker. It reads nothing yet.
func New(options Options) *Tracker {
	t := &Tracker{options: options, seen: options.Earlier, reported: options.Earlier, since: options.Began}
	if !options.Earlier.Any() {
		t.lost = make(map[uint64]monitor.ContainerLosses) // all losses of containers are new
	}
	return t
}

// Follow reads the counters every second until ctx ends, and then once more.
func (t *Tracker) Follow(ctx context.Context) {
	tick := time.NewTicker(readInterval)
	defer tick.Stop()
	for t.Read(time.Now(), false); ; {
		select {
		case <-ctx.Done():
			t.Read(time.Now(), true)
			return
		case now := <-tick.C:
			t.Read(now, false)
		}
	}
}

// Read reads the counters and reports their increase, unless the last alert is too recent. If end is set, the recording
// ends, and Read always reports the increase.
func (t *Tracker) Read(now time.Time, end bool) {
	t.reading.Lock()
	defer t.reading.Unlock()
	losses, err := t.options.Source.Losses()
	if err != nil {
		if !t.failed {
			t.options.Log.Error("reading the counters of losses failed; capmon does not notice losses until this works again", zap.Error(err))
		}
		t.failed = true
		return
	}
	t.failed = false
	growth := t.update(losses, now)
	if t.lost == nil { // Read does not know which of the losses of containers are new
		t.lost = t.ownLosses()
	}
	if !growth.Any() {
		t.since = now
		return
	}
	if !t.lastAlert.IsZero() && now.Sub(t.lastAlert) < t.options.Every && !end {
		t.updatePending()
		return
	}
	t.report(growth, losses, now)
}

// update stores the counters and returns the increase that is not reported yet.
func (t *Tracker) update(losses monitor.Losses, now time.Time) (growth monitor.Losses) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if losses.Minus(t.seen).Any() {
		t.grew = now
	}
	t.seen = t.seen.Max(losses)
	return t.seen.Minus(t.reported)
}

func (t *Tracker) ownLosses() map[uint64]monitor.ContainerLosses {
	lost, err := t.options.Source.ContainerLosses()
	if err != nil {
		t.options.Log.Warn("reading the losses of containers failed; the alert may not name the containers", zap.Error(err))
	}
	if lost == nil {
		lost = make(map[uint64]monitor.ContainerLosses)
	}
	return lost
}

// report creates and reports the alert about an increase.
func (t *Tracker) report(growth, total monitor.Losses, now time.Time) {
	affectedContainers, lost := t.readAffected()
	largest, err := t.options.Source.LargestContainers(growth)
	if err != nil {
		t.options.Log.Warn("reading which containers fill the kernel's maps failed; the alert may not name the cause", zap.Error(err))
	}
	ctx, cancel := context.WithTimeout(context.Background(), identifyTimeout)
	defer cancel()
	names := identifier{ctx: ctx, identify: t.options.Identify, known: make(map[uint64]uses.ContainerRef)}
	loss := alert.Loss{Since: t.since, Lost: growth, Total: total, Recording: t.options.Recording, Losers: []alert.Loser{}}
	if by := cause(largest, affectedContainers); by.id != "" {
		loss.Container = names.of(by.cgroup, by.id)
	}
	for i, a := range affectedContainers {
		if i == maxAffected {
			loss.MoreLosers = len(affectedContainers) - maxAffected
			break
		}
		loss.Losers = append(loss.Losers, alert.Loser{Container: names.of(a.cgroup, a.id), Lost: a.lost()})
	}
	text := summary(loss, largest, names)
	one := alert.NewLoss(now, text, loss)
	t.options.Log.Error("capmon lost data: "+text,
		zap.Time("since", loss.Since), zap.String("cause", printable.Text(loss.Container.ID)))
	t.mu.Lock()
	t.reported, t.latest = t.reported.Max(total), one
	t.mu.Unlock()
	t.lastAlert, t.lost, t.pending, t.since = now, lost, nil, now
	t.options.Report(one)
}

// State is the last loss that a [Tracker] has noticed.
type State struct {
	// Grew is the time at which the tracker last noticed losses; zero for never. It may be later than the alert of
	// Summary.
	Grew time.Time
	// Summary is the summary of the latest alert, empty if there was none.
	Summary string
}

// State returns the last loss. It is safe for concurrent use.
func (t *Tracker) State() State {
	t.mu.Lock()
	defer t.mu.Unlock()
	return State{t.grew, t.latest.Summary}
}

// identifier identifies each container once.
type identifier struct {
	ctx      context.Context
	identify func(ctx context.Context, cgroup uint64, id string) uses.ContainerRef
	known    map[uint64]uses.ContainerRef
}

func (n identifier) of(cgroup uint64, id string) uses.ContainerRef {
	c, ok := n.known[cgroup]
	if !ok {
		c = n.identify(n.ctx, cgroup, id)
		n.known[cgroup] = c
	}
	return c
}
