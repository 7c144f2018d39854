package container

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/capmon/capmon/internal/containerid"
)

// Engines are several engines as one. An engine that fails or does not answer does not delay the others: the results
// then have only what the others report. It implements [Engine].
type Engines struct {
	members []*member
	caution func(engine string, err error)
}

// member is one of several engines.
type member struct {
	*Docker
	silent atomic.Bool // the engine did not answer the last request
}

const (
	// memberTimeout is how long a request may take until capmon checks whether the engine still answers a ping, and how
	// long the ping may take.
	memberTimeout = 2 * time.Second
	// memberRetry is the first delay before capmon follows the events of a failed engine again, and maxMemberRetry is the
	// longest.
	memberRetry, maxMemberRetry = time.Second, 10 * time.Second
)

// NewEngines returns these engines as one. It asks which of them answer. The first one is the engine whose process sees
// the files of its containers. caution receives the name of each engine that does not answer, and the error.
func NewEngines(ctx context.Context, engines []*Docker, caution func(engine string, err error)) *Engines {
	e := &Engines{caution: caution}
	for _, engine := range engines {
		e.members = append(e.members, &member{Docker: engine})
	}
	_, _ = ask(ctx, e, func(ctx context.Context, m *member) (bool, error) {
		ctx, cancel := context.WithTimeoutCause(ctx, memberTimeout, errSilent)
		defer cancel()
		return m.isPodman(ctx)
	})
	return e
}

// title returns the name of an engine with its address.
func (m *member) title() string { return m.Name() + " at " + m.endpoint }

// fail records that an engine did not answer.
func (e *Engines) fail(m *member, err error) {
	if !m.silent.Swap(true) {
		e.caution(m.title(), err)
	}
}

// answering returns the engines that answered the last request, or all of them if none did.
func (e *Engines) answering() []*member {
	answering := slices.DeleteFunc(slices.Clone(e.members), func(m *member) bool { return m.silent.Load() })
	if len(answering) == 0 {
		return e.members
	}
	return answering
}

// reply is the answer of one engine.
type reply[T any] struct {
	member *member
	value  T
	err    error
}

// each asks the answering engines at the same time. The channel receives one answer of each. An engine that also does
// not answer a ping fails after 2*memberTimeout at most.
func each[T any](ctx context.Context, e *Engines, question func(context.Context, *member) (T, error)) (replies <-chan reply[T], number int) {
	members := e.answering()
	all := make(chan reply[T], len(members))
	for _, m := range members {
		go func() {
			limited, cancel := m.whileAlive(ctx)
			value, err := question(limited, m)
			cancel()
			if cause := context.Cause(limited); errors.Is(cause, errSilent) {
				err = cause
			}
			switch {
			case err == nil || errors.Is(err, ErrNotFound):
				m.silent.Store(false)
			case errors.Is(err, errSilent):
				e.fail(m, err)
			case ctx.Err() == nil && !m.answers(ctx): // otherwise it reports an error
				e.fail(m, err)
			}
			all <- reply[T]{m, value, err}
		}()
	}
	return all, len(members)
}

// errSilent is the error of an engine that does not answer.
var errSilent = errors.New("it does not answer")

// whileAlive returns a context that ends when the engine does not answer pings any longer. A busy engine can need many
// seconds for a request.
func (m *member) whileAlive(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(memberTimeout):
			}
			if !m.answers(ctx) {
				cancel(errSilent)
				return
			}
		}
	}()
	return ctx, func() { cancel(context.Canceled) }
}

// answers reports whether the engine answers a ping.
func (m *member) answers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, memberTimeout)
	defer cancel()
	pong, err := m.get(ctx, "/_ping")
	if err != nil {
		return false
	}
	_ = pong.Body.Close()
	return true
}

// ask asks the answering engines, and returns the answers of those that succeed, in the order of the engines. The error
// is that of an engine if none succeeds.
func ask[T any](ctx context.Context, e *Engines, question func(context.Context, *member) (T, error)) ([]reply[T], error) {
	answers, number := each(ctx, e, question)
	var good []reply[T]
	var failed error
	for range number {
		one := <-answers
		if one.err != nil {
			failed = one.err
			continue
		}
		good = append(good, one)
	}
	if len(good) == 0 {
		return nil, failed
	}
	slices.SortFunc(good, func(one, other reply[T]) int {
		return slices.Index(e.members, one.member) - slices.Index(e.members, other.member)
	})
	return good, nil
}

// Name implements [Engine].
func (e *Engines) Name() string {
	var names []string
	for _, m := range e.answering() {
		if name := m.Name(); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// Version implements [Engine]. It describes the first engine that answers. Title names all of them.
func (e *Engines) Version(ctx context.Context) (Version, error) {
	answers, err := ask(ctx, e, func(ctx context.Context, m *member) (Version, error) { return m.Version(ctx) })
	if err != nil {
		return Version{}, err
	}
	version := answers[0].value
	var titles []string
	for _, one := range answers {
		titles = append(titles, one.member.Name()+" "+one.value.Engine)
	}
	version.Title = strings.Join(titles, ", ")
	return version, nil
}

// List implements [Engine].
func (e *Engines) List(ctx context.Context, all bool) ([]Info, error) {
	answers, err := ask(ctx, e, func(ctx context.Context, m *member) ([]Info, error) { return m.List(ctx, all) })
	if err != nil {
		return nil, err
	}
	var merged []Info
	known := make(map[string]bool)
	for _, one := range answers {
		for _, info := range one.value {
			if !known[info.ID] {
				known[info.ID] = true
				merged = append(merged, info)
			}
		}
	}
	return merged, nil
}

// wholeID matches the whole ID of a container.
var wholeID = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Inspect implements [Engine]. A name that several engines know is an error.
func (e *Engines) Inspect(ctx context.Context, id string) (Info, error) {
	inspect := func(ctx context.Context, m *member) (Info, error) { return m.Inspect(ctx, id) }
	return find(ctx, e, id, inspect, func(i Info) string { return i.ID })
}

// Settings returns all settings of a container, as [Docker.Settings].
func (e *Engines) Settings(ctx context.Context, id string) (Settings, error) {
	settings := func(ctx context.Context, m *member) (Settings, error) { return m.Settings(ctx, id) }
	return find(ctx, e, id, settings, func(s Settings) string { return s.Container.ID })
}

// find returns what the engine reports that has the container with this ID or name. It returns [ErrNotFound] if no
// engine that answers has the container.
func find[T any](ctx context.Context, e *Engines, id string, inspect func(context.Context, *member) (T, error), idOf func(T) string) (found T, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // the answer of one engine suffices for a whole ID
	replies, number := each(ctx, e, inspect)
	var owner *member
	var failed error
	var none T
	for range number {
		switch one := <-replies; {
		case one.err == nil && owner != nil && idOf(found) != idOf(one.value):
			return none, fmt.Errorf("several engines have a container %q: %s (%s) and %s (%s); use the ID", id,
				containerid.Short(idOf(found)), owner.title(), containerid.Short(idOf(one.value)), one.member.title())
		case one.err == nil:
			found, owner = one.value, one.member
			if wholeID.MatchString(id) {
				return found, nil
			}
		case failed == nil || errors.Is(failed, ErrNotFound):
			failed = one.err
		}
	}
	if owner == nil {
		return none, failed
	}
	return found, nil
}

// Past implements [Engine].
func (e *Engines) Past(ctx context.Context, since, until time.Time) ([]Event, error) {
	answers, err := ask(ctx, e, func(ctx context.Context, m *member) ([]Event, error) { return m.Past(ctx, since, until) })
	if err != nil {
		return nil, err
	}
	var past []Event
	for _, one := range answers {
		past = append(past, one.value...)
	}
	slices.SortStableFunc(past, func(one, other Event) int { return one.Time.Compare(other.Time) })
	return past, nil
}

// PID implements [Engine]. It returns the process of the first engine.
func (e *Engines) PID() int {
	if first := e.members[0]; !first.silent.Load() {
		return first.PID()
	}
	return 0
}

// Close implements [Engine].
func (e *Engines) Close() error {
	var errs []error
	for _, m := range e.members {
		errs = append(errs, m.Close())
	}
	return errors.Join(errs...)
}

// Events implements [Engine]. The stream continues if an engine other than the first one fails. When that engine
// answers again, the stream reports its running containers as started. The stream fails when the first engine fails, or
// answers again, because PID then has another result.
func (e *Engines) Events(ctx context.Context, since time.Time) (<-chan Event, <-chan error) {
	ctx, cancel := context.WithCancel(ctx)
	out, failed := make(chan Event), make(chan error, 1)
	var following sync.WaitGroup
	for i, m := range e.members {
		following.Go(func() {
			for delay, from := memberRetry, since; ; delay, from = min(2*delay, maxMemberRetry), time.Unix(0, 0) {
				wasSilent := m.silent.Load()
				err := e.followOnce(ctx, m, from, out)
				if ctx.Err() != nil {
					return
				}
				if recovered := wasSilent && !m.silent.Load(); i == 0 && (recovered || !wasSilent) {
					e.fail(m, err)
					failed <- err
					cancel()
					return
				}
				e.fail(m, err)
				select {
				case <-ctx.Done():
					return
				case <-time.After(delay):
				}
			}
		})
	}
	go func() {
		following.Wait()
		cancel()
		close(failed)
	}()
	return out, failed
}

// errAnswersAgain is the error of the stream when the first engine answers again.
var errAnswersAgain = errors.New("the engine answers again")

// followOnce passes on the events of one engine until they end, and returns the reason.
func (e *Engines) followOnce(ctx context.Context, m *member, since time.Time, out chan<- Event) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events, errs := m.Events(ctx, since)
	if m.silent.Load() {
		if err := e.announce(ctx, m, out); err != nil {
			return err
		}
		if m == e.members[0] {
			return errAnswersAgain
		}
	}
	silent := time.NewTicker(memberTimeout)
	defer silent.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-errs:
			return err
		case <-silent.C:
			if m.silent.Load() { // a request failed, but the stream did not
				return errSilent
			}
		case event := <-events:
			if !send(ctx, out, event) {
				return ctx.Err()
			}
		}
	}
}

// announce reports the containers of an engine that answers again.
func (e *Engines) announce(ctx context.Context, m *member, out chan<- Event) error {
	listing, cancel := m.whileAlive(ctx)
	defer cancel()
	all, err := m.List(listing, true)
	if err != nil {
		return err
	}
	m.silent.Store(false)
	for _, info := range all {
		event := Event{Type: Renamed, ID: info.ID, Name: info.Name, Image: info.Image, Labels: info.Labels, Engine: info.Engine, Time: time.Now()}
		if !send(ctx, out, event) {
			return ctx.Err()
		}
		if event.Type = Started; info.Running && !send(ctx, out, event) {
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
