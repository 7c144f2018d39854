package daemon

import (
	"context"
	"sync"

	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/alert"
)

// waitingAlerts is how many alerts may wait for the database.
const waitingAlerts = 100_000

// Alerts are on their way into the database.
type Alerts struct {
	log *zap.Logger

	mu      sync.Mutex
	waiting []alert.Alert
	lost    uint64 // those that found no room while the database could not be written to
}

// NewAlerts makes an empty queue.
func NewAlerts(log *zap.Logger) *Alerts { return &Alerts{log: log} }

// Add adds an alert, without waiting. If too many wait it is counted as lost, and that is told:
// sinks have queues of their own.
func (a *Alerts) Add(one alert.Alert) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.waiting) < waitingAlerts {
		a.waiting = append(a.waiting, one)
		return
	}
	a.lose(1)
}

// lose counts alerts as lost. The caller holds mu.
func (a *Alerts) lose(n uint64) {
	if a.lost == 0 {
		a.log.Error("alerts are missing from the database, which has not taken any for too long")
	}
	a.lost += n
}

// Lost counts the alerts that are missing from the database.
func (a *Alerts) Lost() uint64 {
	if a == nil {
		return 0
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.lost
}

// save puts what waits into the database. What that does not take waits on.
func (a *Alerts) save(ctx context.Context, k *keeper) error {
	if a == nil {
		return nil
	}
	a.mu.Lock()
	some := a.waiting
	a.waiting = nil
	a.mu.Unlock()
	if len(some) == 0 {
		return nil
	}
	err := k.putAlerts(ctx, some)
	if err != nil {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.waiting = append(some, a.waiting...)
		if over := len(a.waiting) - waitingAlerts; over > 0 {
			a.waiting = a.waiting[:waitingAlerts]
			a.lose(uint64(over))
		}
	}
	return err
}
