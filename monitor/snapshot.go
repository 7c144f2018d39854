package monitor

import (
	"fmt"
	"sort"
	"time"

	"github.com/capmon/capmon/bpf"
	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/kernel"
)

// ContainerRecord is what the kernel recorded about one run of a container. If a container is started again, it gets a
// new cgroup, and so another ContainerRecord with the same ID.
type ContainerRecord struct {
	// Cgroup is the kernfs id of the container's topmost cgroup. It is unique until the host restarts.
	Cgroup uint64
	// ID is the ID in the name of the cgroup. Every process that can make cgroups can make one with such a name; see
	// [CgroupInfo]. ID is empty if CgroupInfo.Folded is true.
	ID         string
	CgroupInfo CgroupInfo
	// FirstSeen is the time when capmon first saw the container. Started is the time when it first saw the workload.
	// LastActivity is the time when it last saw a process of the workload start or end. Started and LastActivity are
	// zero if capmon only saw runtime setup.
	FirstSeen, Started, LastActivity time.Time
	// Ended means that the container has no process. After Stop, it means that the container had none when Stop was
	// called.
	Ended bool
	// Existed means that the container ran before the recording began, so earlier checks are unknown.
	Existed bool
	// SharesPIDs means that other containers or the host have processes in the container's pid namespace. capmon
	// detects this when a process of the container starts or inspects another process.
	SharesPIDs bool
	// Moved means that a process of a command or unit (AddCommand, AddUnit) has moved to another cgroup. The record
	// contains its checks nevertheless.
	Moved bool
	// OfCommand means that the first task in the cgroup was a descendant of the command of [Monitor.FollowCommand].
	OfCommand bool
	// Bounding and Permitted are the capability sets of the first workload process, as the kernel has them. UID is its
	// effective user in the initial user namespace. The three are valid if Started is not zero.
	Bounding, Permitted capability.Set
	UID                 uint32
	// Processes counts the workload processes (not threads) that were seen.
	Processes uint32
	// ChecksMade counts all checks of the container, of every class. Lost counts those that could not be recorded.
	ChecksMade, Lost uint64
	Checks           []Check
	Executions       []Execution
	SeccompCalls     []SeccompCall
	Lifted           []LiftedCall
	Unchecked        []UncheckedCall
	Files            []FileUse
	// UnrecordedExecutions counts the executions that did not fit in the map, not even folded. UnrecordedCalls counts
	// the system calls for Calls, Lifted and Unchecked that did not fit.
	UnrecordedExecutions, UnrecordedCalls uint64
	// UnrecordedFailures counts the executions that failed with EPERM and did not fit in Files.
	UnrecordedFailures uint64
	// UsedSetfcap means that the workload has used SETFCAP, with which it can change the capabilities of files.
	UsedSetfcap bool
	// Unlisted counts the checks whose files did not fit in the map of files.
	Unlisted uint64
	// Kept has the used capabilities that a thread still held when it ended, and the capabilities that any thread holds
	// now.
	Kept capability.Set
}

// Losses counts what could not be recorded, for the whole host. After a loss, capmon cannot be sure that a capability
// is unused. The zero value means that nothing was lost.
type Losses struct {
	// Checks counts the checks that did not fit in the map of checks.
	Checks uint64 `json:"checks,omitempty"`
	// Containers counts the checks whose container did not fit in the map of containers.
	Containers uint64 `json:"containers,omitempty"`
	// Executions counts the executions of programs that could not be recorded.
	Executions uint64 `json:"executions,omitempty"`
	// Calls counts the system calls (selected, lifted or without a check) that could not be recorded.
	Calls uint64 `json:"calls,omitempty"`
	// CgroupTooDeep counts the checks in cgroups that are nested too deeply to be followed to the root.
	CgroupTooDeep uint64 `json:"cgroupTooDeep,omitempty"`
	// TaskStates counts the tasks whose phase could not be stored.
	TaskStates uint64 `json:"taskStates,omitempty"`
	// Skipped counts the runs of a program that the kernel skipped because the program was already running on that CPU.
	Skipped uint64 `json:"skipped,omitempty"`
	// NoCallSite counts the checks that were recorded without their call site.
	NoCallSite uint64 `json:"noCallSite,omitempty"`
	// WrongCachedSites counts how often a cached call site differed from the result of a stack walk. After the first
	// time, the programs walk the stack at every check.
	WrongCachedSites uint64 `json:"wrongCachedSites,omitempty"`
	// AnswerMismatches counts the checks where the computed answer differed from the kernel's.
	AnswerMismatches uint64 `json:"answerMismatches,omitempty"`
}

// Any reports whether anything was lost.
func (l Losses) Any() bool { return l != Losses{} }

// Snapshot has everything that was recorded until Time, or until the end of the recording.
type Snapshot struct {
	Time time.Time
	// Hook is the hook that recorded the checks.
	Hook Hook
	// Containers are in the order in which capmon first saw them.
	Containers []ContainerRecord
	Losses     Losses
	// LiftedRecorded means that Container.Lifted is complete: [Options.Outcomes] is set.
	LiftedRecorded bool
}

// Snapshot reads the kernel's maps. It returns everything except the data that [Monitor.SaveEnded] has removed. It also
// works after Stop, but not after Close.
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
	permitted, err := m.permittedNow()
	if err != nil {
		return snapshot, err
	}
	err = m.forEachContainer(func(cgroup *uint64, value *bpf.CapmonContainer) {
		c := m.newContainer(*cgroup, value, checks[*cgroup])
		c.Executions = executions[*cgroup]
		if of := calls[*cgroup]; of != nil {
			c.SeccompCalls, c.Lifted, c.Unchecked = of.seccomp, of.lifted, of.unchecked
		}
		c.Files = files[*cgroup]
		now, running := permitted[*cgroup]
		before, ranAtStop := atStop[*cgroup]
		c.Ended = !running && !ranAtStop && !c.CgroupInfo.Folded // capmon does not know these containers one by one
		c.Kept = capability.Set(value.Kept).Union(now).Union(before)
		snapshot.Containers = append(snapshot.Containers, c)
	})
	if err != nil {
		return snapshot, err
	}
	for cgroup, data := range ended {
		snapshot.Containers = append(snapshot.Containers, m.newEndedContainer(symbols, cgroup, data))
	}
	sort.Slice(snapshot.Containers, func(i, j int) bool {
		return snapshot.Containers[i].FirstSeen.Before(snapshot.Containers[j].FirstSeen)
	})
	if snapshot.Time = end; end.IsZero() {
		snapshot.Time = m.Now() // after everything that was read
	}
	snapshot.Losses, err = m.losses()
	return snapshot, err
}

// ContainerIDs returns the cgroups with the name of a container, and the container IDs in their names.
func (m *Monitor) ContainerIDs() (map[uint64]string, error) {
	m.reading.Lock()
	defer m.reading.Unlock()
	named := make(map[uint64]string)
	add := func(cgroup uint64, value *bpf.CapmonContainer) {
		if id := entryID(value); id != "" {
			named[cgroup] = id
		}
	}
	err := m.forEachContainer(func(cgroup *uint64, value *bpf.CapmonContainer) { add(*cgroup, value) })
	for cgroup, data := range m.collected {
		add(cgroup, &data.value)
	}
	return named, err
}

// permittedNow returns the containers whose cgroups have processes, and the capabilities that these are permitted.
func (m *Monitor) permittedNow() (map[uint64]capability.Set, error) {
	permitted := make(map[uint64]capability.Set)
	err := m.forEachContainerCgroup(func(cgroup string) error {
		pids, err := processesBelow(m.cgroups, cgroup)
		if err != nil || len(pids) == 0 {
			return err
		}
		id, err := m.cgroups.ID(cgroup)
		if err != nil {
			return err
		}
		permitted[id] = unionOfPermitted(pids)
		return nil
	})
	for cgroup, pids := range m.descendants() {
		permitted[cgroup] = permitted[cgroup].Union(unionOfPermitted(pids))
	}
	return permitted, err
}

// currentSymbols returns the kernel's symbols. It reads them again if modules were loaded since the last time, which
// containers often cause.
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

func (m *Monitor) newContainer(cgroup uint64, value *bpf.CapmonContainer, checks []Check) ContainerRecord {
	c := ContainerRecord{
		Cgroup:     cgroup,
		ID:         entryID(value),
		CgroupInfo: m.cgroupInfo(value),
		FirstSeen:  m.clock.Time(value.FirstNs),
		Existed:    value.Existed != 0,
		Bounding:   capability.Set(value.Bounding),
		Permitted:  capability.Set(value.Permitted),
		UID:        value.Uid,
		Processes:  value.Processes,
		ChecksMade: value.Lost,
		Lost:       value.Lost,

		UnrecordedExecutions: value.UnrecordedExecutions,
		UsedSetfcap:          value.SetfcapUses > 0,
		SharesPIDs:           value.Pidns == uint32(bpf.CapmonPidnsPIDNS_SHARED),
		Moved:                value.Moved != 0,
		OfCommand:            value.OfCommand != 0,
		UnrecordedCalls:      value.UnrecordedCalls,

		Checks: checks,
	}
	c.Unlisted, c.UnrecordedFailures = unlistedCounts(value)
	for _, check := range checks {
		c.ChecksMade += check.Count
	}
	if value.WorkloadNs != 0 {
		c.Started = m.clock.Time(value.WorkloadNs)
		c.LastActivity = m.clock.Time(value.LastNs)
	}
	return c
}

func (m *Monitor) losses() (Losses, error) {
	counters, err := m.counters()
	if err != nil {
		return Losses{}, err
	}
	skipped, err := m.attached.skippedRuns()
	// For these skipped runs a fallback ran, so they are not losses.
	skipped -= min(skipped, counters[bpf.CapmonCounterCOUNTER_FALLBACK_RUNS]-m.carriedOver.counters[bpf.CapmonCounterCOUNTER_FALLBACK_RUNS])
	return Losses{
		Checks:           counters[bpf.CapmonCounterCOUNTER_CHECKS_FULL],
		Containers:       counters[bpf.CapmonCounterCOUNTER_CONTAINERS_FULL],
		Calls:            counters[bpf.CapmonCounterCOUNTER_CALLS_FULL],
		Executions:       counters[bpf.CapmonCounterCOUNTER_EXECUTIONS_FULL],
		CgroupTooDeep:    counters[bpf.CapmonCounterCOUNTER_CGROUP_DEPTH],
		TaskStates:       counters[bpf.CapmonCounterCOUNTER_TASK_STATE_FULL],
		NoCallSite:       counters[bpf.CapmonCounterCOUNTER_NO_CALL_SITE],
		WrongCachedSites: counters[bpf.CapmonCounterCOUNTER_WRONG_CHAINS],
		AnswerMismatches: counters[bpf.CapmonCounterCOUNTER_ANSWER_MISMATCH],
		Skipped:          skipped + m.carriedOver.skipped,
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
