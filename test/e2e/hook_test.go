package e2e

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/monitor"
)

// `make test-kernels` runs the tests of this file also with other kernels.

// hooks returns the hooks that work on this machine, in the order of preference. In a guest they must be all hooks that
// its kernel supports.
func hooks(t *testing.T) []monitor.Hook {
	t.Helper()
	tried, err := monitor.TryHooks(monitor.Options{})
	if err != nil {
		t.Fatal(err)
	}
	work := slices.DeleteFunc(monitor.Hooks(), func(hook monitor.Hook) bool { return tried[hook] != nil })
	if wanted := promised(t); inGuest() && !slices.Equal(work, wanted) {
		t.Fatalf("working hooks: %v, wanted %v; the others: %v", work, wanted, tried)
	}
	return work
}

// promised returns the hooks that Debian's kernels support. arm64 got trampolines with
// DYNAMIC_FTRACE_WITH_DIRECT_CALLS, and a later version introduced the tracepoint.
func promised(t *testing.T) []monitor.Hook {
	t.Helper()
	running := runningKernel(t)
	return slices.DeleteFunc(monitor.Hooks(), func(hook monitor.Hook) bool {
		switch hook {
		case monitor.Fexit:
			return runtime.GOARCH == "arm64" && running.Before(kernel.Version{Major: 6, Minor: 4})
		case monitor.Tracepoint:
			return running.Before(kernel.Version{Major: 6, Minor: 14})
		}
		return false
	})
}

// load reads a saved profile, verifies that the hook recorded it, and returns its containers.
func load(t *testing.T, file string, hook monitor.Hook) []seen {
	t.Helper()
	saved, err := profile.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, run := range saved.Runs {
		if run.Observation.Hook != hook {
			t.Errorf("%s was recorded by %s, wanted %s", run.Container.Name, run.Observation.Hook, hook)
		}
	}
	containers := parseReport(t, execute(t, binary, "report", "-o", "json", file))
	for i := range containers {
		containers[i].Since = time.Time{} // each hook starts at another time
	}
	return containers
}

// brief are the workloads whose recordings differ most. The others take too long on an emulated processor. Without
// -short, all workloads run.
var brief = []string{
	"chown", "setuid-0-of-32-bits", "cat-secret", "entrypoint-of-another-user", "bind-80-privileged", "own-user-namespace", "access",
	"file-capability", "capset-only", "map-root", "map-locked-within", "acl-by-path", "list-packet-sockets", "exec-by-thread", "memory-policy", "securebits",
}

// walking is the name of an additional recording with the first hook, which walks the stack at every check.
const walking = "walking"

// All hooks observe the same run of the workloads, each in its own capmon: each capmon runs the next one as its
// command. One more capmon caches no call sites.
func TestEveryHookReportsTheSame(t *testing.T) {
	t.Parallel()
	all := hooks(t)
	chosen := slices.Clone(workloads)
	if testing.Short() {
		chosen = named(t, brief...)
	}
	flags := recordFlags(t, all)
	reports := profileUntilSound(t, all, chosen)
	for _, f := range flags {
		f.check(t)
	}

	// test-kernels.sh combines the tables of all guests.
	var table strings.Builder
	for _, w := range chosen {
		fmt.Fprintf(&table, "\nrow: %s ", w.name)
		var first seen
		for i, hook := range slices.Concat(all, []monitor.Hook{walking}) {
			got := only(t, reports[hook], "hook-"+w.name)
			got.withoutSetup()
			if i == 0 {
				first = got
			}
			right := t.Run(w.name+"/"+string(hook), func(t *testing.T) {
				w.check(t, got)
				if !reflect.DeepEqual(agreed(got, first), agreed(first, got)) {
					t.Errorf("%s differs from %s:\n%+v\n%+v", hook, all[0], got, first)
				}
			})
			switch {
			case hook == walking:
			case !right:
				table.WriteByte('!')
			case w.unseen(t) != "":
				table.WriteByte('-')
			case got.Skipped:
				table.WriteString(strings.ToUpper(string(hook[0])))
			default:
				table.WriteByte(hook[0])
			}
		}
	}
	t.Log(table.String())
}

// profileUntilSound runs the workloads and returns the reports of each hook. capmon advises to repeat a recording that
// has gaps, since it is not a base for a list. profileUntilSound therefore repeats workloads that have wrong reports
// with gaps.
func profileUntilSound(t *testing.T, all []monitor.Hook, chosen []workload) map[monitor.Hook][]seen {
	t.Helper()
	reports := profileByAll(t, all, chosen)
	for range 3 {
		chosen = slices.DeleteFunc(slices.Clone(chosen), func(w workload) bool { return !w.gappy(t, reports) })
		if len(chosen) == 0 {
			break
		}
		for hook, containers := range profileByAll(t, all, chosen) {
			for _, c := range containers {
				i := slices.IndexFunc(reports[hook], func(old seen) bool { return old.Name == c.Name })
				reports[hook][i] = c
			}
		}
	}
	return reports
}

// gappy reports whether a report of the workload is wrong and admits gaps.
func (w workload) gappy(t *testing.T, reports map[monitor.Hook][]seen) bool {
	t.Helper()
	for _, containers := range reports {
		got := only(t, containers, "hook-"+w.name)
		admits := got.Skipped || len(got.Unexamined) > 0
		if admits && len(w.faults(t, got)) > 0 {
			return true
		}
	}
	return false
}

// named returns the workloads with these names.
func named(t *testing.T, names ...string) []workload {
	t.Helper()
	found := slices.DeleteFunc(slices.Clone(workloads), func(w workload) bool { return !slices.Contains(names, w.name) })
	if len(found) != len(names) {
		t.Fatal("a workload was renamed")
	}
	return found
}

// profileByAll runs the workloads once and returns the reports of each hook.
func profileByAll(t *testing.T, all []monitor.Hook, chosen []workload) map[monitor.Hook][]seen {
	t.Helper()
	directory := t.TempDir()
	failures, script := filepath.Join(directory, "failures"), filepath.Join(directory, "script")
	var lines strings.Builder
	for _, w := range chosen {
		fmt.Fprintf(&lines, "%s >/dev/null 2>&1 || echo %s >>%s\n", quoted(w.dockerRun("hook-"+w.name, w.grants...)), w.name, failures)
	}
	if err := os.WriteFile(script, []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	command := []string{"sh", script}
	observe := func(name, hook monitor.Hook, options ...string) {
		file := filepath.Join(directory, string(name))
		command = slices.Concat([]string{binary, "profile", "--hook", string(hook), "--save", file}, options, []string{"--"}, command)
	}
	for _, hook := range all {
		observe(hook, hook)
	}
	observe(walking, all[0], "--walk")
	mustExecute(t, command...)
	if failed, err := os.ReadFile(failures); err == nil {
		t.Errorf("these failed:\n%s", failed)
	}
	reports := make(map[monitor.Hook][]seen)
	for _, hook := range all {
		reports[hook] = load(t, filepath.Join(directory, string(hook)), hook)
	}
	reports[walking] = load(t, filepath.Join(directory, walking), all[0])
	return reports
}

func TestEachHookAlone(t *testing.T) {
	t.Parallel()
	for _, hook := range hooks(t) {
		t.Run(string(hook), func(t *testing.T) { profileMixed(t, string(hook), hook) })
	}
}

func TestFirstWorkingHookIsUsed(t *testing.T) {
	t.Parallel()
	profileMixed(t, "auto", hooks(t)[0])
}

// profileMixed profiles a container with this value of --hook, and verifies that the recording used this hook.
func profileMixed(t *testing.T, option string, hook monitor.Hook) {
	t.Helper()
	name := "mixed-" + option
	file := filepath.Join(t.TempDir(), "profile")
	mustExecute(t, slices.Concat([]string{binary, "profile", "--hook", option, "--save", file, "--"}, mixed.dockerRun(name))...)
	got := only(t, load(t, file, hook), name)
	mixed.check(t, got)
}

// admitsSkips removes the caution that the kernel skipped some checks from a report, and sets Skipped if there was one.
// The kernel skips checks where it preempts tasks in kernel mode and the processors are as slow as emulated ones. It
// then also skips fallback programs, and runs no kprobe on a CPU where a task is reading a map
// (bpf_disable_instrumentation, kernel/bpf/syscall.c).
func admitsSkips(t *testing.T, got *seen) {
	t.Helper()
	preemption, err := kernel.PreemptionOfPrograms()
	if err != nil {
		t.Fatal(err)
	}
	if !inGuest() || !preemption.Trampolines {
		return
	}
	got.Cautions = slices.DeleteFunc(got.Cautions, func(caution string) bool {
		skipped := strings.Contains(caution, "the kernel skipped")
		got.Skipped = got.Skipped || skipped
		return skipped
	})
	got.Complete = got.Complete || got.Skipped
}

// withoutSetup subtracts the checks of the runtime setup. The runtime may move a task into the container in the middle
// of a check: after tp_btf, but before fexit and the end of the system call.
func (s *seen) withoutSetup() { s.Checks, s.Setup = s.Checks-s.Setup, 0 }

// agreed returns the parts of one observation that must agree with another. The number of checks, the uses at the start
// and the checks of the runtime setup must agree only if neither observation lacks checks.
func agreed(one, other seen) seen {
	if one.Skipped || other.Skipped {
		one.Checks, one.Setup, one.AtStart, one.Skipped = 0, 0, nil, false
		one.Classes = maps.Clone(one.Classes)
		delete(one.Classes, string(classify.Setup))
	}
	return one.timeless()
}

func TestNextHookIsUsedIfTheFirstFails(t *testing.T) {
	t.Parallel()
	if !inGuest() {
		t.Skip("only in a guest: it makes the hook unusable on the whole machine")
	}
	all := hooks(t)
	if len(all) < 2 || all[0] != monitor.Fexit {
		t.Skipf("there is no hook after %s", all[0])
	}
	occupy(t)
	profileMixed(t, "auto", all[1])
}

// occupy makes fexit unusable on the whole machine until the test ends. The kernel limits the number of programs per
// function (BPF_MAX_TRAMP_LINKS): with that many programs on cap_capable, there is no room for capmon's.
func occupy(t *testing.T) {
	t.Helper()
	var attachErr error
	for attachErr == nil {
		program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
			Type: ebpf.Tracing, AttachType: ebpf.AttachTraceFExit, AttachTo: "cap_capable", License: "GPL",
			Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = program.Close() })
		var l link.Link
		if l, attachErr = link.AttachTracing(link.TracingOptions{Program: program}); attachErr == nil {
			t.Cleanup(func() { _ = l.Close() })
		}
	}
	if !errors.Is(attachErr, unix.E2BIG) {
		t.Fatal(attachErr)
	}
}
