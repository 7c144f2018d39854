package kernel

import (
	"fmt"
	"math"
	"time"

	"golang.org/x/sys/unix"
)

// Clock converts timestamps of CLOCK_BOOTTIME, which bpf_ktime_get_boot_ns returns, to wall time. Make one with
// [NewClock] or [ClockOf].
type Clock struct{ boot time.Time }

// NewClock compares the two clocks now. A later step of the wall clock does not change the results of [Clock.Time].
func NewClock() (Clock, error) {
	best := time.Duration(math.MaxInt64)
	var clock Clock
	// The fastest of a few attempts was not preempted.
	for range 5 {
		before, err := bootTime()
		if err != nil {
			return Clock{}, err
		}
		now := time.Now().Round(0) // without the monotonic reading, which stops during suspend
		after, err := bootTime()
		if err != nil {
			return Clock{}, err
		}
		if took := after - before; took < best {
			best = took
			clock.boot = now.Add(-(before + took/2))
		}
	}
	return clock, nil
}

// ClockOf returns a clock with the given boot time, as returned by [Clock.Boot].
func ClockOf(boot time.Time) Clock { return Clock{boot} }

// Boot returns the wall time at which the kernel was booted, according to this clock.
func (c Clock) Boot() time.Time { return c.boot }

// Time returns the wall time of a timestamp in nanoseconds since boot.
func (c Clock) Time(ns uint64) time.Time {
	return c.boot.Add(time.Duration(min(ns, math.MaxInt64)))
}

// Now returns the current timestamp.
func (c Clock) Now() uint64 {
	now, _ := bootTime() // cannot fail: it succeeded in NewClock
	return uint64(now)
}

func bootTime() (time.Duration, error) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return 0, fmt.Errorf("reading the boot clock: %w", err)
	}
	return time.Duration(now.Nano()), nil
}
