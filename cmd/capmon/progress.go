package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/capmon/capmon/internal/observe"
	"github.com/capmon/capmon/internal/profile"
)

// showProgress waits for the end of ctx. On a terminal, it shows one line with the progress.
func showProgress(ctx context.Context, stderr io.Writer, observer *observe.Observer, selected func(profile.Run) bool) {
	if !onTerminal(stderr) {
		<-ctx.Done()
		return
	}
	begin := time.Now()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		fmt.Fprintf(stderr, "\r\033[K%s", progressLine(observer, selected, time.Since(begin)))
		select {
		case <-ctx.Done():
			fmt.Fprint(stderr, "\r\033[K")
			return
		case <-tick.C:
		}
	}
}

func progressLine(observer *observe.Observer, selected func(profile.Run) bool, elapsed time.Duration) string {
	p, err := observer.Profile()
	if err != nil {
		return err.Error()
	}
	var containers, checks int
	for _, run := range p.Runs {
		if selected(run) {
			containers++
			checks += int(run.Checks)
		}
	}
	noun := "containers"
	if containers == 1 {
		noun = "container"
	}
	return fmt.Sprintf("recording: %d %s, %d checks, %s; press Ctrl-C for the report", containers, noun, checks, elapsed.Round(time.Second))
}
