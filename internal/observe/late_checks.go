package observe

import (
	"context"
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/capmon/capmon/monitor"
)

const (
	// lateInterval is the interval at which the observer checks whether the kernel has dropped events. lateDelay is the
	// time that it then waits for events that are still unread.
	lateInterval = 200 * time.Millisecond
	lateDelay    = 2 * time.Second
	// After each search for late checks, the observer pauses for lateBackoff times the duration of the search. So a
	// workload that makes new distinct checks all the time cannot keep the observer busy.
	lateBackoff = 4
)

// lateChecks finds the checks whose events the kernel has dropped because there were too many. It is safe for
// concurrent use.
type lateChecks struct {
	monitor *monitor.Monitor
	log     *zap.Logger
	passOn  func([]monitor.ContainerRecord) // passes the checks of containers to the consumer

	lock    sync.Mutex    // held during passOnAll
	dropped atomic.Uint64 // number of events that the kernel had dropped at the last passOnAll
}

// markAllLate makes the next passOnAll necessary even if the kernel has dropped no events.
func (m *lateChecks) markAllLate() { m.dropped.Store(math.MaxUint64) }

// follow returns a function that passes on late checks until ctx ends or the monitor is closed.
func (m *lateChecks) follow(ctx context.Context) func() {
	return func() {
		var since time.Time // when the observer noticed that events are missing
		pause := lateInterval
		for sleep(ctx, pause) {
			pause = lateInterval
			dropped, pending, err := m.monitor.DroppedEvents()
			switch {
			case errors.Is(err, monitor.ErrClosed):
				return
			case err != nil:
				m.log.Warn("reading the number of dropped events failed", zap.Error(err))
				continue
			case dropped == m.dropped.Load():
				since = time.Time{}
				continue
			case since.IsZero():
				since = time.Now()
			}
			if pending && time.Since(since) < lateDelay {
				continue
			}
			begin := time.Now()
			if err := m.passOnAll(); err != nil && !errors.Is(err, monitor.ErrClosed) {
				m.log.Warn("reading the checks whose events the kernel dropped failed", zap.Error(err))
			}
			pause = max(lateInterval, lateBackoff*time.Since(begin))
			since = time.Time{}
		}
	}
}

// passOnAll passes on all recorded checks. For the consumer, only those without an event are new.
func (m *lateChecks) passOnAll() error {
	m.lock.Lock()
	defer m.lock.Unlock()
	dropped, _, err := m.monitor.DroppedEvents() // before the snapshot, which has all of these
	if err != nil {
		return err
	}
	snapshot, err := m.monitor.Snapshot()
	if err != nil {
		return err
	}
	m.passOn(snapshot.Containers)
	m.dropped.Store(dropped)
	return nil
}

// passOnEnded passes on the checks of ended containers whose entries capmon is about to remove from the kernel's maps,
// if the kernel has dropped events since the last passOnAll. The next passOnAll would be too late for them. m may be
// nil.
func (m *lateChecks) passOnEnded(ended []monitor.ContainerRecord) error {
	if m == nil {
		return nil
	}
	dropped, _, err := m.monitor.DroppedEvents()
	if err == nil && dropped != m.dropped.Load() {
		m.passOn(ended)
	}
	return err
}
