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
	// segmentEnding is that of the files with records. Their names are a number that no earlier
	// segment has.
	segmentEnding = ".records"
	// removedFile has the numbers of removed records, positionFile the number below which all are.
	removedFile, positionFile = "removed", "position"
	// longJournal is from which size on the numbers of removed records are written again, without
	// those whose records are gone.
	longJournal = 1 << 20
)

// item is a record that waits.
type item struct {
	key  string // of its source
	data []byte // nil: it is on the disk alone
	size int64  // the room that it takes

	number uint64   // 0: it is not on the disk
	in     *segment // the file that it is in
	offset int64    // of its line there
}

// disk keeps records in segments: files that are only ever appended to, and deleted when all that
// they have was removed. Which records were removed is in a journal: they are not removed in the
// order in which they came. Where few of a segment's records are left, they move to the last one.
type disk struct {
	directory   string
	segmentSize int64      // from this size on, another segment is begun
	maxDead     int64      // how many bytes of removed records are kept at most
	segments    []*segment // in the order of their names
	out         *os.File   // the last segment, or nil: then another one is begun
	next        uint64     // the number of the next record
	count       int        // records that were not removed
	journal     int64      // the size of the journal
	unnoted     []uint64   // removed, and not yet in the journal
}

// segment is a file of records.
type segment struct {
	path    string
	size    int64            // as far as it is known to be on the disk
	first   uint64           // the lowest number of a record in it
	live    map[uint64]*item // the records that were not removed, by their numbers
	bytes   int64            // that these take
	removed []uint64
}

// damage is what was found when segments were opened.
type damage struct {
	lines int
	paths []string // that had them
}

// openDisk opens what is in a directory, and returns the records that were not removed, in the order
// in which they came; key returns the source of a record.
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
	d.tidy()
	return d, waiting, found, nil
}

// load reads a segment. Of a record that is in two, as after an interrupted move, one counts.
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
		if !whole { // its writer was interrupted before it had told that it is kept
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
				it := &item{key: key(r.data), size: size(r.data), number: r.number, in: s, offset: offset}
				all[r.number] = it
				s.add(it)
			}
		}
		offset += int64(len(line)) + 1
	}
}

func (s *segment) add(it *item) {
	s.live[it.number] = it
	s.bytes += it.size
}

// readRemoved reads which records were removed. Without it, all that there is is given again:
// twice is better than never.
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
	d.journal = int64(len(journal))
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

// segmentPaths lists the segments in their order.
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
	return filepath.Join(directory, fmt.Sprintf("%020d%s", first, segmentEnding))
}

func (d *disk) file(name string) string { return filepath.Join(d.directory, name) }

// append returns when the records are on the disk, or none of them counts.
func (d *disk) append(all []*item) error {
	if err := d.write(all, func(i int) uint64 { return d.next + uint64(i) }, func(it *item) []byte { return it.data }); err != nil {
		return err
	}
	d.next += uint64(len(all))
	d.count += len(all)
	return nil
}

// write writes records to the last segment, with numbers.
func (d *disk) write(all []*item, number func(int) uint64, data func(*item) []byte) error {
	if d.out == nil {
		if err := d.begin(); err != nil {
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
		// After a failed fsync nothing is known of what the file has: leave it, and
		// write the same again to another one.
		_ = d.out.Truncate(current.size)
		_ = d.out.Close()
		d.out = nil
		return err
	}
	for i, it := range all {
		it.number, it.in, it.offset = number(i), current, offsets[i]
		current.first = min(current.first, it.number)
		current.add(it)
	}
	current.size += int64(len(lines))
	if current.size >= d.segmentSize {
		_ = d.out.Close() // it is synced
		d.out = nil
	}
	return nil
}

// begin begins a segment. A file that has the name already has nothing that counts: the name of a
// segment that has, as one that records were moved to, is passed over.
func (d *disk) begin() error {
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

// errMissing: a record was there once and is no more, as when another program deletes a file.
var errMissing = errors.New("the record was deleted or damaged by others")

// read returns the data of a record.
func (d *disk) read(it *item) ([]byte, error) {
	in, err := os.Open(it.in.path)
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

// remove forgets records, which are on the disk. An error says that they may be given again.
func (d *disk) remove(all []*item) error {
	for _, it := range all {
		s := it.in
		delete(s.live, it.number)
		s.bytes -= it.size
		s.removed = append(s.removed, it.number)
		d.unnoted = append(d.unnoted, it.number)
	}
	d.count -= len(all)
	err := d.note()
	d.tidy()
	return err
}

// note notes in the journal what was removed. It is not synced: at worst, records are given again.
func (d *disk) note() error {
	if len(d.unnoted) == 0 {
		return nil
	}
	if d.journal > longJournal || d.count == 0 && d.journal > 0 {
		return d.rewrite()
	}
	line := append(journalLine([]byte("\n"), d.unnoted), '\n') // behind what an interrupted one has left
	out, err := os.OpenFile(d.file(removedFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	n, err := out.Write(line)
	d.journal += int64(n)
	if err = errors.Join(err, out.Close()); err == nil {
		d.unnoted = nil
	}
	return err
}

// rewrite replaces the journal by what is needed of it.
func (d *disk) rewrite() error {
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
	d.journal, d.unnoted = int64(len(text)), nil
	return nil
}

func journalLine(text []byte, numbers []uint64) []byte {
	var line []byte
	for _, number := range numbers {
		line = append(strconv.AppendUint(line, number, 16), ' ')
	}
	return sealed(text, bytes.TrimSuffix(line, []byte(" ")))
}

// tidy deletes the segments that have nothing more to give, but for one that is being written.
func (d *disk) tidy() {
	var writing *segment
	if d.out != nil {
		writing = d.segments[len(d.segments)-1]
	}
	d.segments = slices.DeleteFunc(d.segments, func(s *segment) bool {
		if len(s.live) > 0 || s == writing {
			return false
		}
		_ = os.Remove(s.path) // read again another time, it gives nothing
		return true
	})
}

// compact moves what is left of segments to the last one, while removed records take too much.
func (d *disk) compact() error {
	for {
		var worst *segment
		var dead int64
		for i, s := range d.segments {
			dead += s.size - s.bytes
			if writing := d.out != nil && i == len(d.segments)-1; !writing && (worst == nil || s.size-s.bytes > worst.size-worst.bytes) {
				worst = s
			}
		}
		if dead <= d.maxDead || worst == nil || worst.size == worst.bytes {
			return nil
		}
		if err := d.move(worst); err != nil {
			return err
		}
	}
}

// move moves what is left of a segment to the last one. What cannot be read is left to be missed.
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
	s.bytes = 0
	d.tidy()
	return nil
}

// first is the number in a segment's name.
func first(path string) uint64 {
	n, _ := strconv.ParseUint(strings.TrimSuffix(filepath.Base(path), segmentEnding), 10, 64)
	return n
}

func (d *disk) close() error {
	if d.out == nil {
		return nil
	}
	return d.out.Close()
}

// readSealed reads a small file; nothing if it is missing or damaged.
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

// writeSealed replaces a small file by text with its checksum.
func writeSealed(path string, text []byte) error { return replaceFile(path, sealed(nil, text)) }

// replaceFile replaces a file: whoever reads it finds the old or the new one.
func replaceFile(path string, text []byte) error {
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
