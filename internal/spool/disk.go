package spool

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/capmon/capmon/internal/atomicfile"
)

// segmentEnding is that of the files with records. Their names are the number of the first one.
const segmentEnding = ".records"

// disk keeps records in segments, files that are only ever appended to, and deleted when all
// that they have was removed.
type disk struct {
	directory   string
	segmentSize int64 // from this size on, another one is begun
	segments    []segment
	out         *os.File // the last segment, or nil: then another one is begun
	next        uint64   // the number of the next record
	position    uint64   // the number of the first record that was not removed
	count       int      // of the records that were not removed
	ahead       []record // the first of these, as far as they have been read
	reading     cursor
}

// segment is a file of records.
type segment struct {
	path string
	size int64 // as far as it is known to be on the disk
}

// cursor is up to where records have been read.
type cursor struct {
	path   string
	offset int64
	last   uint64 // the number of the last one
}

// damage is what was found when segments were opened.
type damage struct {
	lines int
	paths []string // that had them
}

// openDisk opens what is in a directory.
func openDisk(directory string, segmentSize int64) (*disk, damage, error) {
	d := &disk{directory: directory, segmentSize: segmentSize}
	position, err := readSealed(d.file("position"))
	if err != nil {
		return nil, damage{}, err
	}
	// Without it, all that there is is given again: twice is better than never.
	if d.position, err = strconv.ParseUint(string(position), 10, 64); err != nil || d.position == 0 || d.position > lastNumber {
		d.position = 1
	}
	d.reading.last = d.position - 1
	paths, err := segmentPaths(directory)
	if err != nil {
		return nil, damage{}, err
	}
	var found damage
	last := d.position - 1
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, damage{}, err
		}
		d.segments = append(d.segments, segment{path, int64(len(data))})
		d.next = first(path)
		records, damaged := parseRecords(data)
		for _, r := range records {
			if r.number > last {
				last = r.number
				d.count++
			}
		}
		if damaged > 0 {
			found.lines += damaged
			found.paths = append(found.paths, path)
		}
	}
	d.next = max(d.next, last+1) // names stay in the order of what they have, even if that is damaged
	if d.count == 0 {
		d.tidy()
	}
	return d, found, nil
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

func (d *disk) length() int { return d.count }

func (d *disk) size() (size int64) {
	for _, s := range d.segments {
		size += s.size
	}
	return size
}

// append returns when the records are on the disk, or none of them counts.
func (d *disk) append(all [][]byte) error {
	if d.out == nil {
		if err := d.begin(); err != nil {
			return err
		}
	}
	var lines []byte
	for i, data := range all {
		lines = record{d.next + uint64(i), data}.appendTo(lines)
	}
	current := &d.segments[len(d.segments)-1]
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
	current.size += int64(len(lines))
	d.next += uint64(len(all))
	d.count += len(all)
	if current.size >= d.segmentSize {
		_ = d.out.Close() // it is synced
		d.out = nil
	}
	return nil
}

// begin begins a segment. A file that has the name already has nothing that counts.
func (d *disk) begin() error {
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
	d.segments = append(d.segments, segment{path: path})
	d.out = out
	return nil
}

// read returns the first records that were not removed, at most so many.
func (d *disk) read(most int) ([][]byte, error) {
	for len(d.ahead) < most {
		more, err := d.readMore()
		if err != nil {
			return nil, err
		}
		if !more {
			break
		}
	}
	if len(d.ahead) < min(most, d.count) {
		missing := d.count - len(d.ahead)
		d.count = len(d.ahead)
		return nil, &missingError{missing}
	}
	var all [][]byte
	for _, r := range d.ahead[:min(most, len(d.ahead))] {
		all = append(all, r.data)
	}
	return all, nil
}

// missingError tells that records were there once and are no more, as when another program
// deletes a file. It is told once.
type missingError struct{ count int }

func (e *missingError) Error() string {
	return fmt.Sprintf("%d records were deleted or damaged by others", e.count)
}

// readMore reads the rest of a segment; false if there is nothing more.
func (d *disk) readMore() (bool, error) {
	for _, s := range d.segments {
		if s.path < d.reading.path || s.path == d.reading.path && s.size <= d.reading.offset {
			continue
		}
		if s.path > d.reading.path {
			d.reading.path, d.reading.offset = s.path, 0
		}
		data, err := readFrom(s.path, d.reading.offset, s.size)
		if err != nil {
			return false, err
		}
		d.reading.offset = s.size
		records, _ := parseRecords(data)
		for _, r := range records {
			if r.number > d.reading.last {
				d.reading.last = r.number
				d.ahead = append(d.ahead, r)
			}
		}
		return true, nil
	}
	return false, nil
}

// readFrom reads a part of a file, or as much of it as there is.
func readFrom(path string, from, to int64) ([]byte, error) {
	in, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer in.Close()
	return io.ReadAll(io.NewSectionReader(in, from, to-from))
}

// remove forgets the first records, as many as read has returned or fewer.
func (d *disk) remove(n int) error {
	if n == 0 {
		return nil
	}
	if _, err := d.read(n); err != nil { // they may have been written since they were lent
		return err
	}
	d.position = d.ahead[n-1].number + 1
	d.ahead = d.ahead[n:]
	d.count -= n
	err := writeSealed(d.file("position"), strconv.AppendUint(nil, d.position, 10))
	d.tidy()
	return err
}

// tidy deletes the segments that have nothing more to give.
func (d *disk) tidy() {
	for len(d.segments) > 1 && first(d.segments[1].path) <= d.position {
		_ = os.Remove(d.segments[0].path) // read again another time, it gives nothing
		d.segments = d.segments[1:]
	}
	if d.count == 0 && d.out == nil && len(d.segments) > 0 {
		for _, s := range d.segments {
			_ = os.Remove(s.path)
		}
		d.segments = nil
	}
}

// first is the number of a segment's first record.
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

// writeSealed replaces a small file: a reader finds the old or the new one. It does not wait for
// the disk: after a power failure the file may be missing, and alerts are delivered again.
func writeSealed(path string, text []byte) error {
	if err := os.WriteFile(path+".new", sealed(nil, text), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
