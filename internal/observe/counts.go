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

// countBackoff times the duration of a read of the counts is the least pause after it, so that reading takes only a
// small share of a CPU.
const countBackoff = 20

// countReader returns a function that reads the counts once and passes the changes to the consumer.
func (o *Observer) countReader() func() error {
	var reading sync.Mutex
	tally := o.monitor.NewDeltaReader()
	continued := o.monitor.Continued()
	return func() error {
		reading.Lock()
		defer reading.Unlock()
		begin := time.Now()
		changes, err := tally.Read()
		if err != nil {
			return fmt.Errorf("reading the counts: %w", err)
		}
		if continued { // only the first time: HandleReported has got the others
			changes, continued = slices.DeleteFunc(changes, func(c monitor.Delta) bool { return !o.isUnreported(c) }), false
		}
		o.consumer.HandleChanges(o, changes)
		o.mu.Lock()
		defer o.mu.Unlock()
		o.countsReadAt = begin
		return nil
	}
}

// followCounts reads the counts at intervals.
func (o *Observer) followCounts(ctx context.Context, interval time.Duration) func() {
	return func() {
		pause := interval
		for wait(ctx, pause) {
			begin := time.Now()
			if err := o.readCounts(); errors.Is(err, monitor.ErrClosed) {
				return
			} else if err != nil {
				o.log.Warn("reading repeated uses of capabilities", zap.Error(err))
			}
			pause = max(interval, countBackoff*time.Since(begin))
		}
	}
}
