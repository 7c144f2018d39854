package monitor

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/capmon/capmon/internal/testutil"
)

func TestContainersEnd(t *testing.T) {
	m := start(t, Options{})
	id := launch(t, "bb", "sleep", "1000")
	running := find(t, m, id)
	if running.Ended {
		t.Error("the running container is reported as ended")
	}
	testutil.Docker(t, "kill", id)
	testutil.Eventually(t, "the container has ended", func() bool { return find(t, m, id).Ended })
	if ended := find(t, m, id); !ended.LastActivity.After(running.LastActivity) || ended.Processes != 1 {
		t.Errorf("last seen at %v while running, at %v in the end, %d processes", running.LastActivity, ended.LastActivity, ended.Processes)
	}
}

// A container that manages its own cgroups has its processes in them.
func TestProcessesInCgroupsBelowKeepAContainerAlive(t *testing.T) {
	id := launch(t, "bb", "sleep", "1000")
	m := start(t, Options{})
	pid := testutil.Docker(t, "inspect", "-f", "{{.State.Pid}}", id)
	number, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatal(err)
	}
	cgroup, err := m.cgroups.Path(number)
	if err != nil {
		t.Fatal(err)
	}
	below := filepath.Join(m.cgroups.Mount, cgroup, "below")
	if err := os.Mkdir(below, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(below, "cgroup.procs"), []byte(pid), 0); err != nil {
		t.Fatal(err)
	}
	if find(t, m, id).Ended {
		t.Error("the running container is reported as ended")
	}
	testutil.Docker(t, "kill", id)
	testutil.Eventually(t, "the container has ended", func() bool { return find(t, m, id).Ended })
}

func TestRestartsAreSeparateRuns(t *testing.T) {
	m := start(t, Options{})
	id := create(t, "bb", "probe", "setuid0")
	testutil.Docker(t, "start", "-a", id)
	testutil.Docker(t, "start", "-a", id)
	found := runs(snapshot(t, m), id)
	if len(found) != 2 || found[0].Cgroup == found[1].Cgroup || !found[0].LastActivity.Before(found[1].FirstSeen) {
		t.Fatalf("%d runs were seen: %+v", len(found), found)
	}
	for _, c := range found {
		if got := total(setuidKind.of(c)); got != 1 || !c.Ended {
			t.Errorf("a run made %d checks, ended: %v", got, c.Ended)
		}
	}
}

func TestStopKeepsWhatWasRecorded(t *testing.T) {
	m := start(t, Options{})
	id := launch(t, "bb", "sleep", "1000")
	testutil.Docker(t, "exec", id, "probe", "repeat", "5", "setuid0")
	if err := m.Stop(); err != nil {
		t.Fatal(err)
	}
	stopped := find(t, m, id)
	testutil.Docker(t, "exec", id, "probe", "repeat", "5", "setuid0")
	later := run(t, "bb", "probe", "setuid0")

	if got := total(setuidKind.of(stopped)); got != 5 {
		t.Errorf("counted %d checks, wanted 5", got)
	}
	if c := find(t, m, id); c.ChecksMade != stopped.ChecksMade || c.Processes != stopped.Processes || len(c.Checks) != len(stopped.Checks) {
		t.Errorf("the record grew after the end: %+v, then %+v", stopped, c)
	}
	if len(runs(snapshot(t, m), later)) > 0 {
		t.Error("a container was recorded after the end")
	}
	if err := m.Stop(); err != nil {
		t.Errorf("stopping again: %v", err)
	}
	if err := m.Close(); err != nil {
		t.Errorf("closing a stopped monitor: %v", err)
	}
}

// openBPFObjects counts the file descriptors of this process for BPF objects, by type. Without pins, the kernel frees
// all objects without a descriptor.
func openBPFObjects(t *testing.T) map[string]int {
	t.Helper()
	descriptors, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	held := make(map[string]int)
	for _, descriptor := range descriptors {
		target, err := os.Readlink(filepath.Join("/proc/self/fd", descriptor.Name()))
		if errors.Is(err, os.ErrNotExist) {
			continue // the descriptor of the directory itself
		}
		if err != nil {
			t.Fatal(err)
		}
		if kind, ok := strings.CutPrefix(target, "anon_inode:"); ok && (strings.Contains(kind, "bpf") || strings.Contains(kind, "perf")) {
			held[kind]++
		}
	}
	return held
}

// kernelObjects returns functions that open the programs, maps and links of a monitor by their ids.
func kernelObjects(t *testing.T, m *Monitor) map[string]func() error {
	t.Helper()
	open := make(map[string]func() error)
	for _, program := range m.attached.allPrograms() {
		info, err := program.Info()
		if err != nil {
			t.Fatal(err)
		}
		id, ok := info.ID()
		if !ok {
			t.Fatal("the kernel gives programs no ids")
		}
		open["program "+info.Name] = func() error {
			program, err := ebpf.NewProgramFromID(id)
			return errors.Join(err, program.Close())
		}
	}
	maps := reflect.ValueOf(m.attached.maps)
	for i := range maps.NumField() {
		info, err := maps.Field(i).Interface().(*ebpf.Map).Info()
		if err != nil {
			t.Fatal(err)
		}
		id, _ := info.ID()
		open["map "+info.Name] = func() error {
			m, err := ebpf.NewMapFromID(id)
			return errors.Join(err, m.Close())
		}
	}
	for _, l := range m.attached.links {
		info, err := l.Info()
		if err != nil {
			t.Fatal(err)
		}
		open["link"] = func() error {
			l, err := link.NewFromID(info.ID)
			if err != nil {
				return err
			}
			return l.Close()
		}
	}
	return open
}

func TestCloseLeavesNothingInTheKernel(t *testing.T) {
	before := openBPFObjects(t)
	m := start(t, Options{})
	open := kernelObjects(t, m)
	for what, opens := range open {
		if err := opens(); err != nil {
			t.Errorf("%s is not in the kernel while the monitor runs: %v", what, err)
		}
	}
	run(t, "bb", "true")
	for range 2 {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
	if after := openBPFObjects(t); !reflect.DeepEqual(after, before) {
		t.Errorf("held %v before and %v after", before, after)
	}
	for what, opens := range open {
		// The kernel frees programs after a grace period.
		testutil.Eventually(t, what+" is gone", func() bool { return errors.Is(opens(), os.ErrNotExist) })
	}
}
