package kernel

import (
	"os"
	"slices"
	"strconv"
)

// Processes returns the PIDs of all processes in the pid namespace of /proc, the smallest first.
func Processes() ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, entry := range entries {
		if pid, err := strconv.Atoi(entry.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids, nil
}
