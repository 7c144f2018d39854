package audit

import (
	"fmt"
	"slices"
	"strings"
	"time"

	docker "github.com/docker/docker/api/types/container"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/findings"
	"github.com/capmon/capmon/internal/profile"
)

// Thresholds are how much has to be seen before a capability that was not used counts as
// unused.
type Thresholds struct {
	// Observed is how long the workload has to have been seen running, over all runs;
	// ObservedRisky the same for NET_RAW and for the risky ones, such as SYS_ADMIN.
	Observed, ObservedRisky time.Duration
	// Runs is how many runs have to have been seen.
	Runs int
	// AnyStart: it need not have been seen from its start on.
	AnyStart bool
}

// risky are the capabilities by which containers are left or the host is changed. Docker's
// default has none of them.
var risky = capability.Of(capability.SysAdmin, capability.SysModule, capability.SysRawio, capability.SysPtrace, capability.SysBoot,
	capability.SysTime, capability.NetAdmin, capability.DACReadSearch, capability.MacAdmin, capability.MacOverride, capability.AuditControl,
	capability.Syslog, capability.BPF, capability.Perfmon, capability.CheckpointRestore)

// evidence is all by which one container is judged.
type evidence struct {
	container  *Container
	summary    *profile.Summary // nil if there is none
	static     bool
	thresholds Thresholds
}

// observed reports whether anything is known of what this container needs.
func (e evidence) observed() bool { return e.summary != nil && e.summary.Started && e.sameImage() }

// sameImage: another build of the image may need something else.
func (e evidence) sameImage() bool {
	return e.summary.Container.ImageID == "" || e.summary.Container.ImageID == e.container.ImageID
}

func (e evidence) proved() bool { return e.observed() && e.summary.Proved() }

// minimal: each member of the list is proved needed.
func (e evidence) minimal() bool { return e.proved() && e.summary.Proof.Minimal }

func (e evidence) granted() capability.Set {
	if e.container.Grants.Set == nil {
		return 0
	}
	return *e.container.Grants.Set
}

// unused are granted and neither used nor, if there is a proof, in its list. What was used
// although others would have done is used.
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
		Seconds: s.Observed.Seconds(), Runs: s.Runs, Starts: s.Starts, Stops: s.Stops, Since: s.Since, Used: s.Needs(), List: s.List(), Unused: e.unused(),
		Proved: e.proved(), Minimal: e.minimal(), Doubts: append([]string{}, e.doubts()...),
	}
}

// status is the judgement, with its reasons. docs/audit.md says why it is what it is.
func (e evidence) status() (findings.Status, []string) {
	switch {
	case e.container.Grants.Privileged:
		return findings.Fail, append([]string{"it is privileged, and so is granted every capability"}, e.known()...)
	case e.container.Grants.Set == nil:
		return findings.Manual, []string{"what it is granted cannot be told: " + e.container.Grants.Error}
	case e.granted().Empty():
		return findings.Pass, []string{"it is granted no capability"}
	case e.observed() && e.unused().Empty():
		return e.onlyUsed()
	}
	var reasons []string
	if e.container.Grants.Dropped.Empty() {
		reasons = append(reasons, fmt.Sprintf("all %d capabilities of Docker's default are granted", capability.DockerDefault().Len()))
	}
	if unused := e.proveUnused(); !unused.Empty() {
		return findings.Fail, append(append(reasons, e.faults(unused)...), e.doubts()...)
	}
	if len(reasons) > 0 {
		return findings.Fail, append(reasons, e.known()...)
	}
	return findings.Manual, e.known()
}

// settled is how long a container that the engine has started again has to run until its failures
// are over.
const settled = time.Minute

// troubled says that a container does not work, and perhaps for want of a capability; "" if nothing
// tells so.
func troubled(c docker.InspectResponse, now time.Time) string {
	if c.ContainerJSONBase == nil || c.State == nil {
		return ""
	}
	started, err := time.Parse(time.RFC3339Nano, c.State.StartedAt)
	restarted := c.State.Restarting || c.RestartCount > 0 && (err != nil || now.Sub(started) < settled)
	switch {
	case restarted && (c.State.Restarting || c.State.Running):
		return fmt.Sprintf("it does not work: the engine keeps starting it again (%d times), after exit code %d", c.RestartCount, c.State.ExitCode)
	case !c.State.Running && c.State.ExitCode != 0:
		return fmt.Sprintf("it may not work: it ended with exit code %d", c.State.ExitCode)
	}
	return ""
}

// onlyUsed is the status of what is granted only what it uses.
func (e evidence) onlyUsed() (findings.Status, []string) {
	switch {
	case e.minimal():
		return findings.Pass, []string{"it is granted only what is proved needed: " + names(e.granted())}
	case e.proved() && !e.granted().Minus(e.summary.Needs()).Empty():
		return findings.Manual, []string{"it is granted what was proved to be enough, but not that each of it is needed: " + strings.Join(e.summary.Proof.Reasons, "; ")}
	}
	if unsure := e.summary.Unsure().Intersect(e.granted()); !unsure.Empty() && !e.proved() {
		return findings.Manual, []string{fmt.Sprintf("it is granted only what it uses, but %s may not be needed: only capmon verify can tell", names(unsure))}
	}
	return findings.Pass, []string{"it is granted only what it was seen to use: " + names(e.granted())}
}

// proveUnused are those of the unused for which the evidence is enough.
func (e evidence) proveUnused() capability.Set {
	if e.proved() {
		return e.unused()
	}
	if len(e.gaps()) > 0 {
		return 0
	}
	unused := e.unused().Minus(e.summary.Unwatched)
	if e.tooShort(e.thresholds.Observed) == "" {
		return unused
	}
	if e.tooShort(e.thresholds.ObservedRisky) == "" {
		return unused.Intersect(risky.With(capability.NetRaw))
	}
	return 0
}

// faults say which capabilities are granted and not needed, NET_RAW first.
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
	fault(unused.Intersect(capability.Of(capability.NetRaw)), " ")
	fault(unused.Intersect(risky), " (risky) ")
	fault(unused.Minus(risky).Without(capability.NetRaw), " ")
	return faults
}

// known says what is known of its needs where the evidence is not enough to say more.
func (e evidence) known() []string {
	return append(e.sight(), e.doubts()...)
}

// sight says what was not seen in use.
func (e evidence) sight() []string {
	switch unused := e.unused(); {
	case !e.observed() || unused.Empty():
		return nil
	case unused == e.granted():
		return []string{"nothing of what it is granted was seen in use"}
	default:
		return []string{"granted and not seen in use: " + names(unused)}
	}
}

// doubts are all the reasons why what was not seen in use may be needed.
func (e evidence) doubts() []string {
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
		doubts = append(doubts, fmt.Sprintf("the seccomp profile may allow system calls only with %s, and not all of them were recorded", names(unwatched)))
	}
	return doubts
}

// gaps are the reasons why, however long it was observed, what was not seen in use may be
// needed.
func (e evidence) gaps() []string {
	s := e.summary
	switch {
	case e.static:
		return []string{"what it uses was not looked at (--static)"}
	case s == nil:
		return []string{"it was never observed"}
	case !s.Started:
		return []string{"its workload was never seen to start"}
	case !e.sameImage():
		return []string{"it was observed with another build of its image"}
	}
	var gaps []string
	for _, reason := range s.Incomplete {
		gaps = append(gaps, "the record is incomplete: "+reason)
	}
	if why := s.StartUnseen(); why != "" && !e.thresholds.AnyStart {
		gaps = append(gaps, why+": what it needs only then is not known")
	}
	if len(s.Unexamined) > 0 {
		gaps = append(gaps, "programs were gone before it could be read whether their files carry capabilities: "+strings.Join(slices.Sorted(slices.Values(s.Unexamined)), ", "))
	}
	return gaps
}

// tooShort says that less was seen than is wanted, or "".
func (e evidence) tooShort(wanted time.Duration) string {
	switch {
	case e.summary.Observed < wanted:
		return fmt.Sprintf("it was observed for %s, and %s are wanted (--min-observed)", duration(e.summary.Observed), wanted)
	case e.summary.Runs < e.thresholds.Runs:
		return fmt.Sprintf("%d of its runs were observed, and %d are wanted (--min-runs)", e.summary.Runs, e.thresholds.Runs)
	}
	return ""
}

func duration(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	return d.Round(time.Second).String()
}

// names lists a set for reading, NET_RAW first.
func names(set capability.Set) string {
	var all []string
	if set.Has(capability.NetRaw) {
		all = append(all, capability.NetRaw.String())
	}
	for _, c := range set.Without(capability.NetRaw).Sorted() {
		all = append(all, c.String())
	}
	return strings.Join(all, ", ")
}
