package monitor

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/testutil"
)

// otherLayout has changes that make another version of bpf/types.h: another order of fields, and smaller caches. Other
// sizes of fields are tested with layoutConverter.
var otherLayout = [][2]string{
	{"	__u64 container; /* kernfs id of the container's topmost cgroup */\n	__u64 site[SITE_DEPTH];", "	__u64 site[SITE_DEPTH];\n	__u64 container;"},
	{"struct check_value {\n	__u64 count;", "struct check_value {\n	__u32 uid;\n	__u32 pid;\n	__u64 count;"},
	{"	__u32 pid; /* thread group of the first check, in the initial pid namespace */\n	__u32 uid; /* effective user of the first check, in the initial user namespace */\n", ""},
	{"#define CACHED_CHECKS 64", "#define CACHED_CHECKS 32"},
	{"	__u64 count;\n	__u64 last_ns; /* accurate to a tick of the kernel's clock */\n	__u64 tick;", "	__u64 tick;\n	__u64 last_ns;\n	__u64 count;"},
}

// otherMap gives a map another name, so that each version lacks a map of the other.
var otherMap = strings.NewReplacer("&unconfirmed,", "&deferred_checks,", "} unconfirmed SEC", "} deferred_checks SEC")

// buildOtherVersion builds the tests with programs that have other maps, and maps with another layout.
func buildOtherVersion(t *testing.T) string {
	t.Helper()
	repository, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	directory := t.TempDir()
	build := func(in string, command ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
		cmd.Dir = in
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, out)
		}
	}
	sources := filepath.Join(directory, "bpf")
	if err := os.CopyFS(sources, os.DirFS(filepath.Join(repository, "bpf"))); err != nil {
		t.Fatal(err)
	}
	header := filepath.Join(sources, "types.h")
	text, err := os.ReadFile(header)
	if err != nil {
		t.Fatal(err)
	}
	changed := string(text)
	for _, change := range otherLayout {
		if strings.Count(changed, change[0]) != 1 {
			t.Fatalf("types.h does not contain %q", change[0])
		}
		changed = strings.Replace(changed, change[0], change[1], 1)
	}
	if err := os.WriteFile(header, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	renamed := 0
	for _, name := range []string{"capmon.bpf.c", "confirm_values.h"} {
		file := filepath.Join(sources, name)
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		changed := otherMap.Replace(string(text))
		renamed += strings.Count(changed, "deferred_checks")
		if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if renamed != 4 {
		t.Fatalf("the map has another name in %d places, wanted 4", renamed)
	}
	target := map[string]string{"amd64": "x86", "arm64": "arm64"}[runtime.GOARCH]
	generate, err := os.ReadFile(filepath.Join(sources, "generate.go"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(generate), "//go:generate ")
	if !found {
		t.Fatal("generate.go generates nothing")
	}
	line := strings.ReplaceAll(strings.TrimSpace(rest), "-target amd64,arm64", "-target "+runtime.GOARCH+" -output-dir "+sources)
	line = strings.ReplaceAll(line, "capmon.bpf.c", filepath.Join(sources, "capmon.bpf.c"))
	build(filepath.Join(repository, "bpf"), "sh", "-c", "GOPACKAGE=bpf "+line)
	replace := make(map[string]string)
	for _, end := range []string{".go", ".o"} {
		name := "capmon_" + target + "_bpfel" + end
		replace[filepath.Join(repository, "bpf", name)] = filepath.Join(sources, name)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(directory, "overlay.json"), overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(directory, "other.test")
	build(repository, "go", "test", "-c", "-overlay", filepath.Join(directory, "overlay.json"), "-o", binary, "./monitor")
	return binary
}

func TestAnotherVersion(t *testing.T) {
	t.Parallel()
	other := buildOtherVersion(t)
	t.Run("takes over", func(t *testing.T) { testTakeOver(t, other) })
	t.Run("lacks a map", func(t *testing.T) { testLacksAMap(t, other) })
	t.Run("is killed", func(t *testing.T) { testKilledAtAnyMoment(t, other, "/proc/self/exe") })
}

// testLacksAMap takes over from a version that does not record files.
func testLacksAMap(t *testing.T, other string) {
	pins := newPinDirectory(t)
	var id string
	recordAndKillProgram(t, other, pins, func() {
		id = launch(t, "bb", "sleep", "1000")
		testutil.Docker(t, "exec", id, "probe", "setuid0")
	})
	found, err := filepath.Glob(filepath.Join(pins, "*", mapsPin, "files"))
	if err != nil || len(found) != 1 {
		t.Fatalf("%v, %v", found, err)
	}
	if err := os.Remove(found[0]); err != nil {
		t.Fatal(err)
	}
	m := start(t, Options{PinDirectory: pins})
	if got := total(setuidKind.of(find(t, m, id))); got != 1 {
		t.Errorf("counted %d checks, wanted 1", got)
	}
}

// testTakeOver changes from one version to another and back. Nothing is lost, and earlier data is unchanged.
func testTakeOver(t *testing.T, other string) {
	pins := newPinDirectory(t)
	var long, short string
	recording := recordAndKillProgram(t, other, pins, func() {
		long = launch(t, "bb", "sleep", "1000")
		testutil.Docker(t, "exec", long, "probe", "repeat", "5", "setuid0")
		testutil.Docker(t, "exec", long, "ping", "-c1", "127.0.0.1")
		short = run(t, "bb", "probe", "setuid0")
	})
	testutil.Docker(t, "exec", "-d", long, "sh", "-c", "probe repeat 300000 setuid0; touch /tmp/done; sleep 1000")

	m := start(t, Options{PinDirectory: pins})
	if !m.Continued() || m.ID() != recording {
		t.Errorf("continued: %v; recording %s, wanted %s", m.Continued(), m.ID(), recording)
	}
	testutil.Eventually(t, "all is done", func() bool {
		return testutil.Docker(t, "exec", long, "sh", "-c", "[ -e /tmp/done ] && echo yes || echo no") == "yes"
	})
	both := uint64(runtime.NumCPU()) // checks in progress at the switch
	c := find(t, m, long)
	if got := total(setuidKind.of(c)); got < 300005 || got > 300005+both || c.Existed || c.ID != long {
		t.Errorf("counted %d checks, wanted 300005; existed: %v", got, c.Existed)
	}
	if got := total(setuidKind.of(find(t, m, short))); got != 1 {
		t.Errorf("container that ended before: counted %d checks, wanted 1", got)
	}
	before := snapshot(t, m)
	lossless(t, before)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}

	recordAndKillProgram(t, other, pins, func() {}) // now there are two old recordings
	again := start(t, Options{PinDirectory: pins})
	if again.ID() != recording {
		t.Errorf("recording %s, wanted %s", again.ID(), recording)
	}
	now := find(t, again, long)
	if got, wanted := total(setuidKind.of(now)), total(setuidKind.of(c)); got != wanted || now.Started != c.Started || now.Bounding != c.Bounding || now.FirstSeen != c.FirstSeen {
		t.Errorf("after two more: %d checks, wanted %d; %+v, then %+v", got, wanted, c, now)
	}

	testutil.Docker(t, "rm", "-f", long)
	var saved []ContainerRecord
	testutil.Eventually(t, "the ended containers are saved", func() bool {
		err := again.SaveEnded(func(_ uint64, id string) bool { return id == long || id == short }, func(s Snapshot) error {
			saved = append(saved, s.Containers...)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return len(saved) == 2
	})
	if left := snapshot(t, again); len(runs(left, long))+len(runs(left, short)) > 0 {
		t.Errorf("saved data is still there: %+v", left)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	last := start(t, Options{PinDirectory: pins})
	if left := snapshot(t, last); len(runs(left, long))+len(runs(left, short)) > 0 {
		t.Errorf("saved data is there again: %+v", left)
	}
}

// A container that ended before an upgrade is identified like any other.
func TestCarriedOverContainersAreKnownByTheirCgroups(t *testing.T) {
	t.Parallel()
	pins := newPinDirectory(t)
	var short string
	recordAndKillProgram(t, "/proc/self/exe", pins, func() { short = run(t, "bb", "probe", "setuid0") })
	m := start(t, Options{PinDirectory: pins, MaxChecks: 70000})
	c := find(t, m, short)
	if place, known, err := m.CgroupInfo(c.Cgroup); err != nil || !known || place != c.CgroupInfo {
		t.Errorf("its cgroup is %+v, %v, %v, wanted %+v", place, known, err, c.CgroupInfo)
	}
	deltas, err := m.NewDeltaReader().Read()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(deltas, func(delta Delta) bool { return delta.Cgroup == c.Cgroup && delta.ID == short }) {
		t.Errorf("no delta has the ID of the container: %+v", deltas)
	}
}

// If a version is killed while it takes over, the other version can continue.
func TestInterruptedTakeOver(t *testing.T) {
	t.Parallel()
	pins := newPinDirectory(t)
	var id string
	recording := recordAndKillProgram(t, "/proc/self/exe", pins, func() {
		id = launch(t, "bb", "sleep", "1000")
		testutil.Docker(t, "exec", id, "probe", "repeat", "5", "setuid0")
	})
	found, err := filepath.Glob(filepath.Join(pins, "*", programsPin))
	if err != nil || len(found) != 1 {
		t.Fatalf("pinned programs: %v, %v", found, err)
	}
	if err := unix.Mount("tmpfs", found[0], "tmpfs", 0, ""); err != nil { // so that it cannot be removed
		t.Fatal(err)
	}
	if m, err := Start(Options{PinDirectory: pins, MaxChecks: 70000}); !errors.Is(err, unix.EBUSY) {
		t.Errorf("it was not interrupted: %v, %v", m, err)
	}
	testutil.Docker(t, "exec", id, "probe", "repeat", "7", "setuid0")
	found, err = filepath.Glob(filepath.Join(pins, retiringPrefix+"*", programsPin))
	if err != nil || len(found) != 1 {
		t.Fatalf("pinned programs that are being removed: %v, %v", found, err)
	}
	if err := unix.Unmount(found[0], 0); err != nil {
		t.Fatal(err)
	}
	m := start(t, Options{PinDirectory: pins})
	testutil.Docker(t, "exec", id, "probe", "repeat", "3", "setuid0")
	if got := total(setuidKind.of(find(t, m, id))); m.ID() != recording || got != 15 {
		t.Errorf("counted %d checks of recording %s, wanted 15 of %s", got, m.ID(), recording)
	}
	lossless(t, snapshot(t, m))
}

// recordAndKillProgram is recordAndKill for a test program of another version.
func recordAndKillProgram(t *testing.T, program, pins string, while func()) (recording string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, pins)
	cmd.Env = append(os.Environ(), helperVariable+"=record-pinned")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	while()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	return strings.TrimSpace(strings.TrimPrefix(line, "recording "))
}
