package kernel

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Clock turns stamps of CLOCK_BOOTTIME, as bpf_ktime_get_boot_ns makes them, into
// wall time.
type Clock struct{ boot time.Time }

// NewClock compares the two clocks now; a later step of the wall clock does not
// move what was stamped.
func NewClock() (Clock, error) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return Clock{}, fmt.Errorf("reading the boot clock: %w", err)
	}
	return Clock{time.Now().Round(0).Add(-time.Duration(now.Nano()))}, nil
}

// Time is the wall time of a stamp in nanoseconds since boot.
func (c Clock) Time(ns uint64) time.Time { return c.boot.Add(time.Duration(ns)) }

// Now is the stamp of this moment.
func (c Clock) Now() uint64 {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) // it answered NewClock
	return uint64(now.Nano())
}
