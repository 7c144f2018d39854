package container

import (
	"context"
	"sync"
	"time"
)

// Events implements [Engine]. The stream only ends when ctx ends. When an engine fails, the stream continues with the
// events of the others. When the engine answers again, the stream reports its running containers as started. Both times
// it reports [EnginesChanged].
func (e *Engines) Events(ctx context.Context, since time.Time) (<-chan Event, <-chan error) {
	out, failed := make(chan Event), make(chan error, 1)
	var following, subscribing sync.WaitGroup
	for _, m := range e.members {
		f := &follower{engines: e, member: m, out: out, since: since, mustAnnounce: m.silent.Load()}
		subscribing.Add(1)
		f.subscribed = sync.OnceFunc(subscribing.Done)
		following.Go(func() { f.follow(ctx) })
	}
	subscribed := make(chan struct{})
	go func() {
		subscribing.Wait()
		close(subscribed)
		following.Wait()
		close(failed)
	}()
	// An engine may keep no events: a later list must not miss what happens from now on.
	select {
	case <-subscribed:
	case <-time.After(memberTimeout):
	case <-ctx.Done():
	}
	return out, failed
}

// follower passes on the events of one of several engines.
type follower struct {
	engines    *Engines
	member     *member
	out        chan<- Event
	subscribed func() // is called when the first stream has begun or failed
	since      time.Time
	// mustAnnounce: the receiver does not know the engine's containers. It has not listed them since the engine failed.
	mustAnnounce bool
}

// follow follows the events until ctx ends.
func (f *follower) follow(ctx context.Context) {
	defer f.subscribed()
	for delay := memberRetry; ; delay = min(2*delay, maxMemberRetry) {
		followed, err := f.followOnce(ctx)
		if ctx.Err() != nil {
			return
		}
		f.engines.fail(f.member, err)
		if followed {
			delay = memberRetry
			if !send(ctx, f.out, Event{Type: EnginesChanged, Time: time.Now()}) {
				return
			}
		}
		f.since, f.mustAnnounce = time.Unix(0, 0), true
		if !wait(ctx, delay) {
			return
		}
	}
}

// followOnce passes on events until the stream ends, and returns the reason. followed reports whether the receiver
// knows that the engine answered.
func (f *follower) followOnce(ctx context.Context) (followed bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(context.Canceled)
	late := time.AfterFunc(2*memberTimeout, func() { cancel(errSilent) })
	events, errs := f.member.Events(ctx, f.since)
	f.subscribed()
	if inTime := late.Stop(); !inTime {
		return !f.mustAnnounce, errSilent
	}
	if f.mustAnnounce {
		if err := f.announce(ctx); err != nil {
			return false, err
		}
	}
	silent := time.NewTicker(memberTimeout)
	defer silent.Stop()
	for {
		select {
		case <-ctx.Done():
			return true, context.Cause(ctx)
		case err := <-errs:
			return true, err
		case <-silent.C:
			if f.member.silent.Load() { // a request failed, but the stream did not
				return true, errSilent
			}
		case event := <-events:
			if !send(ctx, f.out, event) {
				return true, ctx.Err()
			}
		}
	}
}

// announce reports the containers of an engine that answers again.
func (f *follower) announce(ctx context.Context) error {
	listing, cancel := f.member.whileAlive(ctx)
	defer cancel()
	all, err := f.member.list(listing, true)
	if err != nil {
		return err
	}
	f.member.succeed()
	f.mustAnnounce = false
	events := []Event{{Type: EnginesChanged, Time: time.Now()}}
	for _, info := range all {
		event := Event{Type: Renamed, ID: info.ID, Name: info.Name, Image: info.Image, Labels: info.Labels, Engine: info.Engine, Time: time.Now()}
		if event.Name != "" {
			events = append(events, event)
		}
		if event.Type = Started; info.Running {
			events = append(events, event)
		}
	}
	for _, event := range events {
		if !send(ctx, f.out, event) {
			return ctx.Err()
		}
	}
	return nil
}

// send sends an event. It returns false if ctx ends first.
func send(ctx context.Context, out chan<- Event, event Event) bool {
	select {
	case out <- event:
		return true
	case <-ctx.Done():
		return false
	}
}
