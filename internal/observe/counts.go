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

// After each read of the counts, the observer pauses for at least countBackoff times the duration of the read. So
// reading uses only a small share of a CPU.
const countBackoff = 20

// countReader reads the changes of the counts.
type countReader struct {
	mu     sync.Mutex // held during a read; guards the fields below
	deltas *monitor.DeltaReader
	// continued: the next read is the first one of a continued recording. Its changes contain those that HandleReported
	// has received.
	continued bool
}

func newCountReader(m *monitor.Monitor) *countReader {
	return &countReader{deltas: m.NewDeltaReader(), continued: m.Continued()}
}

// readCounts reads the counts once and passes the changes to the consumer, if it wants them.
func (o *Observer) readCounts() error {
	if o.counts == nil {
		return nil
	}
	o.counts.mu.Lock()
	defer o.counts.mu.Unlock()
	begin := time.Now()
	changes, err := o.counts.deltas.Read()
	if err != nil {
		return fmt.Errorf("reading the counts: %w", err)
	}
	if o.counts.continued {
		changes, o.counts.continued = slices.DeleteFunc(changes, func(c monitor.Delta) bool { return !o.isUnreported(c) }), false
	}
	o.consumer.HandleChanges(o, changes)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended.countsReadAt = begin
	return nil
}

// followCounts reads the counts at intervals.
func (o *Observer) followCounts(ctx context.Context, interval time.Duration) func() {
	return func() {
		pause := interval
		for sleep(ctx, pause) {
			begin := time.Now()
			if err := o.readCounts(); errors.Is(err, monitor.ErrClosed) {
				return
			} else if err != nil {
				o.log.Warn("reading repeated uses of capabilities failed", zap.Error(err))
			}
			pause = max(interval, countBackoff*time.Since(begin))
		}
	}
}
