package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/monitor"
)

// `make test-kernels` runs the tests of this file under other kernels, too.

// hooks are those that work here, in the order of preference. A guest's kernel has to
// have two at least.
func hooks(t *testing.T) []monitor.Hook {
	t.Helper()
	tried, err := monitor.TryHooks(monitor.Options{})
	if err != nil {
		t.Fatal(err)
	}
	work := slices.DeleteFunc(monitor.Hooks(), func(hook monitor.Hook) bool { return tried[hook] != nil })
	if inGuest() && len(work) < 2 {
		t.Fatalf("these work: %v; the others: %v", work, tried)
	}
	return work
}

// inGuest tells whether this is a machine that make test-kernels booted for the tests.
func inGuest() bool { return os.Getenv("CAPMON_GUEST") != "" }

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
	return parseReport(t, execute(t, binary, "report", "-o", "json", file))
}

// brief are the workloads that differ most in how they are recorded: the others take
// an emulated processor too long. Everything is run without -short.
var brief = []string{
	"chown", "setuid-0-of-32-bits", "cat-secret", "entrypoint-of-another-user", "bind-80-privileged", "own-user-namespace", "access",
	"file-capability", "capset-only", "map-root", "map-locked-within", "acl-by-path", "list-packet-sockets", "exec-by-thread", "memory-policy", "securebits",
}

// One run, seen by all hooks at once: a capmon for each, one the command of the other.
func TestEveryHookSaysTheSame(t *testing.T) {
	all := hooks(t)
	if len(all) < 2 {
		t.Skipf("only %v works here", all)
	}
	chosen := slices.Clone(workloads)
	if testing.Short() {
		chosen = named(t, brief...)
	}
	said := profileByAll(t, all, chosen)

	var table strings.Builder
	for _, w := range chosen {
		fmt.Fprintf(&table, "\n%-32s", w.name)
		var first seen
		for i, hook := range all {
			got := only(t, said[hook], "hook-"+w.name)
			if i == 0 {
				first = got
			}
			right := t.Run(w.name+"/"+string(hook), func(t *testing.T) {
				w.check(t, got)
				if !reflect.DeepEqual(got, first) {
					t.Errorf("%s differs from %s:\n%+v\n%+v", hook, all[0], got, first)
				}
			})
			fmt.Fprintf(&table, " %-6s %-5s ", hook, map[bool]string{true: "right", false: "WRONG"}[right])
		}
		table.WriteString(w.unseen(t))
	}
	t.Log(table.String())
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
	for _, hook := range all {
		file := filepath.Join(directory, string(hook))
		command = slices.Concat([]string{binary, "profile", "--hook", string(hook), "--save", file, "--"}, command)
	}
	mustExecute(t, command...)
	if failed, err := os.ReadFile(failures); err == nil {
		t.Errorf("these failed:\n%s", failed)
	}
	said := make(map[monitor.Hook][]seen)
	for _, hook := range all {
		said[hook] = load(t, filepath.Join(directory, string(hook)), hook)
	}
	return said
}

func TestEachHookAlone(t *testing.T) {
	for _, hook := range hooks(t) {
		t.Run(string(hook), func(t *testing.T) { profileMixed(t, string(hook), hook) })
	}
}

func TestTheFirstHookThatWorksIsUsed(t *testing.T) {
	profileMixed(t, "auto", hooks(t)[0])
}

// profileMixed profiles a container with the option --hook, which has to lead to a
// recording by the hook that is given.
func profileMixed(t *testing.T, option string, hook monitor.Hook) {
	t.Helper()
	name := "mixed-" + option
	file := filepath.Join(t.TempDir(), "profile")
	mustExecute(t, slices.Concat([]string{binary, "profile", "--hook", option, "--save", file, "--"}, mixed.dockerRun(name))...)
	mixed.check(t, only(t, load(t, file, hook), name))
}

// A function takes a limited number of programs (BPF_MAX_TRAMP_LINKS). With that many
// on cap_capable there is no room for capmon's.
func TestTheNextHookIsUsedWhereTheFirstFails(t *testing.T) {
	if !inGuest() {
		t.Skip("only in a guest: it takes the hook away from everybody on the machine")
	}
	all := hooks(t)
	var refused error
	for refused == nil {
		program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
			Type: ebpf.Tracing, AttachType: ebpf.AttachTraceFExit, AttachTo: "cap_capable", License: "GPL",
			Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer program.Close()
		var l link.Link
		if l, refused = link.AttachTracing(link.TracingOptions{Program: program}); refused == nil {
			defer l.Close()
		}
	}
	if !errors.Is(refused, unix.E2BIG) {
		t.Fatal(refused)
	}
	profileMixed(t, "auto", all[1])
}
