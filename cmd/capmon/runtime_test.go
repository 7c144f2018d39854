package main

import (
	"slices"
	"strings"
	"testing"
)

// Another runtime prepares containers in another way: crun is no Go program, and makes
// its last execve from a sealed copy of itself. `make test-kernels` has cgroups that it
// takes.
func TestRuntimeThatTheHookSees(t *testing.T) {
	t.Parallel()
	if version := strings.TrimSpace(mustExecute(t, "docker", "info", "--format={{.CgroupVersion}}")); version != "2" {
		t.Skipf("crun wants cgroups v2 alone, this machine has v%s or both", version)
	}
	profileByRuntime(t, "crun")
}

// Debian's runc is of 2023. Since then it executes itself by way of an overlay that is
// mounted nowhere (libcontainer/exeseal).
func TestNewestRunc(t *testing.T) {
	t.Parallel()
	profileByRuntime(t, "newest-runc")
}

// profileByRuntime runs the mixed workload, which needs the same whoever runs it.
func profileByRuntime(t *testing.T, runtime string) {
	t.Helper()
	for name, options := range map[string][]string{"plain": nil, "init": {"--init"}} {
		w := mixed
		w.options = append([]string{"--runtime=" + runtime}, options...)
		w.classes = map[string][]string{"setup": caps("SYS_ADMIN")}
		container := runtime + "-" + name
		t.Run(name+"/run", func(t *testing.T) {
			t.Parallel()
			r := execute(t, append([]string{binary, "profile", "-o", "json", "--"}, w.dockerRun(container)...)...)
			got := only(t, parseReport(t, r), container)
			w.check(t, got)
			mustExecute(t, w.dockerRun(container, got.Flags...)...)
		})
		t.Run(name+"/exec", func(t *testing.T) {
			t.Parallel()
			startSleeper(t, "in-"+container, w.options...)
			observation := watch(t, "in-"+container)
			mustExecute(t, slices.Concat([]string{"docker", "exec", "in-" + container}, w.command)...)
			w.check(t, only(t, parseReport(t, observation.interrupt()), "in-"+container))
		})
	}
}
