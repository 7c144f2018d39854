package observe

import "sync"

// signal is an event that happens at most once.
type signal struct {
	sent chan struct{} // closed by send
	send func()        // may be called more than once
}

func newSignal() signal {
	sent := make(chan struct{})
	return signal{sent, sync.OnceFunc(func() { close(sent) })}
}
