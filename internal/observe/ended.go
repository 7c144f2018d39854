package observe

import "time"

// forgetDelay is the time after the end of a container during which there may be calls about it.
const forgetDelay = 10 * time.Second

// endedContainers has the containers that have ended, from the end until the observer forgets them. The observer's mu
// guards it.
type endedContainers struct {
	// waiting has the time at which a container began to wait for the engine's report, by its ID.
	waiting map[string]time.Time
	// saved are the cgroups that ForgetContainers was not called for yet.
	saved endedQueue
	// readsCounts: HandleChanges is called. countsReadAt is the start of the latest read that it has received.
	readsCounts  bool
	countsReadAt time.Time
}

func newEndedContainers(readsCounts bool) endedContainers {
	return endedContainers{waiting: make(map[string]time.Time), readsCounts: readsCounts}
}

// waitedForEngine returns how long a container has waited for the engine's report. The wait begins at the first call.
func (e *endedContainers) waitedForEngine(id string) time.Duration {
	since, waiting := e.waiting[id]
	if !waiting {
		since = time.Now()
		e.waiting[id] = since
	}
	return time.Since(since)
}

// forgetLimit returns the time of saving before which containers may be forgotten.
func (e *endedContainers) forgetLimit() time.Time {
	before := time.Now().Add(-forgetDelay)
	if e.readsCounts && e.countsReadAt.Before(before) { // reads may be rare, and the next one still has these containers
		before = e.countsReadAt
	}
	return before
}

// endedQueue has the cgroups of saved containers, in the order of saving.
type endedQueue []endedBatch

type endedBatch struct {
	cgroups []uint64
	at      time.Time
}

// add appends cgroups, and calls forget for those that were appended before a time.
func (d *endedQueue) add(cgroups []uint64, before time.Time, forget func([]uint64)) {
	if len(cgroups) > 0 {
		*d = append(*d, endedBatch{cgroups, time.Now()})
	}
	for len(*d) > 0 && (*d)[0].at.Before(before) {
		forget((*d)[0].cgroups)
		*d = (*d)[1:]
	}
}
