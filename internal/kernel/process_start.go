package kernel

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit of times in /proc/PID/stat (USER_HZ).
const clockTick = 10 * time.Millisecond

// ProcessStart returns when a process started, in nanoseconds since boot, rounded down to a clock tick.
func ProcessStart(pid int) (uint64, error) {
	path := fmt.Sprintf("/proc/%d/stat", pid)
	stat, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	const startField = 19 // after the name of the program, which can contain any bytes
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) <= startField {
		return 0, fmt.Errorf("reading %s: too short", path)
	}
	ticks, err := strconv.ParseUint(fields[startField], 10, 64)
	return ticks * uint64(clockTick), err
}
