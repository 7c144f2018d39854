package profile

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/monitor"
)

// Record makes runs of what the kernel recorded and the engine told. infos holds
// what the engine knows by container ID; a container without an entry keeps its
// ID and the kernel's word. last is the highest capability of the kernel.
func Record(snapshot monitor.Snapshot, observation Observation, infos map[string]container.Info, last capability.Capability) []Run {
	observation.End, observation.Hook = snapshot.Time, snapshot.Hook
	runs := make([]Run, 0, len(snapshot.Containers))
	for _, seen := range snapshot.Containers {
		info, known := infos[seen.ID]
		run := recordRun(seen, observation)
		if known {
			run.describe(info, last)
		}
		run.Incomplete = append(run.Incomplete, losses(snapshot.Losses)...)
		runs = append(runs, run)
	}
	return runs
}

func recordRun(seen monitor.Container, observation Observation) Run {
	run := Run{
		ID:          observation.ID + "/" + strconv.FormatUint(seen.Cgroup, 10),
		Observation: observation,
		Container:   Container{ID: seen.ID},
		Ended:       observation.End,
		Existed:     seen.Existed,
		Running:     true,
		Processes:   seen.Processes,
		User:        seen.UID,
		Checks:      seen.Made,
		Lost:        seen.Lost,
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
	if seen.Lost > 0 {
		run.Incomplete = append(run.Incomplete, fmt.Sprintf("%d checks of this container could not be recorded: the kernel map of checks was full (--max-checks)", seen.Lost))
	}
	return run
}

func (r *Run) describe(info container.Info, last capability.Capability) {
	r.Container = Container{
		ID:          info.ID,
		Name:        info.Name,
		Image:       info.Image,
		ImageID:     info.ImageID,
		ImageDigest: info.ImageDigest,
		Labels:      info.Labels,
		User:        info.User,
	}
	r.Grants.Privileged = info.Privileged
	if info.Inspected {
		// The engine has taken these settings, so they are valid.
		if granted, err := capability.Granted(info.CapAdd, info.CapDrop, info.Privileged, last); err == nil {
			r.Grants.Engine = &granted
		}
	}
}

// losses says in words what the whole machine's counters mean for a report.
func losses(l monitor.Losses) []string {
	var reasons []string
	add := func(n uint64, format string) {
		if n > 0 {
			reasons = append(reasons, fmt.Sprintf(format, n))
		}
	}
	add(l.Checks, "%d checks found no room in the kernel map of checks (--max-checks), on the whole machine")
	add(l.Containers, "%d checks came from containers that found no room in the kernel map of containers (--max-containers)")
	add(l.TooDeep, "%d checks came from cgroups too deep to be followed to the root")
	add(l.TaskStates, "%d times a task's phase could not be remembered: set-up may be taken for workload")
	add(l.Skipped, "%d checks were skipped by the kernel because the recorder was already running on that CPU")
	add(l.NoSite, "%d checks were recorded without the kernel function that asked")
	add(l.Verdicts, "%d checks had another result than the one computed from the credential")
	return reasons
}

// useKey is what makes checks one use for the reader.
type useKey struct {
	capability          capability.Capability
	granted, entry      bool
	class               classify.Class
	program, call, site string
	reason, unsure      string
	alternative         string
}

func keyOf(use Use) useKey {
	key := useKey{use.Capability, use.Granted, use.Entry, use.Class, use.Program, use.Call, use.Site, use.Reason, use.Unsure, ""}
	if use.Alternative != nil {
		key.alternative = use.Alternative.String()
	}
	return key
}

// uses classifies checks and adds up those that a reader could not tell apart.
func uses(checks []monitor.Check) []Use {
	all := make([]Use, 0, len(checks))
	for _, check := range checks {
		all = append(all, newUse(check))
	}
	return addUp(all)
}

// addUp makes one of uses that a reader could not tell apart, and sorts them.
func addUp(uses []Use) []Use {
	byKey := make(map[useKey]Use)
	for _, use := range uses {
		key := keyOf(use)
		if known, ok := byKey[key]; ok {
			use = add(known, use)
		}
		byKey[key] = use
	}
	all := slices.AppendSeq(make([]Use, 0, len(byKey)), maps.Values(byKey)) // in JSON never null
	slices.SortFunc(all, compareUses)
	return all
}

func newUse(check monitor.Check) Use {
	verdict := classify.Classify(check)
	return Use{
		Capability:  check.Capability,
		Class:       verdict.Class,
		Granted:     check.Answer.Granted(),
		Reason:      verdict.Reason,
		Unsure:      verdict.Unsure,
		Alternative: verdict.Alternative,
		Program:     check.Program,
		Call:        check.Call.String(),
		Site:        verdict.Site,
		Stack:       check.Stack,
		Entry:       check.Entry,
		User:        check.UID,
		Count:       check.Count,
		First:       check.First,
		Last:        check.Last,
	}
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
	return cmp.Or(
		cmp.Compare(slices.Index(classify.Classes(), one.Class), slices.Index(classify.Classes(), other.Class)),
		cmp.Compare(one.Capability.String(), other.Capability.String()),
		-cmp.Compare(one.Count, other.Count),
		cmp.Compare(one.Program, other.Program),
		cmp.Compare(one.Call, other.Call),
		cmp.Compare(one.Site, other.Site),
		cmp.Compare(one.Reason, other.Reason),
		cmp.Compare(one.Unsure, other.Unsure),
		cmp.Compare(fmt.Sprint(keyOf(one)), fmt.Sprint(keyOf(other))),
	)
}
