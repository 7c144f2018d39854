package audit

import (
	"fmt"
	"slices"
	"strings"
	"time"

	docker "github.com/docker/docker/api/types/container"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/findings"
	"github.com/capmon/capmon/internal/overview"
	"github.com/capmon/capmon/internal/profile"
)

// Thresholds defines how much capmon must have observed before a capability without a use counts as unused.
type Thresholds struct {
	// Observed is how long capmon must have seen the workload run, over all runs. ObservedRisky is the same for NET_RAW
	// and for risky capabilities such as SYS_ADMIN.
	Observed, ObservedRisky time.Duration
	// Runs is how many runs capmon must have observed.
	Runs int
	// EvenIfStartUnseen removes the requirement that capmon saw the start of the container.
	EvenIfStartUnseen bool
}

// evidence is everything that the status of one container depends on.
type evidence struct {
	container  *ContainerResult
	summary    *profile.Summary // nil if there is none
	static     bool
	thresholds Thresholds
}

// observed reports whether capmon knows anything about the needs of this container.
func (e evidence) observed() bool {
	return e.summary != nil && e.summary.Started && e.container.OfItsBuild()
}

func (e evidence) proved() bool { return e.observed() && e.summary.Proved() }

// minimal reports whether each member of the list is proved needed.
func (e evidence) minimal() bool { return e.proved() && e.summary.Proof.Minimal }

func (e evidence) granted() capability.Set {
	if e.container.Grants.Set == nil {
		return 0
	}
	return *e.container.Grants.Set
}

// unused returns the granted capabilities that were not used or, with a proof, are not in its list. A capability counts
// as used even if another one would have been sufficient.
func (e evidence) unused() capability.Set {
	switch {
	case e.proved():
		return e.granted().Minus(e.summary.List())
	case e.observed():
		return e.granted().Minus(e.summary.List()).Minus(e.summary.Spared())
	}
	return e.granted()
}

func (e evidence) observation() *Observation {
	s := e.summary
	if s == nil {
		return nil
	}
	return &Observation{
		Seconds: s.Observed.Seconds(), Runs: s.Runs, Starts: s.Starts, Stops: s.Stops, Since: s.Since, Used: s.Needs(), List: s.List(), Unused: e.unused(), Certain: e.certainlyUnused(),
		Proved: e.proved(), Minimal: e.minimal(), Doubts: append([]string{}, e.doubts()...),
	}
}

// status returns the status with its reasons. docs/audit.md explains the decisions.
func (e evidence) status() (findings.Status, []string) {
	switch {
	case e.container.Grants.Privileged:
		return findings.Fail, append([]string{"it is privileged, so it has all capabilities"}, e.known()...)
	case e.container.Grants.Set == nil:
		return findings.Manual, []string{"its grants are unknown: " + e.container.Grants.Error}
	case e.granted().Empty():
		return findings.Pass, []string{"it has no capability"}
	case e.observed() && e.unused().Empty():
		return e.onlyUsed()
	}
	var reasons []string
	if e.container.Grants.Dropped.Empty() {
		reasons = append(reasons, fmt.Sprintf("it has all %d default capabilities of Docker", capability.DockerDefault().Len()))
	}
	if unused := e.certainlyUnused(); !unused.Empty() {
		return findings.Fail, slices.Concat(e.faults(unused), reasons, e.doubts())
	}
	if len(reasons) > 0 {
		return findings.Fail, append(reasons, e.known()...)
	}
	return findings.Manual, e.known()
}

// stableAfter is how long a restarted container must run until capmon no longer considers it as failing.
const stableAfter = time.Minute

// failing returns how a container fails, perhaps because it lacks a capability; "" if it does not fail.
func failing(c docker.InspectResponse, now time.Time) string {
	if c.ContainerJSONBase == nil || c.State == nil {
		return ""
	}
	started, err := time.Parse(time.RFC3339Nano, c.State.StartedAt)
	restarted := c.State.Restarting || c.RestartCount > 0 && (err != nil || now.Sub(started) < stableAfter)
	switch {
	case restarted && (c.State.Restarting || c.State.Running):
		return fmt.Sprintf("it does not work: the engine keeps restarting it (%d times), after exit code %d", c.RestartCount, c.State.ExitCode)
	case !c.State.Running && c.State.ExitCode != 0:
		return fmt.Sprintf("it may not work: it ended with exit code %d", c.State.ExitCode)
	}
	return ""
}

// onlyUsed returns the status of a container that is granted only what it uses.
func (e evidence) onlyUsed() (findings.Status, []string) {
	switch {
	case e.minimal():
		return findings.Pass, []string{"verify has proved that it needs each of its capabilities: " + names(e.granted())}
	case e.proved() && !e.granted().Minus(e.summary.Needs()).Empty():
		return findings.Manual, []string{"verify has proved that its grants are sufficient, but not that it needs each one: " + strings.Join(e.summary.Proof.Reasons, "; ")}
	}
	if unsure := e.summary.Unsure().Intersect(e.granted()); !unsure.Empty() && !e.proved() {
		return findings.Manual, []string{fmt.Sprintf("it is granted only capabilities that it uses, but %s may not be needed: only capmon verify can find out", names(unsure))}
	}
	return findings.Pass, []string{"it is granted only capabilities that capmon saw in use: " + names(e.granted())}
}

// certainlyUnused returns the unused capabilities for which the evidence is sufficient.
func (e evidence) certainlyUnused() capability.Set {
	if e.proved() {
		return e.unused()
	}
	if len(e.gaps()) > 0 {
		return 0
	}
	if len(e.summary.Invisible()) > 0 {
		return 0
	}
	unused := e.unused().Minus(e.summary.Unwatched)
	if e.tooShort(e.thresholds.Observed) == "" {
		return unused
	}
	if e.tooShort(e.thresholds.ObservedRisky) == "" {
		return unused.Intersect(capability.RiskyOrNetRaw())
	}
	return 0
}

// faults returns one sentence for each group of granted and unneeded capabilities, the gravest first.
func (e evidence) faults(unused capability.Set) []string {
	one, several := "is granted and was never used", "are granted and were never used"
	if e.proved() {
		one, several = "is granted and proved unneeded", "are granted and proved unneeded"
	}
	var faults []string
	fault := func(set capability.Set, what string) {
		switch set.Len() {
		case 0:
		case 1:
			faults = append(faults, names(set)+what+one)
		default:
			faults = append(faults, names(set)+what+several)
		}
	}
	fault(unused.Intersect(capability.Risky()), " (risky) ")
	fault(unused.Intersect(capability.Of(capability.NetRaw)), " ")
	fault(unused.Minus(capability.RiskyOrNetRaw()), " ")
	return faults
}

// known returns what capmon knows about the needs if the evidence is not sufficient for a decision.
func (e evidence) known() []string {
	return append(e.notSeen(), e.doubts()...)
}

// notSeen returns which granted capabilities capmon did not see in use.
func (e evidence) notSeen() []string {
	switch unused := e.unused(); {
	case !e.observed() || unused.Empty():
		return nil
	case e.proved():
		return []string{"granted, but proved unneeded: " + names(unused)}
	case unused == e.granted():
		return []string{"capmon saw none of the granted capabilities in use"}
	default:
		return []string{"granted, but capmon did not see their use: " + names(unused)}
	}
}

// doubts returns all reasons why capabilities may be needed that capmon did not see in use.
func (e evidence) doubts() []string {
	doubts := e.observable()
	if e.observed() {
		doubts = append(doubts, e.summary.Invisible()...)
	}
	return doubts
}

// observable returns the doubts that another observation can remove.
func (e evidence) observable() []string {
	if e.proved() {
		return nil
	}
	doubts := e.gaps()
	if !e.observed() {
		return doubts
	}
	if short := e.tooShort(e.thresholds.Observed); short != "" {
		doubts = append(doubts, short)
	}
	if unwatched := e.summary.Unwatched.Intersect(e.unused()); !unwatched.Empty() {
		doubts = append(doubts, fmt.Sprintf("the seccomp profile may require %s for some system calls, and capmon did not record all of these calls", names(unwatched)))
	}
	return doubts
}

// gaps returns the doubts that a longer observation does not remove.
func (e evidence) gaps() []string {
	s := e.summary
	switch {
	case e.static:
		return []string{"with --static, audit does not read what it uses"}
	case s == nil:
		return []string{"capmon has never observed it"}
	case !s.Started:
		return []string{"capmon saw only the runtime setup of the container, not its workload"}
	case !e.container.OfItsBuild():
		return []string{"the observation is of another build of its image"}
	}
	var gaps []string
	for _, reason := range s.Incomplete {
		gaps = append(gaps, "the observation is incomplete: "+reason)
	}
	if why := s.StartUnseen(); why != "" && !e.thresholds.EvenIfStartUnseen {
		gaps = append(gaps, why+": capmon does not know what it needs only when it starts")
	}
	if len(s.Unexamined) > 0 {
		gaps = append(gaps, "capmon could not read the file capabilities of these programs in time: "+strings.Join(slices.Sorted(slices.Values(s.Unexamined)), ", "))
	}
	return gaps
}

// tooShort returns which threshold the observation does not meet, or "".
func (e evidence) tooShort(wanted time.Duration) string {
	switch {
	case e.summary.Observed < wanted:
		return fmt.Sprintf("it was observed for %s, less than the required %s (--min-observed)", duration(e.summary.Observed), wanted)
	case e.summary.Runs < e.thresholds.Runs:
		return fmt.Sprintf("%d of its runs were observed, fewer than the required %d (--min-runs)", e.summary.Runs, e.thresholds.Runs)
	}
	return ""
}

func duration(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	return d.Round(time.Second).String()
}

// names returns the names of a set as a text, in the order of the overview.
func names(set capability.Set) string {
	var all []string
	for _, c := range overview.Gravest(set) {
		all = append(all, c.String())
	}
	return strings.Join(all, ", ")
}
