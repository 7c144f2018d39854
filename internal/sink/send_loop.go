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
	// firstWait and lastWait are the first and the longest wait after failed deliveries. Each wait varies
	// randomly by up to half, so that many hosts do not retry at the same time.
	firstWait = 500 * time.Millisecond
	lastWait  = time.Minute
	// grace is the time that a delivery may still take after the loop was stopped.
	grace = time.Second
)

// sendLoop sends the messages of one sink from its queue to its transport, in order.
type sendLoop struct {
	name     string
	queue    *spool.Queue
	rejected deadLetters
	log      *zap.Logger

	delivered, rejections, failures atomic.Uint64
	finishing                       chan struct{} // closed when no more messages will be added

	mu      sync.Mutex
	session *session
}

// session is the period in which a sendLoop uses one transport. A sink that is reconfigured gets a new session.
type session struct {
	transport
	drain context.CancelFunc // stops the loop after the current delivery
	abort context.CancelFunc // interrupts the current delivery as well
	done  chan struct{}      // closed when the loop has stopped
}

// start starts a session with a transport. It ends the previous session.
func (l *sendLoop) start(t transport) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stop(context.Background())
	hardCtx, abort := context.WithCancel(context.Background())
	drainCtx, drain := context.WithCancel(hardCtx)
	l.session = &session{t, drain, abort, make(chan struct{})}
	go l.run(drainCtx, hardCtx, l.session)
}

// stop ends the session. It waits up to grace for the current delivery, and then interrupts it.
func (l *sendLoop) stop(ctx context.Context) {
	if l.session == nil {
		return
	}
	l.session.drain()
	l.session.wait(ctx)
	l.session = nil
}

// wait waits for the loop to stop, until the context ends or grace is over, and then interrupts the delivery.
func (s *session) wait(ctx context.Context) {
	select {
	case <-s.done:
	case <-ctx.Done():
	case <-time.After(grace):
	}
	s.abort()
	select {
	case <-s.done:
	case <-time.After(grace): // the delivery ignores the context, such as a write to an unreachable network file system
	}
}

// finish delivers the waiting messages until the context ends or a delivery fails, and logs how many are left.
func (l *sendLoop) finish(ctx context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.finishing)
	l.queue.Finish()
	select {
	case <-l.session.done:
	case <-ctx.Done():
	}
	l.stop(ctx)
	left, lost, err := l.queue.Close()
	if left > 0 {
		l.log.Warn("some alerts were not delivered; they stay in the spool, and the next capmon that uses this spool delivers them", zap.Int("count", left))
	}
	if lost > 0 {
		l.log.Error("undelivered alerts are lost: no spool directory is configured, or capmon cannot write to it", zap.Int("count", lost))
	}
	if err != nil {
		l.log.Error("closing the spool failed", zap.Error(err))
	}
}

// run delivers until drainCtx ends, or everything is delivered and no more messages will be added.
func (l *sendLoop) run(drainCtx, hardCtx context.Context, s *session) {
	defer close(s.done)
	defer func() {
		if err := s.close(); err != nil {
			l.log.Warn("closing the sink failed", zap.Error(err))
		}
	}()
	retry := &retry{loop: l}
	for {
		records, err := l.queue.Next(drainCtx, s.maxBatch())
		switch {
		case errors.Is(err, io.EOF) || drainCtx.Err() != nil:
			return
		case err != nil:
			if !retry.wait(drainCtx, err) {
				return
			}
		case !l.deliver(drainCtx, hardCtx, s, records, retry):
			return
		}
	}
}

// deliver delivers records. It returns false if they stay in the queue and the loop must stop.
func (l *sendLoop) deliver(drainCtx, hardCtx context.Context, s *session, records [][]byte, retry *retry) bool {
	messages := l.decode(records)
	for len(messages) > 0 {
		err := s.send(hardCtx, messages)
		var rejected *rejection
		switch {
		case err == nil:
			l.delivered.Add(uint64(len(messages)))
			retry.succeeded()
			l.remove(len(messages))
			return true
		case hardCtx.Err() != nil:
			return false
		case errors.As(err, &rejected) && len(messages) > 1:
			messages = messages[:1] // send one at a time, to find the rejected message
		case errors.As(err, &rejected):
			retry.succeeded()
			l.deadLetter(rejected.reason, messages[0].ID, records[0])
			l.remove(1)
			return true
		case !retry.wait(drainCtx, err):
			return false
		}
	}
	return true
}

// decode decodes records up to the first one that is not a message. If that is the first record, decode
// removes it as rejected.
func (l *sendLoop) decode(records [][]byte) (messages []Message) {
	for _, record := range records {
		m, err := decodeMessage(record)
		if err != nil {
			break
		}
		messages = append(messages, m)
	}
	if len(messages) == 0 {
		l.deadLetter("the record in the spool is not an alert", "", records[0])
		l.remove(1)
	}
	return messages
}

func (l *sendLoop) remove(n int) {
	if err := l.queue.Remove(n); err != nil {
		l.log.Error("alerts may be delivered twice", zap.Error(err))
	}
}

// deadLetter saves a rejected message to the file of rejected messages, and logs and counts it.
func (l *sendLoop) deadLetter(reason, id string, record []byte) {
	l.rejections.Add(1)
	path, err := l.rejected.add(reason, record)
	l.log.Error("an alert was rejected and is not delivered", zap.String("id", id), zap.String("reason", reason), zap.String("saved to", path), zap.Error(err))
}

// retry is the state of a series of failed deliveries. If only loop is set, no delivery has failed.
type retry struct {
	loop    *sendLoop
	backoff *backoff.ExponentialBackOff // nil: no delivery has failed
	count   int
	logged  string // the last error that was logged
}

// wait waits until the time of the next attempt. It returns false if the messages stay in the queue.
func (r *retry) wait(drainCtx context.Context, err error) bool {
	l := r.loop
	l.failures.Add(1)
	r.count++
	if r.backoff == nil {
		r.backoff = &backoff.ExponentialBackOff{InitialInterval: firstWait, RandomizationFactor: 0.5, Multiplier: 2, MaxInterval: lastWait}
	}
	if text := err.Error(); text != r.logged {
		l.log.Warn("delivering alerts failed, retrying", zap.Error(err))
		r.logged = text
	}
	wait := r.backoff.NextBackOff()
	var later *retryLater
	if errors.As(err, &later) {
		wait = max(wait, later.wait)
	}
	select {
	case <-l.finishing:
		return false // this was the last attempt
	default:
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.finishing: // make the last attempt now
	case <-drainCtx.Done():
		return false
	}
	return true
}

// succeeded ends the series.
func (r *retry) succeeded() {
	if r.count > 0 {
		r.loop.log.Warn("alerts are delivered again", zap.Int("failures", r.count))
	}
	*r = retry{loop: r.loop}
}
