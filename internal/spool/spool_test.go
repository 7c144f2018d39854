package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"github.com/capmon/capmon/internal/fairqueue"
)

func open(t *testing.T, directory string, maxSize int64) *Queue {
	t.Helper()
	q, err := Open(Options{
		Directory: directory, MaxSize: maxSize, Log: zaptest.NewLogger(t),
		Notice: func(d fairqueue.Dropped) []byte { return fmt.Appendf(nil, "dropped %d", d.Count) },
		Source: source,
	})
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// source returns the first word of a record as its source. Records of one word, and those that begin with
// "record", have the source "".
func source(data []byte) fairqueue.Source {
	word, rest, _ := strings.Cut(string(data), " ")
	if word == "record" || rest == "" {
		word = ""
	}
	return fairqueue.Source{Key: word, Title: word}
}

func add(q *Queue, text string) bool {
	return q.Add(source([]byte(text)), time.Now(), func() []byte { return []byte(text) })
}

// takeAll finishes a queue and removes all its records, at most n at a time.
func takeAll(t *testing.T, q *Queue, n int) (all []string) {
	t.Helper()
	q.Finish()
	for {
		records, err := q.Next(context.Background(), n)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			all = append(all, string(r))
		}
		if err := q.Remove(len(records)); err != nil {
			t.Fatal(err)
		}
	}
}

func closeQueue(t *testing.T, q *Queue, wantLeft, wantLost int) {
	t.Helper()
	left, lost, err := q.Close()
	if err != nil || left != wantLeft || lost != wantLost {
		t.Errorf("%d left, %d lost, %v; wanted %d and %d", left, lost, err, wantLeft, wantLost)
	}
}

func numbered(from, to int) (all []string) {
	for i := from; i < to; i++ {
		all = append(all, fmt.Sprintf("record %d", i))
	}
	return all
}

func same(t *testing.T, got, want []string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %d: %.300q\nwanted %d: %.300q", len(got), got, len(want), want)
	}
}

func TestRecordsStayInOrder(t *testing.T) {
	t.Parallel()
	for name, directory := range map[string]string{"memory": "", "disk": t.TempDir()} {
		t.Run(name, func(t *testing.T) {
			q := open(t, directory, 1<<20)
			for _, text := range numbered(0, 5000) {
				if !add(q, text) {
					t.Fatal("it does not fit")
				}
			}
			same(t, takeAll(t, q, 7), numbered(0, 5000))
			closeQueue(t, q, 0, 0)
		})
	}
}

func TestANewQueueContinuesWhereTheLastOneEnded(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	var got []string
	for i := range 5 {
		q := open(t, directory, 1<<20)
		for _, text := range numbered(i*100, i*100+100) {
			add(q, text)
		}
		for taken := 0; taken < 30; {
			records, err := q.Next(context.Background(), 10)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range records {
				got = append(got, string(r))
			}
			taken += len(records)
			if err := q.Remove(len(records)); err != nil {
				t.Fatal(err)
			}
		}
		closeQueue(t, q, 500-(5-i-1)*100-len(got), 0)
	}
	q := open(t, directory, 1<<20)
	got = append(got, takeAll(t, q, 1000)...)
	same(t, got, numbered(0, 500))
	closeQueue(t, q, 0, 0)
}

// The files of an emptied queue stay within its maximum size, and their space is reused.
func TestSpaceIsReused(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	const maxSize = 64 << 10
	q := open(t, directory, maxSize)
	text := strings.Repeat("x", 1000)
	for i := range 1000 {
		if !add(q, text) {
			t.Fatalf("record %d does not fit in an empty queue", i)
		}
		if _, err := q.Next(context.Background(), 1); err != nil {
			t.Fatal(err)
		}
		if err := q.Remove(1); err != nil {
			t.Fatal(err)
		}
	}
	if size := sizeOfSegments(t, directory); size > maxSize {
		t.Errorf("the segments have %d bytes", size)
	}
	closeQueue(t, q, 0, 0)
}

// sizeOfSegments returns how many bytes the segments in directory have. The queue may remove segments at the same time.
func sizeOfSegments(t *testing.T, directory string) (size int64) {
	t.Helper()
	paths, err := segmentPaths(directory)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	return size
}

// Exactly the records that do not fit are counted and reported as dropped.
func TestDroppedRecordsAreCountedAndReported(t *testing.T) {
	t.Parallel()
	for name, directory := range map[string]string{"memory": "", "disk": t.TempDir()} {
		t.Run(name, func(t *testing.T) {
			q := open(t, directory, 10<<10)
			var want []string
			dropped := 0
			for i := range 1000 {
				text := fmt.Sprintf("record %d", i)
				if add(q, text) {
					want = append(want, text)
				} else {
					dropped++
				}
			}
			if dropped == 0 || len(want) == 0 || q.Stats().Dropped != uint64(dropped) {
				t.Fatalf("%d kept, %d dropped, %+v", len(want), dropped, q.Stats())
			}
			records, err := q.Next(context.Background(), len(want)/2)
			if err != nil || q.Remove(len(records)) != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range records {
				got = append(got, string(r))
			}
			add(q, "after")
			got = append(got, takeAll(t, q, 10)...)
			notices := slices.DeleteFunc(slices.Clone(got), func(text string) bool { return !strings.HasPrefix(text, "dropped") })
			same(t, notices, []string{fmt.Sprintf("dropped %d", dropped)})
			same(t, slices.DeleteFunc(got, func(text string) bool { return strings.HasPrefix(text, "dropped") }), append(want, "after"))
			closeQueue(t, q, 0, 0)
		})
	}
}

// If a queue is closed while it is full, the next queue reports the dropped records.
func TestTheNextQueueReportsDroppedRecords(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	q := open(t, directory, 10<<10)
	var want []string
	dropped := 0
	for i := range 1000 {
		if text := fmt.Sprintf("record %d", i); add(q, text) {
			want = append(want, text)
		} else {
			dropped++
		}
	}
	closeQueue(t, q, len(want), 0)
	q = open(t, directory, 20<<10)
	add(q, "after")
	got := takeAll(t, q, 10)
	notice := fmt.Sprintf("dropped %d", dropped)
	if !slices.Contains(got, notice) {
		t.Errorf("%q was not reported", notice)
	}
	same(t, slices.DeleteFunc(got, func(text string) bool { return text == notice }), append(want, "after"))
	closeQueue(t, q, 0, 0)
	q = open(t, directory, 20<<10)
	same(t, takeAll(t, q, 10), nil)
	closeQueue(t, q, 0, 0)
}

// filled returns a directory with records that are not removed.
func filled(t testing.TB, records int) (directory string, segments []string) {
	t.Helper()
	directory = t.TempDir()
	d, _, _, err := openDisk(directory, 1000, 1<<20, nobody)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < records; i += 20 {
		some := items(numbered(i, min(i+20, records))...)
		if err := d.append(some); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.close(); err != nil {
		t.Fatal(err)
	}
	segments, err = segmentPaths(directory)
	if err != nil || len(segments) < 2 && records > 50 {
		t.Fatal(segments, err)
	}
	return directory, segments
}

// nobody returns the key of a source for records whose source does not matter.
func nobody([]byte) string { return "" }

func items(texts ...string) (all []*item) {
	for _, text := range texts {
		all = append(all, &item{data: []byte(text), size: size([]byte(text))})
	}
	return all
}

func change(t *testing.T, path string, by func([]byte) []byte) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, by(data), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// After a file was truncated anywhere, all its complete lines are read, and later records follow them.
func TestTruncatedFilesLoseNoCompleteRecord(t *testing.T) {
	t.Parallel()
	for cut := range 80 {
		directory, segments := filled(t, 100)
		last := segments[len(segments)-1]
		data, err := os.ReadFile(last)
		if err != nil {
			t.Fatal(err)
		}
		kept := data[:max(0, len(data)-cut)]
		torn := bytes.Count(data[len(kept):], []byte("\n"))
		change(t, last, func([]byte) []byte { return kept })
		q := open(t, directory, 1<<20)
		add(q, "after")
		same(t, takeAll(t, q, 9), append(numbered(0, 100-torn), "after"))
		closeQueue(t, q, 0, 0)
	}
}

func TestDamageLosesOnlyDamagedRecords(t *testing.T) {
	t.Parallel()
	directory, segments := filled(t, 100)
	change(t, segments[0], func(data []byte) []byte { data[12] ^= 1; return data })
	q := open(t, directory, 1<<20)
	same(t, takeAll(t, q, 9), numbered(1, 100))
	closeQueue(t, q, 0, 0)
}

// If the journal is lost, the queue returns all records again. If the segments are lost, the queue does not
// mistake new records for removed ones.
func TestLostFiles(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		lose string
		want []string
	}{
		"removed": {"removed", append(numbered(0, 100), "after")},
		"records": {"*" + segmentSuffix, []string{"after"}},
	} {
		t.Run(name, func(t *testing.T) {
			directory, _ := filled(t, 100)
			d, waiting, _, err := openDisk(directory, 1000, 1<<20, nobody)
			if err != nil {
				t.Fatal(err)
			}
			if err := d.remove(waiting[:10]); err != nil {
				t.Fatal(err)
			}
			lost, err := filepath.Glob(filepath.Join(directory, test.lose))
			if err != nil || len(lost) == 0 {
				t.Fatal(lost, err)
			}
			for _, path := range lost {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			}
			q := open(t, directory, 1<<20)
			add(q, "after")
			same(t, takeAll(t, q, 9), test.want)
			closeQueue(t, q, 0, 0)
		})
	}
}

// If records are deleted while the queue is open, the queue returns the others.
func TestSegmentDeletedWhileTheQueueIsOpen(t *testing.T) {
	t.Parallel()
	directory, segments := filled(t, 100)
	first, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	q := open(t, directory, 1<<20)
	if err := os.Remove(segments[0]); err != nil {
		t.Fatal(err)
	}
	same(t, takeAll(t, q, 9), numbered(bytes.Count(first, []byte("\n")), 100))
	closeQueue(t, q, 0, 0)
}

// If the disk is not writable, no record is lost while the process runs.
func TestDiskErrors(t *testing.T) {
	t.Parallel()
	directory := filepath.Join(t.TempDir(), "spool")
	q := open(t, directory, 1<<20)
	add(q, "first")
	if _, err := q.Next(context.Background(), 1); err != nil {
		t.Fatal(err)
	}
	if err := q.disk.close(); err != nil { // the next write fails
		t.Fatal(err)
	}
	if err := os.Rename(directory, directory+".away"); err != nil {
		t.Fatal(err)
	}
	for _, text := range numbered(0, 10) {
		add(q, text)
	}
	records, err := q.Next(context.Background(), 1)
	if err == nil && string(records[0]) == "first" { // the order is kept
		if err := q.Remove(1); err == nil {
			t.Error("Remove succeeded although the journal is not writable")
		}
	}
	same(t, takeAll(t, q, 3), numbered(0, 10))
	closeQueue(t, q, 0, 0)
}

// During a flood of one source, the record of another source is second, also in the next process.
func TestAFloodDoesNotDelayOtherSources(t *testing.T) {
	t.Parallel()
	for name, directory := range map[string]string{"memory": "", "disk": t.TempDir()} {
		t.Run(name, func(t *testing.T) {
			q := open(t, directory, 8<<20)
			for n := range 10_000 {
				if !add(q, fmt.Sprintf("flood %d", n)) {
					t.Fatalf("record %d does not fit", n)
				}
			}
			add(q, "calm 0")
			q.Flush()
			take := func() string {
				records, err := q.Next(context.Background(), 1)
				if err != nil || q.Remove(1) != nil {
					t.Fatal(err)
				}
				return string(records[0])
			}
			same(t, []string{take(), take(), take()}, []string{"flood 0", "calm 0", "flood 1"})
			if directory == "" {
				return
			}
			add(q, "calm 1")
			closeQueue(t, q, 9999, 0)
			q = open(t, directory, 8<<20)
			same(t, []string{take(), take(), take()}, []string{"flood 2", "calm 1", "flood 3"})
			closeQueue(t, q, 9996, 0)
		})
	}
}

// A source that fills its share leaves space for others.
func TestASourceCannotUseTheSpaceOfOthers(t *testing.T) {
	t.Parallel()
	for name, directory := range map[string]string{"memory": "", "disk": t.TempDir()} {
		t.Run(name, func(t *testing.T) {
			q := open(t, directory, 64<<10)
			for n := range 10_000 {
				add(q, fmt.Sprintf("flood %d", n))
			}
			for n := range 100 {
				if !add(q, fmt.Sprintf("calm %d", n)) {
					t.Fatalf("record %d of another source does not fit after the flood", n)
				}
			}
			if q.Stats().Dropped == 0 {
				t.Error("10000 records fit")
			}
			if _, _, err := q.Close(); err != nil { // before its directory is removed
				t.Error(err)
			}
		})
	}
}

// While the records of one source wait, and records of others are added and removed, the files stay within the
// maximum size. A restart loses no record.
func TestWaitingRecordsDoNotKeepTheSpaceOfRemovedOnes(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	const maxSize = 256 << 10
	q := open(t, directory, maxSize)
	pad := strings.Repeat("x", 300)
	waiting := make(map[string]bool)
	for n := 0; add(q, fmt.Sprintf("flood %d %s", n, pad)); n++ {
		waiting[fmt.Sprintf("flood %d %s", n, pad)] = true
	}
	start := q.Stats().Length / 2
	for n := range 3000 {
		text := fmt.Sprintf("calm %d %s", n, pad)
		if !add(q, text) {
			t.Fatalf("record %d does not fit", n)
		}
		waiting[text] = true
		if n%3 == 0 {
			add(q, fmt.Sprintf("flood late %d %s", n, pad))
		}
		q.Flush()
		for q.Stats().Length > start {
			records, err := q.Next(context.Background(), 1)
			if err != nil || q.Remove(1) != nil {
				t.Fatal(err)
			}
			delete(waiting, string(records[0]))
		}
		if n%100 == 0 {
			if size := sizeOfSegments(t, directory); size > maxSize {
				t.Fatalf("the segments have %d bytes", size)
			}
		}
	}
	length := q.Stats().Length
	closeQueue(t, q, length, 0)
	q = open(t, directory, maxSize)
	got := takeAll(t, q, 7)
	known := make(map[string]bool)
	for _, text := range got {
		if known[text] {
			t.Errorf("%.20q was returned twice", text)
		}
		known[text] = true
		delete(waiting, text)
	}
	if len(waiting) > 0 || len(got) < length {
		t.Errorf("%d of %d records are missing", len(waiting), length)
	}
	closeQueue(t, q, 0, 0)
}

func FuzzDamagedSpool(f *testing.F) {
	whole := record{1, []byte("one")}.appendTo(nil)
	f.Add([]byte(""), []byte(""))
	f.Add(whole, []byte("1"))
	f.Add(append(bytes.Repeat([]byte("x"), 100), '\n'), []byte("00000000 9"))
	f.Add([]byte("\n\n\x00 \n"), sealed(nil, []byte("2")))
	f.Add(record{1 << 63, []byte("far")}.appendTo(nil), []byte{})
	f.Add(record{1<<64 - 1, []byte("last")}.appendTo(nil), []byte{})
	f.Fuzz(func(t *testing.T, damage, position []byte) {
		directory, segments := filled(t, 3)
		change(t, segments[0], func(data []byte) []byte { return append(data, damage...) })
		for _, name := range []string{positionFile, removedFile} {
			if err := os.WriteFile(filepath.Join(directory, name), position, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		d, waiting, _, err := openDisk(directory, 1000, 1<<20, nobody)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := unsealed(position); ok {
			return // a valid journal: some records may be removed
		}
		for i, want := range numbered(0, 3) {
			if i >= len(waiting) {
				t.Fatalf("got %d records", len(waiting))
			}
			if got, err := d.read(waiting[i]); err != nil || string(got) != want {
				t.Errorf("got %q, %v", got, err)
			}
		}
		if err := d.append(items("after")); err != nil {
			t.Fatal(err)
		}
		_, waiting, _, err = openDisk(directory, 1000, 1<<20, nobody)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := d.read(waiting[len(waiting)-1]); err != nil || string(got) != "after" {
			t.Errorf("%q, %v", got, err)
		}
	})
}

// If moved records fill a segment at once, the next segment gets another name.
func TestRecordsAfterAMoveOverwriteNothing(t *testing.T) {
	const segmentSize = 100
	d, _, _, err := openDisk(t.TempDir(), segmentSize, 0, nobody)
	if err != nil {
		t.Fatal(err)
	}
	first := items("gone", "kept "+strings.Repeat("x", 2*segmentSize))
	if err := errors.Join(d.append(first), d.remove(first[:1]), d.compact(), d.append(items("later"))); err != nil {
		t.Fatal(err)
	}
	if data, err := d.read(first[1]); err != nil || !strings.HasPrefix(string(data), "kept") {
		t.Errorf("the moved record is %q, %v", data, err)
	}
}
