package monitor

import (
	"errors"
	"reflect"

	"github.com/cilium/ebpf"

	"github.com/capmon/capmon/bpf"
)

// Minus returns the growth of each counter since earlier, or 0 if the counter has not grown.
func (l Losses) Minus(earlier Losses) Losses {
	return l.combine(earlier, func(now, before uint64) uint64 { return now - min(now, before) })
}

// Max returns the greater value of each counter.
func (l Losses) Max(other Losses) Losses {
	return l.combine(other, func(one, other uint64) uint64 { return max(one, other) })
}

// Sum returns the sum of all counters.
func (l Losses) Sum() (sum uint64) {
	counters := reflect.ValueOf(l)
	for i := range counters.NumField() {
		sum += counters.Field(i).Uint()
	}
	return sum
}

func (l Losses) combine(other Losses, by func(one, other uint64) uint64) (result Losses) {
	ones, others, results := reflect.ValueOf(l), reflect.ValueOf(other), reflect.ValueOf(&result).Elem()
	for i := range results.NumField() {
		results.Field(i).SetUint(by(ones.Field(i).Uint(), others.Field(i).Uint()))
	}
	return result
}

// The names of the maps that containers can fill.
const (
	mapChecks     = "checks"
	mapExecutions = "executions"
	mapCalls      = "system calls"
)

// ContainerLosses counts what did not fit in the kernel's maps, for one container.
type ContainerLosses struct {
	// ID is as in [ContainerRecord].
	ID string
	// Checks, Executions and Calls have the numbers for each map. They lack what another version of capmon lost.
	Checks, Executions, Calls MapLosses
}

// MapLosses has the numbers of one container in one map.
type MapLosses struct {
	// Lost counts the uses that did not fit in the map. Entries is the number of entries that the container has added
	// to the map.
	Lost, Entries uint64
}

// Sum returns the sum of all losses.
func (l ContainerLosses) Sum() uint64 { return l.Checks.Lost + l.Executions.Lost + l.Calls.Lost }

// InMap returns the numbers of the map that [LargestContainer.Map] names.
func (l ContainerLosses) InMap(name string) MapLosses {
	switch name {
	case mapChecks:
		return l.Checks
	case mapExecutions:
		return l.Executions
	case mapCalls:
		return l.Calls
	}
	return MapLosses{}
}

func newContainerLosses(value *bpf.CapmonContainer) ContainerLosses {
	entries := func(shares ...bpf.CapmonShare) (sum uint64) {
		for _, share := range shares {
			sum += uint64(value.Entries[share])
		}
		return sum
	}
	return ContainerLosses{
		ID: entryID(value),
		Checks: MapLosses{value.Lost, entries(
			bpf.CapmonShareSHARE_CHECKS, bpf.CapmonShareSHARE_CHECKS_NAMELESS, bpf.CapmonShareSHARE_CHECKS_COARSE,
		)},
		Executions: MapLosses{value.UnrecordedExecutions, entries(bpf.CapmonShareSHARE_EXECUTIONS, bpf.CapmonShareSHARE_EXECUTIONS_FOLDED)},
		Calls:      MapLosses{value.UnrecordedCalls, entries(bpf.CapmonShareSHARE_CALLS, bpf.CapmonShareSHARE_CALLS_NAMELESS)},
	}
}

// ContainerLosses returns the losses of each container in the kernel's map, by cgroup id. It reads one map only. It
// returns [ErrClosed] after Close.
func (m *Monitor) ContainerLosses() (map[uint64]ContainerLosses, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, ErrClosed
	}
	lost := make(map[uint64]ContainerLosses)
	err := forEachEntry(m.attached.maps.Containers, "containers", func(cgroup *uint64, value *bpf.CapmonContainer) {
		lost[*cgroup] = newContainerLosses(value)
	})
	return lost, err
}

// LargestContainer is the container with the most entries in one of the kernel's maps.
type LargestContainer struct {
	// Map says what the map contains: "checks", "executions" or "system calls".
	Map string
	// Cgroup is the kernfs id of the container's cgroup.
	Cgroup uint64
	// ID is the ID of the container; empty if the container has ended and is no longer in the map.
	ID string
	// Entries is the number of the container's entries, Used the number of all entries, and Capacity the largest
	// possible number.
	Entries, Used, Capacity uint64
}

// Full reports whether the map is full, or was full a moment ago.
func (o LargestContainer) Full() bool { return o.Used >= o.Capacity-o.Capacity/16 }

// LargestContainers returns the container with the most entries of each map, for the maps in which something was lost.
// of has the losses. The call reads all entries of these maps, so use it after losses, not regularly. It returns
// [ErrClosed] after Close.
func (m *Monitor) LargestContainers(of Losses) (all []LargestContainer, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, ErrClosed
	}
	maps := &m.attached.maps
	report := func(lost uint64, name string, occupied *ebpf.Map, count func(add func(cgroup uint64)) error) {
		if lost == 0 || err != nil {
			return
		}
		var occupant LargestContainer
		occupant, err = m.largestContainer(name, occupied, count)
		all = append(all, occupant)
	}
	report(of.Checks, mapChecks, maps.Checks, func(add func(uint64)) error {
		return forEachEntry(maps.Checks, mapChecks, func(key *bpf.CapmonCheckKey, _ *bpf.CapmonCheckValue) { add(key.Container) })
	})
	report(of.Executions, mapExecutions, maps.Executions, func(add func(uint64)) error {
		return forEachEntry(maps.Executions, mapExecutions, func(key *bpf.CapmonExecutionKey, _ *bpf.CapmonExecutionValue) { add(key.Container) })
	})
	report(of.Calls, mapCalls, maps.Calls, func(add func(uint64)) error {
		return forEachEntry(maps.Calls, mapCalls, func(key *bpf.CapmonCallKey, _ *bpf.CapmonCallValue) { add(key.Container) })
	})
	return all, err
}

// largestContainer counts the entries of a map by container. The caller holds mu.
func (m *Monitor) largestContainer(name string, occupied *ebpf.Map, count func(add func(cgroup uint64)) error) (LargestContainer, error) {
	most := LargestContainer{Map: name, Capacity: uint64(occupied.MaxEntries())}
	perContainer := make(map[uint64]uint64)
	if err := count(func(cgroup uint64) { perContainer[cgroup]++ }); err != nil {
		return most, err
	}
	var which uint64
	for cgroup, n := range perContainer {
		most.Used += n
		if n > most.Entries {
			which, most.Entries = cgroup, n
		}
	}
	var value bpf.CapmonContainer
	err := m.attached.maps.Containers.Lookup(which, &value)
	if err == nil {
		most.Cgroup, most.ID = which, entryID(&value)
	} else if errors.Is(err, ebpf.ErrKeyNotExist) {
		err = nil
	}
	return most, err
}
