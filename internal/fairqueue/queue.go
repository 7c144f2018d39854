// Package fairqueue shares a queue among sources, which are containers. The sources take turns, and each leaves room
// for the others.
package fairqueue

import (
	"slices"
	"sort"
)

// Own is the key of capmon's own messages. It cannot be a container's: container IDs are hexadecimal.
const Own = "capmon"

// Source is the origin of queued values.
type Source struct {
	// Key identifies the source.
	Key string `json:"key"`
	// Title is the name of the source for people. It may contain any bytes.
	Title string `json:"title"`
}

// Queue returns the values of several sources in turn, and the values of one source in their order. A new source waits
// for at most one value of each other source. It is not safe for concurrent use. The zero value is an empty queue.
type Queue[T any] struct {
	lanes  map[string][]T // by key of the source; has no empty lane
	turns  []string       // the keys of lanes, the next one first
	length int
}

// Push appends a value to the queue of its source.
func (q *Queue[T]) Push(key string, value T) {
	q.addTurn(key)
	q.lanes[key] = append(q.lanes[key], value)
	q.length++
}

// Return puts values back in front of the others of their sources, for example after a failed delivery.
func (q *Queue[T]) Return(values []T, key func(T) string) {
	back := make(map[string][]T)
	for _, value := range values {
		back[key(value)] = append(back[key(value)], value)
	}
	for source, values := range back {
		q.addTurn(source)
		q.lanes[source] = append(values, q.lanes[source]...)
	}
	q.length += len(values)
}

func (q *Queue[T]) addTurn(key string) {
	if q.lanes == nil {
		q.lanes = make(map[string][]T)
	}
	if len(q.lanes[key]) == 0 {
		q.turns = append(q.turns, key)
	}
}

// Pop removes and returns the next value. It returns false if the queue is empty.
func (q *Queue[T]) Pop() (value T, ok bool) {
	if q.length == 0 {
		return value, false
	}
	key := q.turns[0]
	q.turns = q.turns[1:]
	lane := q.lanes[key]
	value = lane[0]
	var none T
	lane[0] = none // for the garbage collector
	if q.length--; len(lane) == 1 {
		delete(q.lanes, key)
		return value, true
	}
	q.lanes[key] = lane[1:]
	q.turns = append(q.turns, key)
	return value, true
}

// Len returns the number of values.
func (q *Queue[T]) Len() int { return q.length }

// Latest returns at most n of some values, which are in the order of their times. It leaves out the earliest values of
// the sources that have the most, so that a source cannot remove the values of others.
func Latest[T any](values []T, n int, key func(T) string) []T {
	if len(values) <= n {
		return values
	}
	number := make(map[string]int)
	for _, value := range values {
		number[key(value)]++
	}
	each, more := share(number, n)
	kept := make([]T, 0, n)
	taken := make(map[string]int)
	for _, value := range slices.Backward(values) {
		switch of := key(value); {
		case taken[of] < each:
			taken[of]++
			kept = append(kept, value)
		case taken[of] == each && more > 0:
			taken[of]++
			more--
			kept = append(kept, value)
		}
	}
	slices.Reverse(kept)
	return kept
}

// share returns how many values each source may keep if all sources together keep n. Further sources, as many as more,
// may keep one more.
func share(number map[string]int, n int) (each, more int) {
	most := 0
	for _, one := range number {
		most = max(most, one)
	}
	kept := func(each int) (sum int) {
		for _, one := range number {
			sum += min(one, each)
		}
		return sum
	}
	each = sort.Search(most, func(i int) bool { return kept(i+1) > n })
	return each, n - kept(each)
}
