package daemon

import (
	"context"
	"sync"

	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/fairqueue"
	"github.com/capmon/capmon/internal/printable"
)

// maxWaitingAlerts is the maximum number of alerts that wait for the database.
const maxWaitingAlerts = 100_000

// AlertQueue is the queue of alerts that wait for the database. No container can use the space of other containers.
// AlertQueue is safe for concurrent use.
type AlertQueue struct {
	log  *zap.Logger
	feed alertFeed

	mu      sync.Mutex
	waiting fairqueue.Queue[alert.Alert]
	room    *fairqueue.Room
}

// NewAlertQueue returns an empty queue.
func NewAlertQueue(log *zap.Logger) *AlertQueue {
	return &AlertQueue{log: log, room: fairqueue.NewRoom(maxWaitingAlerts)}
}

// Add adds an alert, without waiting. If too many alerts of its container wait, Add counts it as lost, and the database
// later gets an alert that reports the number. The queues of sinks are separate. Add also passes the alert to the
// subscriptions.
func (a *AlertQueue) Add(one alert.Alert) {
	a.feed.publish(one)
	a.mu.Lock()
	defer a.mu.Unlock()
	origin := one.Origin()
	took, first := a.room.Reserve(origin, 1, one.Time)
	if took {
		a.waiting.Push(origin.Key, one)
	} else if first {
		a.log.Error("capmon drops alerts of a container, because saving alerts has failed for too long; the database will not contain them", zap.String("container", printable.Text(origin.Title)))
	}
}

// Lost returns the number of alerts that are missing from the database.
func (a *AlertQueue) Lost() uint64 {
	if a == nil {
		return 0
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.room.Total()
}

// save puts the waiting alerts into the database. After an error, they stay in the queue.
func (a *AlertQueue) save(ctx context.Context, d *database) error {
	if a == nil {
		return nil
	}
	all := a.take()
	if len(all) == 0 {
		return nil
	}
	err := d.putAlerts(ctx, all)
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil {
		a.waiting.Return(all, func(one alert.Alert) string { return one.Origin().Key })
		return err
	}
	for _, one := range all {
		a.room.Release(one.Origin().Key, 1)
	}
	return nil
}

// take takes all waiting alerts, including those that report lost ones.
func (a *AlertQueue) take() (all []alert.Alert) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, d := range a.room.Notices() {
		a.room.ForceReserve(fairqueue.Source{Key: fairqueue.Own}, 1)
		a.waiting.Push(fairqueue.Own, alert.NewDropped(d.ID, alert.Dropped{
			Sink: "database", Count: d.Count, From: d.From, To: d.To, ContainerID: d.Source.Key, Container: d.Source.Title,
		}))
	}
	for {
		one, ok := a.waiting.Pop()
		if !ok {
			return all
		}
		all = append(all, one)
	}
}
