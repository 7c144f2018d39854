package main

import (
	"errors"
	"fmt"
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

	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/monitor"
)

// `make test-kernels` runs the tests of this file under other kernels, too.

// hooks are those that work here, in the order of preference. On a guest they have to
// be all that its kernel has.
func hooks(t *testing.T) []monitor.Hook {
	t.Helper()
	tried, err := monitor.TryHooks(monitor.Options{})
	if err != nil {
		t.Fatal(err)
	}
	work := slices.DeleteFunc(monitor.Hooks(), func(hook monitor.Hook) bool { return tried[hook] != nil })
	if wanted := promised(t); inGuest() && !slices.Equal(work, wanted) {
		t.Fatalf("these work: %v, wanted %v; the others: %v", work, wanted, tried)
	}
	return work
}

// promised are the hooks that Debian's kernels have: trampolines came to arm64 with
// DYNAMIC_FTRACE_WITH_DIRECT_CALLS, the tracepoint to all.
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

// load returns what a capmon saved, which has to be recorded by the hook.
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
		containers[i].Since = time.Time{} // each hook has a moment of its own
	}
	return containers
}

// brief are the workloads that differ most in how they are recorded: the others take
// an emulated processor too long. Everything is run without -short.
var brief = []string{
	"chown", "setuid-0-of-32-bits", "cat-secret", "entrypoint-of-another-user", "bind-80-privileged", "own-user-namespace", "access",
	"file-capability", "capset-only", "map-root", "map-locked-within", "acl-by-path", "list-packet-sockets", "exec-by-thread", "memory-policy", "securebits",
}

// walking is the first hook once more, with a walk of the stack at every check.
const walking = "walking"

// One run, seen by all hooks at once: a capmon for each, one the command of the other. One
// more tells no call site from memory.
func TestEveryHookSaysTheSame(t *testing.T) {
	t.Parallel()
	all := hooks(t)
	chosen := slices.Clone(workloads)
	if testing.Short() {
		chosen = named(t, brief...)
	}
	flags := recordFlags(t, all)
	said := soundly(t, all, chosen)
	for _, f := range flags {
		f.check(t)
	}

	// test-kernels.sh makes one table of those of all guests.
	var table strings.Builder
	for _, w := range chosen {
		fmt.Fprintf(&table, "\nrow: %s ", w.name)
		var first seen
		for i, hook := range slices.Concat(all, []monitor.Hook{walking}) {
			got := only(t, said[hook], "hook-"+w.name)
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

// soundly runs the workloads and returns what each hook made of them. A recording that
// admits gaps is no base for a list, capmon says, and is to be repeated: so is it here, for what
// came out wrong in it.
func soundly(t *testing.T, all []monitor.Hook, chosen []workload) map[monitor.Hook][]seen {
	t.Helper()
	said := profileByAll(t, all, chosen)
	for range 3 {
		chosen = slices.DeleteFunc(slices.Clone(chosen), func(w workload) bool { return !w.gappy(t, said) })
		if len(chosen) == 0 {
			break
		}
		for hook, containers := range profileByAll(t, all, chosen) {
			for _, c := range containers {
				i := slices.IndexFunc(said[hook], func(old seen) bool { return old.Name == c.Name })
				said[hook][i] = c
			}
		}
	}
	return said
}

// gappy tells whether what a hook said of the workload is wrong, and it admits gaps.
func (w workload) gappy(t *testing.T, said map[monitor.Hook][]seen) bool {
	t.Helper()
	for _, containers := range said {
		got := only(t, containers, "hook-"+w.name)
		admits := got.Skipped || len(got.Unexamined) > 0
		if admits && len(w.faults(t, got)) > 0 {
			return true
		}
	}
	return false
}

// named are the workloads with these names.
func named(t *testing.T, names ...string) []workload {
	t.Helper()
	found := slices.DeleteFunc(slices.Clone(workloads), func(w workload) bool { return !slices.Contains(names, w.name) })
	if len(found) != len(names) {
		t.Fatal("a workload was renamed")
	}
	return found
}

// profileByAll runs the workloads once and returns what each hook made of them.
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
	said := make(map[monitor.Hook][]seen)
	for _, hook := range all {
		said[hook] = load(t, filepath.Join(directory, string(hook)), hook)
	}
	said[walking] = load(t, filepath.Join(directory, walking), all[0])
	return said
}

func TestEachHookAlone(t *testing.T) {
	t.Parallel()
	for _, hook := range hooks(t) {
		t.Run(string(hook), func(t *testing.T) { profileMixed(t, string(hook), hook) })
	}
}

func TestTheFirstHookThatWorksIsUsed(t *testing.T) {
	t.Parallel()
	profileMixed(t, "auto", hooks(t)[0])
}

// profileMixed profiles a container with the option --hook, which has to lead to a
// recording by the hook that is given.
func profileMixed(t *testing.T, option string, hook monitor.Hook) {
	t.Helper()
	name := "mixed-" + option
	file := filepath.Join(t.TempDir(), "profile")
	mustExecute(t, slices.Concat([]string{binary, "profile", "--hook", option, "--save", file, "--"}, mixed.dockerRun(name))...)
	got := only(t, load(t, file, hook), name)
	mixed.check(t, got)
}

// admitsSkips takes out of a report that the kernel skipped some checks, and notes whether
// that was said. It happens where tasks are preempted in the kernel and processors are as
// slow as emulated ones: understudies are skipped, too, and no kprobe runs on a CPU where
// a task is in the middle of reading a map (bpf_disable_instrumentation,
// kernel/bpf/syscall.c).
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
		skipped := strings.Contains(caution, "checks were skipped by the kernel")
		got.Skipped = got.Skipped || skipped
		return skipped
	})
	got.Complete = got.Complete || got.Skipped
}

// withoutSetup leaves the checks of the set-up out of their number: a task may be put into
// the container in the middle of one, after tp_btf and before fexit and the end of the
// system call.
func (s *seen) withoutSetup() { s.Checks, s.Setup = s.Checks-s.Setup, 0 }

// agreed is what one observation has to agree in with another: in the number of
// checks, and in what was used at the start only, if neither admits that some are missing.
func agreed(one, other seen) seen {
	if one.Skipped || other.Skipped {
		one.Checks, one.Setup, one.AtStart, one.Skipped = 0, 0, nil, false
	}
	return one.timeless()
}

func TestTheNextHookIsUsedWhereTheFirstFails(t *testing.T) {
	t.Parallel()
	if !inGuest() {
		t.Skip("only in a guest: it takes the hook away from everybody on the machine")
	}
	all := hooks(t)
	if len(all) < 2 || all[0] != monitor.Fexit {
		t.Skipf("there is none after %s", all[0])
	}
	occupy(t)
	profileMixed(t, "auto", all[1])
}

// occupy takes fexit away from everybody until the test ends. A function takes a limited
// number of programs (BPF_MAX_TRAMP_LINKS): with that many on cap_capable there is no
// room for capmon's.
func occupy(t *testing.T) {
	t.Helper()
	var refused error
	for refused == nil {
		program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
			Type: ebpf.Tracing, AttachType: ebpf.AttachTraceFExit, AttachTo: "cap_capable", License: "GPL",
			Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = program.Close() })
		var l link.Link
		if l, refused = link.AttachTracing(link.TracingOptions{Program: program}); refused == nil {
			t.Cleanup(func() { _ = l.Close() })
		}
	}
	if !errors.Is(refused, unix.E2BIG) {
		t.Fatal(refused)
	}
}
