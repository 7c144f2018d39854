package e2e

import (
	"cmp"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/capmon/capmon/internal/testutil/capmontest"
)

// kubelet is a real kubelet on a containerd of the test (scripts/kubelet.sh). Without an API server, it runs
// static pods.
type kubelet struct {
	kubernetesNode
	directory, manifests string
}

func newKubelet(t *testing.T) kubelet {
	t.Helper()
	if os.Getenv("CAPMON_KUBELET") == "" {
		t.Skip("only in make test-kubelet, which builds a kubelet")
	}
	n := newKubernetesNode(t)
	k := kubelet{kubernetesNode: n, directory: filepath.Dir(n.address)}
	t.Cleanup(func() { mustExecute(t, "../../scripts/kubelet.sh", "stop", k.directory) })
	k.manifests = strings.TrimSpace(mustExecute(t, "../../scripts/kubelet.sh", "start", k.directory))
	return k
}

// nodeName is the name of the kubelet's node. The kubelet appends it to the names of static pods.
const nodeName = "node"

type object = map[string]any

// staticPod is the pod of a manifest. Its label app is its namespace.
type staticPod struct {
	namespace, name  string
	restart          string // "" is Never
	init, containers []object
}

// member returns a container with the settings that Kubernetes has by default. All containers of a pod share the
// directory /shared.
func member(name string, command ...string) object {
	return object{
		"name": name, "image": containerdImage, "imagePullPolicy": "Never", "command": command,
		"volumeMounts": []object{{"name": "shared", "mountPath": "/shared"}},
	}
}

// granting changes a container so that it has only these capabilities.
func granting(granted []string, container object) object {
	container["securityContext"] = object{"capabilities": object{"drop": []string{"ALL"}, "add": granted}}
	return container
}

// sidecar changes an init container so that it runs until the end of the pod.
func sidecar(container object) object {
	container["restartPolicy"] = "Always"
	return container
}

// run gives the kubelet the manifest of a pod, and returns the pod once it has a sandbox.
func (k kubelet) run(p staticPod) (started pod) {
	k.t.Helper()
	manifest, err := json.Marshal(object{
		"apiVersion": "v1", "kind": "Pod",
		"metadata": object{"namespace": p.namespace, "name": p.name, "labels": object{"app": p.namespace}},
		"spec": object{
			"hostNetwork": true, "terminationGracePeriodSeconds": 1, "restartPolicy": cmp.Or(p.restart, "Never"),
			"volumes": []object{{"name": "shared", "emptyDir": object{}}}, "initContainers": p.init, "containers": p.containers,
		},
	})
	if err != nil {
		k.t.Fatal(err)
	}
	hidden := filepath.Join(k.manifests, "."+p.name) // the kubelet reads the file when it has its name
	if err := os.WriteFile(hidden, manifest, 0o600); err != nil {
		k.t.Fatal(err)
	}
	if err := os.Rename(hidden, filepath.Join(k.manifests, p.name+".json")); err != nil {
		k.t.Fatal(err)
	}
	request := &runtime.ListPodSandboxRequest{Filter: &runtime.PodSandboxFilter{
		LabelSelector: map[string]string{
			"io.kubernetes.pod.namespace": p.namespace, "io.kubernetes.pod.name": p.name + "-" + nodeName,
		},
	}}
	eventually(k.t, "pod "+p.name+" has a sandbox", func() bool {
		answer, err := k.runtime.ListPodSandbox(k.t.Context(), request)
		if err != nil || len(answer.GetItems()) == 0 {
			return false
		}
		sandbox := answer.GetItems()[0]
		started = pod{k.kubernetesNode, sandbox.GetId(), &runtime.PodSandboxConfig{Metadata: sandbox.GetMetadata()}}
		return true
	})
	return started
}

// await waits until this attempt to run a container has the state, and returns the ID.
func (p pod) await(name string, attempt uint32, state runtime.ContainerState) (id string) {
	p.node.t.Helper()
	request := &runtime.ListContainersRequest{Filter: &runtime.ContainerFilter{
		PodSandboxId: p.id, LabelSelector: map[string]string{"io.kubernetes.container.name": name},
	}}
	eventually(p.node.t, name+" is "+state.String(), func() bool {
		answer, err := p.node.runtime.ListContainers(p.node.t.Context(), request)
		i := slices.IndexFunc(answer.GetContainers(), func(c *runtime.Container) bool {
			return c.GetMetadata().GetAttempt() == attempt && c.GetState() == state
		})
		if err != nil || i < 0 {
			return false
		}
		id = answer.GetContainers()[i].GetId()
		return true
	})
	return id
}

// running waits until the first attempt to run a container runs.
func (p pod) running(name string) (id string) {
	p.node.t.Helper()
	return p.await(name, 0, runtime.ContainerState_CONTAINER_RUNNING)
}

// ended waits until the first attempt to run a container has ended.
func (p pod) ended(name string) (id string) {
	p.node.t.Helper()
	return p.await(name, 0, runtime.ContainerState_CONTAINER_EXITED)
}

// shared returns the directory /shared of the pod, without asking containerd.
func (k kubelet) shared(p pod) string {
	uid := p.config.GetMetadata().GetUid()
	return filepath.Join(k.directory, "kubelet/root/pods", uid, "volumes/kubernetes.io~empty-dir/shared")
}

// signal sends a signal to the containerd of the kubelet.
func (k kubelet) signal(signal unix.Signal) {
	k.t.Helper()
	text, err := os.ReadFile(filepath.Join(k.directory, "containerd.pid"))
	pid := 0
	if err == nil {
		pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
	}
	if err == nil {
		err = unix.Kill(pid, signal)
	}
	if err != nil {
		k.t.Fatal(err)
	}
}

// done returns the end of a script: the container makes a file in /shared when it has done its work, and waits.
func done(name string) string { return "; touch /shared/" + name + "; sleep 1000000" }

// awaitDone waits until these containers of a pod have made their files.
func (k kubelet) awaitDone(p pod, names ...string) {
	k.t.Helper()
	for _, name := range names {
		eventually(k.t, name+" has done its work", func() bool {
			_, err := os.Stat(filepath.Join(k.shared(p), name))
			return err == nil
		})
	}
}

var chownAndChroot = caps("CHOWN", "SYS_CHROOT")

// onDemand returns a pod whose container main works when letWork says so.
func onDemand(namespace, name, work string) staticPod {
	command := sh("until [ -e /shared/go ]; do sleep 0.1; done; " + work + done("main"))
	main := granting(chownAndChroot, member("main", command...))
	return staticPod{namespace: namespace, name: name, containers: []object{main}}
}

// letWork lets the container of a pod of onDemand work, without asking containerd.
func (k kubelet) letWork(p pod) {
	k.t.Helper()
	if err := os.WriteFile(filepath.Join(k.shared(p), "go"), nil, 0o600); err != nil {
		k.t.Fatal(err)
	}
	k.awaitDone(p, "main")
}

func (p pod) name() string {
	return p.config.GetMetadata().GetNamespace() + "/" + p.config.GetMetadata().GetName()
}

func TestKubelet(t *testing.T) {
	t.Parallel()
	k := newKubelet(t)
	const namespace = "kub-pay"
	before := k.run(staticPod{namespace: namespace, name: "before", containers: []object{
		granting(caps("CHOWN", "NET_RAW"), member("main", forever...)),
	}})
	running := before.running("main")
	file := filepath.Join(t.TempDir(), "pods.json")
	observation := k.watch("--label=app="+namespace, "--save="+file)
	before.exec(running, "chown", "5", "/tmp")
	web := k.run(staticPod{
		namespace: namespace, name: "web", restart: "OnFailure",
		init: []object{
			granting(caps("SYS_CHROOT", "SYS_TIME"), member("prepare", "chroot", "/", "true")),
			sidecar(granting(caps("NET_RAW"), member("sidecar", sh("probe rawsock"+done("sidecar"))...))),
		},
		containers: []object{
			member("default", sh("mknod /tmp/null c 1 3"+done("default"))...),
			granting(nil, member("nothing", sh("true"+done("nothing"))...)),
			granting(caps("CHOWN", "SYS_CHROOT"), member("crashing",
				sh("[ -e /shared/once ] || { touch /shared/once; chown 5 /tmp; exit 1; }; chroot / true"+done("crashing"))...)),
		},
	})
	k.awaitDone(web, "sidecar", "default", "nothing", "crashing")
	again := web.await("crashing", 1, runtime.ContainerState_CONTAINER_RUNNING)
	r := observation.interrupt()

	got := parseReport(t, r)
	for _, test := range []struct {
		pod                pod
		id, name           string
		granted, required  []string
		runs               int
		startSeen, running bool
	}{
		{before, running, "main", caps("CHOWN", "NET_RAW"), caps("CHOWN"), 1, false, true},
		{web, web.ended("prepare"), "prepare", caps("SYS_CHROOT", "SYS_TIME"), caps("SYS_CHROOT"), 1, true, false},
		{web, web.running("sidecar"), "sidecar", caps("NET_RAW"), caps("NET_RAW"), 1, true, true},
		{web, web.running("default"), "default", containerdDefault(), caps("MKNOD"), 1, true, true},
		{web, web.running("nothing"), "nothing", nil, nil, 1, true, true},
		{web, again, "crashing", caps("CHOWN", "SYS_CHROOT"), caps("CHOWN", "SYS_CHROOT"), 2, true, true},
	} {
		one := only(t, got, test.pod.name()+"/"+test.name)
		test.pod.check(one, test.id, test.granted)
		same(t, "required by "+one.Name, one.Required, test.required)
		if one.Owner != "Node" {
			t.Errorf("%s has the owner %q", one.Name, one.Owner)
		}
		if one.Runs != test.runs || one.StartSeen != test.startSeen || one.Running != test.running {
			t.Errorf("%s: %d runs, start seen: %v, running: %v", one.Name, one.Runs, one.StartSeen, one.Running)
		}
	}
	if len(got) != 6 || slices.ContainsFunc(got, func(one seen) bool { return one.Sandbox }) {
		t.Errorf("got %d containers, wanted 6 without the sandboxes: %+v", len(got), got)
	}
	k.checkReport(file, before, web)
}

// checkReport checks the report of a file: the containers with their pods, and the sandboxes with --all only.
func (k kubelet) checkReport(file string, pods ...pod) {
	k.t.Helper()
	short := execute(k.t, binary, "report", "--details", file)
	all := execute(k.t, binary, "report", "--all", file)
	if want := "left out the sandboxes of pods"; !strings.Contains(short.stderr, want) || strings.Contains(all.stderr, want) {
		k.t.Errorf("%q must be in the first and not in the second of\n%s\n%s", want, short.stderr, all.stderr)
	}
	for _, p := range pods {
		sandbox := p.name() + "  "
		if strings.Contains(short.stdout, sandbox) || !strings.Contains(all.stdout, sandbox) {
			k.t.Errorf("the sandbox of %s must be in the second only of\n%s\n%s", p.name(), short.stdout, all.stdout)
		}
	}
	if !strings.Contains(short.stdout, "owner Node") {
		k.t.Errorf("no owner in %s", short.stdout)
	}
}

// The same workloads need the same capabilities as under Docker, except for what the defaults of Kubernetes change.
func TestWorkloadsUnderAKubelet(t *testing.T) {
	t.Parallel()
	k := newKubelet(t)
	p := staticPod{namespace: "kub-workloads", name: "all"}
	var run []workload
	for _, w := range workloads {
		if w.onlyRun || len(w.grants) > 0 || len(w.options) > 0 {
			continue // most of them depend on options of Docker
		}
		if w.name == "bind-80" { // Docker lets every process in a container bind low ports
			w.required = caps("NET_BIND_SERVICE")
		}
		run = append(run, w)
		p.containers = append(p.containers, member(w.name, w.command...))
	}
	observation := k.watch("--label=app=" + p.namespace)
	all := k.run(p)
	ids := make(map[string]string)
	for _, w := range run {
		ids[w.name] = all.ended(w.name)
	}
	got := parseReport(t, observation.interrupt())
	if len(got) != len(run) {
		t.Errorf("got %d containers, wanted %d", len(got), len(run))
	}
	for _, w := range run {
		t.Run(w.name, func(t *testing.T) {
			one := only(t, got, all.name()+"/"+w.name)
			w.check(t, one)
			all.check(one, ids[w.name], containerdDefault())
			if one.Owner != "Node" || !one.StartSeen {
				t.Errorf("owner %q, start seen: %v", one.Owner, one.StartSeen)
			}
		})
	}
}

// Docker, Podman and a kubelet have containers on one host. Docker hangs for a while, and then containerd hangs.
func TestKubeletBesideTwoEngines(t *testing.T) {
	t.Parallel()
	k, d, p := newKubelet(t), capmontest.StartDaemon(t), newPrivatePodman(t)
	const namespace = "kub-beside"
	before := k.run(onDemand(namespace, "before", "chown 5 /tmp"))
	ids := map[string]string{before.name() + "/main": before.running("main")}
	ids["kub-beside-podman"] = p.start("kub-beside-podman", nil, forever...)
	ids["kub-beside-docker"] = strings.TrimSpace(d.Docker("run", "--detach", "--name=kub-beside-docker", "bb", "sleep", "1000000"))

	observation := watchBy(t, func(cmd *exec.Cmd) error {
		cmd.Env = append(os.Environ(), "DOCKER_HOST="+d.Host, "CONTAINERD_ADDRESS="+k.address)
		return cmd.Start()
	}, binary, "profile", "-o", "json", "--container=kub-beside*", "--container="+namespace+"/*/*", "--log-level=debug")
	d.Signal(unix.SIGSTOP)
	after := k.run(onDemand(namespace, "after", "chroot / true"))
	ids[after.name()+"/main"] = after.running("main")
	p.must("exec", "kub-beside-podman", "chroot", "/", "true")
	p.run("kub-beside-short", nil, "probe", "rawsock")
	observation.await(after.name() + "/main")
	d.Signal(unix.SIGCONT)
	d.Docker("exec", "kub-beside-docker", "probe", "rawsock")
	k.signal(unix.SIGSTOP)
	t.Cleanup(func() { k.signal(unix.SIGCONT) }) // also if the test fails
	d.Docker("run", "--name=kub-beside-new", "bb", "chroot", "/", "true")
	k.letWork(before)
	k.letWork(after)
	start := time.Now()
	r := observation.interrupt()
	took := time.Since(start)
	k.signal(unix.SIGCONT)
	if took > 30*time.Second {
		t.Errorf("the hanging containerd delayed the report by %v", took)
	}
	if want := "containerd at unix://" + k.address + " does not answer"; !strings.Contains(r.stderr, want) {
		t.Errorf("%q is not in %s", want, r.stderr)
	}

	got := parseReport(t, r)
	for _, test := range []struct {
		name, engine, owner string
		required            []string
		startSeen           bool
	}{
		{before.name() + "/main", "containerd", "Node", caps("CHOWN"), false},
		{after.name() + "/main", "containerd", "Node", caps("SYS_CHROOT"), true},
		{"kub-beside-podman", "podman", "", caps("SYS_CHROOT"), false},
		{"kub-beside-short", "podman", "", caps("NET_RAW"), true},
		{"kub-beside-docker", "", "", caps("NET_RAW"), false},
		{"kub-beside-new", "", "", caps("SYS_CHROOT"), true},
	} {
		one := only(t, got, test.name)
		same(t, "required by "+test.name, one.Required, test.required)
		if one.Engine != test.engine || one.Owner != test.owner || one.StartSeen != test.startSeen {
			t.Errorf("%+v", one)
		}
		if one.EngineError != "" || one.Unconfirmed != "" {
			t.Errorf("%s: %s%s", one.Name, one.EngineError, one.Unconfirmed)
		}
		if id, known := ids[test.name]; known && one.ID != id {
			t.Errorf("%s has the ID %s, wanted %s", test.name, one.ID, id)
		}
	}
	if len(got) != 6 {
		t.Errorf("got %d containers, wanted 6: %+v", len(got), got)
	}
	before.check(only(t, got, before.name()+"/main"), ids[before.name()+"/main"], chownAndChroot)
	after.check(only(t, got, after.name()+"/main"), ids[after.name()+"/main"], chownAndChroot)
}

// Containers continue to run while containerd restarts.
func TestContainerdOfAKubeletRestarts(t *testing.T) {
	t.Parallel()
	k := newKubelet(t)
	const namespace = "kub-restart"
	before := k.run(onDemand(namespace, "before", "chown 5 /tmp"))
	running := before.running("main")
	observation := k.watch("--label=app="+namespace, "--log-level=debug")
	observation.await(before.name() + "/main")
	k.signal(unix.SIGTERM)
	eventually(t, "containerd has ended", func() bool {
		connection, err := net.Dial("unix", k.address)
		if err == nil {
			_ = connection.Close() // containerd waits for it
		}
		return err != nil
	})
	k.letWork(before)
	k.startAgain()
	after := k.run(onDemand(namespace, "after", "chroot / true"))
	again := after.running("main")
	k.letWork(after)
	got := parseReport(t, observation.interrupt())
	for _, test := range []struct {
		pod       pod
		id        string
		required  []string
		startSeen bool
	}{
		{before, running, caps("CHOWN"), false},
		{after, again, caps("SYS_CHROOT"), true},
	} {
		one := only(t, got, test.pod.name()+"/main")
		test.pod.check(one, test.id, chownAndChroot)
		same(t, "required by "+one.Name, one.Required, test.required)
		if one.Owner != "Node" || one.Runs != 1 || !one.Running || one.StartSeen != test.startSeen {
			t.Errorf("%+v", one)
		}
	}
	if len(got) != 2 {
		t.Errorf("got %d containers, wanted 2: %+v", len(got), got)
	}
}
