package observe

import (
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/monitor"
)

// Consumer receives checks while they are recorded.
//
// Its methods must not block: the kernel drops events while the observer waits. They must not call the [Observer]
// before they return, because the observer may hold locks; they may pass it to a goroutine that does.
//
// HandleCheck, HandleChanges and HandleForgotten may be called concurrently. HandleCheck and HandleChanges have no fixed
// order: HandleChanges may receive a check before HandleCheck does. When [Observer.Stop] returns without an error, HandleCheck and then HandleChanges have been called for
// everything that was recorded.
type Consumer interface {
	// HandleReported is called once, before [Start] returns and before all other methods, if the recording of an earlier
	// process is continued (monitor.Options.PinDirectory). It receives the checks that the earlier process has reported
	// ([monitor.Monitor.SetReportedUntil]).
	HandleReported(*Observer, []monitor.Delta)

	// HandleCheck is called for each distinct check that a workload makes for the first time, soon after the check, by
	// several goroutines. If the kernel dropped events, and in [Observer.Stop], it is called for all recorded checks, with
	// [DistinctCheck.Late]: also for those that it was called for before. Checks that the kernel makes when memory changes
	// its size may be missing.
	HandleCheck(*Observer, DistinctCheck)

	// HandleChanges is called with the checks that were made since the last call, also if there are none: every
	// Options.ChangesInterval, or less often if reading the counts takes long. Its calls are never concurrent.
	// [Observer.Stop] calls it once more, after the last HandleCheck.
	HandleChanges(*Observer, []monitor.Delta)

	// HandleForgotten is called with the cgroups of ended containers whose records were saved ([Storage]), some time
	// after that. Its calls are never concurrent. No more calls about these cgroups follow.
	HandleForgotten(cgroups []uint64)
}

// Storage saves the recorded data of an observation without an end. It must be safe for concurrent use. Its methods may
// block; containers that have ended then stay in the kernel's maps for longer. They must not call the [Observer].
type Storage interface {
	// LoadEarlier is called at most once, before [Start] returns and before all other methods, if the recording of an
	// earlier process is continued. It returns what that process has saved about the containers with these IDs.
	LoadEarlier(ids []string) profile.Profile

	// SaveProfile is called with the recorded data by [Observer.Save], and when the kernel's maps need room. Each call
	// for the same run has all data of the run. If it returns nil, the observer forgets the data of containers that have
	// ended; otherwise it passes the data again later.
	SaveProfile(profile.Profile) error
}
