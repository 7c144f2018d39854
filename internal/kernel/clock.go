package kernel

import (
	"fmt"
	"math"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Clock turns stamps of CLOCK_BOOTTIME, as bpf_ktime_get_boot_ns makes them, into
// wall time. Use NewClock.
type Clock struct{ boot time.Time }

// NewClock compares the two clocks now; a later step of the wall clock does not
// move what was stamped.
func NewClock() (Clock, error) {
	best := time.Duration(math.MaxInt64)
	var clock Clock
	// Of a few tries the one that took least is not the one that was preempted.
	for range 5 {
		before, err := bootTime()
		if err != nil {
			return Clock{}, err
		}
		now := time.Now().Round(0) // without the monotonic reading, which stops in suspend
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

// ClockOf is a clock that goes like another one, whose Boot is given.
func ClockOf(boot time.Time) Clock { return Clock{boot} }

// Boot is the wall time at which the kernel was booted, by this clock.
func (c Clock) Boot() time.Time { return c.boot }

// Time is the wall time of a stamp in nanoseconds since boot.
func (c Clock) Time(ns uint64) time.Time {
	return c.boot.Add(time.Duration(min(ns, math.MaxInt64)))
}

// Now is the stamp of this moment.
func (c Clock) Now() uint64 {
	now, _ := bootTime() // it answered NewClock
	return uint64(now)
}

func bootTime() (time.Duration, error) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return 0, fmt.Errorf("reading the boot clock: %w", err)
	}
	return time.Duration(now.Nano()), nil
}

// BootID is random for every boot of the kernel. Stamps, cgroup ids and user
// namespace numbers mean something only together with it.
func BootID() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("reading the boot's id: %w", err)
	}
	return strings.TrimSpace(string(id)), nil
}
