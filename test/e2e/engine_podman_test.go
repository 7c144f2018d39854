package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// privatePodman is a podman of the test (scripts/podman.sh), with the image bb. capmon knows its containers from their
// OCI bundles only: no engine answers.
type privatePodman struct {
	t       *testing.T
	command string
}

func newPrivatePodman(t *testing.T) privatePodman {
	t.Helper()
	directory, err := os.MkdirTemp("/var/tmp", "podman-") // podman accepts only short paths
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mustExecute(t, "../../scripts/podman.sh", "remove", directory) })
	p := privatePodman{t, strings.TrimSpace(mustExecute(t, "../../scripts/podman.sh", "make", directory))}
	p.must("load", "-i", imageArchive(t, "bb"))
	return p
}

func (p privatePodman) must(args ...string) string {
	p.t.Helper()
	return mustExecute(p.t, append([]string{p.command}, args...)...)
}

// run runs a container in the foreground.
func (p privatePodman) run(name string, options []string, command ...string) {
	p.t.Helper()
	p.must(slices.Concat([]string{"run", "--rm", "--name", name}, options, []string{"bb"}, command)...)
}

// start starts a container that runs until the end of the test. It returns the ID.
func (p privatePodman) start(name string, options []string, command ...string) string {
	p.t.Helper()
	return strings.TrimSpace(p.must(slices.Concat([]string{"run", "--detach", "--name", name}, options, []string{"bb"}, command)...))
}

// noEngine returns the address of an engine that does not answer.
func noEngine(t *testing.T) string {
	t.Helper()
	return "unix://" + t.TempDir() + "/docker.sock"
}

// check checks that a container is as podman made it. granted are the capabilities in its bundle.
func (p privatePodman) check(got seen, granted []string) {
	p.t.Helper()
	if got.Engine != "podman" || got.Image != "localhost/bb:latest" || got.EngineError != "" || got.Unconfirmed != "" {
		p.t.Errorf("%s: %+v", got.Name, got)
	}
	same(p.t, "granted to "+got.Name, got.Granted, granted)
	same(p.t, "granted to "+got.Name+" by its bundle", got.Grants.Engine, granted)
	same(p.t, "granted to "+got.Name+" by the kernel", got.Grants.Kernel, granted)
}

// podmanDefault is what podman grants by default without the configuration of a distribution.
func podmanDefault() []string {
	if os.Getenv("CAPMON_PODMAN") == "" {
		return containerdDefault() // as does Podman 4
	}
	return caps("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT")
}

// grantAsPodman4 are options that grant what Podman 4 grants by default.
var grantAsPodman4 = []string{"--cap-add=AUDIT_WRITE", "--cap-add=MKNOD", "--cap-add=NET_RAW"}

var chownOnly = []string{"--cap-drop=ALL", "--cap-add=CHOWN"}

// likeCRIO are options that give a container the annotations of a sandbox of CRI-O. An image can have them.
var likeCRIO = []string{
	"--annotation=io.container.manager=cri-o", "--annotation=io.kubernetes.cri-o.ContainerType=sandbox",
	"--annotation=io.kubernetes.container.name=pms-forged", "--annotation=io.kubernetes.cri-o.ImageName=forged",
}

func TestPodmanWithoutSocket(t *testing.T) {
	t.Parallel()
	p := newPrivatePodman(t)
	id := p.start("pms-running", chownOnly, "sleep", "1000")
	observation := watchAt(t, noEngine(t), "--container=pms-*")
	p.run("pms-chown", chownOnly, sh("touch /tmp/x && chown 5 /tmp/x")...)
	p.run("pms-short", likeCRIO, "true")
	p.must("exec", "pms-running", "chown", "5", "/tmp")
	p.start("pms-restarted", nil, sh("chown 5 /tmp && sleep 1000")...)
	p.must("restart", "--time=0", "pms-restarted")
	eventually(t, "the restarted container runs", func() bool {
		return strings.Contains(p.must("top", "pms-restarted", "args"), "sleep")
	})
	got := parseReport(t, observation.interrupt())
	if len(got) != 4 {
		t.Errorf("got %d containers: %+v", len(got), got)
	}

	c := only(t, got, "pms-chown")
	p.check(c, caps("CHOWN"))
	if !c.StartSeen || !c.Complete || c.Existed || c.Running {
		t.Errorf("%+v", c)
	}
	same(t, "required", c.Required, caps("CHOWN"))
	same(t, "unused", c.Unused, nil)

	c = only(t, got, "pms-short")
	p.check(c, podmanDefault())
	if !c.StartSeen || !c.Complete {
		t.Errorf("%+v", c)
	}
	same(t, "required", c.Required, nil)

	c = only(t, got, "pms-running")
	p.check(c, caps("CHOWN"))
	if c.ID != id || !c.Existed || !c.Running {
		t.Errorf("%+v, want the ID %s", c, id)
	}
	same(t, "required", c.Required, caps("CHOWN"))

	c = only(t, got, "pms-restarted")
	p.check(c, podmanDefault())
	if c.Runs != 2 {
		t.Errorf("%d runs, wanted 2", c.Runs)
	}
}

// The containers of a pod are below the cgroup of the pod. Its sandbox (infra container) is not judged.
func TestPodOfPodman(t *testing.T) {
	t.Parallel()
	p := newPrivatePodman(t)
	const name = "pmp-pod"
	p.must("pod", "create", "--name", name, "--infra-name", name+"-infra")
	member := func(name string) []string { return []string{"--pod", "pmp-pod", "--name", name} }
	p.must(slices.Concat([]string{"run", "--detach"}, member("pmp-pod-before"), []string{"bb", "sleep", "1000"})...)
	file := filepath.Join(t.TempDir(), "pod.json")
	observation := watchAt(t, noEngine(t), "--container=pmp-pod*", "--save="+file)
	p.must(slices.Concat([]string{"run", "--rm"}, member("pmp-pod-chown"), []string{"bb"}, sh("touch /tmp/x && chown 5 /tmp/x"))...)
	p.must(slices.Concat([]string{"run", "--rm"}, member("pmp-pod-raw"), grantAsPodman4, []string{"bb", "probe", "rawsock"})...)
	p.must("exec", "pmp-pod-before", "chroot", "/", "true")
	got := parseReport(t, observation.interrupt())
	if len(got) != 3 {
		t.Errorf("got %d containers, wanted the 3 without the sandbox: %+v", len(got), got)
	}
	pod := strings.TrimSpace(p.must("pod", "inspect", "--format={{.ID}}", name))
	for name, required := range map[string]string{"pmp-pod-before": "SYS_CHROOT", "pmp-pod-chown": "CHOWN", "pmp-pod-raw": "NET_RAW"} {
		c := only(t, got, name)
		granted := podmanDefault()
		if required == "NET_RAW" {
			granted = containerdDefault()
		}
		p.check(c, granted)
		same(t, name+" required", c.Required, caps(required))
		if c.Pod != pod || c.Sandbox {
			t.Errorf("%s: pod %q, sandbox %v; want pod %q", name, c.Pod, c.Sandbox, pod)
		}
	}

	const infra = name + "-infra"
	r := execute(t, binary, "report", "-o", "json", file)
	if strings.Contains(r.stdout, infra) || !strings.Contains(r.stderr, prefix+"left out the sandboxes of pods, which needed nothing (--all shows them): "+infra) {
		t.Errorf("the sandbox in a report: %s\n%s", r.stderr, r.stdout)
	}
	c := only(t, parseReport(t, execute(t, binary, "report", "-o", "json", "--all", file)), infra)
	if !c.Sandbox || c.Pod != pod || c.Engine != "podman" {
		t.Errorf("with --all: %+v", c)
	}
	for _, command := range [][]string{{"flags", "--even-if-start-unseen"}, {"check", "--even-if-start-unseen", "--deny-granted=AUDIT_WRITE"}} {
		if r := execute(t, append([]string{binary, command[0], file}, command[1:]...)...); strings.Contains(r.stdout, infra) || !strings.Contains(r.stdout, "pmp-pod-raw") {
			t.Errorf("%s: %s", command[0], r.stdout)
		}
	}
}

// A container can name a process conmon, give it any arguments, and make files that look like a bundle.
func TestContainersCannotForgeBundles(t *testing.T) {
	t.Parallel()
	p := newPrivatePodman(t)
	id := p.start("pmf-forger", chownOnly, "sleep", "1000")
	victim := p.start("pmf-victim", nil, "sleep", "1000")
	for i, named := range []string{id, victim} {
		p.must("exec", "--detach", "pmf-forger", "sh", "-c", fmt.Sprintf(`
			cd /tmp && mkdir -p %[1]d && cp /bin/busybox %[1]d/conmon
			cat >%[1]d/config.json <<-END
			{"process": {"capabilities": {"bounding": ["CAP_SYS_ADMIN"]}}, "linux": {"cgroupsPath": "/libpod_parent/libpod-%[2]s"}}
			END
			echo 'while true; do touch /tmp/x; chown 5 /tmp/x; /bin/sleep 0.1; done' >script
			exec -a sh /tmp/%[1]d/conmon -s -- -c %[2]s -n pmf-forged -b /tmp/%[1]d <script`, i, named))
	}
	eventually(t, "the forged monitors run", func() bool { return strings.Count(p.must("top", "pmf-forger", "args"), "pmf-forged") == 2 })
	observation := watchAt(t, noEngine(t), "--container=pmf-*")
	p.must("exec", "pmf-forger", "chown", "6", "/tmp")
	got := parseReport(t, observation.interrupt())
	if len(got) != 2 {
		t.Errorf("got %d containers: %+v", len(got), got)
	}
	c := only(t, got, "pmf-forger")
	p.check(c, caps("CHOWN"))
	same(t, "required", c.Required, caps("CHOWN"))
	c = only(t, got, "pmf-victim")
	p.check(c, podmanDefault())
	same(t, "required by the victim", c.Required, nil)
}

// The names of Podman's containers are also in the uses that watch prints.
func TestWatchNamesContainersOfPodman(t *testing.T) {
	t.Parallel()
	p := newPrivatePodman(t)
	directory := t.TempDir()
	cmd := exec.Command(binary, "watch", "-o", "json", "--container=pmx-watched")
	cmd.Env = append(os.Environ(), "DOCKER_HOST=unix://"+directory+"/docker.sock")
	out, err := os.Create(filepath.Join(directory, "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout = out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	})
	eventually(t, "watch prints the use", func() bool {
		p.run("pmx-watched", nil, sh("touch /tmp/x && chown 5 /tmp/x")...)
		text, err := os.ReadFile(out.Name())
		return err == nil && strings.Contains(string(text), `"name":"pmx-watched"`) && strings.Contains(string(text), `"CHOWN"`)
	})
}

// An audit must not leave out containers silently.
func TestAuditWithoutPodmansSocket(t *testing.T) {
	t.Parallel()
	p := newPrivatePodman(t)
	p.start("pma-web", nil, "sleep", "1000")
	r := execute(t, binary, "audit", "--static", "-o", "json", "--log-level=debug")
	if !strings.Contains(r.stderr, "because their engine does not answer") || !strings.Contains(r.stderr, "pma-web") {
		t.Errorf("the audit does not name what it leaves out: %s", r.stderr)
	}
}

// observeAll runs the workloads and returns their records. On a busy host, capmon can be too late to read the bundle of
// a container, or a file that it has executed. It says so, and observeAll then runs this workload again.
func (p privatePodman) observeAll(run []workload) (records []seen) {
	p.t.Helper()
	for round := 1; len(run) > 0; round++ {
		observation := watchAt(p.t, noEngine(p.t), "--container=pmw-*")
		for _, w := range run {
			p.run("pmw-"+w.name, slices.Concat(w.options, grantAsPodman4), w.command...)
		}
		result := observation.interrupt()
		got := parseReport(p.t, result)
		late := strings.Contains(result.stderr, "because the engine did not describe them")
		run = slices.DeleteFunc(slices.Clone(run), func(w workload) bool {
			i := slices.IndexFunc(got, func(one seen) bool { return one.Name == "pmw-"+w.name })
			switch {
			case i < 0 && !late:
				p.t.Errorf("pmw-%s is neither in the report nor in\n%s", w.name, result.stderr)
			case round < 5 && (i < 0 || len(got[i].Unexamined) > 0):
				return false
			case i >= 0:
				records = append(records, got[i])
			}
			return true
		})
	}
	return records
}

// workloadsOfPodman returns the workloads that do not depend on options of Docker, with their needs under Podman.
func workloadsOfPodman() (run []workload) {
	for _, w := range workloads {
		if w.onlyRun || len(w.grants) > 0 {
			continue // most of them depend on options of Docker
		}
		if w.name == "bind-80" { // Docker lets every process in a container bind low ports
			w.required = caps("NET_BIND_SERVICE")
		}
		run = append(run, w)
	}
	return run
}

// The same workloads need the same capabilities as under Docker, except for what podman's defaults change.
func TestWorkloadsUnderPodman(t *testing.T) {
	t.Parallel()
	p := newPrivatePodman(t)
	run := workloadsOfPodman()
	got := p.observeAll(run)
	for _, w := range run {
		t.Run(w.name, func(t *testing.T) {
			c := only(t, got, "pmw-"+w.name)
			w.check(t, c)
			privatePodman{t, p.command}.check(c, containerdDefault())
		})
	}
}
