package profile

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/classify"
)

// Summary is the sum of all runs of one container, identified by name and image, or of all tasks of a service.
type Summary struct {
	Container Container
	// Hosts are the names of the hosts that the runs are from, as far as the recordings name their host.
	Hosts []string
	// Runs is the number of runs. Starts counts the runs that capmon watched from the start of the workload, Stops
	// those that it watched to the end.
	Runs, Starts, Stops int
	// FirstStarts counts the Starts of new containers of the latest build of the image. A restart may need less,
	// because the files of the earlier run exist.
	FirstStarts int
	// SeveralBuilds: the runs are not all of the same build of the image.
	SeveralBuilds bool
	// Observed is the total time that capmon saw the workload run.
	Observed         time.Duration
	Running, Existed bool
	// Failed is the exit status of the latest run that failed; nil if no run is known to have failed.
	Failed       *int
	Processes    uint64
	Checks, Lost uint64
	Users        []uint32
	Grants       Grants
	// EngineError is the reason why the engine did not report the settings of one of the runs; empty if it reported
	// all.
	EngineError string
	// Since is the time when capmon began to watch the container. Found is the first time that it found the container
	// already running; zero if it never did.
	Since, Found time.Time
	// Started: capmon saw a workload.
	Started bool
	// Incomplete has the reasons why the list may be too short; empty if nothing was lost.
	Incomplete []string
	// Unexamined are programs whose file capabilities are not known.
	Unexamined []string
	// Unwatched are granted capabilities that the seccomp profile may require for system calls. capmon did not record
	// all of these calls.
	Unwatched capability.Set
	// Kept are the capabilities that a thread had used and still had at its end, and those that any thread had at the
	// end of the observation; nil if they are not known for all runs.
	Kept *capability.Set
	Uses []UsePattern
	// LimitsSeen: Lifted has all uses of limits that a sysctl lifted.
	LimitsSeen bool
	Lifted     []Lifted
	// Readers as in Run.
	Readers []string
	// SharesPIDs as in Run, for any of the runs.
	SharesPIDs bool
	// Moved as in Run, for any of the runs.
	Moved bool
	// Files and Unlisted as in Run.
	Files    []File
	Unlisted uint64
	// Proof is the latest proof of this container; nil if there is none.
	Proof *Proof
}

// Summaries adds up the runs of each container, in the order of their start. Runs belong together if they have the same
// name, image and engine, or the same service, image and engine, or the same ID. If a run has no name because the
// engine did not report it, the run belongs to the other runs of its container ID.
func Summaries(p Profile) []Summary { return SummariesBy(p, Container.key) }

// SummariesBy adds up the runs of the containers that have the same key, in the order of their start.
func SummariesBy[Key comparable](p Profile, key func(Container) Key) []Summary {
	var summaries []Summary
	index := make(map[Key]int)
	filled := p.FillFrom(Profile{})
	for i, run := range p.Runs {
		run.Container = filled.Runs[i].Container // its settings remain unknown
		group := key(run.Container)
		at, known := index[group]
		if !known {
			at = len(summaries)
			index[group] = at
			summaries = append(summaries, Summary{Container: run.Container, Kept: new(capability.Set), LimitsSeen: true})
		}
		summaries[at].add(run)
	}
	for _, proof := range p.Proofs { // the latest comes last
		if at, known := index[key(proof.Container)]; known {
			summaries[at].Proof = &proof
		}
	}
	return summaries
}

// SharesList reports whether the runs of two containers belong together, so that they have one list: see [Summaries].
func (c Container) SharesList(other Container) bool { return c.key() == other.key() }

// key returns the same value for runs that belong together. Names are unique only in their engine.
func (c Container) key() [4]string {
	switch {
	case c.Kind != "":
		return [4]string{string(c.Kind), c.ID}
	case c.Unconfirmed != "":
		return [4]string{"unconfirmed", c.ID, c.Unconfirmed}
	case c.Service() != "":
		return [4]string{"service", c.Service(), c.Image, c.Engine}
	case c.Name != "":
		return [4]string{"name", c.Name, c.Image, c.Engine}
	}
	return [4]string{"ID", c.ID}
}

func (s *Summary) add(run Run) {
	if run.Container.ImageID != s.Container.ImageID {
		s.SeveralBuilds, s.FirstStarts = true, 0
	}
	s.Container = run.Container // the latest
	s.Runs++
	if host := run.Observation.Host; host != "" && !slices.Contains(s.Hosts, host) {
		s.Hosts = append(s.Hosts, host)
	}
	if run.Started != nil {
		s.Started = true
		s.Observed += run.Ended.Sub(*run.Started)
		if !run.Existed {
			s.Starts++
			if run.New == nil || *run.New {
				s.FirstStarts++
			}
		}
		if !run.Running {
			s.Stops++
		}
		if !slices.Contains(s.Users, run.User) {
			s.Users = append(s.Users, run.User)
		}
	}
	if run.failed() {
		s.Failed = run.ExitStatus
	}
	s.Running = s.Running || run.Running
	s.Existed = s.Existed || run.Existed
	s.Processes += uint64(run.Processes)
	s.Checks += run.Checks
	s.Lost += run.Lost
	s.EngineError = cmp.Or(s.EngineError, run.EngineError)
	s.Since = earliest(s.Since, run.Since())
	if run.Existed {
		s.Found = earliest(s.Found, run.Since())
	}
	s.Grants = s.Grants.Union(run.Grants)
	s.addReasons(run.Incomplete)
	s.Unexamined = appendMissing(s.Unexamined, run.Unexamined)
	s.Unexamined = s.Unexamined[:min(len(s.Unexamined), MaxFiles)]
	if run.Unwatched != nil {
		s.Unwatched = s.Unwatched.Union(*run.Unwatched)
	}
	if s.Kept != nil && run.Kept != nil {
		s.Kept = union(s.Kept, run.Kept)
	} else if run.Started != nil {
		s.Kept = nil
	}
	s.Uses = addUp(append(s.Uses, run.Uses...))
	s.LimitsSeen = s.LimitsSeen && (run.LimitsSeen && !run.Existed || run.Started == nil)
	s.Lifted = addUpLifted(append(s.Lifted, run.Lifted...))
	s.Readers = boundReaders(slices.Concat(s.Readers, run.Readers))
	s.SharesPIDs = s.SharesPIDs || run.SharesPIDs
	s.Moved = s.Moved || run.Moved
	var unlisted uint64
	s.Files, unlisted = boundFiles(addUpFiles(append(s.Files, run.Files...)))
	s.Unlisted += run.Unlisted + unlisted
}

// failed reports whether the first process failed. An exit status is not a failure if it is 0, or if it is the status
// of a process that ended because of SIGINT, SIGKILL or SIGTERM.
func (r Run) failed() bool {
	return r.ExitStatus != nil && !slices.Contains([]int{0, 128 + 2, 128 + 9, 128 + 15}, *r.ExitStatus)
}

// addReasons adds the reasons why a run is incomplete, up to maxReasons.
func (s *Summary) addReasons(reasons []string) {
	const more = "further runs are incomplete for other reasons"
	for _, reason := range reasons {
		switch {
		case slices.Contains(s.Incomplete, reason):
		case len(s.Incomplete) < maxReasons:
			s.Incomplete = append(s.Incomplete, reason)
		case len(s.Incomplete) == maxReasons:
			s.Incomplete = append(s.Incomplete, more)
		}
	}
}

// earliest returns the earlier of two times. A zero time does not count.
func earliest(one, other time.Time) time.Time {
	if one.IsZero() || other.Before(one) {
		return other
	}
	return one
}

// appendMissing appends the texts that are not in the list yet.
func appendMissing(list, more []string) []string {
	for _, text := range more {
		if !slices.Contains(list, text) {
			list = append(list, text)
		}
	}
	return list
}

// Union returns the union of the grants.
func (g Grants) Union(other Grants) Grants {
	return Grants{
		Engine:     union(g.Engine, other.Engine),
		Kernel:     union(g.Kernel, other.Kernel),
		Permitted:  union(g.Permitted, other.Permitted),
		Ambient:    union(g.Ambient, other.Ambient),
		Privileged: g.Privileged || other.Privileged,
	}
}

func union(one, other *capability.Set) *capability.Set {
	if one == nil {
		return other
	}
	if other == nil {
		return one
	}
	sum := one.Union(*other)
	return &sum
}

// Needs returns the observed list: each use that is a need is granted by one of its members.
func (s Summary) Needs() capability.Set {
	return s.granting(func(u UsePattern) bool { return u.Class.Need() })
}

// Proved reports whether the proof is valid for everything that capmon observed: verify ran the build of the image that
// all runs used, and tried all needs.
func (s Summary) Proved() bool {
	return s.proofWorks() && !s.SeveralBuilds && s.Untried().Empty()
}

func (s Summary) proofWorks() bool {
	return s.Proof != nil && s.Proof.Works && s.Proof.Container.ImageID == s.Container.ImageID
}

// List returns the set to grant: the proved set, or else the observed one. If a proof works but does not cover
// everything that capmon observed, List returns the union of both sets, because a proof may include needs that capmon
// cannot observe.
func (s Summary) List() capability.Set {
	switch {
	case s.Proved():
		return s.Proof.Set
	case s.proofWorks():
		return s.Needs().Union(s.Proof.Set)
	}
	return s.Needs()
}

// Untried returns the needs that no proof covers.
func (s Summary) Untried() capability.Set {
	if s.Proof == nil {
		return s.Needs()
	}
	return s.Needs().Minus(s.Proof.tried())
}

// Required returns the needs that the kernel checked and whose denial is an error. It includes the needs of a long
// runtime setup, for which capmon does not know whether a denial is an error.
func (s Summary) Required() capability.Set {
	return s.granting(func(u UsePattern) bool { return u.Class == classify.Required || u.Class == classify.LongSetup })
}

// Implicit returns the needs that are not in [Summary.Required] and for which the kernel makes no check (see
// [classify.Implicit]).
func (s Summary) Implicit() capability.Set {
	return s.granting(func(u UsePattern) bool { return u.Class == classify.Implicit }).Minus(s.Required())
}

// Soft returns the other needs: a denial only changes a result.
func (s Summary) Soft() capability.Set {
	return s.Needs().Minus(s.Required()).Minus(s.Implicit())
}

// Spared returns the capabilities that were used although other members of the list are sufficient.
func (s Summary) Spared() capability.Set {
	return s.with(func(u UsePattern) bool { return u.Class.Need() }).Minus(s.Needs())
}

// granting returns the members of the list that grant the selected uses.
//
// If a use has an alternative, either of the two capabilities is sufficient. Such a use adds nothing to the list in two
// cases: a use without an alternative needs one of the two, or the narrower of the two was used elsewhere.
func (s Summary) granting(selected func(UsePattern) bool) capability.Set {
	certain := s.with(func(u UsePattern) bool { return u.Class.Need() && u.Alternative == nil })
	chosen := s.with(func(u UsePattern) bool { return u.Class.Need() && u.Alternative != nil })
	var set capability.Set
	for _, use := range s.Uses {
		if !use.Class.Need() || !selected(use) {
			continue
		}
		c := use.Capability
		if other := use.Alternative; other != nil && !certain.Has(c) &&
			(certain.Has(*other) || chosen.Has(*other) && classify.Narrower(*other, c)) {
			c = *other
		}
		set = set.With(c)
	}
	return set
}

// AtStart returns the needs that were used at the start only: each process that used them dropped them (setuid, capset)
// before the process or the observation ended. It leaves out needs that the kernel does not check, and needs of a long
// runtime setup. It returns the empty set if records are missing.
func (s Summary) AtStart() capability.Set {
	if s.Kept == nil || len(s.Incomplete) > 0 {
		return 0
	}
	unknown := s.Having(classify.Implicit).Union(s.Having(classify.LongSetup))
	return s.with(func(u UsePattern) bool { return u.Class.Need() }).Minus(unknown).Minus(*s.Kept)
}

// Denied returns the capabilities that the workload would have used, had the kernel not denied them.
func (s Summary) Denied() capability.Set { return s.Having(classify.Denied) }

// Unsure returns the needs for which no use is certain. A soft use is certain only if all uses of the need are soft.
func (s Summary) Unsure() capability.Set {
	soft := s.Soft()
	certain := func(u UsePattern) bool { return u.Unsure == "" && (u.Class != classify.Soft || soft.Has(u.Capability)) }
	return s.Needs().Minus(s.granting(certain))
}

// UnsureReason returns the reason why a member of [Summary.Unsure] may not be needed.
func (s Summary) UnsureReason(c capability.Capability) string {
	for _, use := range s.UsesOf(c, classify.Needs()...) {
		if use.Unsure != "" {
			return use.Unsure
		}
	}
	return ""
}

// KeptAll returns the programs that kept all of their capabilities with a capset, sorted.
func (s Summary) KeptAll() []string {
	var programs []string
	for _, use := range s.Uses {
		if use.Reason == classify.CapsetKeptAll && !use.Others {
			programs = append(programs, use.Program)
		}
	}
	slices.Sort(programs)
	return slices.Compact(programs)
}

// Unused returns the granted capabilities that were never used. known is false if the grants are not known.
func (s Summary) Unused() (unused capability.Set, known bool) {
	granted, known := s.Grants.Set()
	return granted.Minus(s.Needs()).Minus(s.Spared()), known
}

func (s Summary) with(has func(UsePattern) bool) capability.Set {
	var set capability.Set
	for _, use := range s.Uses {
		if has(use) {
			set = set.With(use.Capability)
		}
	}
	return set
}

// UsesOf returns the uses of one capability in the given classes, most frequent first.
func (s Summary) UsesOf(c capability.Capability, classes ...classify.Class) []UsePattern {
	var uses []UsePattern
	for _, use := range s.Uses {
		if use.Capability == c && slices.Contains(classes, use.Class) {
			uses = append(uses, use)
		}
	}
	return uses
}

// Narrower returns a narrower capability that is sufficient for every use of c.
func (s Summary) Narrower(c capability.Capability) (narrower capability.Capability, ok bool) {
	for i, use := range s.UsesOf(c, classify.Needs()...) {
		other := use.Alternative
		if other == nil || !classify.Narrower(*other, c) || i > 0 && *other != narrower {
			return 0, false
		}
		narrower, ok = *other, true
	}
	return narrower, ok
}

// Advised returns [Summary.Narrower] if the narrower capability is not more dangerous (see [classify.Advised]).
func (s Summary) Advised(c capability.Capability) (narrower capability.Capability, ok bool) {
	narrower, ok = s.Narrower(c)
	return narrower, ok && classify.Advised(narrower, c)
}

// Others counts the checks of uses whose process names and arguments are added up.
func (s Summary) Others() (checks uint64) {
	for _, use := range s.Uses {
		if use.Others {
			checks += use.Count
		}
	}
	return checks
}

// Having returns the capabilities with a use of the class.
func (s Summary) Having(class classify.Class) capability.Set {
	return s.with(func(u UsePattern) bool { return u.Class == class })
}

// ByImage treats all containers of an image as one container with the image's name. Containers whose image is not known
// stay separate.
func ByImage(p Profile) Profile {
	merged := Profile{Runs: slices.Clone(p.Runs), Proofs: slices.Clone(p.Proofs)}
	for i := range merged.Runs {
		merged.Runs[i].Container = merged.Runs[i].Container.byImage()
	}
	for i := range merged.Proofs {
		merged.Proofs[i].Container = merged.Proofs[i].Container.byImage()
	}
	return Merge(merged)
}

func (c Container) byImage() Container {
	if c.Image == "" {
		return c
	}
	c.Name, c.Labels = c.Image, maps.Clone(c.Labels)
	delete(c.Labels, swarmService)
	delete(c.Labels, composeOneOff)
	return c
}
