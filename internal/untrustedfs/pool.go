// Package untrustedfs looks files up in the file systems of containers. A container may serve its file system itself
// (FUSE), or the server may be dead (NFS). Then a system call on that file system never returns. Even SIGKILL does
// not end such a call, so a process with a thread in it cannot exit. Therefore capmon makes these calls in helper
// processes, and abandons a helper process that does not answer in time.
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
	// workers is the maximum number of concurrent requests, each for another container.
	workers = 4
	// maxAbandoned is the maximum number of abandoned helper processes that have not ended. If there are as many,
	// the pool starts no more helper processes.
	maxAbandoned = 32
	// burst and share limit the time that the requests for one container may take: burst in a short time, and 1/share
	// of the time in the long run. So a container that answers slowly does not delay the requests for others.
	burst = 5 * time.Second
	share = 20
)

var (
	// ErrUnresponsive is returned for a container whose file system once did not answer in time.
	ErrUnresponsive = errors.New("the container's file system does not answer")
	// ErrSlow is returned for a container whose requests took too much time recently.
	ErrSlow = errors.New("the container's file system answers too slowly: try again later")
	// ErrAbandoned is returned if too many helper processes wait for file systems that do not answer.
	ErrAbandoned = errors.New("too many helper processes wait for file systems that do not answer")
	errClosed    = errors.New("the pool of helper processes is closed")
)

// Pool is a bounded set of helper processes. It is safe for concurrent use.
type Pool struct {
	start          func() (*worker, error)
	limit          time.Duration
	onUnresponsive func(container uint64) // called once for each unresponsive container
	slots          chan struct{}          // holds one element for each request in progress

	mu         sync.Mutex
	closed     bool
	idle       []*worker
	abandoned  int // helper processes that were killed and have not ended
	containers map[uint64]*account
}

// account is the pool's state of a container.
type account struct {
	busy         chan struct{} // holds one element while a request is in progress
	unresponsive bool
	spent        time.Duration // time that its requests took, less its share of the time that passed
	since        time.Time     // when spent was computed
}

// NewPool makes a pool. The pool starts helper processes when it needs them. They are copies of this program, which
// must call [Main] before anything else. A goroutine of the pool calls onUnresponsive once for each container whose
// file system does not answer.
func NewPool(onUnresponsive func(container uint64)) *Pool {
	return newPool(start, answerTime, onUnresponsive)
}

func newPool(start func() (*worker, error), limit time.Duration, onUnresponsive func(container uint64)) *Pool {
	return &Pool{
		start: start, limit: limit, onUnresponsive: onUnresponsive,
		slots: make(chan struct{}, workers), containers: make(map[uint64]*account),
	}
}

// Warm starts a helper process, so the first request does not wait for the start. If the start fails, the first
// request returns the error.
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

// Do answers a request with a container's file system. container is the id of the container's cgroup. Do returns when
// ctx ends, but the request continues until its own time limit. If the file system does not answer within that limit,
// Do returns [ErrUnresponsive], now and for all later requests for the container.
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
	go func() { // continues if ctx ends
		answer, err := p.do(account, request)
		<-p.slots
		<-account.busy
		done <- outcome{answer, err}
		if errors.Is(err, ErrUnresponsive) {
			p.onUnresponsive(container)
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
		known = &account{busy: make(chan struct{}, 1), since: time.Now()}
		p.containers[container] = known
	}
	return known
}

// admit waits until no other request for the container is in progress and a slot is free.
func (p *Pool) admit(ctx context.Context, a *account) error {
	if err := p.unavailable(a); err != nil { // before and after waiting
		return err
	}
	if err := acquire(ctx, a.busy); err != nil {
		return err
	}
	err := p.unavailable(a)
	if err == nil {
		err = acquire(ctx, p.slots)
	}
	if err != nil {
		<-a.busy
	}
	return err
}

func acquire(ctx context.Context, semaphore chan struct{}) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	select {
	case semaphore <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// unavailable returns the reason why the pool makes no request for a container now; nil if it does.
func (p *Pool) unavailable(a *account) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	a.spent, a.since = max(0, a.spent-now.Sub(a.since)/share), now
	switch {
	case p.closed:
		return errClosed
	case a.unresponsive:
		return ErrUnresponsive
	case a.spent > burst:
		return ErrSlow
	}
	return nil
}

// do sends a request to a worker. It abandons the worker if that does not answer in time.
func (p *Pool) do(a *account, request Request) (Answer, error) {
	w, err := p.worker()
	if err != nil {
		return Answer{}, err
	}
	began := time.Now()
	answer, err := w.do(request, p.limit)
	p.mu.Lock()
	defer p.mu.Unlock()
	a.spent += time.Since(began)
	if err == nil && !p.closed {
		p.idle = append(p.idle, w)
		return answer, nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		a.unresponsive, err = true, ErrUnresponsive
	}
	p.abandon(w)
	return answer, err
}

// worker returns an idle worker, or starts one.
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
	case p.abandoned >= maxAbandoned:
		return nil, ErrAbandoned
	}
	return p.start()
}

// abandon kills a worker. A goroutine waits for its end. The caller holds mu.
func (p *Pool) abandon(w *worker) {
	p.abandoned++
	w.kill()
	go func() {
		w.wait() // never returns if the kernel cannot end the process
		p.mu.Lock()
		defer p.mu.Unlock()
		p.abandoned--
	}()
}

// Unresponsive returns the containers whose file systems did not answer.
func (p *Pool) Unresponsive() map[uint64]bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	unresponsive := make(map[uint64]bool)
	for container, account := range p.containers {
		if account.unresponsive {
			unresponsive[container] = true
		}
	}
	return unresponsive
}

// Forget removes the state of a container that has ended.
func (p *Pool) Forget(container uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.containers, container)
}

// Close ends the helper processes. It does not wait for processes that the kernel cannot end.
func (p *Pool) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, w := range p.idle {
		p.abandon(w)
	}
	p.idle = nil
}
