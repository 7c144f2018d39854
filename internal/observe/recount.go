package observe

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/capmon/capmon/monitor"
)

// leisure is how many times as long as a look at the counts took it rests afterwards, so that
// looks never take more than a small share of a CPU.
const leisure = 20

// recounting makes what looks at the counts once and hands the changes on.
func (o *Observer) recounting(changed func(*Observer, []monitor.Change)) func() error {
	var looking sync.Mutex
	tally := o.monitor.NewTally()
	takenUp := o.monitor.TakenUp()
	return func() error {
		looking.Lock()
		defer looking.Unlock()
		begin := time.Now()
		changes, err := tally.Changes()
		if err != nil {
			return fmt.Errorf("reading the counts: %w", err)
		}
		if takenUp { // only the first time: the others are Told
			changes, takenUp = slices.DeleteFunc(changes, func(c monitor.Change) bool { return !o.isUntold(c) }), false
		}
		changed(o, changes)
		o.mu.Lock()
		defer o.mu.Unlock()
		o.looked = begin
		return nil
	}
}

// followCounts looks at the counts at intervals.
func (o *Observer) followCounts(ctx context.Context, interval time.Duration) func() {
	return func() {
		pause := interval
		for wait(ctx, pause) {
			begin := time.Now()
			if err := o.recount(); errors.Is(err, monitor.ErrClosed) {
				return
			} else if err != nil {
				o.log.Warn("looking who has used capabilities again", zap.Error(err))
			}
			pause = max(interval, leisure*time.Since(begin))
		}
	}
}
