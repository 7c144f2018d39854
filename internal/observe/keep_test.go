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

// Whoever has ended may be handed over before it is found out what no event told of.
func TestWhatWasMissedOfTheEndedIsShownBeforeTheirRecordsLeave(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var mu sync.Mutex
	late, kept := make(map[string]bool), make(map[string]bool)
	o, err := Start(ctx, Options{
		Log: zap.NewNop(),
		Sights: func(_ *Observer, sight Sight) {
			mu.Lock()
			defer mu.Unlock()
			late[sight.ID] = late[sight.ID] || sight.Late
		},
		Keep: func(p profile.Profile) error {
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
	o.missing.Lock() // nobody else finds out
	defer o.missing.Unlock()
	id := command(t, "docker", "create", "--rm", "--name=missed", "bb", "probe", "setuid0")
	command(t, "docker", "start", "--attach", id)
	o.missed.Store(math.MaxUint64)
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
		t.Errorf("its record has left, and what was missed of it was not shown: %v", late)
	}
}

// Who has left is forgotten in the order of leaving, and not before the moment that is given.
func TestWhoHasLeftLatelyIsNotForgotten(t *testing.T) {
	var left departure
	var forgotten []uint64
	forget := func(cgroups []uint64) { forgotten = append(forgotten, cgroups...) }
	left.add([]uint64{1, 2}, time.Time{}, forget)
	between := time.Now()
	left.add([]uint64{3}, between, forget)
	if !slices.Equal(forgotten, []uint64{1, 2}) {
		t.Errorf("forgotten are %v, wanted 1 and 2", forgotten)
	}
	left.add(nil, time.Now().Add(time.Second), forget)
	if !slices.Equal(forgotten, []uint64{1, 2, 3}) {
		t.Errorf("forgotten are %v, wanted all", forgotten)
	}
}
