package verify

import (
	"testing"
	"time"
)

func TestTimeLimitsFollowFromTheFirstRun(t *testing.T) {
	for _, test := range []struct {
		limits         limits
		limit, hanging time.Duration
	}{
		{limits{}, 5 * time.Minute, 30 * time.Second},
		{limits{took: time.Millisecond}, 30 * time.Second, 10 * time.Second},
		{limits{took: 4 * time.Second}, 40 * time.Second, 40 * time.Second / 3},
		{limits{given: 3 * time.Second}, 3 * time.Second, time.Second},
		{limits{given: time.Minute, took: time.Hour}, time.Minute, 20 * time.Second},
	} {
		if limit, hanging := test.limits.of(); limit != test.limit || hanging != test.hanging {
			t.Errorf("%+v: got %s, %s", test.limits, limit, hanging)
		}
	}
}
