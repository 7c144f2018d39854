package daemon

import (
	"context"
	"sync"

	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/fair"
	"github.com/capmon/capmon/internal/printable"
)

// waitingAlerts is how many alerts may wait for the database.
const waitingAlerts = 100_000

// Alerts are on their way into the database. Containers take turns, and none takes the room of the
// others.
type Alerts struct {
	log *zap.Logger

	mu      sync.Mutex
	waiting fair.Queue[alert.Alert]
	room    *fair.Room
}

// NewAlerts makes an empty queue.
func NewAlerts(log *zap.Logger) *Alerts { return &Alerts{log: log, room: fair.NewRoom(waitingAlerts)} }

// Add adds an alert, without waiting. If too many of its container wait it is counted as lost, and
// that becomes an alert in the database: sinks have queues of their own.
func (a *Alerts) Add(one alert.Alert) {
	a.mu.Lock()
	defer a.mu.Unlock()
	of := one.Origin()
	took, first := a.room.Take(of, 1, one.Time)
	if took {
		a.waiting.Push(of.Key, one)
	} else if first {
		a.log.Error("alerts of a container are missing from the database, which has not taken any for too long", zap.String("container", printable.Text(of.Title)))
	}
}

// Lost counts the alerts that are missing from the database.
func (a *Alerts) Lost() uint64 {
	if a == nil {
		return 0
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.room.Total()
}

// save puts what waits into the database. What that does not take waits on.
func (a *Alerts) save(ctx context.Context, k *keeper) error {
	if a == nil {
		return nil
	}
	some := a.take()
	if len(some) == 0 {
		return nil
	}
	err := k.putAlerts(ctx, some)
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil {
		a.waiting.Return(some, func(one alert.Alert) string { return one.Origin().Key })
		return err
	}
	for _, one := range some {
		a.room.Give(one.Origin().Key, 1)
	}
	return nil
}

// take takes all that wait, and reports which are missing.
func (a *Alerts) take() (some []alert.Alert) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, d := range a.room.Notices() {
		a.room.Force(fair.Source{Key: fair.Own}, 1)
		a.waiting.Push(fair.Own, alert.NewDropped(d.ID, alert.Dropped{
			Sink: "database", Count: d.Count, From: d.From, To: d.To, ContainerID: d.Source.Key, Container: d.Source.Title,
		}))
	}
	for {
		one, ok := a.waiting.Pop()
		if !ok {
			return some
		}
		some = append(some, one)
	}
}
