// Package spool keeps records in order until they are taken, on disk, and bounded: what finds
// no room is counted. Whoever adds a record never waits.
package spool

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/atomicfile"
)

const (
	// batch is how much is written at once, in bytes; then the disk is waited for.
	batch = 1 << 20
	// retryTime is how long after a failure of the disk it is tried again.
	retryTime = time.Second
	// dropTime is how often the disk learns how much was dropped.
	dropTime = 100 * time.Millisecond
	// segments is into how many a full queue is divided: so much room may be taken by what
	// was removed already.
	segments = 16
)

// Options of a Queue.
type Options struct {
	// Directory to keep records in, for this queue alone, which is made if it is missing; if it
	// is empty they are kept in memory, and lost with the process.
	Directory string
	// MaxSize is the room for records in bytes, on disk with all that belongs to them. What
	// would need more is dropped: the newest, so that a flood cannot push out what was there
	// before it.
	MaxSize int64
	// Notice makes a record that tells, in the place of records that were dropped, that they
	// were.
	Notice func(Dropped) []byte
	// Log takes what goes wrong.
	Log *zap.Logger
}

// Dropped is how many records in a row found no room.
type Dropped struct {
	// ID is the same wherever it is told of, and no other's.
	ID    string `json:"id"`
	Count uint64 `json:"count"`
	// Times of the first and of the last one.
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// Stats of a Queue.
type Stats struct {
	// How many records wait, and how many bytes they take.
	Length int
	Size   int64
	// How many were dropped since it was opened.
	Dropped uint64
}

// store is where records are kept in their order.
type store interface {
	// append keeps all or none.
	append(all [][]byte) error
	read(most int) ([][]byte, error)
	remove(n int) error
	length() int
	size() int64
	close() error
}

// Queue keeps records in order. One goroutine at a time may take them.
type Queue struct {
	options Options

	storing sync.Mutex // held while the disk works; locked before mu
	store   store

	mu         sync.Mutex
	staged     [][]byte // not yet in the store
	stagedSize int64
	storedSize int64 // of the store, at the last look
	stored     int   // likewise, how many
	dropped    Dropped
	unsaved    bool // the disk does not know of dropped
	failing    bool // the store takes nothing
	finished   bool // no more is added
	total      uint64

	wake    chan struct{} // there is something to write
	ready   chan struct{} // there is something to take, or will never be
	closing chan struct{}
	written chan struct{} // closed when the writing has ended
}

// Open opens a queue with what an earlier one has left in its directory.
func Open(options Options) (*Queue, error) {
	q := &Queue{
		options: options, store: &memory{},
		wake: make(chan struct{}, 1), ready: make(chan struct{}, 1),
		closing: make(chan struct{}), written: make(chan struct{}),
	}
	if options.Directory != "" {
		if err := q.openDisk(); err != nil {
			return nil, fmt.Errorf("opening the spool: %w", err)
		}
	}
	q.look()
	q.admitNotice()
	go q.write()
	return q, nil
}

func (q *Queue) openDisk() error {
	directory := q.options.Directory
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return err
	}
	if err := atomicfile.SyncDirectory(filepath.Dir(directory)); err != nil {
		return err
	}
	d, found, err := openDisk(directory, q.options.MaxSize/segments)
	if err != nil {
		return err
	}
	if found.lines > 0 {
		q.options.Log.Error("the spool is damaged; what can be read is delivered", zap.Strings("files", found.paths), zap.Int("damaged records", found.lines))
	}
	q.store = d
	text, err := readSealed(q.droppedFile())
	if err == nil && text != nil {
		err = json.Unmarshal(text, &q.dropped)
	}
	return err
}

func (q *Queue) droppedFile() string { return filepath.Join(q.options.Directory, "dropped") }

// Add adds a record if there is room, and otherwise counts it as dropped, with its time. It
// does not wait, and makes the record only if there is room. Records have no line feeds.
func (q *Queue) Add(at time.Time, make func() []byte) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	defer signal(q.wake)
	q.admitNotice()
	if q.finished || q.dropped.Count > 0 {
		q.drop(at)
		return false
	}
	data := make()
	if q.size()+size(data) > q.options.MaxSize {
		q.drop(at)
		return false
	}
	q.stage(data)
	return true
}

func (q *Queue) stage(data []byte) {
	q.staged = append(q.staged, data)
	q.stagedSize += size(data)
}

func (q *Queue) size() int64 { return q.stagedSize + q.storedSize }

func (q *Queue) drop(at time.Time) {
	if q.dropped.Count == 0 {
		q.dropped = Dropped{ID: rand.Text(), From: at, To: at}
		q.options.Log.Error("the queue is full: alerts are dropped until there is room", zap.Int64("bytes", q.size()), zap.Int64("max-size", q.options.MaxSize))
	}
	q.dropped.Count++
	q.dropped.From = earlier(q.dropped.From, at)
	q.dropped.To = later(q.dropped.To, at)
	q.unsaved = true
	q.total++
}

// admitNotice ends a row of dropped records when there is some room again, not only for one:
// else every second record would tell that one was dropped.
func (q *Queue) admitNotice() {
	if q.finished || q.dropped.Count == 0 || q.size() > q.options.MaxSize/segments*(segments-2) {
		return
	}
	q.options.Log.Error("there is room again", zap.Uint64("dropped", q.dropped.Count), zap.Time("from", q.dropped.From), zap.Time("to", q.dropped.To))
	q.stage(q.options.Notice(q.dropped))
	q.dropped = Dropped{}
	q.unsaved = true
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// Next waits for the first records that were not removed, and returns them, at most so many.
// The error is io.EOF if there are none and never will be, or the context's.
func (q *Queue) Next(ctx context.Context, most int) ([][]byte, error) {
	for {
		records, err := q.peek(most)
		if len(records) > 0 || err != nil {
			return records, err
		}
		select {
		case <-q.ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (q *Queue) peek(most int) ([][]byte, error) {
	q.storing.Lock()
	defer q.storing.Unlock()
	records, err := q.store.read(most)
	var missing *missingError
	if errors.As(err, &missing) {
		q.options.Log.Error("the spool has lost alerts", zap.Int("count", missing.count), zap.String("directory", q.options.Directory))
		records, err = q.store.read(most)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the spool: %w", err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.look()
	switch {
	case len(records) > 0:
		return records, nil
	case q.finished && len(q.staged) == 0:
		return nil, io.EOF
	case q.failing: // the store has nothing, so the order is kept
		return append(records, q.staged[:min(most, len(q.staged))]...), nil
	}
	return nil, nil
}

// look notes how much the store has.
func (q *Queue) look() { q.stored, q.storedSize = q.store.length(), q.store.size() }

// Remove forgets the first records, as many as Next has returned or fewer.
func (q *Queue) Remove(n int) error {
	q.storing.Lock()
	defer q.storing.Unlock()
	inStore := min(n, q.store.length())
	err := q.store.remove(inStore)
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, data := range q.staged[:n-inStore] { // lent while the store took nothing
		q.stagedSize -= size(data)
	}
	q.staged = q.staged[n-inStore:]
	q.look()
	q.admitNotice()
	signal(q.wake)
	if err != nil {
		return fmt.Errorf("noting in the spool what was delivered: %w", err)
	}
	return nil
}

// Flush returns when all that was added before is in the store, or cannot be.
func (q *Queue) Flush() {
	for q.writeSome() {
	}
}

// Finish takes no more records: Next returns io.EOF when there are none left.
func (q *Queue) Finish() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.finished = true
	signal(q.wake)
	signal(q.ready)
}

// Close writes what was not yet written, and returns how many records are left for the next
// queue with the directory, and how many are lost, since there is none or it cannot be written.
func (q *Queue) Close() (left, lost int, err error) {
	q.Finish()
	close(q.closing)
	<-q.written
	q.mu.Lock()
	defer q.mu.Unlock()
	left, lost = q.store.length(), len(q.staged)
	if q.options.Directory == "" {
		left, lost = 0, lost+left
	}
	return left, lost, q.store.close()
}

// Stats tells how much there is.
func (q *Queue) Stats() Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	return Stats{Length: q.stored + len(q.staged), Size: q.size(), Dropped: q.total}
}

// write moves what was added into the store, for as long as the queue is open.
func (q *Queue) write() {
	defer close(q.written)
	again := time.NewTimer(0)
	var saved, failed time.Time
	for open := true; open; {
		select {
		case <-q.wake:
		case <-again.C:
		case <-q.closing:
			open = false
		}
		if time.Since(failed) >= retryTime || !open {
			for q.writeSome() {
			}
			if q.fails() {
				failed = time.Now()
				again.Reset(retryTime)
			}
		}
		switch {
		case !q.toSave():
		case time.Since(saved) >= dropTime || !open:
			q.saveDropped()
			saved = time.Now()
		default:
			again.Reset(dropTime)
		}
	}
}

func (q *Queue) fails() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.failing
}

// toSave reports whether the disk has to learn what was dropped. A notice that is staged was
// dropped until it is stored.
func (q *Queue) toSave() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.unsaved && len(q.staged) == 0 && q.options.Directory != ""
}

// writeSome writes a batch; false if there is nothing more to write, or it cannot be.
func (q *Queue) writeSome() bool {
	q.storing.Lock()
	defer q.storing.Unlock()
	staged := q.firstStaged()
	if len(staged) == 0 {
		return false
	}
	err := q.store.append(staged)
	q.mu.Lock()
	defer q.mu.Unlock()
	defer signal(q.ready)
	q.look()
	if err != nil {
		if !q.failing {
			q.options.Log.Error("the spool cannot be written; alerts are kept in memory meanwhile", zap.Error(err))
		}
		q.failing = true
		return false
	}
	if q.failing {
		q.options.Log.Warn("the spool can be written again")
	}
	q.failing = false
	for _, data := range staged {
		q.stagedSize -= size(data)
	}
	clear(q.staged[:len(staged)])
	q.staged = q.staged[len(staged):]
	q.look()
	return len(q.staged) > 0
}

func (q *Queue) firstStaged() [][]byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	var bytes int64
	for i, data := range q.staged {
		if bytes += size(data); bytes > batch {
			return append([][]byte(nil), q.staged[:max(i, 1)]...)
		}
	}
	return append([][]byte(nil), q.staged...)
}

// saveDropped lets the next queue know what was dropped and not told of.
func (q *Queue) saveDropped() {
	q.mu.Lock()
	if len(q.staged) > 0 {
		q.mu.Unlock()
		return
	}
	dropped := q.dropped
	q.unsaved = false
	q.mu.Unlock()
	var err error
	if dropped.Count == 0 {
		if err = os.Remove(q.droppedFile()); errors.Is(err, os.ErrNotExist) {
			err = nil
		}
	} else {
		text, _ := json.Marshal(dropped) // numbers and times: it does not fail
		err = writeSealed(q.droppedFile(), text)
	}
	if err != nil {
		q.options.Log.Error("noting in the spool what was dropped", zap.Error(err))
	}
}

func signal(to chan struct{}) {
	select {
	case to <- struct{}{}:
	default:
	}
}
