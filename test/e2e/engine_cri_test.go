package e2e

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/capmon/capmon/internal/doctor"
)

// kubernetesNode is a containerd with the CRI of Kubernetes. The test does what a kubelet does.
type kubernetesNode struct {
	privateContainerd
	runtime    runtime.RuntimeServiceClient
	startAgain func() // after the containerd has ended
}

func newKubernetesNode(t *testing.T) kubernetesNode {
	t.Helper()
	directory, err := os.MkdirTemp("/var/tmp", "cri-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mustExecute(t, "../../scripts/containerd.sh", "stop", directory) })
	pause := pauseImage(t)
	start := func() string {
		return mustExecute(t, "../../scripts/containerd.sh", "start", directory, "docker.io/library/"+pause+":latest")
	}
	c := privateContainerd{t, strings.TrimSpace(start()), directory + "/containerd.sock"}
	for _, image := range []string{"bb", pause} {
		c.must("-n", "k8s.io", "image", "import", imageArchive(t, image))
	}
	connection, err := grpc.NewClient("unix:"+c.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	return kubernetesNode{c, runtime.NewRuntimeServiceClient(connection), func() { start() }}
}

// pauseImage makes an image whose program only waits. It returns the name.
func pauseImage(t *testing.T) (name string) {
	t.Helper()
	base := strings.TrimSpace(mustExecute(t, "docker", "create", "bb"))
	t.Cleanup(func() { mustExecute(t, "docker", "rm", base) })
	name = "capmon-pause-" + base[:12]
	mustExecute(t, "docker", "commit", "--change", `ENTRYPOINT ["sleep", "1000000"]`, "--change", "CMD []", base, name)
	t.Cleanup(func() { mustExecute(t, "docker", "rmi", name) })
	return name
}

// pod is a pod in the network of the node: other pods would need a network plugin.
type pod struct {
	node   kubernetesNode
	id     string
	config *runtime.PodSandboxConfig
}

// runPod starts the sandbox of a pod, in a cgroup as that of a kubelet.
func (n kubernetesNode) runPod(namespace, name string, labels, annotations map[string]string) pod {
	n.t.Helper()
	uid := strings.ToLower(rand.Text())
	labels["io.kubernetes.pod.name"], labels["io.kubernetes.pod.namespace"], labels["io.kubernetes.pod.uid"] = name, namespace, uid
	config := &runtime.PodSandboxConfig{
		Metadata: &runtime.PodSandboxMetadata{Name: name, Namespace: namespace, Uid: uid},
		Labels:   labels, Annotations: annotations, LogDirectory: n.t.TempDir(),
		Linux: &runtime.LinuxPodSandboxConfig{
			CgroupParent: "/kubepods/burstable/pod" + uid,
			SecurityContext: &runtime.LinuxSandboxSecurityContext{
				NamespaceOptions: &runtime.NamespaceOption{Network: runtime.NamespaceMode_NODE, Pid: runtime.NamespaceMode_CONTAINER},
			},
		},
	}
	answer, err := n.runtime.RunPodSandbox(n.t.Context(), &runtime.RunPodSandboxRequest{Config: config})
	if err != nil {
		n.t.Fatal(err)
	}
	p := pod{n, answer.GetPodSandboxId(), config}
	n.t.Cleanup(func() {
		request := &runtime.RemovePodSandboxRequest{PodSandboxId: p.id}
		if _, err := n.runtime.RemovePodSandbox(context.Background(), request); err != nil {
			n.t.Error(err)
		}
		removeCgroups(config.GetLinux().GetCgroupParent())
	})
	return p
}

// removeCgroups removes the cgroups of a pod, and those above it if they are empty.
func removeCgroups(parent string) {
	for where := parent; where != "/"; where = filepath.Dir(where) {
		for _, pattern := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/*"} {
			found, _ := filepath.Glob(pattern + where)
			for _, directory := range found {
				_ = os.Remove(directory) // fails if another pod is in it
			}
		}
	}
}

// start starts a container that is granted only these capabilities. It returns the ID.
func (p pod) start(name string, granted []string, command ...string) string {
	p.node.t.Helper()
	ctx := p.node.t.Context()
	labels := map[string]string{"io.kubernetes.container.name": name}
	for _, label := range []string{"io.kubernetes.pod.name", "io.kubernetes.pod.namespace", "io.kubernetes.pod.uid"} {
		labels[label] = p.config.GetLabels()[label]
	}
	created, err := p.node.runtime.CreateContainer(ctx, &runtime.CreateContainerRequest{
		PodSandboxId: p.id, SandboxConfig: p.config,
		Config: &runtime.ContainerConfig{
			Metadata: &runtime.ContainerMetadata{Name: name}, Labels: labels,
			Image: &runtime.ImageSpec{Image: containerdImage}, Command: command, LogPath: name + ".log",
			Linux: &runtime.LinuxContainerConfig{SecurityContext: &runtime.LinuxContainerSecurityContext{
				Capabilities:     &runtime.Capability{DropCapabilities: []string{"ALL"}, AddCapabilities: granted},
				NamespaceOptions: p.config.GetLinux().GetSecurityContext().GetNamespaceOptions(),
			}},
		},
	})
	if err != nil {
		p.node.t.Fatal(err)
	}
	if _, err := p.node.runtime.StartContainer(ctx, &runtime.StartContainerRequest{ContainerId: created.GetContainerId()}); err != nil {
		p.node.t.Fatal(err)
	}
	return created.GetContainerId()
}

// exec runs a command in a container.
func (p pod) exec(id string, command ...string) {
	p.node.t.Helper()
	answer, err := p.node.runtime.ExecSync(p.node.t.Context(), &runtime.ExecSyncRequest{ContainerId: id, Cmd: command})
	if err != nil || answer.GetExitCode() != 0 {
		p.node.t.Fatalf("%v: %v, exit code %d: %s", command, err, answer.GetExitCode(), answer.GetStderr())
	}
}

// run runs a container to its end.
func (p pod) run(name string, granted []string, command ...string) (id string) {
	p.node.t.Helper()
	id = p.start(name, granted, command...)
	eventually(p.node.t, "container "+name+" has ended", func() bool {
		answer, err := p.node.runtime.ContainerStatus(p.node.t.Context(), &runtime.ContainerStatusRequest{ContainerId: id})
		return err == nil && answer.GetStatus().GetState() == runtime.ContainerState_CONTAINER_EXITED
	})
	return id
}

// profileWith profiles with more environment variables.
func (n kubernetesNode) profileWith(environment []string, args ...string) *observation {
	n.t.Helper()
	return watchBy(n.t, func(cmd *exec.Cmd) error {
		cmd.Env = append(os.Environ(), environment...)
		return cmd.Start()
	}, append([]string{binary, "profile", "-o", "json"}, args...)...)
}

var forever = []string{"sleep", "1000000"}

// check checks that a container is as the kubelet of the test made it.
func (p pod) check(got seen, id string, granted []string) {
	t := p.node.t
	t.Helper()
	if got.ID != id || got.Engine != "containerd" || got.Image != containerdImage || got.EngineError != "" || got.Unconfirmed != "" || got.Sandbox {
		t.Errorf("%s: %+v", got.Name, got)
	}
	metadata := p.config.GetMetadata()
	if got.Namespace != metadata.GetNamespace() || got.PodName != metadata.GetName() || got.PodUID != metadata.GetUid() || got.Pod != p.id || got.NetworkMode != "host" {
		t.Errorf("%s is in pod %q of %q with UID %q, ID %q and network %q", got.Name, got.PodName, got.Namespace, got.PodUID, got.Pod, got.NetworkMode)
	}
	same(t, "granted to "+got.Name, got.Granted, granted)
	same(t, "granted to "+got.Name+" by its specification", got.Grants.Engine, granted)
	same(t, "granted to "+got.Name+" by the kernel", got.Grants.Kernel, granted)
}

func TestPodsOfKubernetes(t *testing.T) {
	t.Parallel()
	n := newKubernetesNode(t)
	deployment := func() map[string]string { return map[string]string{"app": "web", "pod-template-hash": "7d9f"} }
	before := n.runPod("cri-pay", "web-7d9f-aaaaa", deployment(), nil)
	running := before.start("main", []string{"CHOWN", "NET_RAW"}, forever...)

	observation := n.watch("--label=app=web", "--all")
	before.exec(running, "chown", "5", "/tmp")
	p := n.runPod("cri-pay", "web-7d9f-bbbbb", deployment(), nil)
	busy := p.start("main", []string{"CHOWN", "NET_RAW"}, forever...)
	idle := p.start("idle", []string{"CHOWN"}, forever...)
	other := n.runPod("cri-other", "static", map[string]string{"app": "web"}, map[string]string{"kubernetes.io/config.source": "file"})
	lonely := other.start("main", []string{"SYS_CHROOT"}, forever...)
	p.exec(busy, "probe", "rawsock")
	other.exec(lonely, "chroot", "/", "true")
	got := parseReport(t, observation.interrupt())

	both := caps("CHOWN", "NET_RAW")
	for _, test := range []struct {
		pod               pod
		id, name, owner   string
		granted, required []string
		startSeen         bool
	}{
		{before, running, "cri-pay/web-7d9f-aaaaa/main", "Deployment/web", both, caps("CHOWN"), false},
		{p, busy, "cri-pay/web-7d9f-bbbbb/main", "Deployment/web", both, caps("NET_RAW"), true},
		{p, idle, "cri-pay/web-7d9f-bbbbb/idle", "Deployment/web", caps("CHOWN"), nil, true},
		{other, lonely, "cri-other/static/main", "Node", caps("SYS_CHROOT"), caps("SYS_CHROOT"), true},
	} {
		one := only(t, got, test.name)
		test.pod.check(one, test.id, test.granted)
		same(t, "required by "+test.name, one.Required, test.required)
		if one.Owner != test.owner || one.StartSeen != test.startSeen || !one.Running {
			t.Errorf("%s: owner %q, %+v", test.name, one.Owner, one)
		}
	}
	sandbox := only(t, got, "cri-pay/web-7d9f-bbbbb")
	if !sandbox.Sandbox || sandbox.ID != p.id || len(sandbox.Required) > 0 {
		t.Errorf("%+v", sandbox)
	}
	if i := slices.IndexFunc(got, func(s seen) bool { return s.Sandbox != (s.Name == s.Namespace+"/"+s.PodName) }); i >= 0 {
		t.Errorf("%+v", got[i])
	}
}

// The report and the settings leave out sandboxes: they hold the namespaces of their pods and run no workload.
func TestSandboxesOfKubernetesAreNotJudged(t *testing.T) {
	t.Parallel()
	n := newKubernetesNode(t)
	file := filepath.Join(t.TempDir(), "profile.json")
	observation := n.watch("--save="+file, "--label=app=judged")
	p := n.runPod("cri-judged", "web", map[string]string{"app": "judged"}, nil)
	id := p.start("main", []string{"CHOWN"}, forever...)
	p.exec(id, "chown", "5", "/tmp")
	r := observation.interrupt()
	var judged []string
	for _, one := range parseReport(t, r) {
		judged = append(judged, one.Name)
	}
	same(t, "in the report", judged, []string{"cri-judged/web/main"})
	if want := "left out the sandboxes of pods"; !strings.Contains(r.stderr, want) {
		t.Errorf("%q is not in %s", want, r.stderr)
	}
	settings := mustExecute(t, binary, "flags", file)
	if !strings.Contains(settings, "drop: [ALL]") || !strings.Contains(settings, "add: [CHOWN]") || strings.Count(settings, "securityContext:") != 1 {
		t.Errorf("got the settings\n%s", settings)
	}
	if want := "in the manifest of the pod: securityContext: {capabilities: {drop: [ALL], add: [CHOWN]}}"; !strings.Contains(mustExecute(t, binary, "report", file), want) {
		t.Errorf("%q is not in the report", want)
	}
}

func TestAuditOfPods(t *testing.T) {
	t.Parallel()
	n := newKubernetesNode(t)
	file := filepath.Join(t.TempDir(), "profile.json")
	observation := n.watch("--save="+file, "--label=app=audited")
	p := n.runPod("cri-audit", "web-7d9f-aaaaa", map[string]string{"app": "audited", "pod-template-hash": "7d9f"}, nil)
	id := p.start("main", []string{"CHOWN", "NET_RAW"}, forever...)
	p.exec(id, "chown", "5", "/tmp")
	observation.interrupt()
	audit := func(args ...string) result {
		t.Helper()
		return execute(t, append([]string{"env", "DOCKER_HOST=" + noEngine(t), "CONTAINERD_ADDRESS=" + n.address, binary, "audit"}, args...)...)
	}
	r := audit("--static", "-o", "json")
	var got struct {
		Containers []struct{ Name, Engine, Namespace, PodName, Owner string }
	}
	if err := json.Unmarshal([]byte(r.stdout), &got); err != nil {
		t.Fatalf("%v: %s", err, r.stderr)
	}
	if len(got.Containers) != 1 { // the sandbox runs no workload
		t.Fatalf("%+v", got.Containers)
	}
	if one := got.Containers[0]; one.Engine != "containerd" || one.Namespace != "cri-audit" || one.PodName != "web-7d9f-aaaaa" || one.Owner != "Deployment/web" {
		t.Errorf("%+v", one)
	}
	same(t, "granted", grantsOf(t, r)["containerd cri-audit/web-7d9f-aaaaa/main"], caps("CHOWN", "NET_RAW"))
	r = audit("--profile="+file, "--min-observed=1us", "--even-if-start-unseen", "cri-audit/web-7d9f-aaaaa/main")
	want := "in the specification of Deployment/web in the namespace cri-audit, set for the container main: securityContext: {capabilities: {drop: [ALL], add: [CHOWN]}}"
	if r.code != exitFindings || !strings.Contains(r.stdout, want) {
		t.Errorf("exit code %d, and %q is not in\n%s%s", r.code, want, r.stdout, r.stderr)
	}
	// Without a profile, the audit describes how to observe a new pod.
	r = audit("--static", "cri-audit/web-7d9f-aaaaa/main")
	if want := "--container='cri-audit/web-*/main'"; !strings.Contains(r.stdout, want) {
		t.Errorf("%q is not in\n%s%s", want, r.stdout, r.stderr)
	}
}

// The creator of a pod chooses its labels. Only the kubelet checks the names.
func TestHostilePods(t *testing.T) {
	t.Parallel()
	n := newKubernetesNode(t)
	const hostile = "web\x1b[31m\u202e<script>"
	labels := map[string]string{
		"app": "\x1b]0;title\a" + strings.Repeat("a", 3000), "job-name": hostile, "pod-template-hash": hostile, "nerdctl/name": "victim",
	}
	annotations := map[string]string{"kubernetes.io/config.source": "", "large": strings.Repeat("x", 256<<10)}
	p := n.runPod("cri-hostile", hostile, labels, annotations)
	id := p.start("main", []string{"CHOWN"}, forever...)
	observation := n.profileWith([]string{"DOCKER_HOST=" + noEngine(t), "CONTAINERD_ADDRESS=" + n.address},
		"-o", "table", "--label=io.kubernetes.pod.namespace=cri-hostile", "--all", "--keep-label=*")
	p.exec(id, "chown", "5", "/tmp")
	r := observation.interrupt()
	if r.code != exitDone || !strings.Contains(r.stdout, "CHOWN") {
		t.Errorf("exit code %d: %s%s", r.code, r.stdout, r.stderr)
	}
	for _, output := range []string{r.stdout, r.stderr} {
		if strings.ContainsAny(output, "\x1b\u202e\a") {
			t.Errorf("the output has the characters of an attacker: %q", output)
		}
	}
	if !strings.Contains(r.stdout, "cri-hostile/web") || strings.Contains(r.stdout, "Job/") || strings.Contains(r.stdout, "victim") {
		t.Errorf("wrong names: %q", r.stdout)
	}
}

// ctr and nerdctl give the labels of an image to the container.
func TestImagesCannotNamePods(t *testing.T) {
	t.Parallel()
	n := newKubernetesNode(t)
	p := n.runPod("cri-victim", "web", map[string]string{}, nil)
	p.start("main", []string{"CHOWN"}, forever...)
	observation := n.watch("--container=cri-victim/web*", "--container=cri-victim/web/*", "--container=k8s.io/cri-attacker", "--all")
	var options []string
	for key, value := range map[string]string{
		"io.cri-containerd.kind": "sandbox", "io.kubernetes.container.name": "main", "nerdctl/name": "cri-victim/web/main",
		"io.kubernetes.pod.name": "web", "io.kubernetes.pod.namespace": "cri-victim", "io.kubernetes.pod.uid": p.config.GetMetadata().GetUid(),
	} {
		options = append(options, "--label="+key+"="+value)
	}
	n.must(slices.Concat([]string{"-n", "k8s.io", "run", "--rm"}, options, []string{containerdImage, "cri-attacker", "chroot", "/", "true"})...)
	got := parseReport(t, observation.interrupt())
	attacker := only(t, got, "k8s.io/cri-attacker")
	if attacker.Sandbox || attacker.PodName != "" || attacker.Namespace != "" || attacker.ID != "k8s.io/cri-attacker" {
		t.Errorf("%+v", attacker)
	}
	same(t, "required by the attacker", attacker.Required, caps("SYS_CHROOT"))
	same(t, "required by the victim", only(t, got, "cri-victim/web/main").Required, nil)
}

// Of other runtimes than containerd, capmon only knows the CRI.
func TestOnlyTheCRI(t *testing.T) {
	t.Parallel()
	n := newKubernetesNode(t)
	p := n.runPod("cri-only", "web", map[string]string{"app": "only"}, nil)
	running := p.start("running", []string{"CHOWN"}, forever...)
	observation := n.profileWith([]string{"CONTAINER_RUNTIME_ENDPOINT=unix://" + n.address}, "--engine=cri", "--label=app=only")
	p.exec(running, "chown", "5", "/tmp")
	short := p.run("short", []string{"SYS_CHROOT"}, "chroot", "/", "true")
	got := parseReport(t, observation.interrupt())
	if len(got) != 2 {
		t.Errorf("got %d containers, wanted 2: %+v", len(got), got)
	}
	one := only(t, got, "cri-only/web/running")
	p.check(one, running, caps("CHOWN"))
	same(t, "required", one.Required, caps("CHOWN"))
	one = only(t, got, "cri-only/web/short")
	p.check(one, short, caps("SYS_CHROOT"))
	same(t, "required", one.Required, caps("SYS_CHROOT"))
	if !one.StartSeen || !one.Complete || one.Running {
		t.Errorf("%+v", one)
	}
}

// Docker, the pods of Kubernetes, and a runtime that never answers: each container is in the report once.
func TestKubernetesBesideDocker(t *testing.T) {
	t.Parallel()
	n := newKubernetesNode(t)
	p := n.runPod("cri-beside", "web", map[string]string{"app": "beside"}, nil)
	before := time.Now()
	observation := n.profileWith([]string{"CONTAINERD_ADDRESS=" + n.address, "CONTAINER_RUNTIME_ENDPOINT=unix://" + silentSocket(t)}, "--label=app=beside")
	if late := time.Since(before); late > 30*time.Second {
		t.Errorf("the silent runtime delayed the recording: it began after %v", late)
	}
	busy := p.start("busy", []string{"CHOWN"}, forever...)
	p.exec(busy, "chown", "5", "/tmp")
	short := p.run("short", []string{"SYS_CHROOT"}, "chroot", "/", "true")
	mustExecute(t, "docker", "run", "--name=cri-docker", "--label=app=beside", "bb", "chroot", "/", "true")
	t.Cleanup(func() { mustExecute(t, "docker", "rm", "cri-docker") }) // later, so that capmon can still inspect it
	r := observation.interrupt()
	got := parseReport(t, r)
	if len(got) != 3 {
		t.Errorf("got %d containers, wanted 3: %+v", len(got), got)
	}
	p.check(only(t, got, "cri-beside/web/busy"), busy, caps("CHOWN"))
	p.check(only(t, got, "cri-beside/web/short"), short, caps("SYS_CHROOT"))
	if docker := only(t, got, "cri-docker"); docker.Engine != "" || docker.Namespace != "" || docker.EngineError != "" {
		t.Errorf("%+v", docker)
	}
	if !strings.Contains(r.stderr, "cri at unix://") || !strings.Contains(r.stderr, "does not answer") {
		t.Errorf("no caution about the silent runtime: %s", r.stderr)
	}
}

func TestDoctorOfANode(t *testing.T) {
	t.Parallel()
	n := newKubernetesNode(t)
	silent := silentSocket(t)
	command := []string{"env", "-u", "DOCKER_HOST", "CONTAINERD_ADDRESS=" + n.address, "CONTAINER_RUNTIME_ENDPOINT=" + silent, binary, "doctor", "-o", "json"}
	d := diagnose(t, (*exec.Cmd).Start, command...)
	d.check(t, "containerd", doctor.OK, "at unix://"+n.address, "")
	d.check(t, "cri", doctor.Warning, silent, "start the engine at unix://"+silent)
	if r := execute(t, command...); r.code != exitDone {
		t.Errorf("exit code %d: %s", r.code, r.stdout)
	}
}
