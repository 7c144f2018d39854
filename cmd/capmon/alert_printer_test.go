package main

import (
	"fmt"
	"slices"
	"testing"

	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/uses"
)

func alertOf(container string, n int) alert.Alert {
	return alert.New("rule", alert.Warning, fmt.Sprint(container, n), 1, uses.Use{Container: uses.ContainerRef{ID: container}})
}

// If the reader is slow and one container floods, the alert of another container comes within the next few, and the
// alerts report exactly how many were dropped.
func TestFloodDoesNotDelayOtherLines(t *testing.T) {
	t.Parallel()
	begun, read := make(chan struct{}, 1), make(chan struct{})
	var got []alert.Alert
	p := newAlertPrinter(func(shown outputLine) {
		select {
		case begun <- struct{}{}:
		default:
		}
		<-read
		got = append(got, shown.(alert.Alert))
	})
	const flood = 10_000
	p.print(alertOf("flood", 0), false)
	<-begun
	for n := 1; n < flood; n++ {
		p.print(alertOf("flood", n), true)
	}
	p.print(alertOf("calm", 0), false)
	close(read)
	p.close()
	if at := slices.IndexFunc(got, func(a alert.Alert) bool { return a.Summary == "calm0" }); at < 0 || at > 3 {
		t.Errorf("the other container's alert is number %d of %d", at, len(got))
	}
	var printed, dropped uint64
	for _, a := range got {
		switch {
		case a.Dropped != nil && a.Dropped.ContainerID == "flood":
			dropped += a.Count
		case a.Container().ID == "flood":
			printed++
		}
	}
	if all, skipped := p.dropped(); printed+dropped != flood || dropped == 0 || all != dropped || skipped != 0 {
		t.Errorf("%d printed, %d reported as dropped, %d dropped, %d of them unreported", printed, dropped, all, skipped)
	}
}
