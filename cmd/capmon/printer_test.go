package main

import (
	"slices"
	"testing"

	"github.com/capmon/capmon/internal/alert"
)

func TestWhatIsNotReadIsSkippedAndCountedOnlyIfItMayBe(t *testing.T) {
	begun, read := make(chan struct{}, 1), make(chan struct{})
	var got []string
	p := newPrinter(func(shown line) {
		select {
		case begun <- struct{}{}:
		default:
		}
		<-read
		got = append(got, shown.(alert.Alert).ID)
	})
	p.print(alert.Alert{ID: "first"}, true)
	<-begun
	for range unprinted + 3 {
		p.print(alert.Alert{ID: "many"}, true)
	}
	waits := make(chan struct{})
	go func() {
		p.print(alert.Alert{ID: "last"}, false)
		close(waits)
	}()
	close(read)
	<-waits
	p.close()
	if p.skipped.Load() != 3 || len(got) != unprinted+2 || !slices.Contains(got, "last") {
		t.Errorf("%d skipped, %d printed", p.skipped.Load(), len(got))
	}
}
