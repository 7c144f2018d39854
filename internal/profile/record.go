package profile

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"time"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/monitor"
)

// Sources are what is known beside the kernel's record.
type Sources struct {
	// Infos holds what the engine knows by container ID; a container without an
	// entry keeps its ID and the kernel's word.
	Infos map[string]container.Info
	// Newcomers are the containers that nobody had started before the recording began, by ID.
	Newcomers map[string]bool
	// Unconfirmed holds by cgroup where it is, if no engine says that it is a container's.
	Unconfirmed map[uint64]string
	// Untold holds by container ID why the engine has not told how it is set up; it has
	// of those without an entry.
	Untold map[string]string
	// Files holds what the executed files carry. One without an entry was gone
	// before it could be read.
	Files map[Program]kernel.FileCapabilities
	// Ways holds where the paths lead that system calls named. One without an entry could
	// not be followed.
	Ways map[Named]kernel.Way
	// Silent holds the containers, by cgroup, whose file systems did not answer.
	Silent map[uint64]bool
	// Watched is since when those system calls of a container were recorded that its
	// seccomp profile allows only with a capability.
	Watched map[string]time.Time
	// Exits holds by container ID how its first processes ended, in the order of their ends.
	Exits map[string][]container.Exit
	// Stops holds by container ID when it was told to end, in the order of these moments.
	Stops map[string][]time.Time
	// KeptLabels says which labels keep their values.
	KeptLabels container.KeptLabels
	// Last is the highest capability of the kernel.
	Last capability.Capability
}

// Program is a file that was executed in a container, known by its cgroup.
type Program struct {
	Cgroup  uint64
	File    monitor.FileID
	Version monitor.FileVersion
}

// ProgramOf is the file of an execution.
func ProgramOf(cgroup uint64, execution monitor.Execution) Program {
	return Program{cgroup, execution.File, execution.Version}
}

// Record makes runs of what was seen.
func Record(snapshot monitor.Snapshot, observation Observation, sources Sources) []Run {
	observation.End, observation.Hook = snapshot.Time, snapshot.Hook
	runs := make([]Run, 0, len(snapshot.Containers))
	for _, seen := range snapshot.Containers {
		run := recordRun(seen, observation)
		run.demand(seen, sources.Files)
		run.refuse(seen, sources.Ways)
		run.access(seen, sources.Ways)
		run.doubt()
		run.lift(seen, snapshot.LimitsSeen)
		info, known := sources.Infos[seen.ID]
		if known {
			run.describe(info, sources)
		}
		run.exit(sources.Exits[seen.ID])
		run.stop(sources.Stops[seen.ID])
		run.Container.Unconfirmed = sources.Unconfirmed[seen.Cgroup]
		run.EngineError = sources.Untold[seen.ID]
		run.unlock(seen, info.Seccomp, sources.Watched[seen.ID])
		run.decide(seen)
		if sources.Silent[seen.Cgroup] {
			run.Incomplete = append(run.Incomplete, "this container's file system did not answer: capabilities that its programs' files carry are unknown, and so are its files")
		}
		run.Incomplete = append(run.Incomplete, LossTexts(machineLosses(snapshot.Losses))...)
		runs = append(runs, run)
	}
	return runs
}

// exit finds the exit status of the run among those of its container: a container may be started
// again.
func (r *Run) exit(exits []container.Exit) {
	if r.Started == nil || r.Running {
		return
	}
	after := func(e container.Exit) bool { return !e.Time.Before(*r.Started) }
	if i := slices.IndexFunc(exits, after); i >= 0 {
		r.ExitStatus = &exits[i].Status
	}
}

// atStop is why a signal to another user's process may not be needed that was first sent when the
// container was told to end.
const atStop = "asked only after the container was told to stop: what it may not signal ends with the container, unless it waits for that"

// beforeStop is how much earlier than the engine says a container may have been told to end: the
// engine dates that when it has sent the signal.
const beforeStop = time.Second

// stop marks signals that were sent only because the run was told to end, which was at the first of
// these moments in it.
func (r *Run) stop(moments []time.Time) {
	if r.Started == nil || r.Running {
		return
	}
	i := slices.IndexFunc(moments, r.Started.Before)
	if i < 0 {
		return
	}
	for j, use := range r.Uses {
		if use.Capability == capability.Kill && use.Class.Need() && use.Unsure == "" && use.First.After(moments[i].Add(-beforeStop)) {
			r.Uses[j].Unsure = atStop
		}
	}
}

// machineLosses are those that any container may have suffered. Of the others each container has
// a count of its own.
func machineLosses(l monitor.Losses) monitor.Losses {
	l.Checks, l.Executions, l.Calls = 0, 0, 0
	return l
}

func recordRun(seen monitor.Container, observation Observation) Run {
	run := Run{
		ID:          observation.ID + "/" + strconv.FormatUint(seen.Cgroup, 10),
		Observation: observation,
		Container:   Container{ID: seen.ID},
		Ended:       observation.End,
		Existed:     seen.Existed,
		SharesPIDs:  seen.SharesPIDs,
		Running:     true,
		Processes:   seen.Processes,
		User:        seen.UID,
		Checks:      seen.Made,
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
		run.Running, run.Ended = false, seen.Last
		if run.Ended.IsZero() { // only its set-up was seen
			run.Ended = seen.Seen
		}
	}
	run.Incomplete = append(run.Incomplete, ownLosses(seen)...)
	return run
}

// ownLosses says in words what of a container was not recorded because it used up its quota.
func ownLosses(seen monitor.Container) []string {
	var reasons []string
	add := func(n uint64, format string) {
		if n > 0 {
			reasons = append(reasons, fmt.Sprintf(format, n))
		}
	}
	add(seen.Lost, "%d checks of this container could not be recorded: the kernel map of checks was full (--max-checks)")
	add(seen.UnrecordedExecutions+foldedExecutions(seen), "this container executed more different programs than capmon records: file capabilities of the programs of %d executions are unknown")
	add(seen.UnrecordedFailures, "%d executions of this container that failed with EPERM were not recorded: it tried too many different ones, and file capabilities that they demanded are unknown")
	add(seen.UnrecordedCalls, "%d system calls of this container that may need a capability without a check were not recorded: it made too many different ones")
	if slices.ContainsFunc(seen.Checks, classify.MissesDemands) {
		reasons = append(reasons, "this container made more patterns of use than capmon records: capabilities that it demanded by capset or by a user namespace's map are unknown")
	}
	return reasons
}

// foldedExecutions counts those of files that may have carried capabilities.
func foldedExecutions(seen monitor.Container) (n uint64) {
	for _, execution := range seen.Executions {
		if execution.Folded && !execution.NoSuid && !execution.Nested {
			n += execution.Count
		}
	}
	return n
}

// demand adds what the executed files demanded.
func (r *Run) demand(seen monitor.Container, files map[Program]kernel.FileCapabilities) {
	var uses []Use
	var unexamined []string
	for _, execution := range seen.Executions {
		file, known := files[ProgramOf(seen.Cgroup, execution)]
		if known && seen.SetFileCapabilities && execution.IsOfItsChange() && file.Permitted.Empty() {
			known = false // it may have carried some for a moment
		}
		program := path.Base(execution.Path)
		switch {
		case execution.Folded:
			program = "" // many, counted by foldedExecutions
		case !known && !execution.NoSuid && !execution.Nested:
			unexamined = append(unexamined, execution.Path)
		}
		for _, demand := range classify.FileDemands(execution, file) {
			uses = append(uses, demanded(demand, Use{
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
	r.addExecuted(uses, unexamined)
}

// refuse adds what files demanded whose execution failed for want of it.
func (r *Run) refuse(seen monitor.Container, ways map[Named]kernel.Way) {
	var uses []Use
	var unexamined []string
	for _, use := range seen.Files {
		if use.Failed == nil {
			continue
		}
		way, known := ways[NamedBy(seen.Cgroup, use)]
		if known && way.Program == nil {
			continue // there was no such file
		}
		name := cmp.Or(quoted(pathOf(use)), "a program that could not be named")
		if !known || mayHaveCarried(seen, use, way) {
			unexamined = append(unexamined, name)
			continue
		}
		program := *way.Program
		program.Path = quoted(program.Path)
		for _, demand := range classify.ExecveDemands(name, *use.Failed, program) {
			uses = append(uses, demanded(demand, Use{
				Program: use.Program, Call: use.Call, User: use.UID, Count: use.Count, First: use.First, Last: use.Last,
			})...)
		}
	}
	r.addExecuted(uses, unexamined)
}

// addExecuted adds what executions demanded, and the programs of which that is not known.
func (r *Run) addExecuted(uses []Use, unexamined []string) {
	if len(uses) > 0 {
		r.Uses = addUp(append(r.Uses, uses...))
	}
	r.Unexamined = slices.Compact(slices.Sorted(slices.Values(append(r.Unexamined, unexamined...))))
}

// mayHaveCarried reports whether a program that was looked at later may have carried other
// capabilities when its execution failed.
func mayHaveCarried(seen monitor.Container, use monitor.FileUse, way kernel.Way) bool {
	return way.Program.Changed > use.First.UnixNano() || way.File.Image && seen.SetFileCapabilities
}

// demanded makes a use of each capability that a call demanded; how tells of the
// call.
func demanded(demand classify.Demand, how Use) []Use {
	var uses []Use
	for _, c := range demand.Capabilities.Sorted() {
		use := how
		use.Capability, use.Class = c, demand.Class
		use.Granted = demand.Class != classify.Denied
		use.Reason, use.Unsure, use.Site, use.Alternative = demand.Reason, demand.Unsure, demand.Site, demand.Alternative
		uses = append(uses, use)
	}
	return uses
}

func (r *Run) describe(info container.Info, sources Sources) {
	r.Container = Container{
		ID:          info.ID,
		Name:        info.Name,
		Image:       info.Image,
		ImageID:     info.ImageID,
		ImageDigest: info.ImageDigest,
		Labels:      sources.KeptLabels.Of(info.Labels),
		User:        info.User,
		NetworkMode: info.NetworkMode,
	}
	r.Grants.Privileged = info.Privileged
	if info.Inspected {
		isNew := sources.Newcomers[info.ID]
		r.New = &isNew
		// The engine has taken these settings, so they are valid.
		if granted, err := capability.Granted(info.CapAdd, info.CapDrop, info.Privileged, sources.Last); err == nil {
			r.Grants.setEngine(granted, r.Existed)
		}
	}
}

// LossTexts says in words what the whole machine's counters mean for a report.
func LossTexts(l monitor.Losses) []string {
	var reasons []string
	add := func(n uint64, format string) {
		if n > 0 {
			reasons = append(reasons, fmt.Sprintf(format, n))
		}
	}
	add(l.Checks, "%d checks found no room in the kernel map of checks (--max-checks), on the whole machine")
	add(l.Containers, "%d checks came from containers that found no room in the kernel map of containers (--max-containers)")
	add(l.Executions, "%d executions of programs found no room in the kernel map of executions, so that file capabilities may have been missed")
	add(l.Calls, "%d system calls that may need a capability without a check found no room in the kernel map of system calls")
	add(l.TooDeep, "%d checks came from cgroups too deep to be followed to the root")
	add(l.TaskStates, "%d times a task's phase could not be remembered: set-up may be taken for workload")
	add(l.Skipped, "%d checks were skipped by the kernel because the recorder was already running on that CPU")
	add(l.NoSite, "%d checks were recorded without the kernel function that asked")
	add(l.Chains, "the kernel function that asked was told wrongly for %d of the checks that were looked at twice, and perhaps for others")
	add(l.Verdicts, "%d checks had another result than the one computed from the credential")
	return reasons
}

// useKey is what makes checks one use for the reader.
type useKey struct {
	capability             capability.Capability
	granted, entry, others bool
	class                  classify.Class
	program, call, site    string
	reason, unsure         string
	alternative            string
}

func keyOf(use Use) useKey {
	key := useKey{use.Capability, use.Granted, use.Entry, use.Others, use.Class, use.Program, use.Call, use.Site, use.Reason, use.Unsure, ""}
	if use.Alternative != nil {
		key.alternative = use.Alternative.String()
	}
	return key
}

// uses classifies checks and adds up those that a reader could not tell apart.
func uses(checks []monitor.Check) []Use {
	all := make([]Use, 0, len(checks))
	for _, check := range checks {
		use := newUse(check)
		for _, outcome := range classify.Outcomes(check) {
			all = append(all, use.with(outcome, check.Stack))
		}
		for _, demand := range classify.Demands(check) {
			all = append(all, demanded(demand, use)...)
		}
	}
	return addUp(all)
}

// addUp makes one of uses that a reader could not tell apart, and sorts them. Where there are more
// than MaxUses, those that differ only in the program and the arguments are added up as well.
func addUp(uses []Use) []Use {
	all := addUpBy(uses, keyOf)
	for _, key := range []func(Use) useKey{withoutNames, withoutCalls} {
		all = bounded(all, key)
	}
	slices.SortFunc(all, compareUses)
	return all
}

// addUpBy makes one of uses with the same key.
func addUpBy(uses []Use, keyOf func(Use) useKey) []Use {
	byKey := make(map[useKey]Use)
	for _, use := range uses {
		key := keyOf(use)
		if known, ok := byKey[key]; ok {
			use = add(known, use)
		}
		byKey[key] = use
	}
	return slices.AppendSeq(make([]Use, 0, len(byKey)), maps.Values(byKey)) // in JSON never null
}

func newUse(check monitor.Check) Use {
	return Use{
		Capability: check.Capability,
		Granted:    check.Answer.Granted(),
		Program:    check.Program,
		Others:     check.Folding != monitor.Whole,
		Call:       check.Call.String(),
		Entry:      check.Entry,
		User:       check.UID,
		Count:      check.Count,
		First:      check.First,
		Last:       check.Last,
	}
}

// with adds what a check means.
func (u Use) with(outcome classify.Outcome, stack []string) Use {
	u.Class, u.Reason, u.Unsure = outcome.Class, outcome.Reason, outcome.Unsure
	u.Alternative, u.Site, u.Stack = outcome.Alternative, outcome.Site, stack
	u.Count = outcome.Count
	return u
}

func add(one, other Use) Use {
	if other.First.Before(one.First) {
		one, other = other, one
	}
	one.Count += other.Count
	if other.Last.After(one.Last) {
		one.Last = other.Last
	}
	return one
}

func compareUses(one, other Use) int {
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
	return cmp.Compare(fmt.Sprint(keyOf(one)), fmt.Sprint(keyOf(other))) // dear, and seldom needed
}
