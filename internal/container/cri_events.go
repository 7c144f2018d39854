package container

import (
	"context"
	"slices"
	"time"
)

const (
	// criPoll is the time between two lists of the containers. The kernel reports new containers sooner.
	criPoll = time.Second
	// maxPastOfCRI is the largest number of containers that have ended whose ends capmon reads.
	maxPastOfCRI = 256
)

// Events implements [Engine]. It lists the containers again and again, because requesting the events of the CRI would
// take them away from the kubelet (see [criRuntime]). The first list is made before Events returns.
func (c *CRI) Events(ctx context.Context, since time.Time) (<-chan Event, <-chan error) {
	out, failed := make(chan Event), make(chan error, 1)
	before, err := c.byID(ctx)
	go func() {
		defer close(failed)
		if err == nil {
			err = c.poll(ctx, since, before, out)
		}
		if err != nil && ctx.Err() == nil {
			failed <- err
		}
	}()
	return out, failed
}

func (c *CRI) byID(ctx context.Context) (map[string]Info, error) {
	all, err := c.List(ctx, true)
	if err != nil {
		return nil, err
	}
	infos := make(map[string]Info, len(all))
	for _, info := range all {
		infos[info.ID] = info
	}
	return infos, nil
}

// poll sends the ends since a time, and then what changes after before, until ctx ends.
func (c *CRI) poll(ctx context.Context, since time.Time, before map[string]Info, out chan<- Event) error {
	past, err := c.ends(ctx, before, since, time.Now())
	for _, event := range past {
		if !send(ctx, out, event) {
			return ctx.Err()
		}
	}
	ticker := time.NewTicker(criPoll)
	defer ticker.Stop()
	for err == nil {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		var now map[string]Info
		if now, err = c.byID(ctx); err != nil {
			break
		}
		for _, event := range changes(before, now, time.Now()) {
			if event.Type == Died {
				event = c.withEnd(ctx, event)
			}
			if !send(ctx, out, event) {
				return ctx.Err()
			}
		}
		before = now
	}
	return err
}

// changes returns the events between two lists.
func changes(before, now map[string]Info, at time.Time) (events []Event) {
	add := func(of EventType, info Info) {
		events = append(events, Event{Type: of, ID: info.ID, Name: info.Name, Image: info.Image, Labels: info.Labels, Engine: info.Engine, Time: at})
	}
	for id, info := range now {
		old, known := before[id]
		if !known {
			add(Created, info)
		}
		if info.Running && !old.Running {
			add(Started, info)
		}
		if ended := info.hasEnded(); ended && (!known || !old.hasEnded()) {
			add(Died, info)
		}
	}
	for id, info := range before {
		if _, exists := now[id]; !exists {
			add(Removed, info)
		}
	}
	return events
}

// hasEnded reports whether the container has run and does not run any longer.
func (i Info) hasEnded() bool { return !i.Running && !i.NeverStarted }

// withEnd returns the event of an end with its time and the exit status, as far as the runtime reports them.
func (c *CRI) withEnd(ctx context.Context, event Event) Event {
	info, err := c.Inspect(ctx, event.ID)
	if err == nil && !info.FinishedAt.IsZero() {
		event.Time, event.ExitStatus = info.FinishedAt, &info.ExitCode
	}
	return event
}

// Past implements [Engine]. The runtime keeps no events, but the containers that have ended, until the kubelet removes
// them.
func (c *CRI) Past(ctx context.Context, since, until time.Time) ([]Event, error) {
	all, err := c.byID(ctx)
	if err != nil {
		return nil, err
	}
	return c.ends(ctx, all, since, until)
}

// ends returns the ends of the latest containers between two times, in the order of time.
func (c *CRI) ends(ctx context.Context, all map[string]Info, since, until time.Time) ([]Event, error) {
	var ended []Info
	for _, info := range all {
		if info.hasEnded() && !info.Sandbox {
			ended = append(ended, info)
		}
	}
	slices.SortFunc(ended, func(one, other Info) int { return other.CreatedAt.Compare(one.CreatedAt) })
	var events []Event
	for _, info := range ended[:min(len(ended), maxPastOfCRI)] {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		event := c.withEnd(ctx, Event{Type: Died, ID: info.ID, Name: info.Name, Image: info.Image, Labels: info.Labels, Engine: info.Engine})
		if event.ExitStatus != nil && !event.Time.Before(since) && !event.Time.After(until) {
			events = append(events, event)
		}
	}
	slices.SortStableFunc(events, func(one, other Event) int { return one.Time.Compare(other.Time) })
	return events, nil
}
