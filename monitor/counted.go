package monitor

import (
	"fmt"

	"github.com/capmon/capmon/bpf"
)

// patience is how often the counts are read again because some moved meanwhile.
const maxReads = 8

type checkCounts map[bpf.CapmonCheckKey]bpf.CapmonCheckValue

// countedChecks reads the kinds of check of some containers, known by their cgroups, with
// the counts: those of the checks map, and what the CPUs remember beside it (bpf/memo.h). A
// CPU that comes to remember another kind moves the counts to the map; what moves while this
// reads can be missing from a count, but is there the next time. exact tells that nothing
// moved. No kind of check is ever missing.
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

// remembered reads what each CPU remembers.
func (m *Monitor) readCheckCaches() ([]bpf.CapmonRemembered, error) {
	var perCPU []bpf.CapmonRemembered
	if err := m.attached.maps.Memos.Lookup(uint32(0), &perCPU); err != nil {
		return nil, fmt.Errorf("reading what the CPUs remember: %w", err)
	}
	return perCPU, nil
}

// add adds what CPUs remembered before the map was read, and still did afterwards, and
// reports whether they did not remember some of it any more: it may be in the map or not.
func (counted checkCounts) addCached(wanted func(cgroup uint64) bool, before, after []bpf.CapmonRemembered) (moved bool) {
	for cpu := range before {
		for i := range before[cpu].Memo {
			memo, now := &before[cpu].Memo[i], &after[cpu].Memo[i]
			if memo.Version%2 != 0 { // the key is not whole
				moved = true
				continue
			}
			if memo.Count == 0 || !wanted(memo.Key.Container) {
				continue
			}
			if memo.Version != now.Version || memo.Key != now.Key {
				moved = true
				continue
			}
			value := counted[memo.Key]
			value.Count += memo.Count
			value.LastNs = max(value.LastNs, memo.LastNs)
			counted[memo.Key] = value
		}
	}
	return moved
}
