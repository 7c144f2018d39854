package profile

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/classify"
)

// Summary is what all runs of one container, or of all tasks of a service, by name and
// image, come to.
type Summary struct {
	Container Container
	// Runs that were added up; of those, Starts were seen from the workload's start on, and
	// Stops to its end.
	Runs, Starts, Stops int
	// FirstStarts are those of the Starts that were of a new container, of the latest build of the
	// image. A restart may need less: it finds what an earlier start left behind.
	FirstStarts int
	// SeveralBuilds: the runs are not all of the same build of the image.
	SeveralBuilds bool
	// Observed is how long the workload was seen running, over all runs.
	Observed         time.Duration
	Running, Existed bool
	// Failed is the exit status of the latest run that failed; nil if none is known to have.
	Failed       *int
	Processes    uint64
	Checks, Lost uint64
	Users        []uint32
	Grants       Grants
	// EngineError is why the engine could not tell how one of the runs was set up; empty
	// if it has told of all.
	EngineError string
	// Since is from when on it was watched, Found when it was found running already: the
	// first time that this happened, zero if it never did.
	Since, Found time.Time
	// Started tells whether a workload was seen at all.
	Started bool
	// Incomplete lists why the list may be too short; empty if nothing was lost.
	Incomplete []string
	// Unexamined are programs whose file capabilities are not known.
	Unexamined []string
	// Unwatched are granted capabilities that the seccomp profile may unlock system
	// calls by which were not all recorded.
	Unwatched capability.Set
	// Kept are the capabilities that a thread had used and still held when it ended or
	// any held when the observation did; nil if that is not known of all runs.
	Kept *capability.Set
	Uses []Use
	// LimitsSeen: all limits that the runs passed because a sysctl lifted them are in Lifted.
	LimitsSeen bool
	Lifted     []Lifted
	// Readers as in Run.
	Readers []string
	// SharesPIDs: it did so in any of the runs.
	SharesPIDs bool
	// Files and Unlisted as in Run.
	Files    []File
	Unlisted uint64
	// Proof is the latest of what this container needs; nil if there is none.
	Proof *Proof
}

// Summaries adds up the runs of each container, in the order of their start. Runs
// belong together if they have the same name and image, or are of the same service and
// image, or have the same ID. A run that the engine could not name belongs to the others of its ID.
func Summaries(p Profile) []Summary { return SummariesBy(p, Container.key) }

// SummariesBy adds up the runs of the containers that have the same key, in the order of
// their start.
func SummariesBy[Key comparable](p Profile, key func(Container) Key) []Summary {
	var summaries []Summary
	index := make(map[Key]int)
	recalled := p.Recall(Profile{})
	for i, run := range p.Runs {
		run.Container = recalled.Runs[i].Container // how it was set up remains unknown
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

// key is the same for runs that belong together.
func (c Container) key() [3]string {
	switch {
	case c.Unconfirmed != "":
		return [3]string{"unconfirmed", c.ID, c.Unconfirmed}
	case c.Service() != "":
		return [3]string{"service", c.Service(), c.Image}
	case c.Name != "":
		return [3]string{"name", c.Name, c.Image}
	}
	return [3]string{"ID", c.ID}
}

func (s *Summary) add(run Run) {
	if run.Container.ImageID != s.Container.ImageID {
		s.SeveralBuilds, s.FirstStarts = true, 0
	}
	s.Container = run.Container // the latest
	s.Runs++
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
	s.Since = earlier(s.Since, run.Since())
	if run.Existed {
		s.Found = earlier(s.Found, run.Since())
	}
	s.Grants = s.Grants.Union(run.Grants)
	s.addReasons(run.Incomplete)
	s.Unexamined = withAll(s.Unexamined, run.Unexamined)
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
	var unlisted uint64
	s.Files, unlisted = boundFiles(addUpFiles(append(s.Files, run.Files...)))
	s.Unlisted += run.Unlisted + unlisted
}

// failed reports whether the first process ended with an exit status that is neither success nor what
// is left of a process that was told to end, by SIGINT, SIGKILL or SIGTERM.
func (r Run) failed() bool {
	return r.ExitStatus != nil && !slices.Contains([]int{0, 128 + 2, 128 + 9, 128 + 15}, *r.ExitStatus)
}

// addReasons adds the reasons why a run is incomplete, up to maxReasons.
func (s *Summary) addReasons(reasons []string) {
	const more = "for other reasons in further runs"
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

// earlier is the first of two moments, of which zero is none.
func earlier(one, other time.Time) time.Time {
	if one.IsZero() || other.Before(one) {
		return other
	}
	return one
}

// withAll adds what is not there yet.
func withAll(list, more []string) []string {
	for _, text := range more {
		if !slices.Contains(list, text) {
			list = append(list, text)
		}
	}
	return list
}

// Union is what either was granted.
func (g Grants) Union(other Grants) Grants {
	return Grants{
		Engine:     union(g.Engine, other.Engine),
		Kernel:     union(g.Kernel, other.Kernel),
		Permitted:  union(g.Permitted, other.Permitted),
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

// Needs are the capabilities that make the minimal list: each required or soft
// use is granted by one of them.
func (s Summary) Needs() capability.Set {
	return s.granting(func(u Use) bool { return u.Class.Need() })
}

// Proved reports whether a proof holds for all that was observed: all of it was of the
// proof's build of the image, and all needs were tried.
func (s Summary) Proved() bool {
	return s.proofWorks() && !s.SeveralBuilds && s.Untried().Empty()
}

func (s Summary) proofWorks() bool {
	return s.Proof != nil && s.Proof.Works && s.Proof.Container.ImageID == s.Container.ImageID
}

// List is what to grant: what was proved or else what was observed. If more was
// observed than was tried, or another build was, it is both, for a proof may know of
// needs that cannot be observed.
func (s Summary) List() capability.Set {
	switch {
	case s.Proved():
		return s.Proof.Set
	case s.proofWorks():
		return s.Needs().Union(s.Proof.Set)
	}
	return s.Needs()
}

// Untried are the needs about which the proof says nothing.
func (s Summary) Untried() capability.Set {
	if s.Proof == nil {
		return s.Needs()
	}
	return s.Needs().Minus(s.Proof.tried())
}

// Required are the needs that a check asked about and whose refusal is an error, with those of
// a long runtime setup, of which that is not known.
func (s Summary) Required() capability.Set {
	return s.granting(func(u Use) bool { return u.Class == classify.Required || u.Class == classify.LongSetup })
}

// Demanded are the needs that are none of Required's, but that were read straight
// from a credential where a missing one is an error.
func (s Summary) Implicit() capability.Set {
	return s.granting(func(u Use) bool { return u.Class == classify.Implicit }).Minus(s.Required())
}

// Soft are the other needs: a refusal only changes a result.
func (s Summary) Soft() capability.Set {
	return s.Needs().Minus(s.Required()).Minus(s.Implicit())
}

// Spared are capabilities that were used although others, which are needed
// anyway, would have done.
func (s Summary) Spared() capability.Set {
	return s.with(func(u Use) bool { return u.Class.Need() }).Minus(s.Needs())
}

// granting is what of the minimal list grants the uses selected.
//
// Of a use with an alternative either capability would do, so it adds nothing to
// the list if one of the two is needed for another use that has no choice, or if
// the narrower of the two was used elsewhere.
func (s Summary) granting(selected func(Use) bool) capability.Set {
	certain := s.with(func(u Use) bool { return u.Class.Need() && u.Alternative == nil })
	chosen := s.with(func(u Use) bool { return u.Class.Need() && u.Alternative != nil })
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

// AtStart are the needs that whoever used them had given up (setuid, capset) before it
// ended or the observation did. What is read from a credential without a check is not
// among them, nor what a long runtime setup used, nor anything if records are missing.
func (s Summary) AtStart() capability.Set {
	if s.Kept == nil || len(s.Incomplete) > 0 {
		return 0
	}
	untold := s.Having(classify.Implicit).Union(s.Having(classify.LongSetup))
	return s.with(func(u Use) bool { return u.Class.Need() }).Minus(untold).Minus(*s.Kept)
}

// Denied are the capabilities that were asked for in earnest and refused.
func (s Summary) Denied() capability.Set { return s.Having(classify.Denied) }

// Unsure are the needs without a certain use. A soft use is certain only if all uses of the need are soft.
func (s Summary) Unsure() capability.Set {
	soft := s.Soft()
	certain := func(u Use) bool { return u.Unsure == "" && (u.Class != classify.Soft || soft.Has(u.Capability)) }
	return s.Needs().Minus(s.granting(certain))
}

// Doubt is why a member of Unsure may not be needed.
func (s Summary) Doubt(c capability.Capability) string {
	for _, use := range s.Of(c, classify.Needs()...) {
		if use.Unsure != "" {
			return use.Unsure
		}
	}
	return ""
}

// KeptAll are the programs that kept all capabilities they had by a capset, sorted.
func (s Summary) KeptAll() []string {
	var programs []string
	for _, use := range s.Uses {
		if use.Reason == classify.KeptAll && !use.Others {
			programs = append(programs, use.Program)
		}
	}
	slices.Sort(programs)
	return slices.Compact(programs)
}

// Unused are the granted capabilities that were never used in earnest; known is
// false if the grants are not known.
func (s Summary) Unused() (unused capability.Set, known bool) {
	granted, known := s.Grants.Set()
	return granted.Minus(s.Needs()).Minus(s.Spared()), known
}

func (s Summary) with(has func(Use) bool) capability.Set {
	var set capability.Set
	for _, use := range s.Uses {
		if has(use) {
			set = set.With(use.Capability)
		}
	}
	return set
}

// Of lists the uses of one capability in the classes given, most frequent first.
func (s Summary) Of(c capability.Capability, classes ...classify.Class) []Use {
	var uses []Use
	for _, use := range s.Uses {
		if use.Capability == c && slices.Contains(classes, use.Class) {
			uses = append(uses, use)
		}
	}
	return uses
}

// Narrower tells whether a narrower capability would do for every use of c.
func (s Summary) Narrower(c capability.Capability) (narrower capability.Capability, ok bool) {
	for i, use := range s.Of(c, classify.Needs()...) {
		other := use.Alternative
		if other == nil || !classify.Narrower(*other, c) || i > 0 && *other != narrower {
			return 0, false
		}
		narrower, ok = *other, true
	}
	return narrower, ok
}

// Advised is Narrower, if the narrower capability is no more dangerous (see [classify.Advised]).
func (s Summary) Advised(c capability.Capability) (narrower capability.Capability, ok bool) {
	narrower, ok = s.Narrower(c)
	return narrower, ok && classify.Advised(narrower, c)
}

// Others counts the checks of uses whose process names and arguments are not listed one by one.
func (s Summary) Others() (checks uint64) {
	for _, use := range s.Uses {
		if use.Others {
			checks += use.Count
		}
	}
	return checks
}

// Having are the capabilities with a use of the class.
func (s Summary) Having(class classify.Class) capability.Set {
	return s.with(func(u Use) bool { return u.Class == class })
}

// ByImage takes all containers of an image as one, which has the image's name. Those whose
// image is not known stay apart.
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
