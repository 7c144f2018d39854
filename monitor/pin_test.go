package monitor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/testutil"
	"github.com/capmon/capmon/internal/testutil/testpins"
)

// recordPinned records until it is killed.
func recordPinned(pins string) error {
	m, err := Start(Options{PinDirectory: pins})
	if err != nil {
		return err
	}
	fmt.Println("recording", m.ID())
	_, err = m.Next()
	for err == nil {
		_, err = m.Next()
	}
	return err
}

// saveEndedAndDie saves the data of a container, and kills its own process before or after the data is saved.
func saveEndedAndDie(pins, id, when string) error {
	m, err := Start(Options{PinDirectory: pins})
	if err != nil {
		return err
	}
	err = m.SaveEnded(func(_ uint64, other string) bool { return other == id }, func(s Snapshot) error {
		if when == "before" {
			return unix.Kill(os.Getpid(), unix.SIGKILL)
		}
		fmt.Println("saved", s.Containers[0].ChecksMade)
		return nil
	})
	fmt.Println("removed")
	return errors.Join(err, unix.Kill(os.Getpid(), unix.SIGKILL))
}

// newPinDirectory returns a directory for pins that is removed with its contents at the end of the test.
func newPinDirectory(t *testing.T) string {
	t.Helper()
	pins := testpins.Directory(strings.ReplaceAll(t.Name(), "/", "-"))
	t.Cleanup(func() {
		if err := RemovePins(pins); err != nil {
			t.Errorf("removing the pins: %v", err)
		}
		if _, err := os.Stat(pins); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the pins are still there: %v", err)
		}
	})
	return pins
}

// recordAndKill records in another process, kills that process after while returns, and returns the ID of the
// recording.
func recordAndKill(t *testing.T, pins string, while func()) (recording string) {
	t.Helper()
	return recordAndKillProgram(t, "/proc/self/exe", pins, while)
}

func TestPinnedRecordingContinuesWithoutItsProcess(t *testing.T) {
	pins := newPinDirectory(t)
	var id string
	began := time.Now()
	recording := recordAndKill(t, pins, func() {
		id = launch(t, "bb", "sleep", "1000")
		testutil.Docker(t, "exec", id, "probe", "repeat", "5", "setuid0")
	})
	testutil.Docker(t, "exec", id, "probe", "repeat", "7", "setuid0")
	short := run(t, "bb", "probe", "setuid0") // no process reads while it runs

	m := start(t, Options{PinDirectory: pins})
	if !m.Continued() || m.ID() != recording || m.Began().Before(began) || m.Began().After(time.Now()) {
		t.Errorf("continued: %v, %s that began %v, wanted %s", m.Continued(), m.ID(), m.Began(), recording)
	}
	testutil.Docker(t, "exec", id, "probe", "repeat", "3", "setuid0")
	c := find(t, m, id)
	if got := total(setuidKind.of(c)); got != 15 || c.Existed || c.Started.Before(began) || c.Started.After(time.Now()) {
		t.Errorf("counted %d checks, wanted 15; started %v, existed %v", got, c.Started, c.Existed)
	}
	if got := total(setuidKind.of(find(t, m, short))); got != 1 {
		t.Errorf("container without a process that reads: counted %d checks, wanted 1", got)
	}
	lossless(t, snapshot(t, m))
}

func TestCountsAreExactAfterSeveralKills(t *testing.T) {
	pins := newPinDirectory(t)
	id := launch(t, "bb", "sleep", "1000")
	recording := recordAndKill(t, pins, func() {
		testutil.Docker(t, "exec", "-d", id, "sh", "-c", "probe repeat 300000 setuid0; touch /tmp/done; sleep 1000")
	})
	for range 5 {
		if now := recordAndKill(t, pins, func() {}); now != recording {
			t.Errorf("recording %s was continued as %s", recording, now)
		}
	}
	m := start(t, Options{PinDirectory: pins})
	testutil.Eventually(t, "all is done", func() bool {
		return testutil.Docker(t, "exec", id, "sh", "-c", "[ -e /tmp/done ] && echo yes || echo no") == "yes"
	})
	if got := total(setuidKind.of(find(t, m, id))); got != 300000 {
		t.Errorf("counted %d checks, wanted 300000", got)
	}
}

// Data of ended containers is saved once for each recording and cgroup, no matter when the process is killed.
func TestSaveThatIsKilled(t *testing.T) {
	pins := newPinDirectory(t)
	var id string
	recordAndKill(t, pins, func() { id = run(t, "bb", "probe", "repeat", "5", "setuid0") })
	testutil.Docker(t, "rm", id)

	for _, when := range []string{"before", "after"} {
		out, err := helper(t, "save-ended", pins, id, when).Output()
		if err == nil {
			t.Fatalf("it was not killed: %s", out)
		}
		m := start(t, Options{PinDirectory: pins})
		found := runs(snapshot(t, m), id)
		switch when {
		case "before":
			if len(out) > 0 || len(found) != 1 || total(setuidKind.of(found[0])) != 5 {
				t.Errorf("killed before it was saved: %s, then %+v", out, found)
			}
		case "after":
			if !strings.HasPrefix(string(out), "saved ") || !strings.HasSuffix(string(out), "removed\n") || len(found) != 0 {
				t.Errorf("killed after it was saved: %s, then %+v", out, found)
			}
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOrphansOfAnInterruptedSaveAreRemoved(t *testing.T) {
	pins := newPinDirectory(t)
	var id string
	recordAndKill(t, pins, func() { id = run(t, "bb", "probe", "repeat", "5", "setuid0") })
	testutil.Docker(t, "rm", id)
	m := start(t, Options{PinDirectory: pins})
	cgroup := find(t, m, id).Cgroup
	// A process that is killed between both removals leaves the maps like this.
	if err := m.attached.maps.Containers.Delete(cgroup); err != nil {
		t.Fatal(err)
	}
	inMap := func(m *Monitor) checkCounts {
		checks, err := m.checksInMap(func(other uint64) bool { return other == cgroup })
		if err != nil {
			t.Fatal(err)
		}
		return checks
	}
	if len(inMap(m)) == 0 {
		t.Fatal("there are no checks")
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	again := start(t, Options{PinDirectory: pins})
	if left := inMap(again); len(left) > 0 {
		t.Errorf("these are left: %+v", left)
	}
}

func TestStopEndsAPinnedRecording(t *testing.T) {
	pins := newPinDirectory(t)
	m := start(t, Options{PinDirectory: pins})
	id := launch(t, "bb", "sleep", "1000")
	if err := m.Stop(); err != nil {
		t.Fatal(err)
	}
	if got := find(t, m, id); got.Ended {
		t.Error("Stop removed the data")
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	again := start(t, Options{PinDirectory: pins})
	if again.Continued() || again.ID() == m.ID() {
		t.Error("the recording continued")
	}
}

func TestPinsAllowOneProcessAtATime(t *testing.T) {
	pins := newPinDirectory(t)
	m := start(t, Options{PinDirectory: pins})
	if _, err := Start(Options{PinDirectory: pins}); !errors.Is(err, ErrPinsInUse) {
		t.Errorf("a second one: %v", err)
	}
	if err := RemovePins(pins); !errors.Is(err, ErrPinsInUse) {
		t.Errorf("removing them: %v", err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestPinsOfAnotherFormAreOnlyRemoved(t *testing.T) {
	pins := newPinDirectory(t)
	m := start(t, Options{PinDirectory: pins})
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	metadata, err := filepath.Glob(filepath.Join(pins, "*", metadataPin))
	if err != nil || len(metadata) != 1 {
		t.Fatalf("%v, %v", metadata, err)
	}
	if err := os.Remove(metadata[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(Options{PinDirectory: pins}); !errors.Is(err, ErrPinsOfAnotherForm) || !strings.Contains(err.Error(), pins) {
		t.Errorf("%v", err)
	}
}

func TestPinsRequireABPFFileSystem(t *testing.T) {
	if _, err := Start(Options{PinDirectory: filepath.Join(t.TempDir(), "pins")}); err == nil || !strings.Contains(err.Error(), "is not in a BPF file system") {
		t.Errorf("%v", err)
	}
}
