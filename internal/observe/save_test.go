package observe

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/testutil"
	"github.com/capmon/capmon/monitor"
)

// Ended containers may be saved before the observer finds the checks without an event.
func TestLateChecksOfEndedContainersAreReportedBeforeRemoval(t *testing.T) {
	testutil.NeedRoot(t)
	testutil.NeedDocker(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	recorded := &recorder{late: make(map[string]bool), saved: make(map[string]bool)}
	o, err := Start(ctx, Options{Log: zap.NewNop(), Consumer: recorded, Storage: recorded})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	o.late.lock.Lock() // the observer itself does not find them
	defer o.late.lock.Unlock()
	id := command(t, "docker", "create", "--rm", "--name=missed", "bb", "probe", "setuid0")
	command(t, "docker", "start", "--attach", id)
	o.late.markAllLate()
	for left := true; left; {
		p, err := o.Save(ctx)
		if err := errors.Join(err, ctx.Err()); err != nil {
			t.Fatal(err)
		}
		left = !recorded.hasSaved(id) || slices.ContainsFunc(p.Runs, func(run profile.Run) bool { return run.Container.ID == id })
	}
	if !recorded.hasLate(id) {
		t.Errorf("its entries were removed, and its missed checks were not reported: %v", recorded.late)
	}
}

// recorder records the IDs of the containers with late checks, and of those with saved runs.
type recorder struct {
	mu          sync.Mutex
	late, saved map[string]bool
}

func (r *recorder) HandleCheck(_ *Observer, distinct DistinctCheck) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.late[distinct.ID] = r.late[distinct.ID] || distinct.Late
}

func (r *recorder) HandleReported(*Observer, []monitor.Delta) {}
func (r *recorder) HandleChanges(*Observer, []monitor.Delta)  {}
func (r *recorder) ForgetContainers([]uint64)                 {}

func (r *recorder) LoadEarlier([]string) profile.Profile { return profile.Profile{} }

func (r *recorder) SaveProfile(p profile.Profile) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, run := range p.Runs {
		r.saved[run.Container.ID] = true
	}
	return nil
}

func (r *recorder) hasLate(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.late[id]
}

func (r *recorder) hasSaved(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.saved[id]
}

// The queue forgets containers in the order of saving, and not before the given time.
func TestRecentlySavedContainersAreNotForgotten(t *testing.T) {
	var ended endedQueue
	var forgotten []uint64
	forget := func(cgroups []uint64) { forgotten = append(forgotten, cgroups...) }
	ended.add([]uint64{1, 2}, time.Time{}, forget)
	between := time.Now()
	ended.add([]uint64{3}, between, forget)
	if !slices.Equal(forgotten, []uint64{1, 2}) {
		t.Errorf("forgotten are %v, wanted 1 and 2", forgotten)
	}
	ended.add(nil, time.Now().Add(time.Second), forget)
	if !slices.Equal(forgotten, []uint64{1, 2, 3}) {
		t.Errorf("forgotten are %v, wanted all", forgotten)
	}
}
