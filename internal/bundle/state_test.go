package bundle

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/internal/testutil"
)

// stateDirectory returns a directory in which only root can write, with these files.
func stateDirectory(t *testing.T, files map[string]string) string {
	t.Helper()
	testutil.NeedRoot(t)
	root, err := os.MkdirTemp("/var/tmp", "state-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	directory := filepath.Join(root, "web")
	if err := os.Mkdir(directory, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(directory, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return directory
}

func hierarchy(t *testing.T) (cgroups kernel.Cgroups, own string, start string) {
	t.Helper()
	cgroups, err := kernel.DetectCgroups()
	if err != nil {
		t.Fatal(err)
	}
	if own, err = cgroups.Path(os.Getpid()); err != nil {
		t.Fatal(err)
	}
	fields, err := statOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	return cgroups, own, string(fields[19])
}

const runcStateForm = `{"id": "web", "init_process_pid": %d, "init_process_start": %s, "created": "2026-11-30T18:14:57.163896444Z",
	"config": {"rootfs": "/var/lib/web/rootfs", "no_new_privileges": true, "seccomp": %s,
		"capabilities": {"Bounding": ["CAP_CHOWN", "CAP_KILL"], "Permitted": ["CAP_CHOWN"]},
		"namespaces": [{"type": "NEWPID", "path": ""}, {"type": "NEWNS", "path": ""}], "labels": ["bundle=/nowhere"]},
	"cgroup_paths": {"": %q, "pids": %q}}`

func TestStateOfRunc(t *testing.T) {
	cgroups, own, start := hierarchy(t)
	mounted := filepath.Join("/sys/fs/cgroup/pids", own)
	directory := stateDirectory(t, map[string]string{"state.json": fmt.Sprintf(runcStateForm, os.Getpid(), start, "null", mounted, mounted)})
	s, err := ReadState(cgroups, directory)
	if err != nil {
		t.Fatal(err)
	}
	if s.ID != directory || s.Name != filepath.Base(directory) || s.Engine != Runc || s.Pid != os.Getpid() || own != "/" && s.Cgroup != own {
		t.Errorf("%+v", s)
	}
	if *s.Bounding != capability.Of(capability.Chown, capability.Kill) || *s.Permitted != capability.Of(capability.Chown) || !s.Ambient.Empty() {
		t.Errorf("bounding %v, permitted %v, ambient %v", s.Bounding, s.Permitted, s.Ambient)
	}
	if !s.NoNewPrivileges || s.Seccomp || s.HostPIDs || !s.HostNetwork || s.User != "" || s.Created.IsZero() {
		t.Errorf("%+v", s.Bundle)
	}
}

func TestStateOfAProcessThatHasEnded(t *testing.T) {
	cgroups, own, start := hierarchy(t)
	for about, state := range map[string]string{
		"another process with the PID": fmt.Sprintf(runcStateForm, os.Getpid(), start+"1", "{}", own, own),
		"no process":                   fmt.Sprintf(runcStateForm, 1<<30, start, "{}", own, own),
	} {
		if _, err := ReadState(cgroups, stateDirectory(t, map[string]string{"state.json": state})); !errors.Is(err, ErrEnded) {
			t.Errorf("%s: %v", about, err)
		}
	}
}

// Only what root has written counts.
func TestStateOfOthersIsNotRead(t *testing.T) {
	cgroups, own, start := hierarchy(t)
	files := map[string]string{"state.json": fmt.Sprintf(runcStateForm, os.Getpid(), start, "{}", own, own)}
	for about, change := range map[string]func(directory string) error{
		"the file is another user's":      func(d string) error { return os.Chown(d+"/state.json", 1000, 0) },
		"others can write the file":       func(d string) error { return os.Chmod(d+"/state.json", 0o666) },
		"the directory is another user's": func(d string) error { return os.Chown(d, 1000, 0) },
		"others can write the directory":  func(d string) error { return os.Chmod(d, 0o777) },
	} {
		directory := stateDirectory(t, files)
		if err := change(directory); err != nil {
			t.Fatal(err)
		}
		if s, err := ReadState(cgroups, directory); !errors.Is(err, errUntrusted) {
			t.Errorf("%s: %+v, %v", about, s, err)
		}
	}
}

const crunConfig = `{"process": {"user": {"uid": 5, "gid": 6}, "capabilities": {"bounding": ["CAP_CHOWN"]}}, "root": {"path": "rootfs"},
	"linux": {"cgroupsPath": %q, "seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}, "namespaces": [{"type": "network"}]}}`

func TestStateOfCrun(t *testing.T) {
	cgroups, own, start := hierarchy(t)
	starting := stateDirectory(t, map[string]string{"config.json": fmt.Sprintf(crunConfig, "")})
	s, err := ReadState(cgroups, starting)
	if err != nil || s.Pid != 0 || s.Cgroup != "/"+filepath.Base(starting) || *s.Bounding != capability.Of(capability.Chown) {
		t.Errorf("starting: %+v, %v", s, err)
	}
	s, err = ReadState(cgroups, stateDirectory(t, map[string]string{"config.json": fmt.Sprintf(crunConfig, "/batch/web")}))
	if err != nil || s.Cgroup != "/batch/web" {
		t.Errorf("starting, with a cgroup: %+v, %v", s, err)
	}
	status := fmt.Sprintf(`{"pid": %d, "process-start-time": %s, "cgroup-path": %q, "bundle": "/var/lib", "rootfs": "rootfs"}`, os.Getpid(), start, own)
	s, err = ReadState(cgroups, stateDirectory(t, map[string]string{"config.json": fmt.Sprintf(crunConfig, ""), "status": status}))
	if err != nil || s.Pid != os.Getpid() || own != "/" && s.Cgroup != own || s.Engine != Crun || s.User != "5:6" || !s.Seccomp || !s.HostPIDs || s.HostNetwork {
		t.Errorf("running: %+v, %v", s, err)
	}
	if !slices.Equal(s.Layers, []string{"/var/lib/rootfs"}) {
		t.Errorf("layers: %v", s.Layers)
	}
}

func TestCgroupInTheOneOfAProcess(t *testing.T) {
	for _, test := range []struct{ own, directory, want string }{
		{"/web", "/sys/fs/cgroup/pids/web", "/web"},
		{"/web/init.scope", "/sys/fs/cgroup/web", "/web"},
		{"/system.slice/runc-web.scope", "/host/cgroup/system.slice/runc-web.scope", "/system.slice/runc-web.scope"},
		{"/web/web", "/sys/fs/cgroup/web", "/web"},
		{"/web/web", "/sys/fs/cgroup/web/web", "/web/web"},
		{"/other", "/sys/fs/cgroup/web", ""},
		{"/", "/sys/fs/cgroup", ""},
		{"/web", "", ""},
	} {
		if got := cgroupIn(test.own, test.directory); got != test.want {
			t.Errorf("%s in %s: %q, want %q", test.directory, test.own, got, test.want)
		}
	}
}

func TestCgroupThatRuncMakes(t *testing.T) {
	for _, test := range []struct {
		path, own        string
		unified, systemd bool
		want             string
	}{
		{"", "/", false, false, "/web"},
		{"", "/user.slice", false, false, "/user.slice/web"},
		{"", "/user.slice/session-1.scope", true, false, "/user.slice/web"},
		{"/batch/x", "/user.slice", true, false, "/batch/x"},
		{"batch/x", "/user.slice", false, false, "/user.slice/batch/x"},
		{"", "/user.slice", true, true, "/system.slice/runc-web.scope"},
		{"my.slice:runc:x", "/user.slice", true, true, "/my.slice/runc-x.scope"},
	} {
		b := Bundle{CgroupsPath: test.path}
		if got := b.runcCgroup("web", test.own, test.unified, test.systemd); got != test.want {
			t.Errorf("%+v: %q", test, got)
		}
	}
}

func TestConfigurationOfLXC(t *testing.T) {
	last, err := kernel.LastCapability()
	if err != nil {
		t.Fatal(err)
	}
	all := capability.Known(last)
	const included = "lxc.cap.drop = sys_time sys_module\n"
	for about, test := range map[string]struct {
		config string
		want   capability.Set
	}{
		"nothing":           {"", all},
		"drop":              {"lxc.cap.drop = sys_time\nlxc.cap.drop=mknod 0\n", all.Without(capability.SysTime).Without(capability.Mknod).Without(capability.Chown)},
		"reset":             {"lxc.cap.drop = sys_time\nlxc.cap.drop =\nlxc.cap.drop = mknod", all.Without(capability.Mknod)},
		"keep":              {"lxc.cap.keep = chown KILL", capability.Of(capability.Chown, capability.Kill)},
		"keep none":         {"lxc.cap.keep = none", 0},
		"included":          {"# a comment = x\nlxc.include = DIRECTORY/included\n", all.Without(capability.SysTime).Without(capability.SysModule)},
		"an include of all": {"lxc.include = DIRECTORY/parts", all.Without(capability.Kill)},
	} {
		directory := stateDirectory(t, map[string]string{"included": included})
		if err := os.Mkdir(filepath.Join(directory, "parts"), 0o700); err != nil {
			t.Fatal(err)
		}
		for name, content := range map[string]string{
			"config": strings.ReplaceAll(test.config, "DIRECTORY", directory), "parts/a.conf": "lxc.cap.drop = kill", "parts/b": "lxc.cap.drop = chown",
		} {
			if err := os.WriteFile(filepath.Join(directory, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		var b Bundle
		if err := b.readLXCConfig(filepath.Join(directory, "config")); err != nil || *b.Bounding != test.want {
			t.Errorf("%s: %v, %v; want %v", about, b.Bounding, err, test.want)
		}
	}
	for about, config := range map[string]string{
		"unknown":          "lxc.cap.drop = nonsense",
		"includes forever": "lxc.include = DIRECTORY/config",
		"missing":          "lxc.include = /nowhere",
	} {
		directory := stateDirectory(t, nil)
		if err := os.WriteFile(filepath.Join(directory, "config"), []byte(strings.ReplaceAll(config, "DIRECTORY", directory)), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := new(Bundle).readLXCConfig(filepath.Join(directory, "config")); err == nil {
			t.Errorf("%s: no error", about)
		}
	}
}

func TestPayloadOfNspawn(t *testing.T) {
	for _, test := range []struct{ own, unit, want string }{
		{"/machine.slice/systemd-nspawn@web.service/payload", "systemd-nspawn@web.service", "/machine.slice/systemd-nspawn@web.service/payload"},
		{"/machine.slice/machine-web.scope/payload/init.scope", "machine-web.scope", "/machine.slice/machine-web.scope/payload"},
		{"/machine.slice/machine-web.scope/payload/machine-web.scope/payload", "machine-web.scope", "/machine.slice/machine-web.scope/payload"},
		{"/machine.slice/machine-web.scope/supervisor", "machine-web.scope", ""},
		{"/machine.slice/machine-web.scope/payload", "machine-other.scope", ""},
		{"/payload", "", ""},
	} {
		if got := payloadIn(test.own, test.unit); got != test.want {
			t.Errorf("%+v: %q", test, got)
		}
	}
}
