package main

import (
	"sync/atomic"

	"github.com/capmon/capmon/internal/alert"
)

// unprinted is how many alerts may wait for whoever reads standard output.
const unprinted = 4096

// printer writes alerts to standard output, while sinks get further ones: they do not wait for
// whoever does not read that.
type printer struct {
	write   func(line)
	waiting chan alert.Alert
	written chan struct{} // closed when all have been
	skipped atomic.Uint64 // found no room
}

func newPrinter(write func(line)) *printer {
	p := &printer{write: write, waiting: make(chan alert.Alert, unprinted), written: make(chan struct{})}
	go func() {
		defer close(p.written)
		for one := range p.waiting {
			p.write(one)
		}
	}()
	return p
}

// print has an alert written soon. If too many wait it is skipped and counted, or waits as well if
// it must not be skipped.
func (p *printer) print(one alert.Alert, maySkip bool) {
	select {
	case p.waiting <- one:
		return
	default:
	}
	if maySkip {
		p.skipped.Add(1)
		return
	}
	p.waiting <- one
}

// close returns when all have been written.
func (p *printer) close() {
	close(p.waiting)
	<-p.written
}
