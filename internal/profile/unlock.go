package profile

import (
	"cmp"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/seccomp"
	"github.com/capmon/capmon/monitor"
)

// unlock adds the needs of system calls that the seccomp profile, nil if it is not
// known, allows only with a capability. They were recorded since a moment, zero for
// never.
func (r *Run) unlock(seen monitor.Container, profile *seccomp.Profile, watched time.Time) {
	granted, known := r.Grants.Set()
	if !known {
		return
	}
	if profile == nil || !r.watchedFrom(watched) {
		r.Unwatched = unwatched(granted, profile)
	} else if r.Existed && watched.After(r.Observation.Start) {
		r.Watched = &watched
	}
	all := r.Uses
	for _, check := range seen.Checks {
		all = append(all, unlockedChroot(check, granted, profile)...)
	}
	if profile != nil {
		for _, call := range seen.Calls {
			all = append(all, unlocked(call, granted, profile)...)
		}
	}
	r.Uses = addUp(all)
}

// watchedFrom reports whether recording the calls from a moment on, zero for never, shows
// what can be known of the run. What it did before it was found running is not known
// anyway: a later moment only means that this was longer (Run.Since).
func (r *Run) watchedFrom(moment time.Time) bool {
	switch {
	case moment.IsZero():
		return false
	case r.Started == nil:
		return true
	case r.Existed:
		return !moment.After(r.Ended)
	}
	return !moment.After(*r.Started)
}

// oldest is Docker's profile that locks most, compiled once for all containers whose own
// is not known.
var oldest = sync.OnceValues(func() (*seccomp.Profile, error) { return seccomp.Default("") })

// unwatched is what unlocks system calls, by Docker's profile if the container's own is
// not known; nil if nothing does.
func unwatched(granted capability.Set, profile *seccomp.Profile) *capability.Set {
	if profile == nil {
		var err error
		if profile, err = oldest(); err != nil {
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

// unlocked are the uses that a system call stands for, none if it would have ended in
// the same way without.
func unlocked(call monitor.Call, granted capability.Set, profile *seccomp.Profile) []Use {
	name := call.Call.Name()
	if name == "clone3" && call.Call.Args[0]&unix.CLONE_INTO_CGROUP == 0 {
		name = "clone" // which its callers take if it is refused, where that can do the same
	}
	need, other, err := profile.Need(granted, name, call.Call.Args, call.Error)
	if err != nil {
		return nil // it was understood when the call was chosen to be recorded
	}
	uses := demanded(classify.Demand{Capabilities: need, Verdict: classify.Unlocked}, Use{
		Program: call.Program,
		Others:  call.Folding != monitor.Whole,
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

// unlockedChroot are the capabilities that the profile requires for the chroot that made a check,
// without those that the check itself shows. If the profile is not known, it is taken for Docker's.
func unlockedChroot(check monitor.Check, granted capability.Set, profile *seccomp.Profile) []Use {
	verdict, ok := classify.UnlockedChroot(check)
	if !ok {
		return nil
	}
	if profile == nil {
		var err error
		if profile, err = oldest(); err != nil {
			return nil
		}
		verdict.Unsure = cmp.Or(verdict.Unsure, "the container's seccomp profile is not known, and Docker's own does so")
	}
	need, other, err := profile.Need(granted, "chroot", [6]uint64{}, 0)
	if err != nil {
		return nil
	}
	if !check.Nested { // then the check is a use of CAP_SYS_CHROOT
		need = need.Minus(capability.Of(capability.SysChroot))
	}
	uses := demanded(classify.Demand{Capabilities: need, Verdict: verdict}, newUse(check))
	for i := range uses {
		uses[i].Alternative = other
	}
	return uses
}
