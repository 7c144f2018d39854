package monitor

import (
	"fmt"

	"github.com/capmon/capmon/bpf"
)

// maxReads limits how often countChecks reads the counts again because some moved.
const maxReads = 8

type checkCounts map[bpf.CapmonCheckKey]bpf.CapmonCheckValue

// countChecks reads the kinds of check of the wanted containers, with their counts. It finds every kind of check. A
// count is the sum of the checks map and of the per-CPU caches (bpf/check_cache.h). When a CPU reuses a cache entry,
// its programs move the entry's count to the map. The result may lack a count that moves while countChecks reads; the
// next call finds it. exact is true if no count moved.
func (m *Monitor) countChecks(wanted func(cgroup uint64) bool) (counted checkCounts, exact bool, err error) {
	before, err := m.readCheckCaches()
	if err != nil {
		return nil, false, err
	}
	for try := 1; ; try++ {
		counted, err := m.checksInMap(wanted)
		if err != nil {
			return nil, false, err
		}
		after, err := m.readCheckCaches()
		if err != nil {
			return nil, false, err
		}
		if moved := counted.addCached(wanted, before, after); !moved || try == maxReads {
			m.carriedOver.addChecksTo(counted, wanted)
			return counted, !moved, nil
		}
		before = after
	}
}

func (m *Monitor) checksInMap(wanted func(cgroup uint64) bool) (checkCounts, error) {
	counted := make(checkCounts)
	err := forEachEntry(m.attached.maps.Checks, "checks", func(key *bpf.CapmonCheckKey, value *bpf.CapmonCheckValue) {
		if wanted(key.Container) {
			counted[*key] = *value
		}
	})
	return counted, err
}

// readCheckCaches reads the check cache of each CPU.
func (m *Monitor) readCheckCaches() ([]bpf.CapmonCheckCache, error) {
	var perCPU []bpf.CapmonCheckCache
	if err := m.attached.maps.CheckCaches.Lookup(uint32(0), &perCPU); err != nil {
		return nil, fmt.Errorf("reading the check caches: %w", err)
	}
	return perCPU, nil
}

// addCached adds the counts of the per-CPU caches to the counts of the map. before and after are the caches, read
// before and after the map. It adds a cache entry only if it is the same in both. It reports whether an entry has
// changed: then its count may or may not be in the map.
func (counted checkCounts) addCached(wanted func(cgroup uint64) bool, before, after []bpf.CapmonCheckCache) (moved bool) {
	for cpu := range before {
		for i := range before[cpu].Checks {
			cached, now := &before[cpu].Checks[i], &after[cpu].Checks[i]
			if cached.Version%2 != 0 { // a program is writing the key
				moved = true
				continue
			}
			if cached.Count == 0 || !wanted(cached.Key.Container) {
				continue
			}
			if cached.Version != now.Version || cached.Key != now.Key {
				moved = true
				continue
			}
			value := counted[cached.Key]
			value.Count += cached.Count
			value.LastNs = max(value.LastNs, cached.LastNs)
			counted[cached.Key] = value
		}
	}
	return moved
}
