package container

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/bundle"
	"github.com/capmon/capmon/internal/containerid"
)

// Member is an engine that can be one of several [Engines].
type Member interface {
	Engine
	// Alive returns an error if the engine does not answer a small request. A busy engine answers it soon.
	Alive(ctx context.Context) error
	// Endpoint returns the address of the engine, such as unix:///run/podman/podman.sock.
	Endpoint() string
	// Settings returns the settings of a container, as far as the engine reports them. The error is [ErrNotFound] if
	// there is no such container.
	Settings(ctx context.Context, id string) (Settings, error)
}

// Engines are several engines as one. An engine that fails or does not answer does not delay the others: the results
// then have only what the others report. It implements [Engine].
type Engines struct {
	members []*member
	caution func(engine Member, err error)
}

// member is one of several engines.
type member struct {
	Member
	silent   atomic.Bool // the engine did not answer the last request
	answered atomic.Bool // the engine has answered a request
	// absent: the engine has never answered. No process listens at its address, or capmon may not connect.
	absent atomic.Bool

	mu     sync.Mutex
	listed []Info // the last list of all containers
}

const (
	// memberTimeout is how long a request may take until capmon checks whether the engine is alive, and how long that
	// check may take.
	memberTimeout = 2 * time.Second
	// memberRetry is the first delay before capmon follows the events of a failed engine again, and maxMemberRetry is
	// the longest.
	memberRetry, maxMemberRetry = time.Second, 10 * time.Second
)

// errSilent is the error of an engine that does not answer.
var errSilent = errors.New("it does not answer")

// NewEngines returns these engines as one. It asks which of them answer. If several engines report a container, the
// first one counts. caution is called with each engine that does not answer, and the error.
//
// If Docker has answered, a [Containerd] leaves out the containers of Docker, because Docker reports more about them.
func NewEngines(ctx context.Context, engines []Member, caution func(engine Member, err error)) *Engines {
	e := &Engines{caution: caution}
	for _, engine := range engines {
		e.members = append(e.members, &member{Member: engine})
		if containerd, ok := engine.(*Containerd); ok {
			containerd.skipDocker = e.dockerAnswered
		}
	}
	_, _ = ask(ctx, e, func(ctx context.Context, m *member) (bool, error) {
		ctx, cancel := context.WithTimeoutCause(ctx, memberTimeout, errSilent)
		defer cancel()
		return true, m.Alive(ctx)
	})
	return e
}

// dockerAnswered reports whether Docker has answered a request.
func (e *Engines) dockerAnswered() bool {
	return slices.ContainsFunc(e.members, func(m *member) bool { return m.Name() == bundle.Docker && m.answered.Load() })
}

// Answer reports whether an engine answered the last request to it.
func (e *Engines) Answer() bool {
	return slices.ContainsFunc(e.members, func(m *member) bool { return !m.silent.Load() })
}

// title returns the name of an engine with its address.
func title(m Member) string { return m.Name() + " at " + m.Endpoint() }

// succeed records that an engine answered.
func (m *member) succeed() {
	m.answered.Store(true)
	m.absent.Store(false)
	m.silent.Store(false)
}

// fail records that an engine did not answer.
func (e *Engines) fail(m *member, err error) {
	for _, cause := range []error{unix.ENOENT, unix.ECONNREFUSED, unix.EACCES} {
		if errors.Is(err, cause) && !m.answered.Load() {
			m.absent.Store(true)
		}
	}
	if !m.silent.Swap(true) {
		e.caution(m.Member, err)
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

// shown returns the engines that answered the last request, but without a containerd that has no containers but those
// of Docker.
func (e *Engines) shown() []*member {
	answering := e.answering()
	shown := slices.DeleteFunc(slices.Clone(answering), func(m *member) bool {
		containerd, ok := m.Member.(*Containerd)
		return ok && containerd.idle.Load()
	})
	if len(shown) == 0 {
		return answering
	}
	return shown
}

// reply is the answer of one engine.
type reply[T any] struct {
	member *member
	value  T
	err    error
}

// each asks the answering engines at the same time. The channel receives one answer of each. An engine that is not
// alive fails after 2*memberTimeout at most.
func each[T any](ctx context.Context, e *Engines, question func(context.Context, *member) (T, error)) (replies <-chan reply[T], number int) {
	members := e.answering()
	all := make(chan reply[T], len(members))
	for _, m := range members {
		go func() {
			value, err := askOne(ctx, e, m, question)
			all <- reply[T]{m, value, err}
		}()
	}
	return all, len(members)
}

// askOne asks one engine, and records whether it answered.
func askOne[T any](ctx context.Context, e *Engines, m *member, question func(context.Context, *member) (T, error)) (T, error) {
	limited, cancel := m.whileAlive(ctx)
	defer cancel()
	value, err := question(limited, m)
	if cause := context.Cause(limited); errors.Is(cause, errSilent) {
		err = cause
	}
	switch {
	case err == nil || errors.Is(err, ErrNotFound):
		m.succeed()
	case errors.Is(err, errSilent):
		e.fail(m, err)
	case ctx.Err() == nil:
		if dead := m.check(ctx); dead != nil { // otherwise the engine reports an error
			e.fail(m, dead)
		}
	}
	return value, err
}

// whileAlive returns a context that ends when the engine is no longer alive. A busy engine can need many seconds for a
// request.
func (m *member) whileAlive(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		for wait(ctx, memberTimeout) {
			if m.check(ctx) != nil && ctx.Err() == nil {
				cancel(errSilent)
			}
		}
	}()
	return ctx, func() { cancel(context.Canceled) }
}

// wait waits for a duration. It returns false if ctx ends first.
func wait(ctx context.Context, duration time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(duration):
		return true
	}
}

// check returns an error if the engine is not alive.
func (m *member) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, memberTimeout)
	defer cancel()
	return m.Alive(ctx)
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
	for _, m := range e.shown() {
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
	version, shown := answers[0].value, e.shown()
	var titles []string
	for _, one := range answers {
		if slices.Contains(shown, one.member) {
			titles = append(titles, one.member.Name()+" "+one.value.Engine)
		}
		version.Host = cmp.Or(version.Host, one.value.Host)
	}
	version.Title = strings.Join(titles, ", ")
	return version, nil
}

// List implements [Engine]. Of an engine that does not answer now, it has the containers of the last list: they may
// still run.
func (e *Engines) List(ctx context.Context, all bool) ([]Info, error) {
	answers, err := ask(ctx, e, func(ctx context.Context, m *member) ([]Info, error) { return m.list(ctx, all) })
	if err != nil {
		return nil, err
	}
	lists := make(map[*member][]Info)
	for _, m := range e.members {
		lists[m] = m.lastListed(all)
	}
	for _, one := range answers {
		lists[one.member] = one.value
	}
	var merged []Info
	known := make(map[string]bool)
	for _, m := range e.members {
		for _, info := range lists[m] {
			if !known[info.ID] {
				known[info.ID] = true
				merged = append(merged, info)
			}
		}
	}
	return merged, nil
}

// list lists the containers of one engine, and keeps the list.
func (m *member) list(ctx context.Context, all bool) ([]Info, error) {
	infos, err := m.List(ctx, all)
	if err == nil && all {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.listed = infos
	}
	return infos, err
}

// lastListed returns the last list of all containers, or of those that were running then.
func (m *member) lastListed(all bool) []Info {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(m.listed), func(info Info) bool { return !all && !info.Running })
}

// wholeID matches the whole ID of a container, which no other container has.
var wholeID = regexp.MustCompile(`^[0-9a-f]{64}$|[^/]/`)

// checkID returns [ErrNotFound] if an engine's answer about a whole ID is about a container with another ID. Engines
// that do not have a container look for one with this name, and users choose names.
func checkID(id, answered string) error {
	if answered != id && wholeID.MatchString(id) {
		return fmt.Errorf("%s: %w", id, ErrNotFound)
	}
	return nil
}

// Inspect implements [Engine]. A name that several engines know is an error.
func (e *Engines) Inspect(ctx context.Context, id string) (Info, error) {
	inspect := func(ctx context.Context, m *member) (Info, error) { return m.Inspect(ctx, id) }
	return find(ctx, e, id, inspect, func(i Info) string { return i.ID })
}

// Announced implements [Announcer].
func (e *Engines) Announced(ctx context.Context, id string) (Info, error) {
	announced := func(ctx context.Context, m *member) (Info, error) {
		engine, ok := m.Member.(Announcer)
		if !ok {
			return Info{}, ErrNotFound
		}
		return engine.Announced(ctx, id)
	}
	return find(ctx, e, id, announced, func(i Info) string { return i.ID })
}

// Settings returns the settings of a container, as its engine reports them.
func (e *Engines) Settings(ctx context.Context, id string) (Settings, error) {
	settings := func(ctx context.Context, m *member) (Settings, error) { return m.Settings(ctx, id) }
	return find(ctx, e, id, settings, func(s Settings) string { return s.Container.ID })
}

// find returns what the engine reports that has the container with this ID or name. It returns [ErrNotFound] if no
// engine has the container. If an engine does not answer that may have it, that is the error, unless an engine that
// answers has listed the container, which was then removed.
func find[T any](ctx context.Context, e *Engines, id string, inspect func(context.Context, *member) (T, error), idOf func(T) string) (found T, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // the answer of one engine suffices for a whole ID
	replies, number := each(ctx, e, inspect)
	var owner *member
	var failed error
	var none T
	for range number {
		one := <-replies
		if one.err == nil {
			one.err = checkID(id, idOf(one.value))
		}
		switch {
		case one.err == nil && owner != nil && idOf(found) != idOf(one.value):
			return none, fmt.Errorf("several engines have a container %q: %s (%s) and %s (%s); use the ID", id,
				containerid.Short(idOf(found)), title(owner), containerid.Short(idOf(one.value)), title(one.member))
		case one.err == nil:
			found, owner = one.value, one.member
			if wholeID.MatchString(id) {
				return found, nil
			}
		case failed == nil || errors.Is(failed, ErrNotFound):
			failed = one.err
		}
	}
	if owner != nil {
		return found, nil
	}
	if away := e.away(); errors.Is(failed, ErrNotFound) && len(away) > 0 && !e.listedByAnswering(id) {
		failed = fmt.Errorf("container %s may be of an engine that does not answer: %s", id, strings.Join(away, ", "))
	}
	return none, failed
}

// listedByAnswering reports whether an engine that answers has listed a container with this ID.
func (e *Engines) listedByAnswering(id string) bool {
	return slices.ContainsFunc(e.answering(), func(m *member) bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return slices.ContainsFunc(m.listed, func(info Info) bool { return info.ID == id })
	})
}

// away returns the engines that may have containers, but did not answer the last request.
func (e *Engines) away() (titles []string) {
	for _, m := range e.members {
		if m.silent.Load() && !m.absent.Load() {
			titles = append(titles, title(m))
		}
	}
	return titles
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

// PIDs implements [Engine].
func (e *Engines) PIDs() map[string]int {
	pids := make(map[string]int)
	for _, m := range slices.Backward(e.members) {
		if !m.silent.Load() {
			maps.Copy(pids, m.PIDs())
		}
	}
	return pids
}

// Close implements [Engine].
func (e *Engines) Close() error {
	var errs []error
	for _, m := range e.members {
		errs = append(errs, m.Close())
	}
	return errors.Join(errs...)
}
