package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/capmon/capmon/internal/kernel"
)

// `make test-kernels` runs the tests of this file also with other cgroup layouts.

// capmon identifies the container from its cgroup with every layout and driver, also with a cgroup parent that the user
// chose.
func TestCgroupsIdentifyTheirContainer(t *testing.T) {
	t.Parallel()
	driver := engineInfo(t, "{{.CgroupDriver}}")
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
			w.check(t, got)
		})
		t.Run(name+"/exec", func(t *testing.T) {
			startSleeper(t, "cgroup-in-"+name, options...)
			observation := watch(t, "cgroup-in-"+name)
			mustExecute(t, append([]string{"docker", "exec", "cgroup-in-" + name}, w.command...)...)
			got := only(t, parseReport(t, observation.interrupt()), "cgroup-in-"+name)
			w.check(t, got)
		})
	}
}

// A guest has the cgroup layout and the driver that its name states, and doctor reports them.
func TestCgroupsMatchTheGuestName(t *testing.T) {
	if !inGuest() {
		t.Skip("only a guest's name states the cgroup layout")
	}
	mode := kernel.CgroupUnified
	switch {
	case strings.HasSuffix(guest(), "v1"):
		mode = kernel.CgroupLegacy
	case strings.HasSuffix(guest(), "hybrid"):
		mode = kernel.CgroupHybrid
	}
	if got := layout(t); !strings.HasPrefix(got, string(mode)+",") {
		t.Errorf("doctor reports %q, wanted %s", got, mode)
	}
	driver := "cgroupfs"
	if strings.Contains(guest(), "systemd") {
		driver = "systemd"
	}
	if got := engineInfo(t, "{{.CgroupDriver}}"); got != driver {
		t.Errorf("the driver is %s, wanted %s", got, driver)
	}
}

// layout returns doctor's finding about the cgroups.
func layout(t *testing.T) string {
	t.Helper()
	var output struct {
		Findings []struct{ Subject, Text string }
	}
	if err := json.Unmarshal([]byte(mustExecute(t, binary, "doctor", "-o", "json")), &output); err != nil {
		t.Fatal(err)
	}
	for _, finding := range output.Findings {
		if finding.Subject == "cgroups" {
			return finding.Text
		}
	}
	t.Fatal("doctor reports nothing about cgroups")
	return ""
}

func engineInfo(t *testing.T, format string) string {
	t.Helper()
	return strings.TrimSpace(mustExecute(t, "docker", "info", "--format="+format))
}

// guest returns the name that vm.sh has for this machine, or "" if it is not one of its guests.
func guest() string { return os.Getenv("CAPMON_GUEST") }

// inGuest reports whether make test-kernels booted this machine for the tests.
func inGuest() bool { return guest() != "" }

// Debian has no kernel between this one and the oldest one that capmon supports.
func TestTooOldKernelIsReported(t *testing.T) {
	t.Parallel()
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

// systemd starts the unit with its own cgroup, mounts and capabilities.
func TestUnitUnderSystemd(t *testing.T) {
	t.Parallel()
	if !strings.Contains(guest(), "systemd") {
		t.Skip("only in a guest with systemd as its first process")
	}
	const state, name = "/var/lib/capmon", "of-the-unit"
	socket := strings.TrimPrefix(os.Getenv("DOCKER_HOST"), "unix://")
	mustExecute(t, "chgrp", "docker", socket)
	mustExecute(t, "cp", binary, "/usr/local/bin/capmon")
	mustExecute(t, "install", "-D", "-m", "644", "-t", "/etc/sysusers.d", serveUser)
	mustExecute(t, "systemd-sysusers")
	mustExecute(t, "cp", unitFile, "/etc/systemd/system")
	dropIn := fmt.Sprintf("[Service]\nBindPaths=%s:/run/docker.sock\nEnvironment=DOCKER_HOST=unix:///run/docker.sock\nExecStart=\nExecStart=%s\n", socket,
		strings.Replace(unit(t)["ExecStart"], "--save", "--ready-file ${STATE_DIRECTORY}/ready --save", 1))
	directory := "/etc/systemd/system/" + filepath.Base(unitFile) + ".d"
	if err := errors.Join(os.Mkdir(directory, 0o755), os.WriteFile(filepath.Join(directory, "test.conf"), []byte(dropIn), 0o644)); err != nil {
		t.Fatal(err)
	}
	startSleeper(t, name)
	mustExecute(t, "systemctl", "daemon-reload")
	mustExecute(t, "systemctl", "start", "capmon-profile@"+name)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(mustExecute(t, "journalctl", "-u", "capmon-profile@"+name))
		}
	})
	eventually(t, "the unit records", func() bool {
		_, err := os.Stat(filepath.Join(state, "ready"))
		return err == nil
	})
	// capmon cannot inspect these processes while they run, so it has to find the files afterwards.
	mustExecute(t, "systemctl", "kill", "--signal=STOP", "capmon-profile@"+name)
	mustExecute(t, append([]string{"docker", "exec", name}, mixed.command...)...)
	mustExecute(t, "systemctl", "kill", "--signal=CONT", "capmon-profile@"+name)
	mustExecute(t, "systemctl", "stop", "capmon-profile@"+name)
	saved, err := filepath.Glob(filepath.Join(state, name+"-*.json"))
	if err != nil || len(saved) != 1 {
		t.Fatalf("saved: %v, %v", saved, err)
	}
	got := only(t, parseReport(t, execute(t, binary, "report", "-o", "json", saved[0])), name)
	mixed.check(t, got)
}
