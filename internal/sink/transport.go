package sink

import (
	"context"
	"fmt"
	"time"
)

// transport takes messages to where they are to go.
type transport interface {
	// send returns when all messages have arrived, as far as that can be known. The error is a
	// *refusal if the same messages would be refused again; after others it may be tried again.
	send(ctx context.Context, messages []Message) error
	// most is how many messages may be sent at once.
	most() int
	close() error
}

// refusal says why a message is not taken and never will be.
type refusal struct{ reason string }

func (r *refusal) Error() string { return r.reason }

func refused(format string, args ...any) error { return &refusal{fmt.Sprintf(format, args...)} }

// postponed is an error after which the receiver wants to be left alone for some time.
type postponed struct {
	error
	wait time.Duration
}

// manyMessages is how many are sent at once where that is possible.
const manyMessages = 100
