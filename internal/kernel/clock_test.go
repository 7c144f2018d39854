package kernel

import (
	"math"
	"testing"
	"time"
)

func TestClock(t *testing.T) {
	clock, err := NewClock()
	if err != nil {
		t.Fatal(err)
	}
	stamp, now := clock.Now(), time.Now()
	if off := clock.Time(stamp).Sub(now).Abs(); off > time.Second {
		t.Errorf("the current timestamp is %v off", off)
	}
	if got := clock.Time(stamp + uint64(time.Hour)).Sub(clock.Time(stamp)); got != time.Hour {
		t.Errorf("the time one hour later is %v later", got)
	}
	if clock.Time(0).After(now) {
		t.Error("the boot is in the future")
	}
	if clock.Time(math.MaxUint64).Before(now) {
		t.Error("a timestamp that is too large is in the past")
	}
}

func BenchmarkNewClock(b *testing.B) {
	for b.Loop() {
		if _, err := NewClock(); err != nil {
			b.Fatal(err)
		}
	}
}
