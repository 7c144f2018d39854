package observe

import "sync"

// oneTimeEvent is an event that happens at most once.
type oneTimeEvent struct {
	sent chan struct{} // closed by send
	send func()        // may be called more than once
}

func newOneTimeEvent() oneTimeEvent {
	sent := make(chan struct{})
	return oneTimeEvent{sent, sync.OnceFunc(func() { close(sent) })}
}
