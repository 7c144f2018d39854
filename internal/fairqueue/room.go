package fairqueue

import (
	"crypto/rand"
	"time"
)

const (
	// maxSeries is the number of sources whose dropped values are counted separately. Values of further sources are
	// counted together, for the source without a key.
	maxSeries = 1024
	// firstNoticeDelay is the longest delay between the first dropped value and a notice, even if values of that source
	// are still waiting. Each further delay is twice as long, up to maxNoticeDelay.
	firstNoticeDelay = time.Minute
	maxNoticeDelay   = time.Hour
)

// Dropped counts consecutive values of one source that had no room.
type Dropped struct {
	// ID identifies the series. It is the same in all reports of it.
	ID     string `json:"id"`
	Source Source `json:"source"`
	Count  uint64 `json:"count"`
	// Times of the first and the last dropped value.
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// series is a Dropped that is still growing.
type series struct {
	Dropped
	began time.Time     // when the first value was dropped or the last notice was made
	wait  time.Duration // from began to the next notice
}

// Room limits the values that wait. A source may use as much as it leaves free: one source alone may use at most half
// of the room, and n sources that use all they can leave 1/(n+1) to others. It is not safe for concurrent use.
type Room struct {
	max, used int64
	held      map[string]int64
	open      map[string]*series
	total     uint64
}

// NewRoom returns a room of a size, in any unit.
func NewRoom(size int64) *Room {
	return &Room{max: size, held: make(map[string]int64), open: make(map[string]*series)}
}

// Reserve reserves room for a value of a source. at is the time of the value. If Reserve returns false, the value is
// counted as dropped; first reports whether it starts a series. After a dropped value, further values of the source are
// dropped until [Room.Notices] returns the series. A notice thus stands for consecutive values.
func (r *Room) Reserve(of Source, size int64, at time.Time) (ok, first bool) {
	if r.open[of.Key] == nil && r.held[of.Key]+size <= r.max-r.used {
		r.ForceReserve(of, size)
		return true, false
	}
	return false, r.Drop(of, at)
}

// Drops reports whether further values of a source are dropped, whatever their size.
func (r *Room) Drops(key string) bool { return r.open[key] != nil }

// ForceReserve reserves room even if there is none. It is for notices.
func (r *Room) ForceReserve(of Source, size int64) {
	r.used += size
	r.held[of.Key] += size
}

// Drop counts a value as dropped. The result first reports whether the value starts a series.
func (r *Room) Drop(of Source, at time.Time) (first bool) {
	r.total++
	current := r.open[of.Key]
	if current == nil {
		if len(r.open) >= maxSeries {
			of = Source{}
			current = r.open[""]
		}
		if current == nil {
			current = &series{Dropped: Dropped{Source: of}, wait: firstNoticeDelay}
			r.open[of.Key] = current
		}
	}
	if first = current.Count == 0; first {
		current.ID, current.From, current.To, current.began = rand.Text(), at, at, time.Now()
	}
	current.Count++
	if at.Before(current.From) {
		current.From = at
	}
	if at.After(current.To) {
		current.To = at
	}
	return first
}

// Release frees reserved room.
func (r *Room) Release(key string, size int64) {
	r.used -= size
	if r.held[key] -= size; r.held[key] <= 0 {
		delete(r.held, key)
	}
}

// Used returns how much room is reserved.
func (r *Room) Used() int64 { return r.used }

// Total returns the number of all dropped values.
func (r *Room) Total() uint64 { return r.total }

// Notices returns the series that are due now, and restarts them: series of sources that have room again for more than
// one value, and series that have lasted for some time.
func (r *Room) Notices() (due []Dropped) {
	for key, current := range r.open {
		left := r.max - r.used
		free := left > r.max/256 && r.held[key] <= left*3/4
		switch {
		case current.Count > 0 && (free || time.Since(current.began) >= current.wait):
			due = append(due, current.Dropped)
			current.Count, current.began, current.wait = 0, time.Now(), min(2*current.wait, maxNoticeDelay)
			if free {
				delete(r.open, key)
			}
		case current.Count == 0 && free:
			delete(r.open, key)
		}
	}
	return due
}

// End returns all series that were not returned by Notices, and removes them.
func (r *Room) End() []Dropped {
	all := r.Series()
	clear(r.open)
	return all
}

// Series returns all series that were not returned by Notices, for example to save them.
func (r *Room) Series() (all []Dropped) {
	for _, current := range r.open {
		if current.Count > 0 {
			all = append(all, current.Dropped)
		}
	}
	return all
}

// Restore continues saved series.
func (r *Room) Restore(saved []Dropped) {
	for _, one := range saved {
		if one.Count > 0 {
			r.open[one.Source.Key] = &series{Dropped: one, began: time.Now(), wait: firstNoticeDelay}
		}
	}
}
