package main

import (
	"sync"

	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/fair"
)

// unprinted is how many alerts may wait for whoever reads standard output.
const unprinted = 4096

// printer writes alerts to standard output, while sinks get further ones: nobody waits for whoever
// does not read that. Containers take turns, and none takes the room of the others.
type printer struct {
	write   func(line)
	written chan struct{} // closed when all have been
	wake    chan struct{}

	mu      sync.Mutex
	waiting fair.Queue[alert.Alert]
	room    *fair.Room
	skipped uint64 // found no room, and no sink has them
	closed  bool
}

func newPrinter(write func(line)) *printer {
	p := &printer{write: write, written: make(chan struct{}), wake: make(chan struct{}, 1), room: fair.NewRoom(unprinted)}
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

// next takes the next alert; end is true if there is none and never will be.
func (p *printer) next() (one alert.Alert, ok, end bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if one, ok = p.waiting.Pop(); ok {
		p.room.Give(one.Origin().Key, 1)
	}
	p.notice(p.room.Notices())
	return one, ok, p.closed && !ok && p.waiting.Len() == 0
}

// print has an alert written soon. If too many of its container wait it is dropped, which is counted
// and reported.
func (p *printer) print(one alert.Alert, taken bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.signal()
	if ok, _ := p.room.Take(one.Origin(), 1, one.Time); ok {
		p.waiting.Push(one.Origin().Key, one)
	} else if !taken {
		p.skipped++
	}
}

// notice reports dropped alerts. The caller holds mu.
func (p *printer) notice(all []fair.Dropped) {
	for _, d := range all {
		p.room.Force(fair.Source{Key: fair.Own}, 1)
		p.waiting.Push(fair.Own, alert.NewDropped(d.ID, alert.Dropped{
			Sink: "stdout", Count: d.Count, From: d.From, To: d.To, ContainerID: d.Source.Key, Container: d.Source.Title,
		}))
	}
}

func (p *printer) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// close returns when all have been written.
func (p *printer) close() {
	p.mu.Lock()
	p.notice(p.room.End())
	p.closed = true
	p.signal()
	p.mu.Unlock()
	<-p.written
}

// dropped counts the alerts that were not written, and those of them that no sink has either.
func (p *printer) dropped() (all, skipped uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.room.Total(), p.skipped
}
