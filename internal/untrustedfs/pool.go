// Package untrustedfs asks the file systems of containers about files. A container may serve its
// file system itself (FUSE), or its server may be dead (NFS). Then a system call never returns,
// and not even SIGKILL ends it, so that a process with such a thread cannot end. So capmon asks
// through helper processes, and gives them up when they do not answer in time.
package untrustedfs

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"
)

const (
	// answerTime is how long a container's file system may take to answer one request.
	answerTime = 2 * time.Second
	// workers is how many requests are dealt with at the same time, each of another container.
	workers = 4
	// mostAbandoned is how many helper processes that the kernel cannot end may be left behind
	// until no more are started.
	mostAbandoned = 32
	// A container's requests may take a burst of time at once, and a part of the time in the
	// long run: one that answers slowly does not take the time of others.
	burst = 5 * time.Second
	part  = 20
)

var (
	// ErrSilent is returned for a container whose file system did not answer once.
	ErrSilent = errors.New("the container's file system does not answer")
	// ErrSlow is returned for a container whose requests have taken too much time lately.
	ErrSlow = errors.New("the container's file system answers too slowly to be asked again now")
	// ErrAbandoned is returned if too many helper processes wait for file systems that do not
	// answer.
	ErrAbandoned = errors.New("too many helper processes wait for file systems that do not answer")
	errClosed    = errors.New("no more files are looked up")
)

// Pool is a bounded set of helper processes. It is safe for concurrent use.
type Pool struct {
	start func() (*worker, error)
	limit time.Duration
	told  func(container uint64) // is called once for each container that is silent
	room  chan struct{}          // holds one for each request that is dealt with

	mu         sync.Mutex
	closed     bool
	idle       []*worker
	abandoned  int // helper processes that were killed and have not ended
	containers map[uint64]*account
}

// account is what the pool knows of a container.
type account struct {
	turn   chan struct{} // holds one while a request is dealt with
	silent bool
	spent  time.Duration // on its requests, less what was given since
	since  time.Time     // when spent was right
}

// NewPool makes a pool. It starts helper processes when they are needed: copies of this program,
// which has to call [Main] first of all. silent is called once for each container whose file system
// does not answer, by a goroutine of the pool's.
func NewPool(silent func(container uint64)) *Pool { return newPool(start, answerTime, silent) }

func newPool(start func() (*worker, error), limit time.Duration, silent func(container uint64)) *Pool {
	return &Pool{start: start, limit: limit, told: silent, room: make(chan struct{}, workers), containers: make(map[uint64]*account)}
}

// Warm starts a helper process, so that the first request does not wait for it. A failure is left to
// that request.
func (p *Pool) Warm() {
	w, err := p.worker()
	if err != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		p.abandon(w)
		return
	}
	p.idle = append(p.idle, w)
}

// Do asks a container's file system. The container is known by its cgroup. Do returns when ctx ends; the request
// has its own time limit. A container whose file system does not answer within that is not asked again.
func (p *Pool) Do(ctx context.Context, container uint64, request Request) (Answer, error) {
	account := p.account(container)
	if err := p.admit(ctx, account); err != nil {
		return Answer{}, err
	}
	type outcome struct {
		answer Answer
		err    error
	}
	done := make(chan outcome, 1)
	go func() { // which goes on if ctx ends
		answer, err := p.ask(account, request)
		<-p.room
		<-account.turn
		done <- outcome{answer, err}
		if errors.Is(err, ErrSilent) {
			p.told(container)
		}
	}()
	select {
	case outcome := <-done:
		return outcome.answer, outcome.err
	case <-ctx.Done():
		return Answer{}, ctx.Err()
	}
}

func (p *Pool) account(container uint64) *account {
	p.mu.Lock()
	defer p.mu.Unlock()
	known, ok := p.containers[container]
	if !ok {
		known = &account{turn: make(chan struct{}, 1), since: time.Now()}
		p.containers[container] = known
	}
	return known
}

// admit waits for the container's turn, and for room.
func (p *Pool) admit(ctx context.Context, a *account) error {
	if err := p.refuses(a); err != nil { // before waiting, and after
		return err
	}
	if err := take(ctx, a.turn); err != nil {
		return err
	}
	err := p.refuses(a)
	if err == nil {
		err = take(ctx, p.room)
	}
	if err != nil {
		<-a.turn
	}
	return err
}

func take(ctx context.Context, from chan struct{}) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	select {
	case from <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// refuses is why a container may not be asked now.
func (p *Pool) refuses(a *account) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	a.spent, a.since = max(0, a.spent-now.Sub(a.since)/part), now
	switch {
	case p.closed:
		return errClosed
	case a.silent:
		return ErrSilent
	case a.spent > burst:
		return ErrSlow
	}
	return nil
}

// ask has a worker deal with a request, and gives the worker up if that does not answer in time.
func (p *Pool) ask(a *account, request Request) (Answer, error) {
	w, err := p.worker()
	if err != nil {
		return Answer{}, err
	}
	began := time.Now()
	answer, err := w.ask(request, p.limit)
	p.mu.Lock()
	defer p.mu.Unlock()
	a.spent += time.Since(began)
	if err == nil && !p.closed {
		p.idle = append(p.idle, w)
		return answer, nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		a.silent, err = true, ErrSilent
	}
	p.abandon(w)
	return answer, err
}

// worker takes an idle one, or starts one.
func (p *Pool) worker() (*worker, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.idle); n > 0 {
		w := p.idle[n-1]
		p.idle = p.idle[:n-1]
		return w, nil
	}
	switch {
	case p.closed:
		return nil, errClosed
	case p.abandoned >= mostAbandoned:
		return nil, ErrAbandoned
	}
	return p.start()
}

// abandon kills a worker, and waits for its end beside. The caller holds mu.
func (p *Pool) abandon(w *worker) {
	p.abandoned++
	w.kill()
	go func() {
		w.wait() // for ever, if the kernel cannot end it
		p.mu.Lock()
		defer p.mu.Unlock()
		p.abandoned--
	}()
}

// Silent are the containers whose file systems did not answer.
func (p *Pool) Silent() map[uint64]bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	silent := make(map[uint64]bool)
	for container, account := range p.containers {
		if account.silent {
			silent[container] = true
		}
	}
	return silent
}

// Forget forgets a container that has ended.
func (p *Pool) Forget(container uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.containers, container)
}

// Close ends the helper processes. It does not wait for those that cannot be ended.
func (p *Pool) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, w := range p.idle {
		p.abandon(w)
	}
	p.idle = nil
}
