package sink

import (
	"context"
	"fmt"
	"time"
)

// transport sends messages to a receiver.
type transport interface {
	// send returns when all messages have arrived, as far as the protocol can confirm it. The error is a
	// *rejection if the receiver would reject the same messages again. After any other error the caller can
	// retry.
	send(ctx context.Context, messages []Message) error
	// maxBatch is the maximum number of messages per call of send.
	maxBatch() int
	close() error
}

// rejection is the reason why a receiver does not accept a message. A retry would not help.
type rejection struct{ reason string }

func (r *rejection) Error() string { return r.reason }

func rejectionf(format string, args ...any) error { return &rejection{fmt.Sprintf(format, args...)} }

// retryLater is an error after which the receiver requires a minimum wait.
type retryLater struct {
	error
	wait time.Duration
}

// batchSize is the number of messages sent at once, where that is possible.
const batchSize = 100
