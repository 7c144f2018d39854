package observe

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/profile"
)

// Ended containers may be saved before the observer finds the checks without an event.
func TestMissedChecksOfEndedContainersAreReportedBeforeRemoval(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var mu sync.Mutex
	late, kept := make(map[string]bool), make(map[string]bool)
	o, err := Start(ctx, Options{
		Log: zap.NewNop(),
		OnCheck: func(_ *Observer, distinct DistinctCheck) {
			mu.Lock()
			defer mu.Unlock()
			late[distinct.ID] = late[distinct.ID] || distinct.Late
		},
		SaveProfile: func(p profile.Profile) error {
			mu.Lock()
			defer mu.Unlock()
			for _, run := range p.Runs {
				kept[run.Container.ID] = true
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	o.missedLock.Lock() // the observer itself does not find them
	defer o.missedLock.Unlock()
	id := command(t, "docker", "create", "--rm", "--name=missed", "bb", "probe", "setuid0")
	command(t, "docker", "start", "--attach", id)
	o.droppedEvents.Store(math.MaxUint64)
	for left := true; left; {
		p, err := o.Save(ctx)
		if err := errors.Join(err, ctx.Err()); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		left = !kept[id] || slices.ContainsFunc(p.Runs, func(run profile.Run) bool { return run.Container.ID == id })
		mu.Unlock()
	}
	mu.Lock()
	defer mu.Unlock()
	if !late[id] {
		t.Errorf("its entries were removed, and its missed checks were not reported: %v", late)
	}
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
