package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/kernel"
)

// The kernel tests whether the process that opened a pressure stall file had SYS_RESOURCE, without a check. Only
// triggers whose window is not a multiple of two seconds need SYS_RESOURCE.
func TestPressureTriggersNeedSysResourceByWindow(t *testing.T) {
	t.Parallel()
	host, err := kernel.HostCapabilities()
	if err != nil {
		t.Fatal(err)
	}
	if !host.Has(capability.SysResource) {
		t.Skip("this machine has no SYS_RESOURCE to grant")
	}
	const resource = "--cap-add=SYS_RESOURCE"
	for name, test := range map[string]struct {
		script string
		needed bool
		unsure bool
	}{
		"pressure-second":      {"echo 'some 150000 1000000' >/proc/pressure/memory", true, false},
		"pressure-two-seconds": {"echo 'some 150000 2000000' >/proc/pressure/memory", false, false},
		"pressure-open":        {": >/proc/pressure/cpu", true, true},
		"pressure-read":        {"cat /proc/pressure/memory", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "profile.json")
			run := []string{"docker", "run", "--rm"}
			command := []string{"bb", "sh", "-ec", test.script}
			out := mustExecute(t, slices.Concat([]string{binary, "profile", "--save", file, "--"}, run, []string{"--name", name, resource}, command)...)
			list := strings.Fields(flagsOf(t, file))
			if slices.Contains(list, resource) != test.needed || strings.Contains(out, "SYS_RESOURCE is on the list, but may not be needed") != test.unsure {
				t.Fatalf("list %v\n%s", list, out)
			}
			mustExecute(t, slices.Concat(run, list, command)...)
			if test.needed && !test.unsure && execute(t, slices.Concat(run, []string{"--cap-drop=ALL"}, command)...).code == 0 {
				t.Error("the command works without SYS_RESOURCE")
			}
		})
	}
}
