package observe

import (
	"sync"
	"time"

	"github.com/capmon/capmon/internal/profile"
)

const (
	// recentAge is the shortest time between two reads of [Observer.Recent].
	recentAge = time.Second
	// recentShare limits the time that Recent spends on reading: one part of recentShare parts.
	recentShare = 33
)

// recentProfile has the result of the last read of [Observer.Recent].
type recentProfile struct {
	mu      sync.Mutex
	profile profile.Profile
	at      time.Time
	next    time.Time // Recent does not read before that time
}

// Recent returns what was recorded until a short time ago, and that time. It is for clients that ask repeatedly: it
// reads the kernel's maps at most once per second, and spends at most 3 % of the time on reading. In between, it
// returns the result of the last read. The caller must not change the profile.
func (o *Observer) Recent() (profile.Profile, time.Time, error) {
	return o.recent.read(time.Now, o.Profile)
}

func (r *recentProfile) read(now func() time.Time, load func() (profile.Profile, error)) (profile.Profile, time.Time, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	began := now()
	if began.Before(r.next) {
		return r.profile, r.at, nil
	}
	p, err := load()
	if err != nil {
		return profile.Profile{}, time.Time{}, err
	}
	ended := now()
	r.profile, r.at, r.next = p, began, ended.Add(max(recentAge, (recentShare-1)*ended.Sub(began)))
	return p, began, nil
}
