package observe

import (
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/monitor"
)

// Consumer receives checks while they are recorded.
//
// Its methods must not block: if events wait for too long, the kernel drops events. The methods must not call the
// [Observer], because the observer may hold locks. A goroutine that they start may call it.
//
// HandleCheck, HandleChanges and ForgetContainers may be called concurrently. HandleChanges may receive a check before
// HandleCheck does. When [Observer.Stop] returns without an error, the Consumer has received everything that was
// recorded.
type Consumer interface {
	// HandleReported receives the checks that an earlier process has reported ([monitor.Monitor.SetReportedUntil]). It
	// is called once, before all other methods and before [Start] returns, if the recording of that process is
	// continued (monitor.Options.PinDirectory).
	HandleReported(*Observer, []monitor.Delta)

	// HandleCheck receives each distinct check that a workload makes for the first time, soon after the check. Several
	// goroutines call it. It receives all recorded checks again, with [DistinctCheck.Late], if the kernel dropped
	// events, if the recording was continued, and in [Observer.Stop]. Checks that the kernel makes when memory changes
	// its size may be missing.
	HandleCheck(*Observer, DistinctCheck)

	// HandleChanges receives the checks that were made since its last call, also if there are none. It is called every
	// Options.ChangesInterval, or less often if reading the counts takes long, and never by two goroutines at once.
	// [Observer.Stop] calls it for the remaining checks, after the last call of HandleCheck.
	HandleChanges(*Observer, []monitor.Delta)

	// ForgetContainers receives the cgroups of ended containers some time after their records were saved ([Storage]),
	// when no more calls about these cgroups follow. It is never called by two goroutines at once.
	ForgetContainers(cgroups []uint64)
}

// Storage saves the recorded data of an observation without an end. It must be safe for concurrent use. Its methods may
// block; the data of ended containers then stays in the kernel's maps for longer. They must not call the [Observer].
type Storage interface {
	// LoadEarlier returns what an earlier process has saved about the containers with these IDs. It is called at most
	// once, before all other methods and before [Start] returns, if the recording of that process is continued.
	LoadEarlier(ids []string) profile.Profile

	// SaveProfile saves recorded data. [Observer.Save] calls it, and the observer calls it when the kernel's maps need
	// room. Each call for the same run has all data of the run. If SaveProfile returns nil, the observer forgets the
	// data of containers that have ended. Otherwise it passes the data again later.
	SaveProfile(profile.Profile) error
}
