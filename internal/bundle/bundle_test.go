package bundle

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/kubernetes"
	"github.com/capmon/capmon/internal/testutil"
)

var (
	one   = strings.Repeat("1a", 32)
	other = strings.Repeat("2b", 32)
	pod   = strings.Repeat("3c", 32)
)

// configOf returns a config.json with the parts that this package reads, in the form in which Podman 4.3 writes it.
func configOf(cgroupsPath, annotations string) string {
	return `{"ociVersion": "1.0.2-dev",
		"process": {"user": {"uid": 7, "gid": 8, "umask": 18, "additionalGids": [8]}, "args": ["/catatonit", "-P"], "cwd": "/",
			"capabilities": {"bounding": ["CAP_CHOWN", "CAP_NET_RAW"], "effective": ["CAP_CHOWN"], "permitted": ["CAP_CHOWN"]},
			"noNewPrivileges": true},
		"root": {"path": "/var/lib/containers/storage/overlay/1/merged"}, "hostname": "1a1a1a1a1a1a",
		"annotations": {` + annotations + `},
		"linux": {"cgroupsPath": "` + cgroupsPath + `", "seccomp": {"defaultAction": "SCMP_ACT_ERRNO"},
			"namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}]}}`
}

func parsed(t *testing.T, engine, config string) Bundle {
	t.Helper()
	return parsedIn(t, Bundle{Engine: engine, Namespace: kubernetesNamespace}, config)
}

// parsedIn is parsed for a bundle with fields from its caller.
func parsedIn(t *testing.T, b Bundle, config string) Bundle {
	t.Helper()
	var spec specs.Spec
	if err := json.Unmarshal([]byte(config), &spec); err != nil {
		t.Fatal(err)
	}
	b.ID = one
	if err := b.parse(&spec); err != nil {
		t.Fatal(err)
	}
	b.readAnnotations()
	return b
}

func TestParse(t *testing.T) {
	b := parsed(t, Podman, configOf("/libpod_parent/libpod-"+one, `"io.container.manager": "libpod", "io.podman.annotations.privileged": "FALSE", "io.kubernetes.cri-o.Created": "2026-11-30T10:54:33.3412777Z"`))
	if *b.Bounding != capability.Of(capability.Chown, capability.NetRaw) || *b.Permitted != capability.Of(capability.Chown) || !b.Ambient.Empty() {
		t.Errorf("capabilities: %v %v %v", b.Bounding, b.Permitted, b.Ambient)
	}
	if b.User != "7:8" || !b.NoNewPrivileges || !b.Seccomp || b.Privileged || b.HostPIDs || b.HostNetwork || b.Sandbox || b.Pod != "" || !b.Created.IsZero() {
		t.Errorf("%+v", b)
	}
}

// A pod can be in the namespaces of the host, and its containers share them by path.
func TestNamespacesAtAPath(t *testing.T) {
	own := "/proc/" + strconv.Itoa(os.Getpid()) + "/ns/"
	if !isSameNamespace("/proc/self/ns/net", own+"net") || isSameNamespace(own+"uts", own+"net") {
		t.Error("confused namespaces")
	}
	_, err := os.Stat("/proc/1/ns/net")
	for _, test := range []struct {
		pid, network string
		host         bool
	}{
		{"/proc/1/ns/pid", "/proc/1/ns/net", err == nil}, // this process may lack a capability that init has
		{own + "uts", own + "uts", false},
		{"/proc/0/ns/pid", "/proc/0/ns/net", false},
	} {
		spec := fmt.Sprintf(`{"process": {}, "linux": {"namespaces": [{"type": "pid", "path": %q}, {"type": "network", "path": %q}]}}`, test.pid, test.network)
		b, err := Parse(Containerd, "k8s.io", one, []byte(spec))
		if err != nil || b.HostPIDs != test.host || b.HostNetwork != test.host {
			t.Errorf("%+v: host's pid namespace %t, network %t, error %v", test, b.HostPIDs, b.HostNetwork, err)
		}
	}
}

func TestParseRejects(t *testing.T) {
	for name, config := range map[string]string{
		"no process":        `{"linux": {}}`,
		"no Linux":          `{"process": {}}`,
		"an empty document": `{}`,
	} {
		var spec specs.Spec
		if err := json.Unmarshal([]byte(config), &spec); err != nil {
			t.Fatal(err)
		}
		if err := new(Bundle).parse(&spec); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// Podman 5 sets the annotation only for privileged containers, and copies the annotations of images.
func TestImagesCannotPassForPrivileged(t *testing.T) {
	forged := configOf("/libpod_parent/libpod-"+one, `"io.podman.annotations.privileged": "TRUE"`)
	if b := parsed(t, Podman, forged); b.Privileged {
		t.Error("a container with a seccomp filter is privileged")
	}
	if b := parsed(t, Podman, strings.Replace(forged, `"seccomp"`, `"none"`, 1)); !b.Privileged {
		t.Error("a container without a seccomp filter is not privileged")
	}
}

// Users of Kubernetes can add any names, of any size. The runtime ignores those that it does not know. They must not
// hide the name and the grants of the container.
func TestUnknownCapabilitiesAreNotGranted(t *testing.T) {
	for _, name := range []string{"CAP_NONSENSE", "\\u001b[31m", "ALL", "CAP_ALL", "SYS_ADMIN", "21", "CAP_63", "", strings.Repeat("x", 10<<20)} {
		b := parsed(t, Runc, `{"linux": {}, "process": {"capabilities": {"bounding": ["CAP_CHOWN", "`+name+`", "CAP_KILL"]}}}`)
		if want := capability.Of(capability.Chown, capability.Kill); b.Bounding == nil || *b.Bounding != want {
			t.Errorf("%.30q: %v", name, b.Bounding)
		}
	}
}

// Unknown grants are not the same as no grants.
func TestCapabilitiesThatAreNotSet(t *testing.T) {
	if b := parsed(t, Runc, `{"linux": {}, "process": {}}`); b.Bounding != nil {
		t.Errorf("bounding: %v", b.Bounding)
	}
}

func TestPodsAndSandboxes(t *testing.T) {
	member := `"io.kubernetes.cri-o.ContainerType": "container", "io.kubernetes.cri-o.SandboxID": "` + other + `"`
	forged := `"io.kubernetes.cri-o.ContainerType": "sandbox", "io.kubernetes.cri-o.SandboxID": "` + other + `"`
	crioSandbox := `"io.kubernetes.cri-o.ContainerType": "sandbox", "io.kubernetes.cri-o.SandboxID": "` + one + `"`
	criForged := `"io.kubernetes.cri.container-type": "sandbox", "io.kubernetes.cri.sandbox-id": "` + other + `"`
	empty := `"io.kubernetes.cri-o.ContainerType": "", "io.kubernetes.cri-o.SandboxID": ""`
	for _, test := range []struct {
		name, engine, cgroup, annotations string
		pod                               string
		sandbox                           bool
	}{
		{"a member, empty annotations of its image", Podman, "/libpod_parent/" + pod + "/libpod-" + one, empty, pod, false},
		{"CRI-O, annotations of its image", CRIO, "kubepods-pod1.slice:crio:" + one, forged, other, false},
		{"containerd, annotations of its image", Containerd, "/kubepods/pod1/" + one, criForged, other, false},
		{"a member, cgroupfs", Podman, "/libpod_parent/" + pod + "/libpod-" + one, member, pod, false},
		{"infra, cgroupfs", Podman, "/libpod_parent/" + pod + "/libpod-" + one, "", pod, true},
		{"a member, systemd", Podman, "machine-libpod_pod_" + pod + ".slice:libpod:" + one, member, pod, false},
		{"infra, systemd", Podman, "machine-libpod_pod_" + pod + ".slice:libpod:" + one, "", pod, true},
		{"no pod", Podman, "/libpod_parent/libpod-" + one, "", "", false},
		{"no pod, systemd", Podman, "machine.slice:libpod:" + one, "", "", false},
		{"no pod, annotations of its image", Podman, "/libpod_parent/libpod-" + one, forged, "", false},
		{"a member, annotations of its image", Podman, "/libpod_parent/" + pod + "/libpod-" + one, forged, pod, false},
		{"CRI-O, sandbox", CRIO, "kubepods-pod1.slice:crio:" + one, crioSandbox, one, true},
		{"CRI-O, member", CRIO, "kubepods-pod1.slice:crio:" + one, member, other, false},
		{"containerd, sandbox", Containerd, "/kubepods/pod1/" + one, `"io.kubernetes.cri.container-type": "sandbox", "io.kubernetes.cri.sandbox-id": "` + one + `"`, one, true},
		{"containerd, member", Containerd, "/kubepods/pod1/" + one, `"io.kubernetes.cri.container-type": "container", "io.kubernetes.cri.sandbox-id": "` + other + `"`, other, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := parsed(t, test.engine, configOf(test.cgroup, test.annotations))
			if b.Pod != test.pod || b.Sandbox != test.sandbox {
				t.Errorf("pod %q, sandbox %v; want %q, %v", b.Pod, b.Sandbox, test.pod, test.sandbox)
			}
		})
	}
}

// A workload in the cgroup of a pod is not a sandbox. Users can choose the cgroup above a container (--cgroup-parent).
func TestWorkloadsAreNoSandboxes(t *testing.T) {
	config := strings.Replace(configOf("/libpod_parent/"+pod+"/libpod-"+one, ""), "/catatonit", "/bin/sh", 1)
	if b := parsed(t, Podman, config); b.Sandbox || b.Pod != pod {
		t.Errorf("%+v", b)
	}
}

// nerdctl makes annotations of the labels of images. So an image can have the annotations of containerd's CRI plugin.
func TestImagesCannotNameContainersOfContainerd(t *testing.T) {
	cri := `"io.kubernetes.cri.container-name": "victim", "io.kubernetes.cri.image-name": "other", "io.kubernetes.cri.container-type": "sandbox", "io.kubernetes.cri.sandbox-id": "` + other + `"`
	nerdctl := `"nerdctl/namespace": "x", "nerdctl/name": "web", "nerdctl/image-name": "bb", `
	for _, test := range []struct{ namespace, annotations, name, pod string }{
		{"k8s.io", cri, "victim", other},
		{"k8s.io", nerdctl + cri, "k8s.io/web", ""},
		{"prod", nerdctl + cri, "prod/web", ""},
		{"default", nerdctl + cri, "web", ""},
		{"default", cri, "", ""},
		{"k8s.io", `"nerdctl/name": "victim"`, "", ""}, // ctr makes annotations of labels
	} {
		b := parsedIn(t, Bundle{Engine: Containerd, Namespace: test.namespace}, configOf("/x/"+one, test.annotations))
		if b.Name != test.name || b.Pod != test.pod || b.Sandbox {
			t.Errorf("%+v: %q %q %v", test, b.Name, b.Pod, b.Sandbox)
		}
	}
}

func TestCgroup(t *testing.T) {
	for cgroupsPath, want := range map[string]string{
		"/libpod_parent/libpod-" + one:                       "/libpod_parent/libpod-" + one,
		"/libpod_parent/" + pod + "/libpod-" + one:           "/libpod_parent/" + pod + "/libpod-" + one,
		"/system.slice/web.service/libpod-payload-" + one:    "/system.slice/web.service/libpod-payload-" + one,
		"machine.slice:libpod:" + one:                        "/machine.slice/libpod-" + one + ".scope",
		"machine-libpod_pod_" + pod + ".slice:libpod:" + one: "/machine.slice/machine-libpod_pod_" + pod + ".slice/libpod-" + one + ".scope",
		"kubepods-burstable-pod1.slice:crio:" + one:          "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/crio-" + one + ".scope",
		":cri-containerd:" + one:                             "/system.slice/cri-containerd-" + one + ".scope",
		"machine.slice::" + one:                              "/machine.slice/" + one + ".scope",
		"machine.slice:" + one:                               "",
		"-.slice:libpod:" + one:                              "/libpod-" + one + ".scope",
		"default/" + one:                                     "/default/" + one,
		"/../../x":                                           "/x",
		"":                                                   "",
	} {
		b := Bundle{CgroupsPath: cgroupsPath}
		if got := b.Cgroup(); got != want {
			t.Errorf("%q: %q, want %q", cgroupsPath, got, want)
		}
	}
}

func TestConmon(t *testing.T) {
	bundle := "/var/lib/containers/storage/overlay-containers/" + one + "/userdata"
	arguments := func(more ...string) []string {
		return append([]string{"/usr/bin/conmon", "--api-version", "1", "-c", one, "-u", one, "-r", "/usr/bin/runc", "-n", "web", "-p", "/run/containers/storage/overlay-containers/" + one + "/userdata/pidfile", "--full-attach"}, more...)
	}
	for _, test := range []struct {
		name       string
		executable string
		arguments  []string
		want       string
	}{
		{"Podman", "/usr/bin/conmon", arguments("-b", bundle, "--exit-command", "/usr/bin/podman", "--exit-command-arg", "-e"), bundle},
		{"the long options", "/usr/libexec/podman/conmon", []string{"conmon", "--cid=" + one, "--bundle", bundle}, bundle},
		{"podman exec", "/usr/bin/conmon", arguments("-b", bundle+"/"+other, "-e"), bundle},
		{"CRI-O's exec", "/usr/bin/conmon", arguments("-b", bundle, "-e"), bundle},
		{"another container", "/usr/bin/conmon", []string{"conmon", "-c", other, "-b", bundle}, ""},
		{"options of another command", "/usr/bin/conmon", []string{"conmon", "--exit-command", "x", "-c", one, "-b", bundle}, ""},
		{"another program", "/usr/bin/sleep", arguments("-b", bundle), ""},
		{"no bundle", "/usr/bin/conmon", arguments(), ""},
		{"a relative bundle", "/usr/bin/conmon", arguments("-b", "userdata"), ""},
		{"no arguments", "/usr/bin/conmon", nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			found, ok := process{executable: test.executable, arguments: test.arguments}.caller(one)
			if ok != (test.want != "") || ok && found.bundle != test.want {
				t.Errorf("%+v %v, want %q", found, ok, test.want)
			}
		})
	}
}

func TestShim(t *testing.T) {
	const tasks = "/run/containerd/io.containerd.runtime.v2.task/"
	for _, test := range []struct {
		name, namespace, own, directory string
		want                            caller
	}{
		{"nerdctl", "default", one, tasks + "default/" + one, caller{engine: Containerd, namespace: "default", bundle: tasks + "default/" + one}},
		{"a member of a pod", "k8s.io", other, tasks + "k8s.io/" + other, caller{engine: Containerd, namespace: "k8s.io", bundle: tasks + "k8s.io/" + one}},
		{"Docker", "moby", one, "/var/tmp/d/exec/containerd-state/io.containerd.runtime.v2.task/moby/" + one, caller{engine: Docker, namespace: "moby", bundle: "/var/tmp/d/exec/containerd-state/io.containerd.runtime.v2.task/moby/" + one}},
		{"another namespace's directory", "default", one, tasks + "k8s.io/" + one, caller{}},
		{"another directory", "default", one, "/root", caller{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := process{executable: "/usr/bin/containerd-shim-runc-v2", directory: test.directory, arguments: []string{"/usr/bin/containerd-shim-runc-v2", "-namespace", test.namespace, "-id", test.own, "-address", "/run/containerd/containerd.sock"}}
			found, ok := p.caller(one)
			found.process = process{}
			if ok != (test.want.bundle != "") || ok && !reflect.DeepEqual(found, test.want) {
				t.Errorf("%+v %v, want %+v", found, ok, test.want)
			}
		})
	}
}

func TestRecords(t *testing.T) {
	testutil.NeedRoot(t)
	root := t.TempDir()
	volatile := strings.Repeat("4d", 32)
	containers := "/storage/overlay-containers"
	write(t, root, containers+"/containers.json", `[{"id": "`+one+`", "names": ["web2"], "image": "`+other+`", "layer": "x",
		"metadata": "{\"image-name\":\"localhost/bb:latest\",\"image-id\":\"`+other+`\",\"name\":\"web\",\"created-at\":1796036073}",
		"created": "2026-11-30T10:54:33.380537696Z", "flags": {"MountLabel": ""}}]`)
	write(t, root, "/run/overlay-containers/volatile-containers.json", `[{"id": "`+other+`", "names": ["short"], "metadata": "no document"}]`)
	write(t, root, containers+"/volatile-containers.json", `[{"id": "`+volatile+`", "names": ["short5"], "created": "2026-11-30T10:54:34Z"}]`)
	s := newStorage()
	find := func(id string) (b Bundle, err error) {
		r, err := s.find(caller{root: root, bundle: containers + "/" + id + "/userdata", pidFile: "/run/overlay-containers/" + id + "/userdata/pidfile"}, id)
		b.addRecord(r)
		return b, err
	}
	if b, err := find(one); err != nil || b.Name != "web2" || b.Image != "localhost/bb:latest" || b.ImageID != "sha256:"+other || b.Created.UnixNano() != 1796036073380537696 {
		t.Errorf("%+v %v", b, err)
	}
	if b, err := find(other); err != nil || b.Name != "short" || b.Image != "" || b.ImageID != "" {
		t.Errorf("of podman run --rm: %+v %v", b, err)
	}
	if b, err := find(volatile); err != nil || b.Name != "short5" || b.Created.IsZero() {
		t.Errorf("of podman run --rm, Podman 5: %+v %v", b, err)
	}
	if _, err := find(pod); err == nil {
		t.Error("a container that has no record")
	}
	write(t, root, containers+"/containers.json.new", `[{"id": "`+one+`", "names": ["web3"]}]`)
	if err := os.Rename(filepath.Join(root, containers, "containers.json.new"), filepath.Join(root, containers, "containers.json")); err != nil {
		t.Fatal(err)
	}
	if b, err := find(one); err != nil || b.Name != "web3" {
		t.Errorf("after a change: %+v %v", b, err)
	}
}

func write(t *testing.T, root, name, text string) {
	t.Helper()
	name = filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestTrustedFiles(t *testing.T) {
	testutil.NeedRoot(t)
	root := t.TempDir()
	make := func(name string, mode os.FileMode, uid int) string {
		write(t, root, name, name)
		for _, path := range []string{name, filepath.Dir(name)} {
			path = filepath.Join(root, path)
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
			if err := os.Chown(path, uid, 0); err != nil {
				t.Fatal(err)
			}
		}
		return name
	}
	link := func(target, name string, uid int) string {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
		if err := os.Lchown(filepath.Join(root, name), uid, 0); err != nil {
			t.Fatal(err)
		}
		return name
	}
	good := make("/good/file", 0o755, 0)
	for name, path := range map[string]string{
		"plain":                          good,
		"dots":                           "/./good/../good//file",
		"above the root directory":       "/../../good/file",
		"a link of root":                 link("good/file", "/link", 0),
		"an absolute link":               link("/good", "/absolute", 0) + "/file",
		"a link upwards":                 link("../../../../good", "/good/up", 0) + "/file",
		"a directory with a sticky bit":  make("/sticky/file", 0o755, 0),
		"a directory that only root has": make("/private/file", 0o700, 0),
	} {
		if name == "a directory with a sticky bit" {
			if err := os.Chmod(filepath.Join(root, "sticky"), 0o777|os.ModeSticky); err != nil {
				t.Fatal(err)
			}
		}
		if data, err := readTrusted(root, path, 100); err != nil || !strings.HasSuffix(string(data), "/file") {
			t.Errorf("%s: %q %v", name, data, err)
		}
	}
	fifo := "/good/fifo"
	if err := unix.Mkfifo(filepath.Join(root, fifo), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{
		"of another user":      make("/user/file", 0o755, 1000),
		"writable for others":  make("/open/file", 0o777, 0),
		"writable for a group": make("/group/file", 0o775, 0),
		"with a sticky bit":    make("/bit/file", 0o755, 0),
		"a link of a user":     link("good/file", "/userlink", 1000),
		"a link to a user's":   link("user/file", "/tolink", 0),
		"a loop":               link("loop", "/loop", 0),
		"a directory":          "/good",
		"a pipe":               fifo,
		"below a file":         "/good/file/x",
		"missing":              "/good/missing",
	} {
		if name == "with a sticky bit" {
			if err := os.Chmod(filepath.Join(root, path), 0o666|os.ModeSticky); err != nil {
				t.Fatal(err)
			}
		}
		if data, err := readTrusted(root, path, 100); err == nil {
			t.Errorf("%s: read %q", name, data)
		}
	}
	if _, err := readTrusted(root, good, 3); !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), "file: the file is too large: it has 10 bytes") {
		t.Errorf("a file that is too large: %v", err)
	}
}

func FuzzConmonArguments(f *testing.F) {
	f.Add("conmon\x00-c\x00" + one + "\x00-b\x00/x/userdata\x00-e")
	f.Fuzz(func(t *testing.T, arguments string) {
		found, ok := process{executable: "/usr/bin/conmon", arguments: strings.Split(arguments, "\x00")}.caller(one)
		if ok && (!strings.HasPrefix(found.bundle, "/") || !strings.Contains(arguments, one)) {
			t.Fatalf("%q: %+v", arguments, found)
		}
	})
}

func TestPodsOfKubernetes(t *testing.T) {
	cri := func(kind, pod string) string {
		return `"io.kubernetes.cri.container-type": "` + kind + `", "io.kubernetes.cri.sandbox-id": "` + pod + `",
			"io.kubernetes.cri.sandbox-namespace": "pay", "io.kubernetes.cri.sandbox-name": "web-1", "io.kubernetes.cri.sandbox-uid": "7"`
	}
	crio := func(kind, pod, name string) string {
		return `"io.kubernetes.cri-o.ContainerType": "` + kind + `", "io.kubernetes.cri-o.SandboxID": "` + pod + `", "io.kubernetes.container.name": "` + name + `",
			"io.kubernetes.pod.namespace": "pay", "io.kubernetes.pod.name": "web-1", "io.kubernetes.pod.uid": "7"`
	}
	for _, test := range []struct{ name, engine, annotations, want, container string }{
		{"containerd", Containerd, cri("container", other) + `, "io.kubernetes.cri.container-name": "main"`, "pay/web-1/main", "main"},
		{"containerd, sandbox", Containerd, cri("sandbox", one), "pay/web-1", ""},
		{"CRI-O", CRIO, crio("container", other, "main"), "pay/web-1/main", "main"},
		{"CRI-O, sandbox", CRIO, crio("sandbox", one, "POD"), "pay/web-1", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := parsed(t, test.engine, configOf("/kubepods/pod7/"+one, test.annotations))
			if want := (kubernetes.Pod{Namespace: "pay", Name: "web-1", UID: "7"}); b.Name != test.want || b.Kubernetes != want {
				t.Errorf("%q, %+v", b.Name, b.Kubernetes)
			}
			if got := b.Labels[kubernetes.ContainerLabel]; got != test.container || b.Labels[kubernetes.NamespaceLabel] != "pay" {
				t.Errorf("labels %v", b.Labels)
			}
		})
	}
}

func TestReadMonitor(t *testing.T) {
	for _, test := range []struct {
		arguments, id, name string
		ok                  bool
	}{
		{"/usr/bin/conmon --api-version 1 -c " + one + " -u " + one + " -r /usr/sbin/runc -b /run/x -n web --exit-command /usr/bin/podman -c other -n other", one, "web", true},
		{"conmon --cid=" + one + " --name=web", one, "web", true},
		{"conmon -c " + one + " -b /run/tr", one, "", true},
		{"conmon -c " + one + " -u " + other + " -n web -e --exec-attach", one, "web", false},
		{"conmon --version", "", "", false},
		{"", "", "", false},
	} {
		id, name, ok := ReadMonitor(strings.Split(test.arguments, " "))
		if id != test.id || name != test.name || ok != test.ok {
			t.Errorf("%q: %q %q %v", test.arguments, id, name, ok)
		}
	}
}
