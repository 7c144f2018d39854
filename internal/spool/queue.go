// Package spool implements a bounded queue of records, on disk or in memory. Records that do not fit are dropped and
// counted. The queue returns records of each source in turn, and no source can use the space of the others (package
// fairqueue). Adding a record never waits.
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
	"github.com/capmon/capmon/internal/fairqueue"
	"github.com/capmon/capmon/internal/printable"
)

const (
	// batchSize is the maximum number of bytes written before a sync.
	batchSize = 1 << 20
	// retryInterval is the interval between attempts to write after a disk error.
	retryInterval = time.Second
	// saveInterval is the interval between writes of the counts of dropped records.
	saveInterval = 100 * time.Millisecond
	// segments is the number of segments that MaxSize is divided into. Waiting records use up to waitingShare
	// segments, removed records up to deadShare. The rest is for records that are being moved and written.
	segments, waitingShare, deadShare = 16, 12, 2
)

// Options are the options of a [Queue].
type Options struct {
	// Directory of the records, for this queue only. [Open] creates it if it does not exist. If it is "", records
	// are in memory and are lost when the process ends.
	Directory string
	// MaxSize is the maximum size of the queue in bytes, including all its files. A source can use as much
	// space as it leaves free. If it has no space left, its new records are dropped, so that a flood cannot
	// replace earlier records.
	MaxSize int64
	// Notice returns a record that reports dropped records.
	Notice func(fairqueue.Dropped) []byte
	// Source returns the source of a record that an earlier process left.
	Source func([]byte) fairqueue.Source
	// Log is the logger for errors.
	Log *zap.Logger
}

// Stats is the state of a [Queue].
type Stats struct {
	// Number and size of the waiting records.
	Length int
	Size   int64
	// Number of records that were dropped since the queue was opened.
	Dropped uint64
}

// Queue is a queue of records. It keeps the order of the records of each source. It is safe for concurrent use,
// but only one goroutine at a time may use Next and Remove.
type Queue struct {
	options Options

	storing sync.Mutex // held while accessing the disk; locked before mu
	disk    *disk      // nil: records are in memory
	unmoved bool       // compacting the disk failed

	mu       sync.Mutex
	staged   fairqueue.Queue[*item] // not yet on the disk
	stored   fairqueue.Queue[*item] // ready for Next
	lent     []*item                // returned by Next and not yet removed
	writing  int                    // number of records that are being written
	room     *fairqueue.Room
	unsaved  bool // the counts of dropped records on disk are out of date
	failing  bool // the last write to the disk failed
	finished bool // no more records are added

	wake    chan struct{} // there is something to write
	ready   chan struct{} // there are records for Next, or the queue is finished
	closing chan struct{}
	written chan struct{} // closed when the writing goroutine has ended
}

// Open opens a queue with the records that an earlier process left in its directory.
func Open(options Options) (*Queue, error) {
	q := &Queue{
		options: options, room: fairqueue.NewRoom(options.MaxSize),
		wake: make(chan struct{}, 1), ready: make(chan struct{}, 1),
		closing: make(chan struct{}), written: make(chan struct{}),
	}
	if options.Directory != "" {
		q.room = fairqueue.NewRoom(options.MaxSize / segments * waitingShare)
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
		q.options.Log.Error("the spool is damaged; capmon delivers the intact records", zap.Strings("files", found.paths), zap.Int("damaged records", found.lines))
	}
	q.disk = d
	for _, it := range waiting {
		q.room.ForceReserve(fairqueue.Source{Key: it.key}, it.size)
		q.stored.Push(it.key, it)
	}
	text, err := readSealed(q.droppedFile())
	if err != nil || text == nil {
		return err
	}
	var rows []fairqueue.Dropped
	if text[0] != '[' { // written by an earlier version
		rows = make([]fairqueue.Dropped, 1)
		err = json.Unmarshal(text, &rows[0])
	} else {
		err = json.Unmarshal(text, &rows)
	}
	q.room.Restore(rows)
	return err
}

func (q *Queue) droppedFile() string { return filepath.Join(q.options.Directory, "dropped") }

// Add adds a record of a source if it fits, and otherwise counts it as dropped at the given time. It reports
// whether the record was added. It does not wait. It calls encode only if the record may fit. A record must not
// contain line feeds.
func (q *Queue) Add(source fairqueue.Source, at time.Time, encode func() []byte) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	defer signal(q.wake)
	q.admitNotices()
	if q.finished || q.room.Drops(source.Key) {
		q.room.Drop(source, at)
		q.unsaved = true
		return false
	}
	data := encode()
	took, first := q.room.Reserve(source, size(data), at)
	if first {
		q.options.Log.Error("the queue has no space left for the alerts of a container: capmon drops alerts of this container until some are delivered",
			zap.String("container", printable.Text(source.Title)), zap.Int64("bytes", q.room.Used()), zap.Int64("max-size", q.options.MaxSize))
	}
	if !took {
		q.unsaved = true
		return false
	}
	q.stage(source.Key, data)
	return true
}

// stage adds a record whose space is reserved. The caller holds mu.
func (q *Queue) stage(key string, data []byte) {
	it := &item{key: key, data: data, size: size(data)}
	if q.disk != nil {
		q.staged.Push(key, it)
		return
	}
	q.stored.Push(key, it)
	signal(q.ready)
}

// admitNotices adds the notices of dropped records that are due. The caller holds mu.
func (q *Queue) admitNotices() {
	if !q.finished {
		q.stageNotices(q.room.Notices())
	}
}

func (q *Queue) stageNotices(all []fairqueue.Dropped) {
	for _, d := range all {
		q.options.Log.Error("alerts of a container were dropped", zap.String("container", printable.Text(d.Source.Title)),
			zap.Uint64("dropped", d.Count), zap.Time("from", d.From), zap.Time("to", d.To))
		data := q.options.Notice(d)
		q.room.ForceReserve(fairqueue.Source{Key: fairqueue.Own}, size(data))
		q.stage(fairqueue.Own, data)
		q.unsaved = true
	}
}

// Next waits for records and returns up to n of them, one of each source in turn. It returns the same records
// until they are removed. The error is [io.EOF] if the queue is finished and empty, or the error of the context.
func (q *Queue) Next(ctx context.Context, n int) ([][]byte, error) {
	for {
		records, err := q.peek(n)
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

func (q *Queue) peek(n int) (records [][]byte, err error) {
	q.storing.Lock()
	defer q.storing.Unlock()
	for {
		lent, end := q.lend(n)
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

// lend returns up to n lent records. If none are lent, it lends the next ones. end reports whether the queue is
// finished and empty.
func (q *Queue) lend(n int) (lent []*item, end bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.lent) == 0 {
		from := &q.stored
		if from.Len() == 0 && q.failing {
			from = &q.staged
		}
		for len(q.lent) < n {
			it, ok := from.Pop()
			if !ok {
				break
			}
			q.lent = append(q.lent, it)
		}
	}
	return slices.Clone(q.lent[:min(n, len(q.lent))]), len(q.lent) == 0 && q.finished && q.staged.Len() == 0
}

// load returns the data of lent records. It removes records that another program deleted.
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
		it.data = data // Next may return it again
		records = append(records, data)
	}
	if len(missing) == 0 {
		return records, nil
	}
	q.options.Log.Error("alerts in the spool were deleted or damaged by another program", zap.Int("count", len(missing)), zap.String("directory", q.options.Directory))
	q.mu.Lock()
	q.lent = slices.DeleteFunc(q.lent, func(it *item) bool { return slices.Contains(missing, it) })
	q.free(missing)
	q.mu.Unlock()
	return records, q.disk.remove(missing)
}

// Remove removes the first n of the records that Next returned.
func (q *Queue) Remove(n int) error {
	q.storing.Lock()
	defer q.storing.Unlock()
	onDisk := slices.DeleteFunc(q.takeBack(n), func(it *item) bool { return it.number == 0 })
	if len(onDisk) == 0 {
		return nil
	}
	if err := q.disk.remove(onDisk); err != nil {
		return fmt.Errorf("recording delivered alerts in the spool: %w", err)
	}
	return nil
}

// takeBack removes the first n lent records from the list and frees their space.
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

// free frees the space of records. The caller holds mu.
func (q *Queue) free(all []*item) {
	for _, it := range all {
		q.room.Release(it.key, it.size)
	}
}

// Flush returns when all records that were added before are on disk, or a write failed.
func (q *Queue) Flush() {
	for q.writeSome() {
	}
}

// Finish stops accepting records. Next returns [io.EOF] when no records are left. Without a directory, Finish adds
// the notices of all dropped records; with a directory, the next queue with this directory adds them.
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

// Close writes the records that are not on disk yet. It returns how many records are left for the next queue with
// this directory, and how many are lost because there is no directory or writing failed.
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

// Stats returns the state of the queue.
func (q *Queue) Stats() Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	return Stats{Length: q.stored.Len() + q.staged.Len() + q.writing + len(q.lent), Size: q.room.Used(), Dropped: q.room.Total()}
}

// write writes added records to the disk until the queue is closed.
func (q *Queue) write() {
	defer close(q.written)
	timer := time.NewTimer(0)
	var saved, failed time.Time
	for open := true; open; {
		select {
		case <-q.wake:
		case <-timer.C:
		case <-q.closing:
			open = false
		}
		if time.Since(failed) >= retryInterval || !open {
			for q.writeSome() {
			}
			if q.isFailing() {
				failed = time.Now()
				timer.Reset(retryInterval)
			}
		}
		switch {
		case !q.needsSave():
		case time.Since(saved) >= saveInterval || !open:
			q.saveDropped()
			saved = time.Now()
		default:
			timer.Reset(saveInterval)
		}
	}
}

func (q *Queue) isFailing() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.failing
}

// needsSave reports whether the counts of dropped records on disk are out of date. They are not saved while
// notices are staged: until a notice is on disk, the counts on disk still contain its records.
func (q *Queue) needsSave() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.unsaved && q.staged.Len() == 0 && q.disk != nil
}

// writeSome writes a batch. It returns false if there is nothing more to write, or the write failed.
func (q *Queue) writeSome() bool {
	if q.disk == nil {
		return false
	}
	q.storing.Lock()
	defer q.storing.Unlock()
	staged := q.takeStaged()
	if len(staged) == 0 {
		return false
	}
	err := q.disk.append(staged)
	more := q.finishWrite(staged, err)
	if err != nil {
		return false
	}
	err = q.disk.compact()
	if err != nil && !q.unmoved {
		q.options.Log.Warn("compacting the spool failed; it uses more space than necessary", zap.Error(err))
	}
	q.unmoved = err != nil
	return more
}

// finishWrite makes written records available to Next. After an error it returns them to the staged ones. It
// reports whether there is more to write.
func (q *Queue) finishWrite(all []*item, err error) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	defer signal(q.ready)
	q.writing = 0
	if err != nil {
		q.staged.Return(all, func(it *item) string { return it.key })
		if !q.failing {
			q.options.Log.Error("writing to the spool failed, retrying; alerts stay in memory until it succeeds", zap.Error(err))
		}
		q.failing = true
		return false
	}
	if q.failing {
		q.options.Log.Warn("the spool is writable again")
	}
	q.failing = false
	for _, it := range all {
		it.data = nil
		q.stored.Push(it.key, it)
	}
	return q.staged.Len() > 0
}

// takeStaged takes a batch of staged records, one of each source in turn.
func (q *Queue) takeStaged() (batch []*item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for bytes := int64(0); bytes < batchSize; {
		it, ok := q.staged.Pop()
		if !ok {
			break
		}
		batch = append(batch, it)
		bytes += it.size
	}
	q.writing = len(batch)
	return batch
}

// saveDropped saves the counts of dropped records that no notice has reported yet, for the next queue.
func (q *Queue) saveDropped() {
	q.mu.Lock()
	if q.staged.Len() > 0 {
		q.mu.Unlock()
		return
	}
	dropped := q.room.Series()
	q.unsaved = false
	q.mu.Unlock()
	var err error
	if len(dropped) == 0 {
		if err = os.Remove(q.droppedFile()); errors.Is(err, os.ErrNotExist) {
			err = nil
		}
	} else {
		text, _ := json.Marshal(dropped) // cannot fail for strings, numbers and times
		err = writeSealed(q.droppedFile(), text)
	}
	if err != nil {
		q.options.Log.Error("saving the counts of dropped alerts in the spool failed", zap.Error(err))
	}
}

func signal(to chan struct{}) {
	select {
	case to <- struct{}{}:
	default:
	}
}
