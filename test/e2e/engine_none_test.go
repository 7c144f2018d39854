package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/internal/testutil"
)

// bareRuntime is runc or crun without an engine. Its root directory is the test's own.
type bareRuntime struct {
	t       *testing.T
	command []string
	// root has the root directory of the runtime, the bundles, and the root file system of the image bb.
	root string
}

func newBareRuntime(t *testing.T, name string) bareRuntime {
	t.Helper()
	directory, err := os.MkdirTemp("/var/tmp", "bare-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(directory) })
	rootfs := filepath.Join(directory, "rootfs")
	mustExecute(t, "sh", "-c", fmt.Sprintf("mkdir %[1]s && id=$(docker create bb) && docker export $id | tar -C %[1]s -x && docker rm $id", rootfs))
	r := bareRuntime{t, []string{name}, directory}
	if name == "crun" && hierarchy(t).Mode == kernel.CgroupHybrid { // crun rejects v2 with controllers beside v1
		r.command = []string{"unshare", "--mount", "sh", "-c", `mount -t tmpfs none /sys/fs/cgroup/unified; exec crun "$@"`, "crun"}
	}
	r.command = append(r.command, "--root", r.state())
	return r
}

func (r bareRuntime) state() string { return filepath.Join(r.root, "state") }

// observe starts a recording of containers with these names.
func (r bareRuntime) observe(args ...string) *observation {
	r.t.Helper()
	return watchBy(r.t, func(cmd *exec.Cmd) error {
		cmd.Env = append(os.Environ(), "DOCKER_HOST="+noEngine(r.t), "CAPMON_RUNTIME_ROOTS="+r.state())
		return cmd.Start()
	}, append([]string{binary, "profile", "-o", "json"}, args...)...)
}

// bundle makes a bundle for a command with these capabilities.
func (r bareRuntime) bundle(name string, granted []string, command ...string) string {
	r.t.Helper()
	directory := filepath.Join(r.root, name)
	if err := os.Mkdir(directory, 0o755); err != nil {
		r.t.Fatal(err)
	}
	var names []string
	for _, one := range granted {
		names = append(names, "CAP_"+one)
	}
	spec := specs.Spec{
		Version: "1.0.2",
		Process: &specs.Process{
			Args: command, Cwd: "/", Env: []string{"PATH=/bin"},
			Capabilities: &specs.LinuxCapabilities{Bounding: names, Effective: names, Permitted: names},
		},
		Root: &specs.Root{Path: filepath.Join(r.root, "rootfs")},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs"},
		},
		Linux: &specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}, {Type: specs.NetworkNamespace}}},
	}
	config, err := json.Marshal(spec)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(directory, "config.json"), config, 0o644); err != nil {
		r.t.Fatal(err)
	}
	return directory
}

func (r bareRuntime) must(args ...string) {
	r.t.Helper()
	cmd := exec.Command(r.command[0], append(slices.Clone(r.command[1:]), args...)...)
	if err := cmd.Run(); err != nil { // a pipe for the output would stay open with a container in the background
		r.t.Fatalf("%v: %v", args, err)
	}
}

// run runs a container in the foreground.
func (r bareRuntime) run(name string, granted []string, command ...string) {
	r.t.Helper()
	r.must("run", "--bundle", r.bundle(name, granted, command...), name)
}

// start starts a container that runs until the end of the test.
func (r bareRuntime) start(name string, granted []string, command ...string) {
	r.t.Helper()
	r.must("run", "--detach", "--bundle", r.bundle(name, granted, command...), name)
	r.t.Cleanup(func() { r.must("delete", "--force", name) })
}

// check checks that a container is as the runtime made it.
func (r bareRuntime) check(got seen, name string, granted []string) {
	r.t.Helper()
	if got.ID != filepath.Join(r.state(), name) || got.EngineError != "" || got.Unconfirmed != "" || got.Lost != 0 {
		r.t.Errorf("%s: %+v", name, got)
	}
	same(r.t, "granted to "+name+" by the runtime", got.Grants.Engine, granted)
	same(r.t, "granted to "+name+" by the kernel", got.Grants.Kernel, granted)
}

// Containers of runc and crun have the names that the user gave to the runtime, and their exact grants.
func TestRuntimeWithoutEngine(t *testing.T) {
	for _, engine := range []string{"runc", "crun"} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			r := newBareRuntime(t, engine)
			chown := caps("CHOWN")
			r.start("before", chown, "sleep", "10000")
			observation := r.observe("--container=before", "--container=new-*")
			const work = "touch /tmp/x && chown 5 /tmp/x && sleep 3" // a busy machine may miss shorter containers
			r.run("new-chown", caps("CHOWN", "NET_RAW"), sh(work)...)
			r.start("new-running", caps("SYS_CHROOT"), sh("chroot / true; exec sleep 10000")...)
			r.must("exec", "before", "/bin/chown", "5", "/tmp")
			r.must("exec", "new-running", "/bin/chroot", "/", "true")
			var crowd sync.WaitGroup
			const size = 8
			for i := range size {
				crowd.Go(func() {
					r.must("run", "--bundle", r.bundle(fmt.Sprint("new-crowd-", i), chown, sh(work)...), fmt.Sprint("new-crowd-", i))
				})
			}
			crowd.Wait()
			got := parseReport(t, observation.interrupt())
			if len(got) != 3+size {
				t.Errorf("got %d containers: %+v", len(got), got)
			}
			c := only(t, got, "before")
			r.check(c, "before", chown)
			same(t, "required of before", c.Required, chown)
			if c.Engine != engine || !c.Existed || !c.Running || c.StartSeen {
				t.Errorf("%+v", c)
			}
			c = only(t, got, "new-chown")
			r.check(c, "new-chown", caps("CHOWN", "NET_RAW"))
			if c.Engine != engine || c.Running {
				t.Errorf("%+v", c)
			}
			if c.StartSeen { // otherwise the report is unsure
				same(t, "required of new-chown", c.Required, chown)
				same(t, "unused of new-chown", c.Unused, caps("NET_RAW"))
			}
			c = only(t, got, "new-running")
			r.check(c, "new-running", caps("SYS_CHROOT"))
			same(t, "required of new-running", c.Required, caps("SYS_CHROOT"))
			for i := range size {
				name := fmt.Sprint("new-crowd-", i)
				c := only(t, got, name)
				r.check(c, name, chown)
				if c.StartSeen {
					same(t, "required of "+name, c.Required, chown)
				}
			}
		})
	}
}

// A container can be named before no engine answers, by its name and by its ID.
func TestRuntimeWithoutEngineIsNamed(t *testing.T) {
	t.Parallel()
	r := newBareRuntime(t, "runc")
	r.start("named", caps("CHOWN"), "sleep", "10000")
	r.start("other", caps("CHOWN"), "sleep", "10000")
	for _, name := range []string{"named", filepath.Join(r.state(), "named")} {
		got := parseReport(t, r.observe(name).interrupt())
		r.check(only(t, got, "named"), "named", caps("CHOWN"))
		if len(got) != 1 {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// Neither the state of a user's runtime nor a state that a container forges names a container.
func TestForgedStateOfRuntime(t *testing.T) {
	t.Parallel()
	r := newBareRuntime(t, "runc")
	r.start("victim", caps("CHOWN"), "sleep", "10000")
	state, err := os.ReadFile(filepath.Join(r.state(), "victim", "state.json"))
	if err != nil {
		t.Fatal(err)
	}
	forgedRoot := testutil.OpenDirectory(t)
	forge := func(root, name string, owner int) {
		directory := filepath.Join(root, name)
		forged := strings.ReplaceAll(string(state), `"Bounding":["CAP_CHOWN"]`, `"Bounding":["CAP_SYS_ADMIN"]`)
		if err := os.Mkdir(directory, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(directory, "state.json"), []byte(forged), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{directory, filepath.Join(directory, "state.json")} {
			if err := os.Chown(path, owner, owner); err != nil {
				t.Fatal(err)
			}
		}
	}
	forge(forgedRoot, "forged-root", attacker) // as in /run/user/UID/runc
	forge(r.state(), "forged-inside", attacker)
	forge(r.state(), "forged-copy", 0) // root's, but of a process whose container has another ID
	t.Cleanup(func() { _ = os.RemoveAll(filepath.Join(r.state(), "forged-copy")) })
	observation := watchBy(t, func(cmd *exec.Cmd) error {
		cmd.Env = append(os.Environ(), "DOCKER_HOST="+noEngine(t), "CAPMON_RUNTIME_ROOTS="+r.state()+":"+forgedRoot)
		return cmd.Start()
	}, binary, "profile", "-o", "json", "--container=victim", "--container=forged-*")
	r.must("exec", "victim", "/bin/chown", "5", "/tmp")
	got := parseReport(t, observation.interrupt())
	for _, c := range got {
		if c.Name == "forged-root" || c.Name == "forged-inside" {
			t.Errorf("%+v", c)
		}
	}
	if len(got) != 1 { // each cgroup has one container
		t.Errorf("got %d containers: %+v", len(got), got)
	}
}

// Containers of LXC have their names, and the grants of their configuration.
func TestLXC(t *testing.T) {
	if _, err := exec.LookPath("lxc-start"); err != nil {
		t.Skip("there is no lxc-start: install lxc")
	}
	t.Parallel()
	directory, err := os.MkdirTemp("/var/tmp", "lxc-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(directory) })
	unique := filepath.Base(directory)
	rootfs := filepath.Join(directory, "rootfs")
	mustExecute(t, "sh", "-c", fmt.Sprintf("mkdir %[1]s && id=$(docker create bb) && docker export $id | tar -C %[1]s -x && docker rm $id && mkdir -p %[1]s/dev %[1]s/proc %[1]s/sys", rootfs))
	if err := os.WriteFile(filepath.Join(rootfs, "keeps.sh"), []byte("sleep 3; touch /keeps; chown 5 /keeps; exec sleep 10000\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	start := func(name, config, command string) {
		t.Helper()
		if err := os.Mkdir(filepath.Join(directory, name), 0o755); err != nil {
			t.Fatal(err)
		}
		config = fmt.Sprintf("lxc.rootfs.path = dir:%s\nlxc.uts.name = web\nlxc.net.0.type = empty\nlxc.apparmor.profile = unconfined\nlxc.mount.auto = proc\nlxc.init.cmd = %s\n%s\n", rootfs, command, config)
		if err := os.WriteFile(filepath.Join(directory, name, "config"), []byte(config), 0o644); err != nil {
			t.Fatal(err)
		}
		mustExecute(t, "lxc-start", "-P", directory, "-n", name, "-d")
		t.Cleanup(func() { execute(t, "lxc-stop", "-P", directory, "-n", name, "-k") })
	}
	before, keeps, drops := unique+"-before", unique+"-keeps", unique+"-drops"
	start(before, "lxc.cap.keep = chown sys_chroot", "/bin/sleep 10000")
	observation := watchAt(t, noEngine(t), "--container="+unique+"-*")
	start(keeps, "lxc.cap.keep = chown", "/bin/sh /keeps.sh")
	start(drops, "lxc.cap.drop = sys_module mac_admin", "/bin/sleep 10000")
	mustExecute(t, "lxc-attach", "-P", directory, "-n", before, "--", "/bin/chroot", "/", "true")
	eventually(t, "the program of the container has run", func() bool {
		info, err := os.Stat(filepath.Join(rootfs, "keeps"))
		return err == nil && info.Sys().(*syscall.Stat_t).Uid == 5
	})
	got := parseReport(t, observation.interrupt())
	if len(got) != 3 {
		t.Errorf("got %d containers: %+v", len(got), got)
	}
	check := func(name string, granted, required []string) seen {
		t.Helper()
		c := only(t, got, name)
		if c.Engine != "lxc" || c.ID != filepath.Join(directory, name) || c.EngineError != "" || c.Unconfirmed != "" {
			t.Errorf("%+v", c)
		}
		if granted != nil {
			same(t, "granted to "+name+" by the configuration", c.Grants.Engine, granted)
			same(t, "granted to "+name+" by the kernel", c.Grants.Kernel, granted)
		}
		same(t, "required of "+name, c.Required, required)
		return c
	}
	check(before, caps("CHOWN", "SYS_CHROOT"), caps("SYS_CHROOT"))
	check(keeps, caps("CHOWN"), caps("CHOWN"))
	c := check(drops, nil, nil)
	if slices.Contains(c.Grants.Engine, "SYS_MODULE") || slices.Contains(c.Grants.Engine, "MAC_ADMIN") || !slices.Contains(c.Grants.Engine, "SYS_ADMIN") {
		t.Errorf("granted by the configuration: %v", c.Grants.Engine)
	}
}

// unifiedOnly is the beginning of a shell script in a mount namespace of its own. There, cgroup v2 is the only
// hierarchy. $1 is an empty directory.
const unifiedOnly = `set -e
mount --make-rprivate /
unified=/sys/fs/cgroup; [ ! -d $unified/unified ] || unified=$unified/unified
mount --bind $unified "$1"
umount --recursive --lazy /sys/fs/cgroup
mount --move "$1" /sys/fs/cgroup
mount -t tmpfs tmpfs /run
`

// Containers of systemd-nspawn have their names, if systemd-machined has registered them. Here, the test registers the
// container as systemd-machined does, because this host may run no systemd.
func TestNspawn(t *testing.T) {
	if _, err := exec.LookPath("systemd-nspawn"); err != nil {
		t.Skip("there is no systemd-nspawn: install systemd-container")
	}
	if hierarchy(t).Mode == kernel.CgroupLegacy {
		t.Skip("there is no cgroup v2")
	}
	t.Parallel()
	r := newBareRuntime(t, "runc")
	unique := strings.TrimPrefix(filepath.Base(r.root), "bare-")
	name := "machine-" + unique
	mustExecute(t, "sh", "-c", "cd "+r.root+"/rootfs && mkdir -p etc usr run tmp && touch etc/os-release")
	empty, report, ready := filepath.Join(r.root, "empty"), filepath.Join(r.root, "report"), filepath.Join(r.root, "ready")
	if err := os.Mkdir(empty, 0o755); err != nil {
		t.Fatal(err)
	}
	script := unifiedOnly + `
capmon=$2 name=$3 root=$4 report=$5 ready=$6 unit=/sys/fs/cgroup/$3.scope machines=/run/systemd/machines
trap 'kill $recording 2>/dev/null || true; rmdir $unit/*/ $unit 2>/dev/null || true' EXIT
"$capmon" profile -o json --container="$name" --ready-file="$ready" >"$report" & recording=$!
while [ ! -e "$ready" ]; do kill -0 $recording; sleep 0.1; done
mkdir -p $machines $unit
sh -c 'echo 0 >"$0/cgroup.procs"; exec systemd-nspawn --quiet --directory="$1" --machine="$2" --register=no --keep-unit --private-network --console=pipe \
	--drop-capability=CAP_SYS_BOOT /bin/sh -c "sleep 2; chroot / true; sleep 3"' $unit "$root" "$name" </dev/null & machine=$!
leader=
while [ -z "$leader" ]; do kill -0 $machine; leader=$(head -n 1 $unit/payload/cgroup.procs 2>/dev/null || true); done
printf 'NAME=%s\nSCOPE=%s\nSERVICE=systemd-nspawn\nCLASS=container\nLEADER=%s\n' $name $name.scope $leader >$machines/.new
mv $machines/.new $machines/$name
wait $machine
kill -INT $recording
wait $recording
`
	cmd := exec.Command("unshare", "--mount", "sh", "-c", script, "sh", empty, binary, name, filepath.Join(r.root, "rootfs"), report, ready)
	cmd.Env = append(os.Environ(), "DOCKER_HOST="+noEngine(t))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	output, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	c := only(t, parseReport(t, result{stdout: string(output)}), name)
	if c.Engine != "nspawn" || c.ID != "/run/systemd/machines/"+name || c.EngineError != "" || c.Unconfirmed != "" {
		t.Errorf("%+v", c)
	}
	if slices.Contains(c.Granted, "SYS_BOOT") || !slices.Contains(c.Granted, "SYS_CHROOT") {
		t.Errorf("granted: %v", c.Granted)
	}
	same(t, "granted by the kernel", c.Grants.Kernel, c.Granted)
	same(t, "required", c.Required, caps("SYS_CHROOT"))
}
