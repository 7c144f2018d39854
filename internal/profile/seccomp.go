package profile

import (
	"cmp"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/seccomp"
	"github.com/capmon/capmon/monitor"
)

// addSeccompNeeds adds the needs of system calls that the seccomp profile allows only with a capability. profile is nil
// if it is not known. since is the time since which capmon has recorded these calls; zero if it has not.
func (r *Run) addSeccompNeeds(seen monitor.ContainerRecord, profile *seccomp.Profile, since time.Time) {
	granted, known := r.Grants.Set()
	if !known {
		return
	}
	if profile == nil || !r.callsComplete(since) {
		r.Unwatched = unlockingCapabilities(granted, profile)
	} else if r.Existed && since.After(r.Observation.Start) {
		r.Watched = &since
	}
	all := r.Uses
	for _, check := range seen.Checks {
		all = append(all, chrootNeeds(check, granted, profile)...)
	}
	if profile != nil {
		for _, call := range seen.SeccompCalls {
			all = append(all, seccompNeeds(call, granted, profile)...)
		}
	}
	r.Uses = addUp(all)
}

// callsComplete reports whether it is enough for this run that capmon recorded the calls since a time. The zero time
// means that capmon recorded none. The uses of a run before capmon found it running are unknown anyway. If the
// recording of calls began even later, [Run.Since] returns that time.
func (r *Run) callsComplete(since time.Time) bool {
	switch {
	case since.IsZero():
		return false
	case r.Started == nil:
		return true
	case r.Existed:
		return !since.After(r.Ended)
	}
	return !since.After(*r.Started)
}

// strictestDefault is the default profile of Docker that requires capabilities for the most system calls. It is
// compiled once, for all containers whose own profile is not known.
var strictestDefault = sync.OnceValues(func() (*seccomp.Profile, error) { return seccomp.Default("") })

// unlockingCapabilities returns the granted capabilities that the seccomp profile requires for system calls; nil if
// there are none. It uses Docker's profile if the container's own is not known.
func unlockingCapabilities(granted capability.Set, profile *seccomp.Profile) *capability.Set {
	if profile == nil {
		var err error
		if profile, err = strictestDefault(); err != nil {
			return &granted
		}
	}
	unlocking, err := profile.Unlocking(granted)
	if err != nil {
		return &granted
	}
	if unlocking.Empty() {
		return nil
	}
	return &unlocking
}

// seccompNeeds returns the uses that a system call shows. There are none if the result of the call would be the same
// without the capability.
func seccompNeeds(call monitor.SeccompCall, granted capability.Set, profile *seccomp.Profile) []UsePattern {
	name := call.Call.Name()
	if name == "clone3" && call.Call.Args[0]&unix.CLONE_INTO_CGROUP == 0 {
		name = "clone" // callers of clone3 fall back to clone if they can
	}
	need, other, err := profile.Need(granted, name, call.Call.Args, call.Error)
	if err != nil {
		return nil // the profile was valid when capmon chose the calls to record
	}
	uses := implicitUses(classify.ImplicitNeed{Capabilities: need, Verdict: classify.Unlocked}, UsePattern{
		Program: call.Program,
		Others:  call.Folding != monitor.Unfolded,
		Call:    call.Call.String(),
		User:    call.UID,
		Count:   call.Count,
		First:   call.First,
		Last:    call.Last,
	})
	for i := range uses {
		uses[i].Alternative = other
	}
	return uses
}

// chrootNeeds returns the capabilities that the seccomp profile requires for the chroot that made a check, except those
// that the check itself shows. It assumes Docker's profile if the container's own is not known.
func chrootNeeds(check monitor.Check, granted capability.Set, profile *seccomp.Profile) []UsePattern {
	verdict, ok := classify.UnlockedChroot(check)
	if !ok {
		return nil
	}
	if profile == nil {
		var err error
		if profile, err = strictestDefault(); err != nil {
			return nil
		}
		verdict.Unsure = cmp.Or(verdict.Unsure, "the container's seccomp profile is not known; Docker's profile requires it")
	}
	need, other, err := profile.Need(granted, "chroot", [6]uint64{}, 0)
	if err != nil {
		return nil
	}
	if !check.Nested { // the check itself is a use of CAP_SYS_CHROOT
		need = need.Minus(capability.Of(capability.SysChroot))
	}
	uses := implicitUses(classify.ImplicitNeed{Capabilities: need, Verdict: verdict}, newUse(check))
	for i := range uses {
		uses[i].Alternative = other
	}
	return uses
}
