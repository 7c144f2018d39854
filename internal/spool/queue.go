// Package spool keeps records until they are taken, on disk, and bounded: records that find no room
// are counted. The sources of records take turns, and none takes the room of the others (package
// fair). Whoever adds a record never waits.
package spool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/atomicfile"
	"github.com/capmon/capmon/internal/fair"
	"github.com/capmon/capmon/internal/printable"
)

const (
	// batch is how much is written at once, in bytes; then the disk is waited for.
	batch = 1 << 20
	// retryTime is how long after a failure of the disk it is tried again.
	retryTime = time.Second
	// dropTime is how often the disk learns how much was dropped.
	dropTime = 100 * time.Millisecond
	// segments is into how many a full queue on disk is divided. Records that wait may take
	// waitingShare of them, records that were removed deadShare; the rest is for what is being moved
	// and written.
	segments, waitingShare, deadShare = 16, 12, 2
)

// Options of a Queue.
type Options struct {
	// Directory to keep records in, for this queue alone, which is made if it is missing; if it
	// is empty they are kept in memory, and lost with the process.
	Directory string
	// MaxSize is the room for records in bytes, on disk with all that belongs to them. A source may
	// take as much of it as it leaves free. What would need more is dropped: the newest, so that a
	// flood cannot push out what was there before it.
	MaxSize int64
	// Notice makes a record that reports records which were dropped.
	Notice func(fair.Dropped) []byte
	// Source returns the source of a record that an earlier process has left.
	Source func([]byte) fair.Source
	// Log takes what goes wrong.
	Log *zap.Logger
}

// Stats of a Queue.
type Stats struct {
	// How many records wait, and how many bytes they take.
	Length int
	Size   int64
	// How many were dropped since it was opened.
	Dropped uint64
}

// Queue keeps records, those of a source in their order. One goroutine at a time may take them.
type Queue struct {
	options Options

	storing sync.Mutex // held while the disk works; locked before mu
	disk    *disk      // nil: records are kept in memory
	unmoved bool       // the disk could not be tidied up

	mu       sync.Mutex
	staged   fair.Queue[*item] // not yet on the disk
	stored   fair.Queue[*item] // ready to be taken
	lent     []*item           // taken by Next and not yet removed
	writing  int               // records that are just being written
	room     *fair.Room
	unsaved  bool // the disk does not know what was dropped
	failing  bool // the disk takes nothing
	finished bool // no more is added

	wake    chan struct{} // there is something to write
	ready   chan struct{} // there is something to take, or will never be
	closing chan struct{}
	written chan struct{} // closed when the writing has ended
}

// Open opens a queue with what an earlier one has left in its directory.
func Open(options Options) (*Queue, error) {
	q := &Queue{
		options: options, room: fair.NewRoom(options.MaxSize),
		wake: make(chan struct{}, 1), ready: make(chan struct{}, 1),
		closing: make(chan struct{}), written: make(chan struct{}),
	}
	if options.Directory != "" {
		q.room = fair.NewRoom(options.MaxSize / segments * waitingShare)
		if err := q.openDisk(); err != nil {
			return nil, fmt.Errorf("opening the spool: %w", err)
		}
	}
	q.admitNotices()
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
	part := q.options.MaxSize / segments
	d, waiting, found, err := openDisk(directory, part, deadShare*part, func(data []byte) string { return q.options.Source(data).Key })
	if err != nil {
		return err
	}
	if found.lines > 0 {
		q.options.Log.Error("the spool is damaged; what can be read is delivered", zap.Strings("files", found.paths), zap.Int("damaged records", found.lines))
	}
	q.disk = d
	for _, it := range waiting {
		q.room.Force(fair.Source{Key: it.key}, it.size)
		q.stored.Push(it.key, it)
	}
	text, err := readSealed(q.droppedFile())
	if err != nil || text == nil {
		return err
	}
	var rows []fair.Dropped
	if text[0] != '[' { // of an earlier version
		rows = make([]fair.Dropped, 1)
		err = json.Unmarshal(text, &rows[0])
	} else {
		err = json.Unmarshal(text, &rows)
	}
	q.room.Restore(rows)
	return err
}

func (q *Queue) droppedFile() string { return filepath.Join(q.options.Directory, "dropped") }

// Add adds a record of a source if there is room, and otherwise counts it as dropped, with its
// time. It does not wait, and makes the record only if there may be room. Records have no line feeds.
func (q *Queue) Add(of fair.Source, at time.Time, make func() []byte) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	defer signal(q.wake)
	q.admitNotices()
	if q.finished || q.room.Drops(of.Key) {
		q.room.Drop(of, at)
		q.unsaved = true
		return false
	}
	data := make()
	took, first := q.room.Take(of, size(data), at)
	if first {
		q.options.Log.Error("the queue has no more room for the alerts of a container: they are dropped until some are delivered",
			zap.String("container", printable.Text(of.Title)), zap.Int64("bytes", q.room.Used()), zap.Int64("max-size", q.options.MaxSize))
	}
	if !took {
		q.unsaved = true
		return false
	}
	q.stage(of.Key, data)
	return true
}

// stage adds a record that has room. The caller holds mu.
func (q *Queue) stage(key string, data []byte) {
	it := &item{key: key, data: data, size: size(data)}
	if q.disk != nil {
		q.staged.Push(key, it)
		return
	}
	q.stored.Push(key, it)
	signal(q.ready)
}

// admitNotices reports dropped records when it is time to. The caller holds mu.
func (q *Queue) admitNotices() {
	if !q.finished {
		q.stageNotices(q.room.Notices())
	}
}

func (q *Queue) stageNotices(all []fair.Dropped) {
	for _, d := range all {
		q.options.Log.Error("alerts of a container were dropped", zap.String("container", printable.Text(d.Source.Title)),
			zap.Uint64("dropped", d.Count), zap.Time("from", d.From), zap.Time("to", d.To))
		data := q.options.Notice(d)
		q.room.Force(fair.Source{Key: fair.Own}, size(data))
		q.stage(fair.Own, data)
		q.unsaved = true
	}
}

// Next waits for records that were not removed, and returns the first of them, at most so many: in
// turn of each source. Until they are removed it returns them again. The error is io.EOF if there
// are none and never will be, or the context's.
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

func (q *Queue) peek(most int) (records [][]byte, err error) {
	q.storing.Lock()
	defer q.storing.Unlock()
	for {
		lent, end := q.lend(most)
		if end {
			return nil, io.EOF
		}
		if len(lent) == 0 {
			return nil, nil
		}
		if records, err = q.load(lent); err != nil {
			return nil, fmt.Errorf("reading the spool: %w", err)
		}
		if len(records) > 0 {
			return records, nil
		}
	}
}

// lend takes the next records, unless some are taken and not removed; end is true if there are none
// and never will be.
func (q *Queue) lend(most int) (lent []*item, end bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.lent) == 0 {
		from := &q.stored
		if from.Len() == 0 && q.failing {
			from = &q.staged
		}
		for len(q.lent) < most {
			it, ok := from.Pop()
			if !ok {
				break
			}
			q.lent = append(q.lent, it)
		}
	}
	return slices.Clone(q.lent[:min(most, len(q.lent))]), len(q.lent) == 0 && q.finished && q.staged.Len() == 0
}

// load returns the data of records that are lent. Those that others have deleted it removes.
func (q *Queue) load(lent []*item) (records [][]byte, err error) {
	var missing []*item
	for _, it := range lent {
		data := it.data
		if data == nil {
			data, err = q.disk.read(it)
		}
		if errors.Is(err, errMissing) {
			missing, err = append(missing, it), nil
			continue
		}
		if err != nil {
			return nil, err
		}
		it.data = data // it may be asked for again
		records = append(records, data)
	}
	if len(missing) == 0 {
		return records, nil
	}
	q.options.Log.Error("the spool has lost alerts", zap.Int("count", len(missing)), zap.String("directory", q.options.Directory))
	q.mu.Lock()
	q.lent = slices.DeleteFunc(q.lent, func(it *item) bool { return slices.Contains(missing, it) })
	q.free(missing)
	q.mu.Unlock()
	return records, q.disk.remove(missing)
}

// Remove forgets the first records that Next has returned, as many or fewer.
func (q *Queue) Remove(n int) error {
	q.storing.Lock()
	defer q.storing.Unlock()
	onDisk := slices.DeleteFunc(q.takeBack(n), func(it *item) bool { return it.number == 0 })
	if len(onDisk) == 0 {
		return nil
	}
	if err := q.disk.remove(onDisk); err != nil {
		return fmt.Errorf("noting in the spool what was delivered: %w", err)
	}
	return nil
}

// takeBack ends the lending of the first records.
func (q *Queue) takeBack(n int) []*item {
	q.mu.Lock()
	defer q.mu.Unlock()
	defer signal(q.wake)
	gone := slices.Clone(q.lent[:n])
	q.lent = q.lent[n:]
	q.free(gone)
	q.admitNotices()
	return gone
}

// free frees the room of records. The caller holds mu.
func (q *Queue) free(all []*item) {
	for _, it := range all {
		q.room.Give(it.key, it.size)
	}
}

// Flush returns when all that was added before is on the disk, or cannot be.
func (q *Queue) Flush() {
	for q.writeSome() {
	}
}

// Finish takes no more records: Next returns io.EOF when there are none left. What was dropped it
// reports now, or the next queue with the directory does.
func (q *Queue) Finish() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.disk == nil && !q.finished {
		q.stageNotices(q.room.End())
	}
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
	left, lost = q.stored.Len(), q.staged.Len()
	for _, it := range q.lent {
		if it.number > 0 {
			left++
		} else {
			lost++
		}
	}
	if q.disk == nil {
		return 0, lost + left, nil
	}
	return left, lost, q.disk.close()
}

// Stats returns how much there is.
func (q *Queue) Stats() Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	return Stats{Length: q.stored.Len() + q.staged.Len() + q.writing + len(q.lent), Size: q.room.Used(), Dropped: q.room.Total()}
}

// write moves what was added to the disk, for as long as the queue is open.
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
	return q.unsaved && q.staged.Len() == 0 && q.disk != nil
}

// writeSome writes a batch; false if there is nothing more to write, or it cannot be.
func (q *Queue) writeSome() bool {
	if q.disk == nil {
		return false
	}
	q.storing.Lock()
	defer q.storing.Unlock()
	staged := q.someStaged()
	if len(staged) == 0 {
		return false
	}
	err := q.disk.append(staged)
	more := q.noteWritten(staged, err)
	if err != nil {
		return false
	}
	err = q.disk.compact()
	if err != nil && !q.unmoved {
		q.options.Log.Warn("the spool takes more room than it needs", zap.Error(err))
	}
	q.unmoved = err != nil
	return more
}

// noteWritten has records taken that the disk has, or not if there was an error. It reports whether
// there are more to write.
func (q *Queue) noteWritten(all []*item, err error) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	defer signal(q.ready)
	q.writing = 0
	if err != nil {
		q.staged.Return(all, func(it *item) string { return it.key })
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
	for _, it := range all {
		it.data = nil
		q.stored.Push(it.key, it)
	}
	return q.staged.Len() > 0
}

// someStaged takes a batch of what was added, in turn of each source.
func (q *Queue) someStaged() (some []*item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for bytes := int64(0); bytes < batch; {
		it, ok := q.staged.Pop()
		if !ok {
			break
		}
		some = append(some, it)
		bytes += it.size
	}
	q.writing = len(some)
	return some
}

// saveDropped lets the next queue know what was dropped and not told of.
func (q *Queue) saveDropped() {
	q.mu.Lock()
	if q.staged.Len() > 0 {
		q.mu.Unlock()
		return
	}
	dropped := q.room.Rows()
	q.unsaved = false
	q.mu.Unlock()
	var err error
	if len(dropped) == 0 {
		if err = os.Remove(q.droppedFile()); errors.Is(err, os.ErrNotExist) {
			err = nil
		}
	} else {
		text, _ := json.Marshal(dropped) // strings, numbers and times: it does not fail
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
