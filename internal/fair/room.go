package fair

import (
	"crypto/rand"
	"time"
)

const (
	// maxRows is of how many sources dropped values are counted one by one. Those of further
	// sources are counted together, as of the source without a key.
	maxRows = 1024
	// firstNotice is how long after the first dropped value it is reported at the latest, if that
	// source's values are still waiting; then after twice as long each time, up to lastNotice.
	firstNotice = time.Minute
	lastNotice  = time.Hour
)

// Dropped counts values of one source in a row that found no room.
type Dropped struct {
	// ID is the same wherever the row is reported, and no other row's.
	ID     string `json:"id"`
	Source Source `json:"source"`
	Count  uint64 `json:"count"`
	// Times of the first and of the last one.
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// row is a Dropped that goes on.
type row struct {
	Dropped
	began time.Time     // when the first one was dropped, or the last notice made
	wait  time.Duration // from then to the next notice
}

// Room bounds what waits. A source may take as much as it leaves free: one alone takes half of the
// room at most, and n sources that take all they can leave 1/(n+1) to others. It is for one
// goroutine at a time.
type Room struct {
	max, used int64
	held      map[string]int64
	rows      map[string]*row
	total     uint64
}

// NewRoom makes a room of some size, in any unit.
func NewRoom(size int64) *Room {
	return &Room{max: size, held: make(map[string]int64), rows: make(map[string]*row)}
}

// Take takes room for a value of a source, made at a time. If it is false, the value is counted as
// dropped. Once a value of a source was dropped, its further ones are dropped until Notices
// reports them, so that a notice stands for values in a row.
func (r *Room) Take(of Source, size int64, at time.Time) (ok, first bool) {
	if r.rows[of.Key] == nil && r.held[of.Key]+size <= r.max-r.used {
		r.Force(of, size)
		return true, false
	}
	return false, r.drop(of, at)
}

// Drops reports whether further values of a source are dropped whatever their size.
func (r *Room) Drops(key string) bool { return r.rows[key] != nil }

// Force takes room whether there is any or not, as for notices.
func (r *Room) Force(of Source, size int64) {
	r.used += size
	r.held[of.Key] += size
}

// Drop counts a value that is dropped for another reason than room.
func (r *Room) Drop(of Source, at time.Time) (first bool) { return r.drop(of, at) }

func (r *Room) drop(of Source, at time.Time) (first bool) {
	r.total++
	now := r.rows[of.Key]
	if now == nil {
		if len(r.rows) >= maxRows {
			of = Source{}
			now = r.rows[""]
		}
		if now == nil {
			now = &row{Dropped: Dropped{Source: of}, wait: firstNotice}
			r.rows[of.Key] = now
		}
	}
	if first = now.Count == 0; first {
		now.ID, now.From, now.To, now.began = rand.Text(), at, at, time.Now()
	}
	now.Count++
	if at.Before(now.From) {
		now.From = at
	}
	if at.After(now.To) {
		now.To = at
	}
	return first
}

// Give frees room.
func (r *Room) Give(key string, size int64) {
	r.used -= size
	if r.held[key] -= size; r.held[key] <= 0 {
		delete(r.held, key)
	}
}

// Used is how much is taken.
func (r *Room) Used() int64 { return r.used }

// Total counts all dropped values.
func (r *Room) Total() uint64 { return r.total }

// Notices returns the rows that are to be reported now, and ends them: those whose source has room
// again, not only for one value, and those that have gone on for some time.
func (r *Room) Notices() (due []Dropped) {
	for key, now := range r.rows {
		left := r.max - r.used
		free := left > r.max/256 && r.held[key] <= left*3/4
		switch {
		case now.Count > 0 && (free || time.Since(now.began) >= now.wait):
			due = append(due, now.Dropped)
			now.Count, now.began, now.wait = 0, time.Now(), min(2*now.wait, lastNotice)
			if free {
				delete(r.rows, key)
			}
		case now.Count == 0 && free:
			delete(r.rows, key)
		}
	}
	return due
}

// End returns all rows that were not reported, and ends them.
func (r *Room) End() []Dropped {
	all := r.Rows()
	clear(r.rows)
	return all
}

// Rows returns all rows that were not reported, as to save them.
func (r *Room) Rows() (all []Dropped) {
	for _, now := range r.rows {
		if now.Count > 0 {
			all = append(all, now.Dropped)
		}
	}
	return all
}

// Restore continues rows that were saved.
func (r *Room) Restore(rows []Dropped) {
	for _, saved := range rows {
		if saved.Count > 0 {
			r.rows[saved.Source.Key] = &row{Dropped: saved, began: time.Now(), wait: firstNotice}
		}
	}
}
