package verify

import (
	"testing"
	"time"
)

func TestTimeLimitsDependOnTheFirstRun(t *testing.T) {
	for _, test := range []struct {
		limits      limits
		limit, slow time.Duration
	}{
		{limits{}, 5 * time.Minute, 30 * time.Second},
		{limits{took: time.Millisecond}, 30 * time.Second, 10 * time.Second},
		{limits{took: 4 * time.Second}, 40 * time.Second, 40 * time.Second / 3},
		{limits{user: 3 * time.Second}, 3 * time.Second, time.Second},
		{limits{user: time.Minute, took: time.Hour}, time.Minute, 20 * time.Second},
	} {
		if limit, slow := test.limits.next(); limit != test.limit || slow != test.slow {
			t.Errorf("%+v: got %s, %s", test.limits, limit, slow)
		}
	}
}
