package observe

import (
	"errors"
	"testing"
	"time"

	"github.com/capmon/capmon/internal/profile"
)

func TestRecentLimitsItsReads(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		cost time.Duration // of a read
		want int           // reads in 100 seconds with 10 calls per second
	}{
		{time.Millisecond, 100},
		{30 * time.Millisecond, 100},
		{100 * time.Millisecond, 31},
		{time.Second, 4},
	} {
		var recent recentProfile
		clock := time.Unix(0, 0)
		reads := 0
		load := func() (profile.Profile, error) {
			clock = clock.Add(test.cost)
			reads++
			return profile.New(), nil
		}
		for end := clock.Add(100 * time.Second); clock.Before(end); clock = clock.Add(100 * time.Millisecond) {
			asked := clock
			if _, at, err := recent.read(func() time.Time { return clock }, load); err != nil || at.After(asked) || asked.Sub(at) > 34*test.cost+2*time.Second {
				t.Fatalf("a read of %v: the data is of %v at %v, %v", test.cost, at, asked, err)
			}
		}
		if reads < test.want-2 || reads > test.want {
			t.Errorf("a read of %v: %d reads, wanted about %d", test.cost, reads, test.want)
		}
		if share := float64(reads) * test.cost.Seconds() / 100; share > 0.04 {
			t.Errorf("a read of %v: reads take %.1f %% of the time", test.cost, 100*share)
		}
	}
}

func TestRecentReadsAgainAfterAnError(t *testing.T) {
	t.Parallel()
	var recent recentProfile
	failure := errors.New("no map")
	if _, _, err := recent.read(time.Now, func() (profile.Profile, error) { return profile.Profile{}, failure }); !errors.Is(err, failure) {
		t.Fatal(err)
	}
	if p, _, err := recent.read(time.Now, func() (profile.Profile, error) { return profile.New(), nil }); err != nil || p.Schema != profile.Schema {
		t.Errorf("%+v, %v", p, err)
	}
}
