package observe

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/container"
)

// engineTimeout is the time limit of one request to the engine. A slow engine may cost a name, but never a check.
const engineTimeout = 10 * time.Second

// engineRetry is the first delay before the observer repeats a request that the engine did not answer.
const engineRetry = time.Second

// beforeAllEvents is a time before all events that an engine keeps. The observer uses it when it reads the events
// again. A later time could skip events, because the wall clock, which dates the events, may have been set back.
var beforeAllEvents = time.Unix(0, 0)

// followEngine follows the engine's events until ctx ends, across restarts and failures of the engine. It logs each
// error once.
func (o *Observer) followEngine(ctx context.Context) func() {
	return func() {
		logged := make(map[string]bool)
		since := o.observation.Start
		for delay := engineRetry; ; delay = min(2*delay, engineTimeout) {
			err := o.followEngineOnce(ctx, since)
			if ctx.Err() != nil {
				return
			}
			if o.hasAnswered() && !logged[err.Error()] { // an engine that never answered has been reported already
				o.log.Warn("the engine's event stream failed, retrying; short-lived containers may have no name", zap.Error(err))
				logged[err.Error()] = true
			}
			if !sleep(ctx, delay) {
				return
			}
			since = beforeAllEvents
		}
	}
}

// followEngineOnce reads names and images from the engine's events, which also cover containers that were removed
// before an inspection. It also inspects the containers that are already running. It returns the reason why the events
// ended.
func (o *Observer) followEngineOnce(ctx context.Context, since time.Time) error {
	following, cancel := context.WithCancel(ctx)
	defer cancel()
	events, errs := o.engine.Events(following, since) // before the list, so that no container is missing in both
	all, err := o.list(ctx)
	if err != nil {
		o.inspections.runningInspected.send()
		return err
	}
	o.done.Go(func() { o.describeEngine(following) }) // again after each restart, which may be an upgrade
	o.setEngineProcs(o.engine.PIDs())
	defer o.setEngineProcs(nil) // a process of a container may get the process ID of an engine that has exited
	o.inspectRunning(ctx, all)
	o.expectListed(all)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-errs:
			return err
		case event := <-events:
			if event.Type == container.EnginesChanged {
				o.setEngineProcs(o.engine.PIDs())
				o.done.Go(func() { o.describeEngine(following) })
				o.done.Go(func() { o.expectAll(following) })
				continue
			}
			switch event.Type {
			case container.Created:
				o.expectNew(ctx, event)
			case container.Removed:
				o.forgetExpected(event.ID)
			}
			o.handleEngineEvent(event)
			if event.Type == container.Started {
				o.addStarting(event)
				o.markRestarted(event.ID)
			}
			if event.Type == container.Created || event.Type == container.Started {
				o.inspectInBackground(ctx, event.ID)
			}
		}
	}
}

// WaitForEngine waits until the engine has reported the containers that were running when the recording began, and
// until the bundles of the others have been read. From then on, capmon records the system calls that the seccomp
// profiles of these containers allow only with a granted capability. WaitForEngine waits at most 10 seconds for an
// engine that does not answer.
func (o *Observer) WaitForEngine(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, engineTimeout)
	defer cancel()
	for _, done := range []<-chan struct{}{o.bundles.runningRead.sent, o.inspections.runningInspected.sent} {
		select {
		case <-done:
		case <-ctx.Done():
		}
	}
}

// inspectRunning inspects the running containers. When the inspection of each of them has succeeded or failed, it sends
// inspections.runningInspected.
func (o *Observer) inspectRunning(ctx context.Context, all []container.Info) {
	var answers []<-chan struct{}
	for _, info := range all {
		if info.Running {
			o.markRestarted(info.ID) // perhaps, while no events were received
			answers = append(answers, o.inspectInBackground(ctx, info.ID))
		}
	}
	o.done.Go(func() {
		for _, answer := range answers {
			<-answer
		}
		o.inspections.runningInspected.send()
	})
}

// sleep waits for a duration. It returns false if ctx ends first.
func sleep(ctx context.Context, duration time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(duration):
		return true
	}
}
