package sink

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/spool"
)

const (
	// firstWait and lastWait are how long after a failed delivery the next one is tried, at
	// first and after many; half of it more or less, so that not all senders come at once.
	firstWait = 500 * time.Millisecond
	lastWait  = time.Minute
	// grace is for a delivery that was told to stop.
	grace = time.Second
)

// courier takes the messages of one sink from its queue to its transport, in order.
type courier struct {
	name  string
	queue *spool.Queue
	dead  deadLetters
	log   *zap.Logger

	delivered, refused, failures atomic.Uint64
	finishing                    chan struct{} // closed when no more messages come

	mu  sync.Mutex
	way *way
}

// way is a courier's work with one transport.
type way struct {
	transport
	rest  context.CancelFunc // ends it after the delivery that is under way
	abort context.CancelFunc // ends that, too
	done  chan struct{}
}

// take begins to use a transport in place of the one before it.
func (c *courier) take(t transport) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leave(context.Background())
	hard, abort := context.WithCancel(context.Background())
	soft, rest := context.WithCancel(hard)
	c.way = &way{t, rest, abort, make(chan struct{})}
	go c.work(soft, hard, c.way)
}

// leave ends the use of the transport: after a delivery that is under way, or some time.
func (c *courier) leave(ctx context.Context) {
	if c.way == nil {
		return
	}
	c.way.rest()
	c.await(ctx, grace)
	c.way = nil
}

// await waits for the end of the work until the context's or for so long, and then ends it.
func (c *courier) await(ctx context.Context, patience time.Duration) {
	select {
	case <-c.way.done:
	case <-ctx.Done():
	case <-time.After(patience):
	}
	c.way.abort()
	select {
	case <-c.way.done:
	case <-time.After(grace): // it does not listen, such as a file on a network that is away
	}
}

// finish delivers what there is until the context ends or a delivery fails, and says what is
// left.
func (c *courier) finish(ctx context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.finishing)
	c.queue.Finish()
	select {
	case <-c.way.done:
	case <-ctx.Done():
	}
	c.leave(ctx)
	left, lost, err := c.queue.Close()
	if left > 0 {
		c.log.Warn("alerts were not delivered yet; they are in the spool for the next capmon", zap.Int("count", left))
	}
	if lost > 0 {
		c.log.Error("alerts were not delivered and are lost, for want of a spool directory that can be written", zap.Int("count", lost))
	}
	if err != nil {
		c.log.Error("closing the spool", zap.Error(err))
	}
}

// work delivers until the soft context ends, or all is delivered and no more comes.
func (c *courier) work(soft, hard context.Context, w *way) {
	defer close(w.done)
	defer func() {
		if err := w.close(); err != nil {
			c.log.Warn("closing a sink", zap.Error(err))
		}
	}()
	trying := &trying{courier: c}
	for {
		records, err := c.queue.Next(soft, w.most())
		switch {
		case errors.Is(err, io.EOF) || soft.Err() != nil:
			return
		case err != nil:
			if !trying.again(soft, err) {
				return
			}
		case !c.deliver(soft, hard, w, records, trying):
			return
		}
	}
}

// deliver delivers records; false if it is to be left for later.
func (c *courier) deliver(soft, hard context.Context, w *way, records [][]byte, trying *trying) bool {
	messages := c.decode(records)
	for len(messages) > 0 {
		err := w.send(hard, messages)
		var no *refusal
		switch {
		case err == nil:
			c.delivered.Add(uint64(len(messages)))
			trying.succeeded()
			c.remove(len(messages))
			return true
		case hard.Err() != nil:
			return false
		case errors.As(err, &no) && len(messages) > 1:
			messages = messages[:1] // which of them it is shows one by one
		case errors.As(err, &no):
			trying.succeeded()
			c.bury(no.reason, messages[0].ID, records[0])
			c.remove(1)
			return true
		case !trying.again(soft, err):
			return false
		}
	}
	return true
}

// decode reads records as far as they are messages; the first one that is none is buried.
func (c *courier) decode(records [][]byte) (messages []Message) {
	for _, record := range records {
		m, err := decodeMessage(record)
		if err != nil {
			break
		}
		messages = append(messages, m)
	}
	if len(messages) == 0 {
		c.bury("the spool has what is no alert", "", records[0])
		c.remove(1)
	}
	return messages
}

func (c *courier) remove(n int) {
	if err := c.queue.Remove(n); err != nil {
		c.log.Error("alerts may be delivered twice", zap.Error(err))
	}
}

// bury puts a message away that is not taken.
func (c *courier) bury(reason, id string, record []byte) {
	c.refused.Add(1)
	where, err := c.dead.add(reason, record)
	c.log.Error("an alert was refused and is not delivered", zap.String("id", id), zap.String("reason", reason), zap.String("kept in", where), zap.Error(err))
}

// trying is a row of failures.
type trying struct {
	courier *courier
	waits   *backoff.ExponentialBackOff // nil: none has failed
	count   int
	said    string
}

// again waits until it is time to try again; false if that is to be left for later.
func (t *trying) again(soft context.Context, err error) bool {
	c := t.courier
	c.failures.Add(1)
	t.count++
	if t.waits == nil {
		t.waits = &backoff.ExponentialBackOff{InitialInterval: firstWait, RandomizationFactor: 0.5, Multiplier: 2, MaxInterval: lastWait}
	}
	if text := err.Error(); text != t.said {
		c.log.Warn("alerts cannot be delivered; it is tried again", zap.Error(err))
		t.said = text
	}
	wait := t.waits.NextBackOff()
	var later *postponed
	if errors.As(err, &later) {
		wait = max(wait, later.wait)
	}
	select {
	case <-c.finishing:
		return false // it was tried when no more came
	default:
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.finishing: // once more, at once
	case <-soft.Done():
		return false
	}
	return true
}

func (t *trying) succeeded() {
	if t.count > 0 {
		t.courier.log.Warn("alerts are delivered again", zap.Int("failures", t.count))
	}
	*t = trying{courier: t.courier}
}
