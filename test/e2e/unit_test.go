package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/capmon/capmon/internal/kernel"
	hostsystemd "github.com/capmon/capmon/internal/systemd"
	"github.com/capmon/capmon/internal/testutil"
)

// systemdHost is a host with systemd: this one, or a machine that simulates one.
type systemdHost struct {
	t         *testing.T
	simulated *machine // nil: this host
	binary    string
}

func newSystemdHost(t *testing.T) systemdHost {
	t.Helper()
	if hostsystemd.Running() {
		return systemdHost{t, nil, binary}
	}
	m := systemdIn(t, "/"+testutil.UnusedName())
	return systemdHost{t, &m, m.binary}
}

func (h systemdHost) command(words ...string) []string {
	if h.simulated == nil {
		return words
	}
	return h.simulated.command(words...).Args
}

func (h systemdHost) must(words ...string) string {
	h.t.Helper()
	return mustExecute(h.t, h.command(words...)...)
}

// path returns the path here of a file of the host.
func (h systemdHost) path(name string) string {
	if h.simulated == nil {
		return name
	}
	return h.simulated.path(name)
}

// start starts a new service with the lines in its section [Service], and returns its name.
func (h systemdHost) start(lines ...string) string {
	h.t.Helper()
	name := testutil.UnusedName() + ".service"
	file := path.Join("/run/systemd/system", name)
	h.must("mkdir", "-p", path.Dir(file))
	if err := os.WriteFile(h.path(file), []byte("[Service]\n"+strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		_ = exec.Command(h.command("systemctl", "stop", name)[0], h.command("systemctl", "stop", name)[1:]...).Run()
		_ = os.Remove(h.path(file))
	})
	h.must("systemctl", "daemon-reload")
	h.must("systemctl", "start", name)
	return name
}

// unitProfile is a capmon process that profiles a unit.
type unitProfile struct {
	host           systemdHost
	cmd            *exec.Cmd
	stdout, stderr bytes.Buffer
	ready          string // unique among its arguments
}

// profile begins to profile a unit. It appends args to the arguments of capmon profile.
func (h systemdHost) profile(unit string, args ...string) *unitProfile {
	h.t.Helper()
	o := &unitProfile{host: h, ready: "/run/" + testutil.UnusedName()}
	words := h.command(slices.Concat([]string{h.binary, "profile", "-o", "json", "--unit", unit, "--ready-file", o.ready}, args)...)
	o.cmd = exec.Command(words[0], words[1:]...)
	o.cmd.Stdout, o.cmd.Stderr = &o.stdout, &o.stderr
	if err := o.cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	eventually(h.t, "capmon records the unit", func() bool {
		_, err := os.Stat(h.path(o.ready))
		return err == nil
	})
	return o
}

// interrupt ends the process as Ctrl-C does and returns its output.
func (o *unitProfile) interrupt() result {
	o.host.t.Helper()
	if o.host.simulated != nil { // nsenter does not forward signals
		o.host.must("pkill", "--signal", "INT", "--full", o.ready)
	} else if err := o.cmd.Process.Signal(os.Interrupt); err != nil {
		o.host.t.Fatal(err)
	}
	return o.wait()
}

func (o *unitProfile) wait() result {
	o.host.t.Helper()
	_ = o.cmd.Wait()
	return result{o.stdout.String(), o.stderr.String(), o.cmd.ProcessState.ExitCode()}
}

// A service that uses CHOWN again and again. It makes the file used after the first time.
const (
	used    = "/run/used"
	inLoop  = `/bin/sh -c 'touch /run/owned; while :; do chown 5 /run/owned; chown 0 /run/owned; touch ` + used + `; sleep 0.1; done'`
	prepare = `/bin/sh -c 'rm -f ` + used + `; chroot / /bin/true'`
)

// restart starts a unit again and waits until it has used CHOWN.
func (h systemdHost) restart(unit string) {
	h.t.Helper()
	h.must("systemctl", "restart", unit)
	eventually(h.t, "the unit has used CHOWN", func() bool {
		_, err := os.Stat(h.path(used))
		return err == nil
	})
}

func TestRunningUnitUnderSystemd(t *testing.T) {
	h := newSystemdHost(t)
	unit := h.start("CapabilityBoundingSet=CAP_CHOWN CAP_KILL CAP_SYS_CHROOT", "ExecStartPre="+prepare, "ExecStart="+inLoop, "ExecReload=/bin/sh -c 'chroot / /bin/true'")
	// Without the suffix .service, and already running.
	o := h.profile(strings.TrimSuffix(unit, ".service"), "--for", "1s")
	got := only(t, parseReport(t, o.wait()), unit)
	if got.Kind != "unit" || got.ID != "unit:"+unit || got.StartSeen || !got.Running || !slices.Equal(got.Required, caps("CHOWN")) ||
		!slices.Equal(got.Granted, caps("CHOWN", "KILL", "SYS_CHROOT")) || !slices.Equal(got.Grants.Engine, got.Grants.Kernel) {
		t.Errorf("already running: %+v", got)
	}
	// Reloaded: what systemd does before the program is not the unit's.
	o = h.profile(unit)
	h.must("systemctl", "reload", unit)
	got = only(t, parseReport(t, o.interrupt()), unit)
	required := slices.DeleteFunc(got.Required, func(c string) bool { return c == "CHOWN" }) // depends on the time
	if got.StartSeen || !slices.Equal(required, caps("SYS_CHROOT")) || len(got.Implicit)+len(got.Soft) > 0 {
		t.Errorf("reloaded: %+v", got)
	}
	// Started again.
	saved := filepath.Join(t.TempDir(), "unit.json")
	inside := "/run/" + testutil.UnusedName()
	o = h.profile(unit, "--save", inside)
	h.restart(unit)
	got = only(t, parseReport(t, o.interrupt()), unit)
	if !got.StartSeen || got.Runs != 2 || !slices.Equal(got.Required, caps("CHOWN", "SYS_CHROOT")) || len(got.Implicit)+len(got.Soft) > 0 {
		t.Errorf("started again: %+v", got)
	}
	text, err := os.ReadFile(h.path(inside))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(saved, text, 0o600); err != nil {
		t.Fatal(err)
	}
	// The drop-in is sufficient, and systemd applies it.
	dropIn := h.path("/run/systemd/system/" + unit + ".d/capmon.conf")
	mustExecute(t, binary, "flags", saved, "--for", "systemd", "--patch", dropIn)
	t.Cleanup(func() { _ = os.RemoveAll(filepath.Dir(dropIn)) })
	h.must("systemctl", "daemon-reload")
	h.restart(unit)
	if set := h.must("systemctl", "show", "--property=CapabilityBoundingSet", unit); set != "CapabilityBoundingSet=cap_chown cap_sys_chroot\n" {
		t.Errorf("the unit has %s", set)
	}
}

// The ambient set of a unit is not a need. The drop-in shortens it with the list: systemd could not start the unit
// otherwise.
func TestAmbientSetOfAUnitUnderSystemd(t *testing.T) {
	h := newSystemdHost(t)
	h.must("touch", "/run/used-by-nobody")
	unit := h.start("User=65534", "NoNewPrivileges=yes", "AmbientCapabilities=CAP_CHOWN CAP_KILL", "RuntimeDirectory=capmon-test",
		"ExecStartPost=/bin/sh -c 'until [ -e /run/capmon-test/used ]; do sleep 0.1; done'",
		"ExecStart=/bin/sh -c 'while :; do chown 5 /run/used-by-nobody; chown 0 /run/used-by-nobody; touch /run/capmon-test/used; sleep 0.1; done'")
	inside := "/run/" + testutil.UnusedName()
	o := h.profile(unit, "--save", inside)
	h.must("systemctl", "restart", unit)
	got := only(t, parseReport(t, o.interrupt()), unit)
	if !got.StartSeen || !slices.Equal(got.Required, caps("CHOWN")) || len(got.Implicit) > 0 {
		t.Errorf("%+v", got)
	}
	dropIn := h.path("/run/systemd/system/" + unit + ".d/capmon.conf")
	mustExecute(t, binary, "flags", h.path(inside), "--for", "systemd", "--patch", dropIn)
	t.Cleanup(func() { _ = os.RemoveAll(filepath.Dir(dropIn)) })
	h.must("systemctl", "daemon-reload")
	h.must("systemctl", "restart", unit)
	if set := h.must("systemctl", "show", "--property=AmbientCapabilities,ActiveState", unit); set != "ActiveState=active\nAmbientCapabilities=cap_chown\n" && set != "AmbientCapabilities=cap_chown\nActiveState=active\n" {
		t.Errorf("the unit has %s", set)
	}
}

func TestUnitsThatCannotBeProfiledUnderSystemd(t *testing.T) {
	h := newSystemdHost(t)
	unit := h.start("Type=oneshot", "ExecStart=/bin/true")
	for _, test := range []struct{ unit, stderr string }{
		{unit, "does not run"},
		{"nosuch.service", "there is no unit nosuch.service"},
		{"nosuch.socket", "not the name of a service or a scope"},
		{"init.scope", "init itself runs in the cgroup"},
	} {
		r := execute(t, h.command(h.binary, "profile", "--unit", test.unit)...)
		if r.code != exitUsage || r.stdout != "" || !strings.Contains(r.stderr, test.stderr) {
			t.Errorf("%s: %+v", test.unit, r)
		}
	}
}

// A process of root can move to any cgroup, even before capmon has seen a check of the process.
func TestUnitsThatMoveUnderSystemd(t *testing.T) {
	h := newSystemdHost(t)
	cgroups, err := kernel.DetectCgroups()
	if err != nil {
		t.Fatal(err)
	}
	h.must("sh", "-c", "rm -f /run/wait /run/moved; mkfifo /run/wait; touch /run/owned")
	unit := h.start("ExecStart=/bin/sh -c 'read go </run/wait; echo $$$$ >" + cgroups.Mount + "/cgroup.procs; chown 5 /run/owned; echo >/run/moved; sleep 1000'")
	o := h.profile(unit)
	h.must("sh", "-c", "echo >/run/wait")
	eventually(t, "the process has moved", func() bool {
		_, err := os.Stat(h.path("/run/moved"))
		return err == nil
	})
	got := only(t, parseReport(t, o.interrupt()), unit)
	moved := slices.ContainsFunc(got.Cautions, func(caution string) bool { return strings.Contains(caution, "moved to another cgroup") })
	if !slices.Equal(got.Required, caps("CHOWN")) || !got.Running || !moved {
		t.Errorf("%+v", got)
	}
}

// A command has a scope of its own, which systemd removes.
func TestCommandUnderSystemd(t *testing.T) {
	h := newSystemdHost(t)
	r := execute(t, h.command(h.binary, "profile", "-o", "json", "--process", "--", "sh", "-c", "cat /proc/self/cgroup >&2; chroot / /bin/true")...)
	got := only(t, parseReport(t, r), "sh")
	got.needs(t, "SYS_CHROOT")
	if !strings.Contains(r.stderr, "/system.slice/capmon-") {
		t.Errorf("the command ran in %s", r.stderr)
	}
	eventually(t, "systemd removes the scope", func() bool {
		return !strings.Contains(h.must("systemctl", "list-units", "--all", "--plain", "--no-legend", "--type=scope"), "capmon-")
	})
}
