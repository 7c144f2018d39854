package bundle

import (
	"errors"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/internal/testutil"
)

// monitorVariable makes the test binary run as the monitor of a container.
const monitorVariable = "CAPMON_TEST_MONITOR"

// scriptVariable has a script that the container's process runs.
const scriptVariable = "CAPMON_TEST_SCRIPT"

func TestMain(m *testing.M) {
	if os.Getenv(monitorVariable) != "" {
		runMonitor()
	}
	os.Exit(m.Run())
}

// runMonitor starts the container's process, prints its PID, and waits until stdin is closed.
func runMonitor() {
	child := exec.Command("sleep", "1000")
	if script := os.Getenv(scriptVariable); script != "" {
		child = exec.Command("sh", "-c", script)
	}
	child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := child.Start(); err != nil {
		panic(err)
	}
	os.Stdout.WriteString(strconv.Itoa(child.Process.Pid) + "\n")
	os.Stdout.Close()
	_, _ = os.Stdin.Read(make([]byte, 1))
	_ = child.Process.Kill()
	os.Exit(0)
}

// fakeContainer is a container with a monitor, made by the test like Podman makes it.
type fakeContainer struct {
	t         *testing.T
	cgroups   kernel.Cgroups
	directory string
	cgroup    string
	id        string
	through   []string // the command that starts the monitor, if any
}

func newFakeContainer(t *testing.T) fakeContainer {
	t.Helper()
	testutil.NeedRoot(t)
	cgroups, err := kernel.DetectCgroups()
	if err != nil {
		t.Fatal(err)
	}
	f := fakeContainer{t: t, cgroups: cgroups, directory: t.TempDir(), id: one}
	f.cgroup = "/" + strings.ToLower(path.Base(path.Dir(f.directory))) + "-capmon-test" // with the random number of TempDir
	f.makeCgroup(f.cgroup)
	f.cgroup = path.Join(f.cgroup, "libpod-"+f.id)
	f.makeCgroup(f.cgroup)
	bundle := "/storage/overlay-containers/" + f.id + "/" + userdata
	write(t, f.directory, bundle+"/config.json", configOf(f.cgroup, `"io.container.manager": "libpod"`))
	write(t, f.directory, "/storage/overlay-containers/containers.json", `[{"id": "`+f.id+`", "names": ["web"], "metadata": "{\"image-name\":\"localhost/bb:latest\"}"}]`)
	for _, name := range []string{f.directory, filepath.Dir(f.directory)} { // of the test, not of the container
		if err := os.Chmod(name, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func (f fakeContainer) bundle() string {
	return filepath.Join(f.directory, "storage/overlay-containers", f.id, userdata)
}

func (f fakeContainer) makeCgroup(cgroup string) {
	f.t.Helper()
	directory := filepath.Join(f.cgroups.Mount, cgroup)
	if err := os.Mkdir(directory, 0o755); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		testutil.Eventually(f.t, cgroup+" can be removed", func() bool {
			pids, _ := f.cgroups.Procs(cgroup) // some may have started since the last attempt
			for _, pid := range pids {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
			return os.Remove(directory) == nil
		})
	})
}

// start starts the monitor and moves its child to the container's cgroup. It returns the PIDs of the two.
func (f fakeContainer) start(program string, attributes *syscall.SysProcAttr, arguments ...string) (monitor, pid int) {
	f.t.Helper()
	self, err := os.Executable()
	if err != nil {
		f.t.Fatal(err)
	}
	data, err := os.ReadFile(self)
	if err != nil {
		f.t.Fatal(err)
	}
	program = filepath.Join(f.directory, program)
	if err := os.WriteFile(program, data, 0o755); err != nil {
		f.t.Fatal(err)
	}
	arguments = slices.Concat(f.through, []string{program}, arguments)
	cmd := exec.Command(arguments[0], arguments[1:]...)
	cmd.Env = []string{monitorVariable + "=1", scriptVariable + "=" + os.Getenv(scriptVariable), "PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = attributes
	stdin, err := cmd.StdinPipe()
	if err != nil {
		f.t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		f.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		stdin.Close()
		_ = cmd.Wait()
	})
	line := make([]byte, 32)
	n, err := stdout.Read(line)
	if err != nil {
		f.t.Fatal(err)
	}
	pid, err = strconv.Atoi(strings.TrimSpace(string(line[:n])))
	if err != nil {
		f.t.Fatal(err)
	}
	f.move(pid, f.cgroup)
	return cmd.Process.Pid, pid
}

func (f fakeContainer) move(pid int, cgroup string) {
	f.t.Helper()
	if err := os.WriteFile(filepath.Join(f.cgroups.Mount, cgroup, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
		f.t.Fatal(err)
	}
}

func (f fakeContainer) arguments() []string {
	return []string{"-c", f.id, "-n", "web-at-start", "-b", f.bundle(), "-p", "/run/pidfile"}
}

func TestRead(t *testing.T) {
	f := newFakeContainer(t)
	_, pid := f.start("conmon", nil, f.arguments()...)
	b, err := NewReader(f.cgroups).Read(f.cgroup, f.id, pid)
	if err != nil {
		t.Fatal(err)
	}
	if b.Engine != Podman || b.Name != "web" || b.Image != "localhost/bb:latest" || b.Bounding.Text() != "CHOWN, NET_RAW" || b.CgroupsPath != f.cgroup {
		t.Errorf("%+v", b)
	}
}

// The running containers are known without their bundles and without an engine.
func TestMonitored(t *testing.T) {
	f := newFakeContainer(t)
	r := NewReader(f.cgroups)
	f.start("conmon", nil, f.arguments()...)
	if got := r.Monitored(); got[f.id] != "web-at-start" {
		t.Errorf("%v", got)
	}
}

// A container can start its processes in a long chain.
func TestReadFromChain(t *testing.T) {
	const length = 3 * maxAncestors
	moved := filepath.Join(t.TempDir(), "moved")
	if err := unix.Mkfifo(moved, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(scriptVariable, "read line <"+moved+"; "+strings.Repeat("(", length)+"sleep 1000"+strings.Repeat("; true)", length))
	f := newFakeContainer(t)
	f.start("conmon", nil, f.arguments()...)
	if err := os.WriteFile(moved, []byte("moved\n"), 0); err != nil {
		t.Fatal(err)
	}
	var pids []int
	testutil.Eventually(t, "the chain runs", func() bool {
		var err error
		pids, err = f.cgroups.Procs(f.cgroup)
		return err == nil && len(pids) > length
	})
	if b, err := NewReader(f.cgroups).Read(f.cgroup, f.id, slices.Max(pids)); err != nil || b.Name != "web" {
		t.Errorf("%+v %v", b, err)
	}
}

// The first process of a container can end before the bundle is read.
func TestSearch(t *testing.T) {
	f := newFakeContainer(t)
	_, pid := f.start("conmon", nil, f.arguments()...)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	r := NewReader(f.cgroups)
	if b, err := r.Search(path.Base(f.cgroup), f.id); err != nil || b.Name != "web" || b.Cgroup() != f.cgroup {
		t.Errorf("%+v %v", b, err)
	}
	if b, err := r.Search("libpod-"+other, f.id); err == nil {
		t.Errorf("with the name of another cgroup: %+v", b)
	}
	if b, err := r.Search("libpod-"+other, other); !errors.Is(err, ErrNone) {
		t.Errorf("another container: %+v %v", b, err)
	}
}

// The record in the storage can be missing for a moment.
func TestReadWithoutRecord(t *testing.T) {
	f := newFakeContainer(t)
	if err := os.Remove(filepath.Join(f.directory, "storage/overlay-containers/containers.json")); err != nil {
		t.Fatal(err)
	}
	_, pid := f.start("conmon", nil, f.arguments()...)
	b, err := NewReader(f.cgroups).Read(f.cgroup, f.id, pid)
	if err != nil || b.Name != "web-at-start" || b.Image != "" {
		t.Errorf("%+v %v", b, err)
	}
}

// Users can give a container large annotations and many environment variables.
func TestLargeConfig(t *testing.T) {
	f := newFakeContainer(t)
	write(t, f.bundle(), "config.json", configOf(f.cgroup, `"large": "`+strings.Repeat("x", 30<<20)+`"`))
	_, pid := f.start("conmon", nil, f.arguments()...)
	b, err := NewReader(f.cgroups).Read(f.cgroup, f.id, pid)
	if err != nil || b.Name != "web" || b.Bounding == nil {
		t.Errorf("%s, %v, %v", b.Name, b.Bounding, err)
	}
}

// Podman copies the annotations of the image. With them, an image could make its container one of CRI-O.
func TestImagesCannotChooseTheEngine(t *testing.T) {
	f := newFakeContainer(t)
	write(t, f.bundle(), "config.json", configOf(f.cgroup, `"io.container.manager": "cri-o", "io.kubernetes.container.name": "victim",
		"io.kubernetes.cri-o.ImageName": "other", "io.kubernetes.cri-o.ContainerType": "sandbox", "io.kubernetes.cri-o.SandboxID": "`+f.id+`"`))
	_, pid := f.start("conmon", nil, f.arguments()...)
	b, err := NewReader(f.cgroups).Read(f.cgroup, f.id, pid)
	if err != nil {
		t.Fatal(err)
	}
	if b.Engine != Podman || b.Name != "web" || b.Image != "localhost/bb:latest" || b.Sandbox || b.Pod != "" {
		t.Errorf("%+v", b)
	}
}

func TestForgeriesAreRefused(t *testing.T) {
	user := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	withoutAdmin := []string{"setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"}
	for name, test := range map[string]struct {
		program    string
		attributes *syscall.SysProcAttr
		forge      func(t *testing.T, f fakeContainer)
		through    []string // the command that starts the monitor
		inside     bool     // the monitor is in the container
		none       bool     // there is no monitor
		is         error    // if not nil
	}{
		"a monitor of another user": {program: "conmon", attributes: user},
		"a monitor in a user namespace": {program: "conmon", attributes: &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}}, GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}},
		}},
		"a monitor in the container":             {program: "conmon", inside: true, none: true},
		"a monitor that cannot start containers": {program: "conmon", through: withoutAdmin},
		"another program":                        {program: "monitor", none: true},
		"a bundle of another user": {program: "conmon", forge: func(t *testing.T, f fakeContainer) {
			if err := os.Chown(f.bundle(), 65534, 65534); err != nil {
				t.Fatal(err)
			}
		}},
		"a config.json that others may write": {program: "conmon", forge: func(t *testing.T, f fakeContainer) {
			if err := os.Chmod(filepath.Join(f.bundle(), "config.json"), 0o666); err != nil {
				t.Fatal(err)
			}
		}},
		"the bundle of another container": {program: "conmon", forge: func(t *testing.T, f fakeContainer) {
			write(t, f.bundle(), "config.json", configOf(path.Join(path.Dir(f.cgroup), "libpod-"+other), ""))
		}},
		"no config.json": {program: "conmon", forge: func(t *testing.T, f fakeContainer) {
			if err := os.Remove(filepath.Join(f.bundle(), "config.json")); err != nil {
				t.Fatal(err)
			}
		}},
		"a config.json that is too large": {program: "conmon", is: ErrTooLarge, forge: func(t *testing.T, f fakeContainer) {
			if err := os.Truncate(filepath.Join(f.bundle(), "config.json"), maxConfig+1); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFakeContainer(t)
			if test.forge != nil {
				test.forge(t, f)
			}
			f.through = test.through
			monitor, pid := f.start(test.program, test.attributes, f.arguments()...)
			if test.inside {
				f.move(monitor, f.cgroup)
			}
			b, err := NewReader(f.cgroups).Read(f.cgroup, f.id, pid)
			if err == nil {
				t.Errorf("read %+v", b)
			}
			if b, err := NewReader(f.cgroups).Search(path.Base(f.cgroup), f.id); err == nil {
				t.Errorf("found %+v", b)
			}
			if test.none != errors.Is(err, ErrNone) || test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("error: %v", err)
			}
		})
	}
}
