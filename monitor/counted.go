package monitor

import (
	"fmt"

	"github.com/capmon/capmon/bpf"
)

// patience is how often the counts are read again because some moved meanwhile.
const patience = 8

// countedChecks reads all kinds of check with their counts: those of the checks map, and
// what the CPUs remember beside it (bpf/memo.h). A CPU that comes to remember another kind
// moves the counts to the map; what moves while this reads can be missing from a count,
// but is there the next time. No kind of check is ever missing.
func (m *Monitor) countedChecks() (map[bpf.CapmonCheckKey]bpf.CapmonCheckValue, error) {
	before, err := m.remembered()
	if err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		counted, err := m.mappedChecks()
		if err != nil {
			return nil, err
		}
		after, err := m.remembered()
		if err != nil {
			return nil, err
		}
		if moved := addRemembered(counted, before, after); !moved || try == patience {
			return counted, nil
		}
		before = after
	}
}

func (m *Monitor) mappedChecks() (map[bpf.CapmonCheckKey]bpf.CapmonCheckValue, error) {
	counted := make(map[bpf.CapmonCheckKey]bpf.CapmonCheckValue)
	err := entries(m.attached.maps.Checks, "checks", func(key *bpf.CapmonCheckKey, value *bpf.CapmonCheckValue) { counted[*key] = *value })
	return counted, err
}

// remembered reads what each CPU remembers.
func (m *Monitor) remembered() ([]bpf.CapmonRemembered, error) {
	var perCPU []bpf.CapmonRemembered
	if err := m.attached.maps.Memos.Lookup(uint32(0), &perCPU); err != nil {
		return nil, fmt.Errorf("reading what the CPUs remember: %w", err)
	}
	return perCPU, nil
}

// addRemembered adds what CPUs remember both before and after the map was read, and
// reports whether there is anything that they do not: it may be in the map or not.
func addRemembered(counted map[bpf.CapmonCheckKey]bpf.CapmonCheckValue, before, after []bpf.CapmonRemembered) (moved bool) {
	for cpu := range after {
		for i := range after[cpu].Memo {
			memo := &after[cpu].Memo[i]
			if before[cpu].Memo[i].Version != memo.Version || memo.Version%2 != 0 {
				moved = true
				continue
			}
			if memo.Count == 0 {
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
