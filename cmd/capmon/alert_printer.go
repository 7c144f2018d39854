package main

import (
	"sync"

	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/fairqueue"
)

// maxWaitingAlerts is how many alerts may wait for the reader of standard output.
const maxWaitingAlerts = 4096

// alertPrinter writes alerts to standard output. A slow reader does not delay the sinks. The containers share the queue
// fairly: one container cannot occupy the places of the others.
type alertPrinter struct {
	write   func(outputLine)
	written chan struct{} // closed when all alerts are written
	wake    chan struct{}

	mu      sync.Mutex
	waiting fairqueue.Queue[alert.Alert]
	room    *fairqueue.Room
	skipped uint64 // dropped alerts that no sink accepted
	closed  bool
}

func newAlertPrinter(write func(outputLine)) *alertPrinter {
	p := &alertPrinter{write: write, written: make(chan struct{}), wake: make(chan struct{}, 1), room: fairqueue.NewRoom(maxWaitingAlerts)}
	go func() {
		defer close(p.written)
		for {
			one, ok, end := p.next()
			switch {
			case ok:
				p.write(one)
			case end:
				return
			default:
				<-p.wake
			}
		}
	}()
	return p
}

// next returns the next alert. end reports that there are no further alerts.
func (p *alertPrinter) next() (one alert.Alert, ok, end bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if one, ok = p.waiting.Pop(); ok {
		p.room.Release(one.Origin().Key, 1)
	}
	p.reportDropped(p.room.Notices())
	return one, ok, p.closed && !ok && p.waiting.Len() == 0
}

// print queues an alert. If too many alerts of its container wait, print drops the alert, counts it and reports it.
// accepted reports whether a sink has accepted the alert.
func (p *alertPrinter) print(one alert.Alert, accepted bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.signal()
	if ok, _ := p.room.Reserve(one.Origin(), 1, one.Time); ok {
		p.waiting.Push(one.Origin().Key, one)
	} else if !accepted {
		p.skipped++
	}
}

// reportDropped queues alerts about dropped alerts. The caller holds mu.
func (p *alertPrinter) reportDropped(all []fairqueue.Dropped) {
	for _, d := range all {
		p.room.ForceReserve(fairqueue.Source{Key: fairqueue.Own}, 1)
		p.waiting.Push(fairqueue.Own, alert.NewDropped(d.ID, alert.Dropped{
			Sink: "stdout", Count: d.Count, From: d.From, To: d.To, ContainerID: d.Source.Key, Container: d.Source.Title,
		}))
	}
}

func (p *alertPrinter) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// close returns when all alerts are written.
func (p *alertPrinter) close() {
	p.mu.Lock()
	p.reportDropped(p.room.End())
	p.closed = true
	p.signal()
	p.mu.Unlock()
	<-p.written
}

// dropped returns how many alerts were dropped, and how many of them no sink has accepted.
func (p *alertPrinter) dropped() (all, skipped uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.room.Total(), p.skipped
}
