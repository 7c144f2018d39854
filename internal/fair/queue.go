// Package fair shares a queue among sources, which are containers: each gets its turn, and none
// takes more room than it leaves to the others.
package fair

// Own is the key of capmon's own messages. No container has it: IDs are hexadecimal.
const Own = "capmon"

// Source is who makes values.
type Source struct {
	// Key identifies it.
	Key string `json:"key"`
	// Title is its name for people. It may hold any bytes.
	Title string `json:"title"`
}

// Queue hands out the values of several sources in turn, those of one source in their order. A new
// source waits for one value of each other source at most. It is for one goroutine at a time; the
// zero value is empty.
type Queue[T any] struct {
	lanes  map[string][]T // of the sources that have values, never empty
	turns  []string       // their keys, the next one first
	length int
}

// Push adds a value behind the others of its source.
func (q *Queue[T]) Push(key string, value T) {
	q.enter(key)
	q.lanes[key] = append(q.lanes[key], value)
	q.length++
}

// Return puts values back before the others of their sources, as after a failed delivery.
func (q *Queue[T]) Return(values []T, key func(T) string) {
	back := make(map[string][]T)
	for _, value := range values {
		back[key(value)] = append(back[key(value)], value)
	}
	for of, some := range back {
		q.enter(of)
		q.lanes[of] = append(some, q.lanes[of]...)
	}
	q.length += len(values)
}

func (q *Queue[T]) enter(key string) {
	if q.lanes == nil {
		q.lanes = make(map[string][]T)
	}
	if len(q.lanes[key]) == 0 {
		q.turns = append(q.turns, key)
	}
}

// Pop takes the next value out; false if there is none.
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

// Len is the number of values.
func (q *Queue[T]) Len() int { return q.length }
