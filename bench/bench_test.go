package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/capmon/capmon/internal/testutil"
	"github.com/capmon/capmon/internal/testutil/testlock"
)

// built is the path of the capmon to test.
var built string

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	missing := errors.Join(testutil.Root(), testutil.DockerWithImage())
	if missing == nil {
		directory, err := os.MkdirTemp("", "bench-test-")
		if err == nil {
			defer os.RemoveAll(directory)
			built = filepath.Join(directory, "capmon")
			err = errors.Join(testlock.NoLosses(), testutil.Build(built, "../cmd/capmon"))
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return testutil.RunOrSkip(m, missing, needNothing...)
}

// needNothing has the tests that need neither root nor Docker.
var needNothing = []string{"TestChurnFindsWhatIsMissing", "TestLostChecksAreNoResult", "TestRow", "TestSpread"}

// bench runs a bench command, which must succeed, and returns its output.
func bench(t *testing.T, args ...string) string {
	t.Helper()
	cmd := newCommand()
	var out strings.Builder
	cmd.SetOut(&out)
	cmd.SetArgs(args)
	if err := cmd.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// The report has all containers that live for milliseconds, with exactly the checks that they made. make soak runs this
// for minutes.
func TestChurn(t *testing.T) {
	if out := bench(t, "churn", "--capmon", built, "--for", "5s"); !strings.Contains(out, "the report has all of these containers by name") {
		t.Error(out)
	}
}

func TestChurnFindsWhatIsMissing(t *testing.T) {
	const good = `{"containers": [
		{"name": "capmon-bench-0", "complete": true, "uses": [{"capability": "SETUID", "class": "required", "count": 1}]},
		{"name": "capmon-bench-1", "complete": true, "uses": [{"capability": "SETUID", "class": "required", "count": 2},
			{"capability": "SETUID", "class": "setup", "count": 5}, {"capability": "CHOWN", "class": "required", "count": 1}]},
		{"name": "another", "complete": false}]}`
	if err := verifyChurn([]byte(good), 2); err != nil {
		t.Error(err)
	}
	for what, report := range map[string]string{
		"capmon-bench-1 is not in the report": strings.ReplaceAll(good, "capmon-bench-1", "1f2e3d"),
		"has 3 checks of SETUID":              strings.ReplaceAll(good, `"count": 2`, `"count": 3`),
		"capmon-bench-0: 0 lost":              strings.Replace(good, "true", "false", 1),
	} {
		if err := verifyChurn([]byte(report), 2); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("got %v, wanted %s", err, what)
		}
	}
}

func TestScale(t *testing.T) {
	t.Chdir("..") // bench runs in the root directory of the repository
	out := bench(t, "scale", "--capmon", built, "--containers", "1,3", "--rounds", "1", "--period", "200ms", "--kinds", "1000")
	rows := strings.Join(strings.Fields(out), " ") // without padding
	for _, row := range []string{"| 131072 | 1001 | 0 | 0 |", "| 16384 |", "| 1 |", "| 3 |"} {
		if !strings.Contains(rows, row) {
			t.Errorf("no row starts with %s:\n%s", row, out)
		}
	}
	left, err := exec.Command("docker", "ps", "-aq", "--filter", "label="+idleLabel).Output()
	if err != nil || len(left) > 0 {
		t.Errorf("these containers are left: %s %v", left, err)
	}
}

func TestWhatAProcessTakesIsRead(t *testing.T) {
	own := process(os.Getpid())
	now, most, err := own.resident()
	if err != nil || now == 0 || most < now {
		t.Errorf("%d bytes now and %d at most: %v", now, most, err)
	}
	for begin := time.Now(); time.Since(begin) < 3*tick; { // make it work
	}
	if worked, err := own.cpu(); err != nil || worked <= 0 {
		t.Errorf("worked for %s: %v", worked, err)
	}
	if maps, err := own.maps(); err != nil || maps != 0 {
		t.Errorf("%d bytes of maps without any: %v", maps, err)
	}
	capmon, err := startRecording(built)
	if err != nil {
		t.Fatal(err)
	}
	maps, err := process(capmon.cmd.Process.Pid).maps()
	if _, endErr := capmon.end(); err != nil || endErr != nil || maps < 1<<20 {
		t.Errorf("%d bytes of capmon's maps: %v, %v", maps, err, endErr)
	}
}

func TestSpread(t *testing.T) {
	for _, test := range []struct {
		values []float64
		want   spread
	}{
		{[]float64{5}, spread{5, 5, 5}},
		{[]float64{9, 1, 2}, spread{2, 1, 9}},
		{[]float64{4, 1, 2, 8}, spread{3, 1, 8}},
	} {
		if got := spreadOf(test.values); got != test.want {
			t.Errorf("%v: got %v, wanted %v", test.values, got, test.want)
		}
	}
}

// The row has what each watcher adds to the load alone, also per check and compared with bpftrace.
func TestRow(t *testing.T) {
	l := load{"mmap", true, 1}
	m := &measurement{
		watchers: []watcher{baseline, bpftrace, capmon("capmon", "")},
		samples: map[load]map[string][]sample{l: {
			baseline.name: {{time.Microsecond, 0}},
			bpftrace.name: {{1200 * time.Nanosecond, 0}},
			"capmon":      {{1100 * time.Nanosecond, 2}},
		}},
	}
	want := []any{"mmap", "2.0", "1000 (1000–1000)", "200 (200–200)", "100 (100–100)", "50", "0.50", "+10.0"}
	got := row(l, m)
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Fatalf("got %q, wanted %q", got, want)
		}
	}
}

func TestLostChecksAreNoResult(t *testing.T) {
	if n, err := checksOf([]byte(`{"containers": [{"name": "a", "checks": 7, "incomplete": []}]}`), "a"); n != 7 || err != nil {
		t.Error(n, err)
	}
	for _, report := range []string{
		`{"containers": [{"name": "b", "checks": 7, "incomplete": []}]}`,
		`{"containers": [{"name": "a", "checks": 7, "incomplete": ["lost"]}]}`,
	} {
		if n, err := checksOf([]byte(report), "a"); err == nil {
			t.Errorf("%s: %d checks", report, n)
		}
	}
}

func TestServe(t *testing.T) {
	t.Chdir("..") // bench runs in the root directory of the repository
	out := bench(t, "serve", "--capmon", built, "--come-and-go", "6", "--running", "2", "--period", "200ms", "--save-every", "1s", "-o", "markdown")
	rows := regexp.MustCompile(`(?m)^\| (idle|after [246] containers|2 running|2 running, one busy) \| +\d+\.\d \| +\d+\.\d \| +\d+\.\d\d \| +\d+ \| +\d+\.\d \| +\d+ \|$`)
	if n := len(rows.FindAllString(out, -1)); n != 6 {
		t.Errorf("%d rows\n%s", n, out)
	}
	left, err := filepath.Glob("/sys/fs/bpf/capmon-bench*")
	if err != nil || len(left) > 0 {
		t.Errorf("these pins are left: %s %v", left, err)
	}
}

// Each use has one line or one alert, and the time from the use to the line is positive.
func TestLatency(t *testing.T) {
	t.Chdir("..") // bench runs in the root directory of the repository
	out := bench(t, "latency", "--capmon", built, "--times", "3", "--with=--every", "-o", "markdown")
	rows := regexp.MustCompile(`(?m)^\|( --every| --rules FILE| --rules FILE, webhook and spool)? *\| (nothing else|every core busy|another container floods) \| 3 \| \d+\.\d \| \d+\.\d \| \d+\.\d \|$`)
	if n := len(rows.FindAllString(out, -1)); n != 12 {
		t.Errorf("%d rows\n%s", n, out)
	}
}
