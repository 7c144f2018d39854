package verify

import "time"

// firstLimit is the time limit of the first start, leastLimit the minimum time limit of later starts.
const (
	firstLimit = 5 * time.Minute
	leastLimit = 30 * time.Second
)

// limits are the time limits of a start. A workload may hang without a capability.
type limits struct {
	user time.Duration // set by the user; 0 for none
	took time.Duration // duration of the longest start under the original flags; 0 before that
}

// next returns the time limit of the next start, and the time after which it counts as slow.
func (l limits) next() (limit, slow time.Duration) {
	switch {
	case l.user != 0:
		limit = l.user
	case l.took == 0:
		return firstLimit, leastLimit
	default:
		limit = max(leastLimit, (10 * l.took).Round(time.Second))
	}
	return limit, limit / 3
}
