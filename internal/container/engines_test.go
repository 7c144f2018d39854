package container

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// fakeEngine is an engine whose state the test sets. It has containers by ID.
type fakeEngine struct {
	name string

	mu         sync.Mutex
	state      fakeState
	containers map[string]Info
	streams    map[chan Event]chan error
	asked      int
}

type fakeState int

const (
	answers fakeState = iota
	hangs             // accepts requests, and never answers
	refuses           // nobody listens
)

func newFake(name string, ids ...string) *fakeEngine {
	f := &fakeEngine{name: name, containers: make(map[string]Info), streams: make(map[chan Event]chan error)}
	for _, id := range ids {
		f.containers[id] = Info{ID: id, Name: id + " of " + name, Running: true}
	}
	return f
}

// set sets the state. The streams of an engine that refuses connections end.
func (f *fakeEngine) set(state fakeState) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state = state
	for events, failed := range f.streams {
		if state == refuses {
			failed <- errors.New("the engine has closed the connection")
			delete(f.streams, events)
		}
	}
}

// answer returns when the engine answers.
func (f *fakeEngine) answer(ctx context.Context) error {
	f.mu.Lock()
	state := f.state
	f.asked++
	f.mu.Unlock()
	switch state {
	case hangs:
		<-ctx.Done()
		return ctx.Err()
	case refuses:
		return fmt.Errorf("dial unix: %w", unix.ECONNREFUSED)
	}
	return nil
}

func (f *fakeEngine) Name() string                    { return f.name }
func (f *fakeEngine) Endpoint() string                { return "unix:///" + f.name }
func (f *fakeEngine) Close() error                    { return nil }
func (f *fakeEngine) PIDs() map[string]int            { return map[string]int{f.name: 1} }
func (f *fakeEngine) Alive(ctx context.Context) error { return f.answer(ctx) }

func (f *fakeEngine) Version(ctx context.Context) (Version, error) {
	return Version{Engine: "1"}, f.answer(ctx)
}

func (f *fakeEngine) List(ctx context.Context, _ bool) ([]Info, error) {
	if err := f.answer(ctx); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.SortedFunc(maps.Values(f.containers), func(one, other Info) int { return strings.Compare(one.ID, other.ID) }), nil
}

func (f *fakeEngine) Settings(ctx context.Context, id string) (Settings, error) {
	info, err := f.Inspect(ctx, id)
	return info.settings(), err
}

func (f *fakeEngine) Inspect(ctx context.Context, id string) (Info, error) {
	if err := f.answer(ctx); err != nil {
		return Info{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	info, known := f.containers[id]
	if !known {
		return Info{}, ErrNotFound
	}
	return info, nil
}

func (f *fakeEngine) Past(ctx context.Context, _, _ time.Time) ([]Event, error) {
	return []Event{{Type: Died, ID: f.name, Time: time.Unix(int64(len(f.name)), 0)}}, f.answer(ctx)
}

func (f *fakeEngine) Events(ctx context.Context, _ time.Time) (<-chan Event, <-chan error) {
	events, failed := make(chan Event), make(chan error, 1)
	if err := f.answer(ctx); err != nil {
		failed <- err
		return events, failed
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.streams[events] = failed
	context.AfterFunc(ctx, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.streams, events)
	})
	return events, failed
}

// start starts a container, and reports that to those who follow the events.
func (f *fakeEngine) start(id string) {
	f.mu.Lock()
	f.containers[id] = Info{ID: id, Name: id, Running: true}
	streams := slices.Collect(maps.Keys(f.streams))
	f.mu.Unlock()
	for _, events := range streams {
		events <- Event{Type: Started, ID: id}
	}
}

// together returns engines as one. The cautions are the names of the engines that did not answer.
func together(t *testing.T, fakes ...*fakeEngine) (engines *Engines, cautions func() string) {
	var mu sync.Mutex
	var names []string
	var members []Member
	for _, f := range fakes {
		members = append(members, f)
	}
	engines = NewEngines(t.Context(), members, func(engine Member, _ error) {
		mu.Lock()
		defer mu.Unlock()
		names = append(names, engine.Name())
	})
	return engines, func() string {
		mu.Lock()
		defer mu.Unlock()
		return strings.Join(names, " ")
	}
}

func idsOf(t *testing.T, e *Engines) string {
	t.Helper()
	infos, err := e.List(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, info := range infos {
		ids = append(ids, info.ID)
	}
	return strings.Join(ids, " ")
}

const whole = "00000000000000000000000000000000000000000000000000000000000000aa"

// A hanging engine is reported once, delays the first requests for a bounded time, and later ones not at all.
func TestHangingEngineDoesNotDelayTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		docker, podman := newFake("docker", "a", whole, "default/web"), newFake("podman", "b")
		begun := time.Now()
		engines, cautions := together(t, docker, podman)
		if got := idsOf(t, engines); got != whole+" a default/web b" || time.Since(begun) != 0 {
			t.Errorf("all answer: %q after %v", got, time.Since(begun))
		}
		podman.set(hangs)
		for _, id := range []string{whole, "default/web"} {
			if info, err := engines.Inspect(t.Context(), id); err != nil || info.ID != id || time.Since(begun) != 0 {
				t.Errorf("a whole ID that another engine knows: %v, %v after %v", info.ID, err, time.Since(begun))
			}
		}
		if got := idsOf(t, engines); got != whole+" a default/web b" {
			t.Errorf("while podman hangs: %q", got)
		}
		if took := time.Since(begun); took > 2*memberTimeout {
			t.Errorf("the hanging engine delayed the list by %v", took)
		}
		if got := cautions(); got != "podman" {
			t.Errorf("cautions about %q", got)
		}
		begun = time.Now()
		if _, err := engines.Inspect(t.Context(), "a"); err != nil || time.Since(begun) != 0 || cautions() != "podman" {
			t.Errorf("the next request: %v after %v, cautions about %q", err, time.Since(begun), cautions())
		}
		// The container may be podman's: nobody knows that there is none.
		if _, err := engines.Inspect(t.Context(), "c"); err == nil || errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "podman at unix:///podman") {
			t.Errorf("a container that podman may have: %v", err)
		}
		docker.mu.Lock()
		delete(docker.containers, whole)
		docker.mu.Unlock()
		if _, err := engines.Inspect(t.Context(), whole); !errors.Is(err, ErrNotFound) {
			t.Errorf("a container of docker that was removed since the list: %v", err)
		}
		if name, pids := engines.Name(), engines.PIDs(); name != "docker" || len(pids) != 1 {
			t.Errorf("name %q, PIDs %v", name, pids)
		}
	})
}

// An engine that is not installed has no containers.
func TestEngineThatNobodyRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		docker, podman := newFake("docker"), newFake("podman", "b")
		docker.set(refuses)
		engines, cautions := together(t, docker, podman)
		if got := idsOf(t, engines); got != "b" || cautions() != "docker" {
			t.Errorf("%q, cautions about %q", got, cautions())
		}
		if _, err := engines.Inspect(t.Context(), "c"); !errors.Is(err, ErrNotFound) {
			t.Errorf("a container that no engine has: %v", err)
		}
		podman.set(refuses)
		if _, err := engines.List(t.Context(), true); err == nil {
			t.Error("a list of no engine")
		}
		if engines.Answer() {
			t.Error("no engine answers")
		}
	})
}

func TestTwoEnginesWithOneName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		docker, podman := newFake("docker"), newFake("podman")
		docker.containers["web"], podman.containers["web"] = Info{ID: "1"}, Info{ID: "2"}
		engines, _ := together(t, docker, podman)
		if _, err := engines.Inspect(t.Context(), "web"); err == nil || !strings.Contains(err.Error(), `several engines have a container "web"`) {
			t.Error(err)
		}
		past, err := engines.Past(t.Context(), time.Time{}, time.Time{})
		if err != nil || len(past) != 2 {
			t.Errorf("%v, %v", past, err)
		}
		if version, err := engines.Version(t.Context()); err != nil || version.Title != "docker 1, podman 1" {
			t.Errorf("%+v, %v", version, err)
		}
	})
}

// followEvents collects the events of engines as text. next returns those since its last call, sorted.
func followEvents(t *testing.T, engines *Engines) (next func() string) {
	events, failed := engines.Events(t.Context(), time.Now())
	var mu sync.Mutex
	var seen []string
	go func() {
		for {
			select {
			case <-t.Context().Done():
				return
			case err, open := <-failed:
				if open || t.Context().Err() == nil {
					t.Errorf("the stream failed: %v", err)
				}
				return
			case event := <-events:
				mu.Lock()
				seen = append(seen, strings.TrimSpace(string(event.Type)+" "+event.ID))
				mu.Unlock()
			}
		}
	}()
	return func() string {
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		slices.Sort(seen)
		defer func() { seen = nil }()
		return strings.Join(seen, ", ")
	}
}

// The stream survives the failure of any engine, also of the first one. When the engine answers again, the stream
// reports its containers.
func TestEventsAcrossRestarts(t *testing.T) {
	for _, state := range []fakeState{refuses, hangs} {
		for first := range 2 {
			t.Run(fmt.Sprintf("state %d, engine %d", state, first), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					fakes := []*fakeEngine{newFake("docker", "a"), newFake("podman", "a")}
					engines, cautions := together(t, fakes...)
					restarted, other := fakes[first], fakes[1-first]
					next := followEvents(t, engines)
					if got := next(); got != "" {
						t.Errorf("at first: %q", got)
					}
					restarted.start("b")
					if got := next(); got != "start b" {
						t.Errorf("while both answer: %q", got)
					}
					restarted.set(state)
					if state == hangs { // a request notices it
						idsOf(t, engines)
						time.Sleep(memberTimeout)
					}
					if got := next(); got != "engines" {
						t.Errorf("after the failure: %q", got)
					}
					other.start("c")
					if got := next(); got != "start c" {
						t.Errorf("while one answers: %q", got)
					}
					restarted.mu.Lock()
					restarted.containers = map[string]Info{"d": {ID: "d", Name: "d", Running: true}, "e": {ID: "e"}}
					restarted.mu.Unlock()
					time.Sleep(time.Minute)
					restarted.set(answers)
					time.Sleep(maxMemberRetry + 5*memberTimeout)
					if got := next(); got != "engines, rename d, start d" {
						t.Errorf("after the restart: %q", got)
					}
					restarted.start("f")
					if got := next(); got != "start f" {
						t.Errorf("later: %q", got)
					}
					if got := cautions(); got != restarted.name {
						t.Errorf("cautions about %q", got)
					}
				})
			})
		}
	}
}

// An engine that answers for the first time while capmon records.
func TestEventsOfALateEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		docker, podman := newFake("docker", "a"), newFake("podman", "b")
		docker.set(hangs)
		engines, _ := together(t, docker, podman)
		next := followEvents(t, engines)
		podman.start("c")
		if got := next(); got != "start c" {
			t.Errorf("while one answers: %q", got)
		}
		docker.set(answers)
		time.Sleep(maxMemberRetry + 5*memberTimeout)
		if got := next(); got != "engines, rename a, start a" {
			t.Errorf("when the other one answers: %q", got)
		}
	})
}

// containerd reports Docker's containers until Docker has answered once.
func TestContainerdLeavesOutDockersContainers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		docker, containerd := newFake("docker"), &Containerd{}
		docker.set(hangs)
		engines := &Engines{caution: func(Member, error) {}, members: []*member{{Member: docker}}}
		containerd.skipDocker = engines.dockerAnswered
		idle, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := engines.List(idle, true); err == nil || containerd.skips(dockerNamespace) {
			t.Errorf("Docker hangs: %v", err)
		}
		docker.set(answers)
		if _, err := engines.List(t.Context(), true); err != nil || !containerd.skips(dockerNamespace) || containerd.skips("default") {
			t.Errorf("Docker answers: %v", err)
		}
		docker.set(hangs)
		if _, err := engines.List(t.Context(), true); err == nil || !containerd.skips(dockerNamespace) {
			t.Errorf("Docker hangs again: %v", err)
		}
	})
}
