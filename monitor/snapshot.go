package monitor

import (
	"fmt"
	"sort"
	"time"

	"github.com/capmon/capmon/bpf"
	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/kernel"
)

// Container is what the kernel recorded of one run of a container. A container
// that is restarted in place gets a new cgroup and so another Container with the
// same ID.
type Container struct {
	// Cgroup is the kernfs id of the container's topmost cgroup; no other
	// cgroup of this boot has or had it.
	Cgroup uint64
	// ID is what the cgroup is named by. Whoever may make cgroups can make one with such a name:
	// see Place. It is empty if Place.Folded.
	ID         string
	CgroupInfo CgroupInfo
	// Seen is when capmon first saw it, Started when its workload was first seen,
	// Last when a process of it was last seen to start or end. Started and Last
	// are zero while only the set-up was seen.
	Seen, Started, Last time.Time
	// Ended: no process of it is left.
	Ended bool
	// Existed: it was already running, so earlier checks are not known.
	Existed bool
	// SharesPIDs: other containers or the host have processes in its pid namespace. capmon detects this
	// when a process of the container starts or looks into another process.
	SharesPIDs bool
	// Bounding and Permitted are the capability sets of its first workload
	// process, as the kernel has them; UID that process's effective user in the
	// initial user namespace. Meaningless while Started is zero.
	Bounding, Permitted capability.Set
	UID                 uint32
	// Processes counts workload processes (not threads) that were seen.
	Processes uint32
	// Made counts all checks of the container, of every class; Lost those of them
	// that could not be recorded.
	ChecksMade, Lost uint64
	Checks           []Check
	Executions       []Execution
	Calls            []SelectedCall
	Lifted           []LiftedCall
	Unchecked        []UncheckedCall
	Files            []FileUse
	// UnrecordedExecutions counts executions that found no room, folded or not, and
	// UnrecordedCalls counts system calls for which Calls, Lifted and Unasked had no room.
	UnrecordedExecutions, UnrecordedCalls uint64
	// UnrecordedFailures counts executions that failed with EPERM and found no room in Files.
	UnrecordedFailures uint64
	// SetFileCapabilities: its workload was granted SETFCAP, with which the capabilities of files
	// are changed.
	SetFileCapabilities bool
	// Unlisted counts checks whose files found no room in the map of files.
	Unlisted uint64
	// Kept are the capabilities that a thread of it had used and still held when it
	// ended, and those that any thread holds now.
	Kept capability.Set
}

// Losses counts what could not be recorded, for the whole machine. Any loss makes
// every "unused" a guess.
type Losses struct {
	// Checks that found no room in the map of checks, or whose container found
	// none in the map of containers.
	Checks, Containers uint64 `json:",omitempty"`
	// Executions of programs that could not be recorded.
	Executions uint64 `json:",omitempty"`
	// Calls: watched system calls that could not be recorded.
	Calls uint64 `json:",omitempty"`
	// TooDeep: checks from cgroups nested too deep to be followed to the root.
	TooDeep uint64 `json:",omitempty"`
	// TaskStates: tasks whose phase could not be remembered.
	TaskStates uint64 `json:",omitempty"`
	// Skipped: runs of a program that the kernel left out because it was already
	// running on that CPU.
	Skipped uint64 `json:",omitempty"`
	// NoSite: checks recorded without the kernel function that asked.
	NoSite uint64 `json:",omitempty"`
	// Chains: times that a call site told from memory was not what a walk of the stack
	// said. Since the first, each is walked.
	Chains uint64 `json:",omitempty"`
	// Verdicts: checks where the kernel's answer was not the one computed.
	Verdicts uint64 `json:",omitempty"`
}

// Any reports whether anything was lost.
func (l Losses) Any() bool { return l != Losses{} }

// Snapshot is everything recorded up to a moment, or to the end of the recording.
type Snapshot struct {
	Time       time.Time
	Hook       Hook
	Containers []Container
	Losses     Losses
	// LimitsSeen: system calls that pass a limit are in Lifted. Without [Options.Outcomes] they are not.
	LiftedRecorded bool
}

// Snapshot reads the kernel's maps. It can be called at any time between Start
// and Close.
func (m *Monitor) Snapshot() (Snapshot, error) {
	m.reading.Lock()
	defer m.reading.Unlock()
	snapshot := Snapshot{Hook: m.Hook(), LiftedRecorded: m.recordsLifted()}
	symbols, err := m.currentSymbols()
	if err != nil {
		return snapshot, err
	}
	checks, err := m.readChecks(symbols)
	if err != nil {
		return snapshot, err
	}
	executions, err := m.readExecutions()
	if err != nil {
		return snapshot, err
	}
	calls, err := m.readCalls()
	if err != nil {
		return snapshot, err
	}
	files, err := m.readFiles(symbols)
	if err != nil {
		return snapshot, err
	}
	m.mu.Lock()
	atStop, end, ended := m.permittedAtStop, m.end, m.collected
	m.mu.Unlock()
	held, err := m.permittedNow()
	if err != nil {
		return snapshot, err
	}
	err = m.forEachContainer(func(cgroup *uint64, value *bpf.CapmonContainer) {
		c := m.newContainer(*cgroup, value, checks[*cgroup])
		c.Executions = executions[*cgroup]
		if of := calls[*cgroup]; of != nil {
			c.Calls, c.Lifted, c.Unchecked = of.selected, of.lifted, of.unchecked
		}
		c.Files = files[*cgroup]
		now, running := held[*cgroup]
		c.Ended = !running && !c.CgroupInfo.Folded // those are not known one by one
		c.Kept = capability.Set(value.Kept).Union(now).Union(atStop[*cgroup])
		snapshot.Containers = append(snapshot.Containers, c)
	})
	if err != nil {
		return snapshot, err
	}
	for cgroup, harvest := range ended {
		snapshot.Containers = append(snapshot.Containers, m.newEndedContainer(symbols, cgroup, harvest))
	}
	sort.Slice(snapshot.Containers, func(i, j int) bool {
		return snapshot.Containers[i].Seen.Before(snapshot.Containers[j].Seen)
	})
	if snapshot.Time = end; end.IsZero() {
		snapshot.Time = m.Now() // nothing that was read is later
	}
	snapshot.Losses, err = m.losses()
	return snapshot, err
}

// Named lists the cgroups that were seen and are named like containers, and the IDs that they are
// named by.
func (m *Monitor) ContainerIDs() (map[uint64]string, error) {
	m.reading.Lock()
	defer m.reading.Unlock()
	named := make(map[uint64]string)
	note := func(cgroup uint64, value *bpf.CapmonContainer) {
		if id := entryID(value); id != "" {
			named[cgroup] = id
		}
	}
	err := m.forEachContainer(func(cgroup *uint64, value *bpf.CapmonContainer) { note(*cgroup, value) })
	for cgroup, harvest := range m.collected {
		note(cgroup, &harvest.value)
	}
	return named, err
}

// held tells which containers' cgroups have processes, and what these are permitted.
func (m *Monitor) permittedNow() (map[uint64]capability.Set, error) {
	held := make(map[uint64]capability.Set)
	err := m.forEachContainerCgroup(func(cgroup string) error {
		pids, err := processesBelow(m.cgroups, cgroup)
		if err != nil || len(pids) == 0 {
			return err
		}
		id, err := m.cgroups.ID(cgroup)
		if err != nil {
			return err
		}
		held[id] = unionOfPermitted(pids)
		return nil
	})
	return held, err
}

// currentSymbols are those of the modules, too, that were loaded since the last time:
// by containers, often, whose checks come from there.
func (m *Monitor) currentSymbols() (*kernel.Symbols, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.symbols.Stale() {
		symbols, err := kernel.LoadSymbols()
		if err != nil {
			return nil, err
		}
		m.symbols = symbols
	}
	return m.symbols, nil
}

func (m *Monitor) readChecks(symbols *kernel.Symbols) (map[uint64][]Check, error) {
	counted, _, err := m.countChecks(func(uint64) bool { return true })
	if err != nil {
		return nil, err
	}
	checks := make(map[uint64][]Check)
	for key, value := range counted {
		checks[key.Container] = append(checks[key.Container], m.newCheck(symbols, &key, &value))
	}
	return checks, nil
}

func (m *Monitor) newContainer(cgroup uint64, value *bpf.CapmonContainer, checks []Check) Container {
	c := Container{
		Cgroup:     cgroup,
		ID:         entryID(value),
		CgroupInfo: m.cgroupInfo(value),
		Seen:       m.clock.Time(value.FirstNs),
		Existed:    value.Existed != 0,
		Bounding:   capability.Set(value.Bounding),
		Permitted:  capability.Set(value.Permitted),
		UID:        value.Uid,
		Processes:  value.Processes,
		ChecksMade: value.Lost,
		Lost:       value.Lost,

		UnrecordedExecutions: value.UnrecordedExecutions,
		SetFileCapabilities:  value.SetfcapUses > 0,
		SharesPIDs:           value.Pids == uint32(bpf.CapmonPidsPIDS_SHARED),
		UnrecordedCalls:      value.UnrecordedCalls,

		Checks: checks,
	}
	c.Unlisted, c.UnrecordedFailures = unlistedCounts(value)
	for _, check := range checks {
		c.ChecksMade += check.Count
	}
	if value.WorkloadNs != 0 {
		c.Started = m.clock.Time(value.WorkloadNs)
		c.Last = m.clock.Time(value.LastNs)
	}
	return c
}

func (m *Monitor) losses() (Losses, error) {
	counters, err := m.counters()
	if err != nil {
		return Losses{}, err
	}
	skipped, err := m.attached.skippedRuns()
	// These are more where an understudy was attached first.
	skipped -= min(skipped, counters[bpf.CapmonCounterCOUNTER_TAKEN_OVER]-m.carriedOver.counters[bpf.CapmonCounterCOUNTER_TAKEN_OVER])
	return Losses{
		Checks:     counters[bpf.CapmonCounterCOUNTER_CHECKS_FULL],
		Containers: counters[bpf.CapmonCounterCOUNTER_CONTAINERS_FULL],
		Calls:      counters[bpf.CapmonCounterCOUNTER_CALLS],
		Executions: counters[bpf.CapmonCounterCOUNTER_EXECUTIONS],
		TooDeep:    counters[bpf.CapmonCounterCOUNTER_CGROUP_DEPTH],
		TaskStates: counters[bpf.CapmonCounterCOUNTER_TASK_STATE],
		NoSite:     counters[bpf.CapmonCounterCOUNTER_NO_SITE],
		Chains:     counters[bpf.CapmonCounterCOUNTER_CHAINS],
		Verdicts:   counters[bpf.CapmonCounterCOUNTER_VERDICT],
		Skipped:    skipped + m.carriedOver.skipped,
	}, err
}

func (m *Monitor) counters() (sums [bpf.CapmonCounterCOUNTER_MAX]uint64, err error) {
	for which := range sums {
		var perCPU []uint64
		if err := m.attached.maps.Counters.Lookup(uint32(which), &perCPU); err != nil {
			return sums, fmt.Errorf("reading the counters of losses: %w", err)
		}
		sums[which] = m.carriedOver.counters[which]
		for _, n := range perCPU {
			sums[which] += n
		}
	}
	return sums, nil
}
