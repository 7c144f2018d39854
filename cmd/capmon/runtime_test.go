package main

import (
	"strings"
	"testing"
)

// Another runtime prepares containers in another way: crun is no Go program, and makes
// its last execve from a sealed copy of itself. `make test-kernels` has cgroups that it
// takes.
func TestRuntimeThatTheHookSees(t *testing.T) {
	if version := strings.TrimSpace(mustExecute(t, "docker", "info", "--format={{.CgroupVersion}}")); version != "2" {
		t.Skipf("crun wants cgroups v2 alone, this machine has v%s or both", version)
	}
	w := mixed
	w.options = []string{"--runtime=crun"}
	t.Run("run", func(t *testing.T) {
		r := execute(t, append([]string{binary, "profile", "-o", "json", "--"}, w.dockerRun("by-crun")...)...)
		got := only(t, parseReport(t, r), "by-crun")
		w.check(t, got)
		mustExecute(t, w.dockerRun("by-crun", got.Flags...)...)
	})
	t.Run("exec", func(t *testing.T) {
		startSleeper(t, "in-crun", w.options...)
		observation := watch(t, "in-crun")
		mustExecute(t, append([]string{"docker", "exec", "in-crun"}, w.command...)...)
		w.check(t, only(t, parseReport(t, observation.interrupt()), "in-crun"))
	})
}
