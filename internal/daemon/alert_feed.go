package daemon

import (
	"sync"

	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/fairqueue"
)

const (
	// recentAlerts is the number of alerts that a new subscription begins with.
	recentAlerts = 100
	// maxSubscribed is the maximum number of alerts that wait in a subscription.
	maxSubscribed = 256
	// feedName is the name of a subscription in alerts about dropped alerts.
	feedName = "events of the HTTP API"
)

// alertFeed passes alerts to subscriptions, and keeps the latest ones for new subscriptions. It never waits for a
// subscription. It is safe for concurrent use. The zero value has no subscription.
type alertFeed struct {
	mu            sync.Mutex
	recent        []alert.Alert // the oldest first
	subscriptions map[*AlertSubscription]bool
}

func (f *alertFeed) publish(one alert.Alert) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.recent = fairqueue.Latest(append(f.recent, one), recentAlerts, func(a alert.Alert) string { return a.Origin().Key })
	for s := range f.subscriptions {
		s.add(one)
	}
}

// AlertSubscription has the latest alerts and those that arrive until it is closed. No container can use the space of
// other containers. AlertSubscription is safe for concurrent use.
type AlertSubscription struct {
	feed  *alertFeed // nil if there are no alerts
	ready chan struct{}

	mu      sync.Mutex
	waiting fairqueue.Queue[alert.Alert]
	room    *fairqueue.Room
}

// Subscribe returns a subscription. It begins with the latest alerts of this process. Close it after use. If a is nil,
// the subscription never has an alert.
func (a *AlertQueue) Subscribe() *AlertSubscription {
	s := &AlertSubscription{ready: make(chan struct{}, 1), room: fairqueue.NewRoom(maxSubscribed)}
	if a == nil {
		return s
	}
	s.feed = &a.feed
	a.feed.mu.Lock()
	defer a.feed.mu.Unlock()
	for _, one := range a.feed.recent {
		s.add(one)
	}
	if a.feed.subscriptions == nil {
		a.feed.subscriptions = make(map[*AlertSubscription]bool)
	}
	a.feed.subscriptions[s] = true
	return s
}

func (s *AlertSubscription) add(one alert.Alert) {
	s.mu.Lock()
	defer s.mu.Unlock()
	origin := one.Origin()
	if took, _ := s.room.Reserve(origin, 1, one.Time); took {
		s.waiting.Push(origin.Key, one)
	}
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

// Ready returns a channel that receives a value if alerts wait.
func (s *AlertSubscription) Ready() <-chan struct{} { return s.ready }

// Take removes and returns at most n waiting alerts: one of each container in turn. If alerts of a container did not
// fit, one of the alerts reports their number.
func (s *AlertSubscription) Take(n int) (all []alert.Alert) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.room.Notices() {
		s.room.ForceReserve(fairqueue.Source{Key: fairqueue.Own}, 1)
		s.waiting.Push(fairqueue.Own, alert.NewDropped(d.ID, alert.Dropped{
			Sink: feedName, Count: d.Count, From: d.From, To: d.To, ContainerID: d.Source.Key, Container: d.Source.Title,
		}))
	}
	for len(all) < n {
		one, ok := s.waiting.Pop()
		if !ok {
			break
		}
		s.room.Release(one.Origin().Key, 1)
		all = append(all, one)
	}
	return all
}

// Close ends the subscription.
func (s *AlertSubscription) Close() {
	if s.feed == nil {
		return
	}
	s.feed.mu.Lock()
	defer s.feed.mu.Unlock()
	delete(s.feed.subscriptions, s)
}
