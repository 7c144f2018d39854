package monitor

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/capmon/capmon/internal/testutil"
)

// savedRun is what a process has saved about a container: how often it called setuid(0).
type savedRun struct {
	ID     string
	Cgroup uint64
	Count  uint64
}

// saveRuns appends the data of containers to a file, in place of a database.
func saveRuns(file *os.File, containers []ContainerRecord) error {
	text := []byte("\n") // a killed process may not have ended its line
	for _, c := range containers {
		line, err := json.Marshal(savedRun{c.ID, c.Cgroup, total(setuidKind.of(c))})
		if err != nil {
			return err
		}
		text = append(append(text, line...), '\n')
	}
	if _, err := file.Write(text); err != nil {
		return err
	}
	return file.Sync()
}

// savePinned records, and saves ended and running containers continuously, until it is killed.
func savePinned(pins, name string) error {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	m, err := Start(Options{PinDirectory: pins})
	if err != nil {
		return err
	}
	for err == nil {
		err = saveAll(m, file)
	}
	return err
}

func saveAll(m *Monitor, file *os.File) error {
	err := m.SaveEnded(func(uint64, string) bool { return true }, func(s Snapshot) error { return saveRuns(file, s.Containers) })
	if err != nil {
		return err
	}
	s, err := m.Snapshot()
	if err != nil {
		return err
	}
	return saveRuns(file, s.Containers)
}

// savedCounts returns the counts by container ID. For each cgroup, the last line counts.
func savedCounts(t *testing.T, name string) map[string]uint64 {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	last := make(map[uint64]savedRun)
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		var run savedRun
		if json.Unmarshal(lines.Bytes(), &run) == nil { // a killed process may have written a part
			last[run.Cgroup] = run
		}
	}
	counts := make(map[string]uint64)
	for _, run := range last {
		counts[run.ID] += run.Count
	}
	return counts
}

// Saved counts are exact, no matter when the process is killed during start, save and removal.
func TestKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	testKilledAtAnyMoment(t, "/proc/self/exe")
}

// testKilledAtAnyMoment kills processes of one version, or of several versions that take over from each other.
func testKilledAtAnyMoment(t *testing.T, versions ...string) {
	const kills, burst, bursts, each = 10, 100, 100, 7
	pins, saved := newPinDirectory(t), filepath.Join(t.TempDir(), "saved")
	recording := recordAndKill(t, pins, func() {})
	long := launch(t, "bb", "sleep", "1000")
	testutil.Docker(t, "exec", "-d", long, "sh", "-c", fmt.Sprintf(
		"i=0; while [ $i -lt %d ]; do probe repeat %d setuid0; i=$((i+1)); done; touch /tmp/done", bursts, burst))
	var shorts []string
	var working sync.WaitGroup
	over := make(chan struct{})
	working.Go(func() {
		for {
			select {
			case <-over:
				return
			default:
				shorts = append(shorts, run(t, "bb", "probe", "repeat", fmt.Sprint(each), "setuid0"))
			}
		}
	})
	for i := range kills {
		cmd := exec.CommandContext(t.Context(), versions[i%len(versions)], pins, saved)
		cmd.Env = append(os.Environ(), helperVariable+"=save-pinned")
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(rand.N(1500 * time.Millisecond)) // a random time
		_ = cmd.Process.Kill()
		var ended *exec.ExitError
		if err := cmd.Wait(); errors.As(err, &ended) && ended.Exited() {
			t.Errorf("before it was killed: %v", err)
		}
	}
	close(over)
	working.Wait()
	testutil.Eventually(t, "all is done", func() bool {
		return testutil.Docker(t, "exec", long, "sh", "-c", "[ -e /tmp/done ] && echo yes || echo no") == "yes"
	})
	m := start(t, Options{PinDirectory: pins})
	if m.ID() != recording {
		t.Errorf("recording %s, wanted %s", m.ID(), recording)
	}
	file, err := os.OpenFile(saved, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		err = errors.Join(saveAll(m, file), file.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	var twice uint64 // checks in progress while another version took over
	if len(versions) > 1 {
		twice = uint64(kills * runtime.NumCPU())
	}
	counts := savedCounts(t, saved)
	if got := counts[long]; got < burst*bursts || got > burst*bursts+twice {
		t.Errorf("counted %d checks, wanted %d", got, burst*bursts)
	}
	for _, id := range shorts {
		if got := counts[id]; got < each || got > each+twice {
			t.Errorf("of %s: counted %d checks, wanted %d", id, got, each)
		}
	}
	t.Logf("%d containers", len(shorts))
	lossless(t, snapshot(t, m))
}
