package profile

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"time"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/monitor"
)

// Sources has the information that does not come from the kernel's maps.
type Sources struct {
	// Infos has the engine's description of each container, by container ID. A container without an entry keeps its ID
	// and what the kernel recorded.
	Infos map[string]container.Info
	// NewContainers are the IDs of the containers that nobody had started before the recording began.
	NewContainers map[string]bool
	// Unconfirmed has the path of each cgroup for which no engine confirms that it belongs to a container.
	Unconfirmed map[uint64]string
	// EngineErrors has the reason, by container ID, why the engine did not report the container's settings. For
	// containers without an entry, the engine reported them.
	EngineErrors map[string]string
	// Files has the capabilities of executed files. A file without an entry was gone before capmon could read them.
	Files map[Program]kernel.FileCapabilities
	// Walks has the results of following the paths that system calls named. capmon could not follow a path without an
	// entry.
	Walks map[PathQuery]kernel.PathWalk
	// Unresponsive are the cgroups of the containers whose file systems did not answer.
	Unresponsive map[uint64]bool
	// SeccompCallsSince is the time, by container ID, since which capmon has recorded the system calls that the
	// container's seccomp profile allows only with a capability.
	SeccompCallsSince map[string]time.Time
	// Exits has the exits of the first processes, by container ID, in order of time.
	Exits map[string][]container.Exit
	// Stops has the times at which the engine began to stop a container, by container ID, in order.
	Stops map[string][]time.Time
	// KeptLabels selects the labels that keep their values.
	KeptLabels container.KeptLabels
	// Last is the highest capability of the kernel.
	Last capability.Capability
}

// Program identifies a file that was executed in a container, identified by its cgroup.
type Program struct {
	Cgroup  uint64
	File    monitor.FileID
	Version monitor.FileVersion
}

// ProgramOf returns the file of an execution.
func ProgramOf(cgroup uint64, execution monitor.Execution) Program {
	return Program{cgroup, execution.File, execution.Version}
}

// Record makes one run of each container in the snapshot.
func Record(snapshot monitor.Snapshot, observation Observation, sources Sources) []Run {
	observation.End, observation.Hook = snapshot.Time, snapshot.Hook
	runs := make([]Run, 0, len(snapshot.Containers))
	for _, seen := range snapshot.Containers {
		run := recordRun(seen, observation)
		info, known := sources.Infos[seen.ID]
		run.addFileCapabilities(withoutGivenAmbient(seen, info), sources.Files)
		run.addFailedExecutions(seen, sources.Walks)
		run.addFiles(seen, sources.Walks)
		run.markUnsureByFiles()
		run.addLifted(seen, snapshot.LiftedRecorded)
		if known {
			run.setEngineInfo(info, sources)
		}
		run.setExitStatus(sources.Exits[seen.ID])
		run.markSignalsAtStop(sources.Stops[seen.ID])
		run.Container.Unconfirmed = sources.Unconfirmed[seen.Cgroup]
		run.EngineError = sources.EngineErrors[seen.ID]
		run.addSeccompNeeds(seen, info.Seccomp, sources.SeccompCallsSince[seen.ID])
		run.addUncheckedNeeds(seen)
		if sources.Unresponsive[seen.Cgroup] {
			run.Incomplete = append(run.Incomplete, "this container's file system did not answer: capmon does not know the files that it used and the file capabilities of its programs")
		}
		run.Incomplete = append(run.Incomplete, LossTexts(machineLosses(snapshot.Losses))...)
		runs = append(runs, run)
	}
	return runs
}

// withoutGivenAmbient removes the ambient set that a unit gives its processes from their executions. The processes do
// not need it: the settings of the unit with a shorter list also have a shorter ambient set.
func withoutGivenAmbient(seen monitor.ContainerRecord, info container.Info) monitor.ContainerRecord {
	if info.Ambient == nil {
		return seen
	}
	seen.Executions = slices.Clone(seen.Executions)
	for i := range seen.Executions {
		seen.Executions[i].Ambient = seen.Executions[i].Ambient.Minus(*info.Ambient)
	}
	return seen
}

// setExitStatus finds the exit of this run among the exits of its container, which may have been restarted.
func (r *Run) setExitStatus(exits []container.Exit) {
	if r.Started == nil || r.Running {
		return
	}
	after := func(e container.Exit) bool { return !e.Time.Before(*r.Started) }
	if i := slices.IndexFunc(exits, after); i >= 0 {
		r.ExitStatus = &exits[i].Status
	}
}

// machineLosses returns the losses that may concern any container. The other losses are counted for each container.
func machineLosses(l monitor.Losses) monitor.Losses {
	l.Checks, l.Executions, l.Calls = 0, 0, 0
	return l
}

func recordRun(seen monitor.ContainerRecord, observation Observation) Run {
	run := Run{
		ID:          observation.ID + "/" + strconv.FormatUint(seen.Cgroup, 10),
		Observation: observation,
		Container:   Container{ID: seen.ID},
		Ended:       observation.End,
		Existed:     seen.Existed,
		SharesPIDs:  seen.SharesPIDs,
		Moved:       seen.Moved,
		OfCommand:   seen.OfCommand,
		Running:     true,
		Processes:   seen.Processes,
		User:        seen.UID,
		Checks:      seen.ChecksMade,
		Lost:        seen.Lost,
		Kept:        &seen.Kept,
		Incomplete:  []string{},
		Uses:        uses(seen.Checks),
	}
	if !seen.Started.IsZero() {
		run.Started = &seen.Started
		run.Grants.Kernel, run.Grants.Permitted = &seen.Bounding, &seen.Permitted
	}
	if seen.Ended {
		run.Running, run.Ended = false, seen.LastActivity
		if run.Ended.IsZero() { // capmon saw only its runtime setup
			run.Ended = seen.FirstSeen
		}
	}
	run.Incomplete = append(run.Incomplete, ownLosses(seen)...)
	return run
}

// ownLosses describes in words what capmon did not record of a container because the container used up its quota.
func ownLosses(seen monitor.ContainerRecord) []string {
	var reasons []string
	add := func(n uint64, format string) {
		if n > 0 {
			reasons = append(reasons, fmt.Sprintf(format, n))
		}
	}
	add(seen.Lost, "%d checks of this container could not be recorded: its quota was used up, or the kernel's map of checks was full (--max-checks)")
	add(seen.UnrecordedExecutions+foldedExecutions(seen), "this container executed more different programs than capmon records: file capabilities of the programs of %d executions are unknown")
	add(seen.UnrecordedFailures, "%d executions of this container that failed with EPERM were not recorded, because there were too many different ones: file capabilities that they required are unknown")
	add(seen.UnrecordedCalls, "%d system calls of this container that may need a capability without a check were not recorded, because there were too many different ones")
	if slices.ContainsFunc(seen.Checks, classify.MayMissImplicitNeeds) {
		reasons = append(reasons, "this container has more kinds of check than capmon records: capabilities that it needed for capset or for the ID maps of a user namespace are unknown")
	}
	return reasons
}

// foldedExecutions counts the folded executions of files that may have carried capabilities.
func foldedExecutions(seen monitor.ContainerRecord) (n uint64) {
	for _, execution := range seen.Executions {
		if execution.Folded && !execution.NoSuid && !execution.Nested {
			n += execution.Count
		}
	}
	return n
}

// addFileCapabilities adds the needs that the capabilities of executed files cause.
func (r *Run) addFileCapabilities(seen monitor.ContainerRecord, files map[Program]kernel.FileCapabilities) {
	var uses []UsePattern
	var unexamined []string
	for _, execution := range seen.Executions {
		file, known := files[ProgramOf(seen.Cgroup, execution)]
		if known && seen.UsedSetfcap && execution.MayHaveChanged() && file.Permitted.Empty() {
			known = false // the file may have carried capabilities for a short time
		}
		program := path.Base(execution.Path)
		switch {
		case execution.Folded:
			program = "" // many programs, counted by foldedExecutions
		case !known && !execution.NoSuid && !execution.Nested:
			unexamined = append(unexamined, execution.Path)
		}
		for _, need := range classify.ExecutionNeeds(execution, file) {
			uses = append(uses, implicitUses(need, UsePattern{
				Program: program,
				Others:  execution.Folded,
				Call:    "execve",
				User:    execution.UID,
				Count:   execution.Count,
				First:   execution.First,
				Last:    execution.Last,
			})...)
		}
	}
	r.addExecutionNeeds(uses, unexamined)
}

// addFailedExecutions adds the needs of files whose execution failed because a capability was missing.
func (r *Run) addFailedExecutions(seen monitor.ContainerRecord, walks map[PathQuery]kernel.PathWalk) {
	var uses []UsePattern
	var unexamined []string
	for _, use := range seen.Files {
		if use.Failed == nil {
			continue
		}
		walk, known := walks[PathQueryOf(seen.Cgroup, use)]
		if known && walk.Program == nil {
			continue // there was no such file
		}
		name := cmp.Or(quoted(pathInContainer(use)), "a program with an unknown path")
		if !known || mayHaveChanged(seen, use, walk) {
			unexamined = append(unexamined, name)
			continue
		}
		program := *walk.Program
		program.Path = quoted(program.Path)
		for _, need := range classify.FailedExecveNeeds(name, *use.Failed, program) {
			uses = append(uses, implicitUses(need, UsePattern{
				Program: use.Program, Call: use.Call, User: use.UID, Count: use.Count, First: use.First, Last: use.Last,
			})...)
		}
	}
	r.addExecutionNeeds(uses, unexamined)
}

// addExecutionNeeds adds the needs of executions, and the programs whose needs are not known.
func (r *Run) addExecutionNeeds(uses []UsePattern, unexamined []string) {
	if len(uses) > 0 {
		r.Uses = addUp(append(r.Uses, uses...))
	}
	r.Unexamined = slices.Compact(slices.Sorted(slices.Values(append(r.Unexamined, unexamined...))))
}

// mayHaveChanged reports whether a program may have carried other capabilities when its execution failed than when
// capmon read them later.
func mayHaveChanged(seen monitor.ContainerRecord, use monitor.FileUse, walk kernel.PathWalk) bool {
	return walk.Program.Changed > use.First.UnixNano() || walk.File.Image && seen.UsedSetfcap
}

// implicitUses returns a use for each capability of the need. base has the fields that describe the call.
func implicitUses(need classify.ImplicitNeed, base UsePattern) []UsePattern {
	var uses []UsePattern
	for _, c := range need.Capabilities.Sorted() {
		use := base
		use.Capability, use.Class = c, need.Class
		use.Granted = need.Class != classify.Denied
		use.Reason, use.Unsure, use.Site, use.Alternative = need.Reason, need.Unsure, need.Site, need.Alternative
		uses = append(uses, use)
	}
	return uses
}

func (r *Run) setEngineInfo(info container.Info, sources Sources) {
	r.Container = Container{
		ID:          info.ID,
		Name:        info.Name,
		Image:       info.Image,
		ImageID:     info.ImageID,
		ImageDigest: info.ImageDigest,
		Labels:      sources.KeptLabels.Of(info.Labels),
		User:        info.User,
		NetworkMode: info.NetworkMode,
		Kind:        info.Kind,
		Engine:      info.Engine,
		Pod:         info.Pod,
		Sandbox:     info.Sandbox,
		Namespace:   info.Kubernetes.Namespace,
		PodName:     info.Kubernetes.Name,
		PodUID:      info.Kubernetes.UID,
		Owner:       info.Kubernetes.Owner,
	}
	r.Grants.Privileged, r.Grants.Ambient = info.Privileged, info.Ambient
	if info.Inspected {
		isNew := sources.NewContainers[info.ID]
		r.New = &isNew
		// The engine has accepted these settings, so they are valid.
		if granted, err := info.Grants(sources.Last); err == nil {
			r.Grants.setEngine(granted, r.Existed)
		}
	}
}

// LossTexts describes in words what the losses mean for a report.
func LossTexts(l monitor.Losses) []string {
	var reasons []string
	add := func(n uint64, format string) {
		if n > 0 {
			reasons = append(reasons, fmt.Sprintf(format, n))
		}
	}
	add(l.Checks, "%d checks of all containers together did not fit in the kernel map of checks (--max-checks)")
	add(l.Containers, "%d checks came from containers that did not fit in the kernel map of containers (--max-containers)")
	add(l.Executions, "%d executions of programs did not fit in the kernel map of executions: file capabilities of these programs are unknown")
	add(l.Calls, "%d system calls that may need a capability without a check did not fit in the kernel map of system calls")
	add(l.CgroupTooDeep, "%d checks came from cgroups that are nested too deeply: capmon cannot find their containers")
	add(l.TaskStates, "capmon could not store the phase of %d tasks: it may count runtime setup as workload")
	add(l.Skipped, "the kernel skipped %d runs of capmon's eBPF programs, because the same program was already running on that CPU: checks may be missing")
	add(l.NoCallSite, "%d checks were recorded without their call site")
	add(l.WrongCachedSites, "the cached call site was wrong in %d of the checks that capmon compared, and may be wrong in others")
	add(l.AnswerMismatches, "%d checks had a result that differs from the result that capmon computed from the credentials")
	return reasons
}

// useKey has the fields by which a reader distinguishes patterns of use.
type useKey struct {
	capability             capability.Capability
	granted, entry, others bool
	class                  classify.Class
	program, call, site    string
	reason, unsure         string
	alternative            string
}

func keyOf(use UsePattern) useKey {
	key := useKey{use.Capability, use.Granted, use.Entry, use.Others, use.Class, use.Program, use.Call, use.Site, use.Reason, use.Unsure, ""}
	if use.Alternative != nil {
		key.alternative = use.Alternative.String()
	}
	return key
}

// uses classifies checks, and merges those that look the same to a reader.
func uses(checks []monitor.Check) []UsePattern {
	all := make([]UsePattern, 0, len(checks))
	for _, check := range checks {
		use := newUse(check)
		for _, outcome := range classify.Outcomes(check) {
			all = append(all, use.with(outcome, check.Stack))
		}
		for _, need := range classify.ImplicitNeeds(check) {
			all = append(all, implicitUses(need, use)...)
		}
	}
	return addUp(all)
}

// addUp merges uses that look the same to a reader, and sorts the result. If there are more than MaxUses, it also
// merges uses that differ only in the program and the arguments.
func addUp(uses []UsePattern) []UsePattern {
	all := addUpBy(uses, keyOf)
	for _, key := range []func(UsePattern) useKey{withoutNames, withoutCalls} {
		all = bounded(all, key)
	}
	slices.SortFunc(all, compareUses)
	return all
}

// addUpBy merges uses with the same key.
func addUpBy(uses []UsePattern, keyOf func(UsePattern) useKey) []UsePattern {
	byKey := make(map[useKey]UsePattern)
	for _, use := range uses {
		key := keyOf(use)
		if known, ok := byKey[key]; ok {
			use = add(known, use)
		}
		byKey[key] = use
	}
	return slices.AppendSeq(make([]UsePattern, 0, len(byKey)), maps.Values(byKey)) // never null in JSON
}

func newUse(check monitor.Check) UsePattern {
	return UsePattern{
		Capability: check.Capability,
		Granted:    check.Answer.Granted(),
		Program:    check.Program,
		Others:     check.Folding != monitor.Unfolded,
		Call:       check.Call.String(),
		Entry:      check.Entry,
		User:       check.UID,
		Count:      check.Count,
		First:      check.First,
		Last:       check.Last,
	}
}

// with adds the meaning of a check.
func (u UsePattern) with(outcome classify.Outcome, stack []string) UsePattern {
	u.Class, u.Reason, u.Unsure = outcome.Class, outcome.Reason, outcome.Unsure
	u.Alternative, u.Site, u.Stack = outcome.Alternative, outcome.Site, stack
	u.Count = outcome.Count
	return u
}

func add(one, other UsePattern) UsePattern {
	if other.First.Before(one.First) {
		one, other = other, one
	}
	one.Count += other.Count
	if other.Last.After(one.Last) {
		one.Last = other.Last
	}
	return one
}

func compareUses(one, other UsePattern) int {
	order := cmp.Or(
		cmp.Compare(slices.Index(classify.Classes(), one.Class), slices.Index(classify.Classes(), other.Class)),
		cmp.Compare(one.Capability.String(), other.Capability.String()),
		-cmp.Compare(one.Count, other.Count),
		cmp.Compare(one.Program, other.Program),
		cmp.Compare(one.Call, other.Call),
		cmp.Compare(one.Site, other.Site),
		cmp.Compare(one.Reason, other.Reason),
		cmp.Compare(one.Unsure, other.Unsure),
	)
	if order != 0 {
		return order
	}
	return cmp.Compare(fmt.Sprint(keyOf(one)), fmt.Sprint(keyOf(other))) // slow, but rarely reached
}
