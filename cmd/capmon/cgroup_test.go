package main

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/capmon/capmon/internal/kernel"
)

// `make test-kernels` runs the tests of this file with other cgroups, too.

// Cgroups of every layout and driver, and wherever the user wants them to be, lead to
// their container.
func TestCgroupsNameTheirContainer(t *testing.T) {
	driver := engineSays(t, "{{.CgroupDriver}}")
	parent := "/capmon-test/parent"
	if driver == "systemd" {
		parent = "capmon-test-parent.slice"
	}
	t.Logf("%s, driver %s", layout(t), driver)
	for name, options := range map[string][]string{
		"as-usual":      nil,
		"cgroup-parent": {"--cgroup-parent=" + parent},
		"cgroupns-host": {"--cgroupns=host"},
	} {
		w := mixed
		w.options = options
		t.Run(name+"/run", func(t *testing.T) {
			r := execute(t, append([]string{binary, "profile", "-o", "json", "--"}, w.dockerRun("cgroup-"+name)...)...)
			got := only(t, parseReport(t, r), "cgroup-"+name)
			admitsSkips(t, &got)
			w.check(t, got)
		})
		t.Run(name+"/exec", func(t *testing.T) {
			startSleeper(t, "cgroup-in-"+name, options...)
			observation := watch(t, "cgroup-in-"+name)
			mustExecute(t, append([]string{"docker", "exec", "cgroup-in-" + name}, w.command...)...)
			got := only(t, parseReport(t, observation.interrupt()), "cgroup-in-"+name)
			admitsSkips(t, &got)
			w.check(t, got)
		})
	}
}

// A guest has the cgroups and the driver that its name promises, and doctor sees them.
func TestCgroupsAreWhatTheGuestPromises(t *testing.T) {
	if !inGuest() {
		t.Skip("only a guest makes a promise")
	}
	mode := kernel.CgroupUnified
	switch {
	case strings.HasSuffix(guest(), "v1"):
		mode = kernel.CgroupLegacy
	case strings.HasSuffix(guest(), "hybrid"):
		mode = kernel.CgroupHybrid
	}
	if got := layout(t); !strings.HasPrefix(got, string(mode)+",") {
		t.Errorf("doctor says %q, wanted %s", got, mode)
	}
	driver := "cgroupfs"
	if strings.Contains(guest(), "systemd") {
		driver = "systemd"
	}
	if got := engineSays(t, "{{.CgroupDriver}}"); got != driver {
		t.Errorf("the driver is %s, wanted %s", got, driver)
	}
}

// layout is doctor's finding on the cgroups.
func layout(t *testing.T) string {
	t.Helper()
	var said struct {
		Findings []struct{ Subject, Text string }
	}
	if err := json.Unmarshal([]byte(mustExecute(t, binary, "doctor", "-o", "json")), &said); err != nil {
		t.Fatal(err)
	}
	for _, finding := range said.Findings {
		if finding.Subject == "cgroups" {
			return finding.Text
		}
	}
	t.Fatal("doctor says nothing of cgroups")
	return ""
}

func engineSays(t *testing.T, format string) string {
	t.Helper()
	return strings.TrimSpace(mustExecute(t, "docker", "info", "--format="+format))
}

// guest is the name that vm.sh has for this machine, "" if it is none of its guests.
func guest() string { return os.Getenv("CAPMON_GUEST") }

// inGuest tells whether this is a machine that make test-kernels booted for the tests.
func inGuest() bool { return guest() != "" }

// Debian has no kernel between this one and the oldest that capmon works with.
func TestTooOldAKernelIsNamed(t *testing.T) {
	if guest() != "5.10" {
		t.Skip("this kernel is not too old")
	}
	for _, command := range [][]string{
		{"profile"},
		{"profile", "--", "touch", "ran"},
		{"doctor"},
	} {
		r := execute(t, slices.Concat([]string{binary}, command)...)
		if r.code != 2 || !strings.Contains(r.stderr+r.stdout, "too old: 5.15 or later is needed") {
			t.Errorf("%v: exit code %d\n%s%s", command, r.code, r.stdout, r.stderr)
		}
	}
	if _, err := os.Stat("ran"); err == nil {
		t.Error("the command was run")
	}
}
