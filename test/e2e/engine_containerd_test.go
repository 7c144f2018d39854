package e2e

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// privateContainerd is a containerd of the test (scripts/containerd.sh), with the image bb.
type privateContainerd struct {
	t            *testing.T
	ctr, address string
}

const containerdImage = "docker.io/library/bb:latest"

func newPrivateContainerd(t *testing.T) privateContainerd {
	t.Helper()
	directory, err := os.MkdirTemp("/var/tmp", "containerd-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mustExecute(t, "../../scripts/containerd.sh", "stop", directory) })
	c := privateContainerd{t, strings.TrimSpace(mustExecute(t, "../../scripts/containerd.sh", "start", directory)), directory + "/containerd.sock"}
	c.must("-n", "default", "image", "import", imageArchive(c.t, "bb"))
	return c
}

func (c privateContainerd) must(args ...string) string {
	c.t.Helper()
	return mustExecute(c.t, append([]string{c.ctr}, args...)...)
}

// run runs a container in the foreground.
func (c privateContainerd) run(name string, options []string, command ...string) {
	c.t.Helper()
	c.must(slices.Concat([]string{"run", "--rm"}, options, []string{containerdImage, name}, command)...)
}

// start starts a container that runs until the end of the test.
func (c privateContainerd) start(name string, options []string, command ...string) {
	c.t.Helper()
	c.must(slices.Concat([]string{"run", "--detach"}, options, []string{containerdImage, name}, command)...)
}

// watch profiles while Docker does not answer.
func (c privateContainerd) watch(args ...string) *observation {
	c.t.Helper()
	return watchBy(c.t, func(cmd *exec.Cmd) error {
		cmd.Env = append(os.Environ(), "DOCKER_HOST="+noEngine(c.t), "CONTAINERD_ADDRESS="+c.address)
		return cmd.Start()
	}, append([]string{binary, "profile", "-o", "json"}, args...)...)
}

// check checks that a container is as ctr made it.
func (c privateContainerd) check(got seen, granted []string) {
	c.t.Helper()
	if got.Engine != "containerd" || got.Image != containerdImage || got.EngineError != "" || got.Unconfirmed != "" {
		c.t.Errorf("%s: %+v", got.Name, got)
	}
	same(c.t, "granted to "+got.ID, got.Granted, granted)
	same(c.t, "granted to "+got.ID+" by its specification", got.Grants.Engine, granted)
	same(c.t, "granted to "+got.ID+" by the kernel", got.Grants.Kernel, granted)
}

// containerdDefault is what ctr grants by default.
func containerdDefault() []string {
	return caps("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT")
}

func without(all []string, left string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(one string) bool { return one == left })
}

func TestContainerd(t *testing.T) {
	t.Parallel()
	c := newPrivateContainerd(t)
	c.start("cts-running", []string{"--cap-drop=CAP_NET_RAW"}, "sleep", "1000")
	observation := c.watch("--container=cts-*")
	c.must("task", "exec", "--exec-id=1", "cts-running", "chown", "5", "/tmp")
	c.run("cts-chown", []string{"--cap-drop=CAP_MKNOD", "--cap-add=CAP_SYS_ADMIN"}, sh("touch /tmp/x && chown 5 /tmp/x")...)
	c.run("cts-short", nil, "true")
	digits := make([]byte, 32)
	_, _ = rand.Read(digits)
	nerdctl := hex.EncodeToString(digits)
	c.run(nerdctl, []string{"--label=nerdctl/name=cts-nerdctl", "--annotation=nerdctl/name=cts-old-name", "--annotation=nerdctl/namespace=default"}, sh("touch /tmp/x && chown 5 /tmp/x")...)
	got := parseReport(t, observation.interrupt())
	if len(got) != 4 {
		t.Errorf("got %d containers: %+v", len(got), got)
	}

	one := only(t, got, "cts-chown")
	slices.Sort(one.Granted)
	granted := append(without(containerdDefault(), caps("MKNOD")[0]), caps("SYS_ADMIN")...)
	slices.Sort(granted)
	c.check(one, granted)
	if one.ID != "default/cts-chown" || !one.StartSeen || !one.Complete || one.Existed || one.Running {
		t.Errorf("%+v", one)
	}
	same(t, "required", one.Required, caps("CHOWN"))

	one = only(t, got, "cts-short")
	c.check(one, containerdDefault())
	if !one.StartSeen || !one.Complete {
		t.Errorf("%+v", one)
	}
	same(t, "required", one.Required, nil)

	one = only(t, got, "cts-nerdctl")
	c.check(one, containerdDefault())
	if one.ID != nerdctl || !one.StartSeen {
		t.Errorf("%+v, want the ID %s", one, nerdctl)
	}
	same(t, "required", one.Required, caps("CHOWN"))

	one = only(t, got, "cts-running")
	c.check(one, without(containerdDefault(), caps("NET_RAW")[0]))
	if one.StartSeen || !one.Existed || !one.Running {
		t.Errorf("%+v", one)
	}
	same(t, "required", one.Required, caps("CHOWN"))
}

// The names of containers are unique only in their namespaces.
func TestNamespacesOfContainerd(t *testing.T) {
	t.Parallel()
	c := newPrivateContainerd(t)
	c.must("-n", "ctn", "image", "import", imageArchive(c.t, "bb"))
	observation := c.watch("--container=ctn-web", "--container=ctn/ctn-web")
	c.run("ctn-web", nil, sh("touch /tmp/x && chown 5 /tmp/x")...)
	c.must("-n", "ctn", "run", "--rm", containerdImage, "ctn-web", "chroot", "/", "true")
	required := make(map[string][]string)
	for _, one := range parseReport(t, observation.interrupt()) {
		c.check(one, containerdDefault())
		required[one.ID] = one.Required
		if want := strings.TrimPrefix(one.ID, "default/"); one.Name != want {
			t.Errorf("%s has the name %s, wanted %s", one.ID, one.Name, want)
		}
	}
	if len(required) != 2 {
		t.Errorf("got the containers %v", required)
	}
	same(t, "required in default", required["default/ctn-web"], caps("CHOWN"))
	same(t, "required in ctn", required["ctn/ctn-web"], caps("SYS_CHROOT"))
}

// capmon tells the kernel the cgroups of new containers. Then it need not run when the containers start: it even
// records containers that start and end while it is stopped.
func TestContainersOfContainerdWhileCapmonIsStopped(t *testing.T) {
	t.Parallel()
	c := newPrivateContainerd(t)
	c.must("-n", "cst", "image", "import", imageArchive(c.t, "bb"))
	observation := c.watch("--container=cst-*", "--container=cst/cst-*", "--log-level=debug")
	for _, namespace := range []string{"default", "cst"} { // no cgroup /cst exists
		c.must("-n", namespace, "container", "create", containerdImage, "cst-web", "chroot", "/", "true")
		expected := regexp.MustCompile(`the kernel expects a container.*"` + namespace + `/cst-web"`)
		eventually(t, "the kernel expects the container in "+namespace, func() bool {
			return expected.MatchString(observation.Stderr.String())
		})
	}
	if err := observation.Child.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	c.must("-n", "default", "task", "start", "cst-web")
	c.must("-n", "cst", "task", "start", "cst-web")
	c.must("-n", "default", "task", "start", "cst-web") // again
	c.must("-n", "default", "container", "delete", "cst-web")
	if err := observation.Child.Signal(unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	got := parseReport(t, observation.interrupt())
	for name, runs := range map[string]int{"cst-web": 2, "cst/cst-web": 1} {
		one := only(t, got, name)
		c.check(one, containerdDefault())
		same(t, name+" required", one.Required, caps("SYS_CHROOT"))
		if !one.StartSeen || !one.Complete || one.Existed || one.Runs != runs {
			t.Errorf("%+v", one)
		}
	}
}

// capmon recognizes the cgroup of a container when the kernel makes it. So it records containers that end at once, on a
// busy host too.
func TestShortContainersOfContainerdInACrowd(t *testing.T) {
	t.Parallel()
	c := newPrivateContainerd(t)
	observation := c.watch("--container=ctc-*")
	var crowd sync.WaitGroup
	turns := make(chan struct{}, 10)
	for i := range 50 {
		turns <- struct{}{}
		crowd.Go(func() {
			defer func() { <-turns }()
			name := fmt.Sprintf("ctc-%d", i)
			out, err := exec.Command(c.ctr, "run", "--rm", containerdImage, name, "chroot", "/", "true").CombinedOutput()
			if err != nil {
				t.Errorf("%s: %v: %s", name, err, out)
			}
		})
	}
	crowd.Wait()
	result := observation.interrupt()
	got := parseReport(t, result)
	if len(got) != 50 {
		t.Errorf("got %d containers: %s", len(got), result.stderr)
	}
	for _, one := range got {
		c.check(one, containerdDefault())
		same(t, one.ID+" required", one.Required, caps("SYS_CHROOT"))
		if !one.StartSeen || !one.Complete {
			t.Errorf("%+v", one)
		}
	}
}

// The same workloads need the same capabilities as under Docker, except for what containerd's defaults change.
func TestWorkloadsUnderContainerd(t *testing.T) {
	t.Parallel()
	c := newPrivateContainerd(t)
	var run []workload
	for _, w := range workloads {
		if w.onlyRun || len(w.grants) > 0 || len(w.options) > 0 {
			continue // most of them depend on options of Docker
		}
		if w.name == "bind-80" { // Docker lets every process in a container bind low ports
			w.required = caps("NET_BIND_SERVICE")
		}
		run = append(run, w)
	}
	observation := c.watch("--container=ctw-*")
	for _, w := range run {
		c.run("ctw-"+w.name, nil, w.command...)
	}
	got := parseReport(t, observation.interrupt())
	for _, w := range run {
		t.Run(w.name, func(t *testing.T) {
			one := only(t, got, "ctw-"+w.name)
			w.check(t, one)
			privateContainerd{t, c.ctr, c.address}.check(one, containerdDefault())
		})
	}
}
