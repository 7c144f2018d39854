package verify

import "time"

// The time limits of a start: of the first one, and the least of the others.
const (
	firstLimit = 5 * time.Minute
	leastLimit = 30 * time.Second
)

// limits bounds how long a start may take: without a capability a workload may hang.
type limits struct {
	given time.Duration // by the user; 0 for none
	took  time.Duration // the longest start under the original flags; 0 before that
}

// of is the limit of a start, and after how long it is said to hang.
func (l limits) of() (limit, hanging time.Duration) {
	switch {
	case l.given != 0:
		limit = l.given
	case l.took == 0:
		return firstLimit, leastLimit
	default:
		limit = max(leastLimit, (10 * l.took).Round(time.Second))
	}
	return limit, limit / 3
}
