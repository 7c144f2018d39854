package spool

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/capmon/capmon/internal/atomicfile"
)

const (
	// segmentSuffix is the suffix of the files with records. The rest of the name is a number that no earlier
	// segment has.
	segmentSuffix = ".records"
	// removedFile is the journal: it contains the numbers of removed records. positionFile contains a number;
	// all records with a lower number are removed.
	removedFile, positionFile = "removed", "position"
	// maxJournal is the size of the journal above which it is rewritten, without the numbers of records that
	// are no longer in any segment.
	maxJournal = 1 << 20
)

// item is a waiting record.
type item struct {
	key  string // key of its source
	data []byte // nil: read it from the disk
	size int64  // space that it uses

	number  uint64   // 0: not on the disk
	segment *segment // the segment that contains it
	offset  int64    // offset of its line in the segment
}

// disk stores records in segments. A segment is a file that is only appended to, and deleted when all its records
// are removed. Because records are not removed in the order in which they were added, a journal contains the
// numbers of removed records. If few records of a segment are left, compact moves them to the last segment.
type disk struct {
	directory   string
	segmentSize int64      // size at which a new segment is started
	maxDead     int64      // maximum size of removed records in all segments
	segments    []*segment // in the order of their names
	out         *os.File   // the last segment; nil: the next write starts a new segment
	next        uint64     // number of the next record
	count       int        // number of records that are not removed
	journalSize int64
	unjournaled []uint64 // numbers of removed records that are not in the journal yet
}

// segment is a file of records.
type segment struct {
	path      string
	size      int64            // size of the synced part
	first     uint64           // lowest number of a record
	live      map[uint64]*item // records that are not removed, by their numbers
	liveBytes int64            // size of the live records
	removed   []uint64         // numbers of removed records
}

// damage describes the damaged lines that openDisk found.
type damage struct {
	lines int
	paths []string // of the files with damaged lines
}

// openDisk opens a directory. It returns the records that are not removed, in the order in which they were added.
// key returns the source of a record.
func openDisk(directory string, segmentSize, maxDead int64, key func([]byte) string) (d *disk, waiting []*item, found damage, err error) {
	d = &disk{directory: directory, segmentSize: segmentSize, maxDead: maxDead}
	removed, position, err := d.readRemoved()
	if err != nil {
		return nil, nil, found, err
	}
	paths, err := segmentPaths(directory)
	if err != nil {
		return nil, nil, found, err
	}
	d.next = position
	for number := range removed {
		d.next = max(d.next, number+1)
	}
	all := make(map[uint64]*item)
	for _, path := range paths {
		damaged, err := d.load(path, position, removed, all, key)
		if err != nil {
			return nil, nil, found, err
		}
		if damaged > 0 {
			found.lines += damaged
			found.paths = append(found.paths, path)
		}
	}
	d.count = len(all)
	for _, number := range slices.Sorted(maps.Keys(all)) {
		waiting = append(waiting, all[number])
	}
	d.deleteEmpty()
	return d, waiting, found, nil
}

// load reads a segment. If a record is in two segments, because a move was interrupted, load uses the first one.
func (d *disk) load(path string, position uint64, removed map[uint64]bool, all map[uint64]*item, key func([]byte) string) (damaged int, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	s := &segment{path: path, size: int64(len(data)), first: lastNumber, live: make(map[uint64]*item)}
	d.segments = append(d.segments, s)
	d.next = max(d.next, first(path))
	for offset := int64(0); ; {
		line, rest, whole := bytes.Cut(data, []byte("\n"))
		if !whole { // the write was interrupted before it was synced
			return damaged, nil
		}
		data = rest
		r, ok := parseRecord(line)
		if !ok {
			damaged++
		} else {
			d.next, s.first = max(d.next, r.number+1), min(s.first, r.number)
			switch {
			case r.number < position || removed[r.number]:
				s.removed = append(s.removed, r.number)
			case all[r.number] == nil:
				it := &item{key: key(r.data), size: size(r.data), number: r.number, segment: s, offset: offset}
				all[r.number] = it
				s.add(it)
			}
		}
		offset += int64(len(line)) + 1
	}
}

func (s *segment) add(it *item) {
	s.live[it.number] = it
	s.liveBytes += it.size
}

// readRemoved reads the numbers of removed records. If the files are missing or damaged, all records in the
// segments count as waiting, because a second delivery is better than none.
func (d *disk) readRemoved() (removed map[uint64]bool, position uint64, err error) {
	text, err := readSealed(d.file(positionFile))
	if err != nil {
		return nil, 0, err
	}
	if position, err = strconv.ParseUint(string(text), 10, 64); err != nil || position == 0 || position > lastNumber {
		position = 1
	}
	journal, err := os.ReadFile(d.file(removedFile))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, 0, err
	}
	d.journalSize = int64(len(journal))
	removed = make(map[uint64]bool)
	for line := range bytes.Lines(journal) {
		numbers, ok := unsealed(bytes.TrimSuffix(line, []byte("\n")))
		for _, text := range bytes.Fields(numbers) {
			if number, err := strconv.ParseUint(string(text), 16, 64); ok && err == nil && number <= lastNumber {
				removed[number] = true
			}
		}
	}
	return removed, position, nil
}

// segmentPaths returns the paths of the segments in their order.
func segmentPaths(directory string) (paths []string, err error) {
	entries, err := os.ReadDir(directory)
	for _, entry := range entries {
		if path := filepath.Join(directory, entry.Name()); entry.Type().IsRegular() && first(path) <= lastNumber && path == segmentPath(directory, first(path)) {
			paths = append(paths, path)
		}
	}
	return paths, err
}

func segmentPath(directory string, first uint64) string {
	return filepath.Join(directory, fmt.Sprintf("%020d%s", first, segmentSuffix))
}

func (d *disk) file(name string) string { return filepath.Join(d.directory, name) }

// append writes and syncs records. After an error, none of them is on disk.
func (d *disk) append(all []*item) error {
	if err := d.write(all, func(i int) uint64 { return d.next + uint64(i) }, func(it *item) []byte { return it.data }); err != nil {
		return err
	}
	d.next += uint64(len(all))
	d.count += len(all)
	return nil
}

// write writes records with the given numbers to the last segment, and syncs it.
func (d *disk) write(all []*item, number func(int) uint64, data func(*item) []byte) error {
	if d.out == nil {
		if err := d.startSegment(); err != nil {
			return err
		}
	}
	current := d.segments[len(d.segments)-1]
	var lines []byte
	offsets := make([]int64, len(all))
	for i, it := range all {
		offsets[i] = current.size + int64(len(lines))
		lines = record{number(i), data(it)}.appendTo(lines)
	}
	_, err := d.out.WriteAt(lines, current.size)
	if err == nil {
		err = d.out.Sync()
	}
	if err != nil {
		// After a failed fsync, the contents of the file are unknown. The next attempt writes the records to a
		// new segment.
		_ = d.out.Truncate(current.size)
		_ = d.out.Close()
		d.out = nil
		return err
	}
	for i, it := range all {
		it.number, it.segment, it.offset = number(i), current, offsets[i]
		current.first = min(current.first, it.number)
		current.add(it)
	}
	current.size += int64(len(lines))
	if current.size >= d.segmentSize {
		_ = d.out.Close() // already synced
		d.out = nil
	}
	return nil
}

// startSegment starts a new segment. An existing file of the same name has no live records and is overwritten. If the
// last segment has live records, because records were moved to it, startSegment uses a higher number.
func (d *disk) startSegment() error {
	if n := len(d.segments); n > 0 && len(d.segments[n-1].live) > 0 {
		d.next = max(d.next, first(d.segments[n-1].path)+1)
	}
	path := segmentPath(d.directory, d.next)
	out, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := atomicfile.SyncDirectory(d.directory); err != nil {
		_ = out.Close()
		return err
	}
	if n := len(d.segments); n > 0 && d.segments[n-1].path == path {
		d.segments = d.segments[:n-1]
	}
	d.segments = append(d.segments, &segment{path: path, first: lastNumber, live: make(map[uint64]*item)})
	d.out = out
	return nil
}

// errMissing is returned for a record that another program deleted or damaged.
var errMissing = errors.New("another program deleted or damaged the record")

// read returns the data of a record.
func (d *disk) read(it *item) ([]byte, error) {
	in, err := os.Open(it.segment.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, errMissing
	}
	if err != nil {
		return nil, err
	}
	defer in.Close()
	line := make([]byte, it.size)
	if n, _ := in.ReadAt(line, it.offset); n < len(line) {
		return nil, errMissing
	}
	r, ok := parseRecord(bytes.TrimSuffix(line, []byte("\n")))
	if !ok || r.number != it.number {
		return nil, errMissing
	}
	return r.data, nil
}

// remove removes records from the disk. After an error, the next process may deliver them again.
func (d *disk) remove(all []*item) error {
	for _, it := range all {
		s := it.segment
		delete(s.live, it.number)
		s.liveBytes -= it.size
		s.removed = append(s.removed, it.number)
		d.unjournaled = append(d.unjournaled, it.number)
	}
	d.count -= len(all)
	err := d.writeJournal()
	d.deleteEmpty()
	return err
}

// writeJournal appends the numbers of removed records to the journal. It does not sync the journal: at worst, records
// are delivered again.
func (d *disk) writeJournal() error {
	if len(d.unjournaled) == 0 {
		return nil
	}
	if d.journalSize > maxJournal || d.count == 0 && d.journalSize > 0 {
		return d.rewriteJournal()
	}
	line := append(journalLine([]byte("\n"), d.unjournaled), '\n') // the line feed ends an interrupted line
	out, err := os.OpenFile(d.file(removedFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	n, err := out.Write(line)
	d.journalSize += int64(n)
	if err = errors.Join(err, out.Close()); err == nil {
		d.unjournaled = nil
	}
	return err
}

// rewriteJournal rewrites the journal without the numbers that are no longer needed.
func (d *disk) rewriteJournal() error {
	position := d.next
	for _, s := range d.segments {
		if len(s.live) > 0 {
			position = min(position, s.first)
		}
	}
	if err := writeSealed(d.file(positionFile), strconv.AppendUint(nil, position, 10)); err != nil {
		return err
	}
	var needed []uint64
	for _, s := range d.segments {
		s.removed = slices.DeleteFunc(s.removed, func(number uint64) bool { return number < position })
		needed = append(needed, s.removed...)
	}
	var text []byte
	for some := range slices.Chunk(needed, 1000) {
		text = append(journalLine(text, some), '\n')
	}
	if err := replaceFile(d.file(removedFile), text); err != nil {
		return err
	}
	d.journalSize, d.unjournaled = int64(len(text)), nil
	return nil
}

func journalLine(text []byte, numbers []uint64) []byte {
	var line []byte
	for _, number := range numbers {
		line = append(strconv.AppendUint(line, number, 16), ' ')
	}
	return sealed(text, bytes.TrimSuffix(line, []byte(" ")))
}

// deleteEmpty deletes the segments without live records, except the segment that is being written.
func (d *disk) deleteEmpty() {
	var writing *segment
	if d.out != nil {
		writing = d.segments[len(d.segments)-1]
	}
	d.segments = slices.DeleteFunc(d.segments, func(s *segment) bool {
		if len(s.live) > 0 || s == writing {
			return false
		}
		_ = os.Remove(s.path) // a file that is left has no live records
		return true
	})
}

// compact moves live records to the last segment and deletes their old segments, until removed records use at most
// maxDead bytes.
func (d *disk) compact() error {
	for {
		var worst *segment
		var dead int64
		for i, s := range d.segments {
			dead += s.size - s.liveBytes
			if writing := d.out != nil && i == len(d.segments)-1; !writing && (worst == nil || s.size-s.liveBytes > worst.size-worst.liveBytes) {
				worst = s
			}
		}
		if dead <= d.maxDead || worst == nil || worst.size == worst.liveBytes {
			return nil
		}
		if err := d.move(worst); err != nil {
			return err
		}
	}
}

// move moves the live records of a segment to the last segment and deletes the segment. Records that another program
// deleted or damaged are not moved: read returns errMissing for them.
func (d *disk) move(s *segment) error {
	all := slices.SortedFunc(maps.Values(s.live), func(a, b *item) int { return cmp.Compare(a.number, b.number) })
	data := make(map[*item][]byte)
	for _, it := range all {
		text, err := d.read(it)
		if err != nil && !errors.Is(err, errMissing) {
			return err
		}
		if err == nil {
			data[it] = text
		}
	}
	all = slices.DeleteFunc(all, func(it *item) bool { return data[it] == nil })
	if len(all) > 0 {
		numbers := make([]uint64, len(all))
		for i, it := range all {
			numbers[i] = it.number
		}
		if err := d.write(all, func(i int) uint64 { return numbers[i] }, func(it *item) []byte { return data[it] }); err != nil {
			return err
		}
	}
	clear(s.live)
	s.liveBytes = 0
	d.deleteEmpty()
	return nil
}

// first returns the number in a segment's name.
func first(path string) uint64 {
	n, _ := strconv.ParseUint(strings.TrimSuffix(filepath.Base(path), segmentSuffix), 10, 64)
	return n
}

func (d *disk) close() error {
	if d.out == nil {
		return nil
	}
	return d.out.Close()
}

// readSealed reads a file with a checksum. It returns nil if the file does not exist or is damaged.
func readSealed(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	text, ok := unsealed(data)
	if !ok {
		return nil, nil
	}
	return text, nil
}

// writeSealed replaces a file with the text and its checksum.
func writeSealed(path string, text []byte) error { return replaceFile(path, sealed(nil, text)) }

// replaceFile replaces a file atomically: a reader gets the old or the new contents.
func replaceFile(path string, text []byte) error {
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
