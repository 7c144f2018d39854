package container

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/kubernetes"
)

// fakeRuntime is a runtime with the containers that a test gives it. It answers as containerd 1.6 does.
type fakeRuntime struct {
	runtime.UnimplementedRuntimeServiceServer
	runtime.UnimplementedImageServiceServer
	t *testing.T

	mu         sync.Mutex
	name       string
	hangs      bool
	pods       map[string]*runtime.PodSandboxStatus
	containers map[string]*fakeContainer
	requests   int
}

type fakeContainer struct {
	pod    string
	status *runtime.ContainerStatus
	info   string
}

// serve serves the runtime at a socket, and returns a client.
func (f *fakeRuntime) serve() *CRI {
	f.t.Helper()
	path := filepath.Join(f.t.TempDir(), "cri.sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		f.t.Fatal(err)
	}
	server := grpc.NewServer()
	runtime.RegisterRuntimeServiceServer(server, f)
	runtime.RegisterImageServiceServer(server, f)
	go func() { _ = server.Serve(listener) }()
	f.t.Cleanup(server.Stop)
	c, err := ConnectCRI(path)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = c.Close() })
	return c
}

// begin begins a request. The caller ends it with the result.
func (f *fakeRuntime) begin(ctx context.Context) func() {
	f.mu.Lock()
	f.requests++
	if f.hangs {
		f.mu.Unlock()
		<-ctx.Done()
		f.mu.Lock()
	}
	return f.mu.Unlock
}

func (f *fakeRuntime) Version(ctx context.Context, _ *runtime.VersionRequest) (*runtime.VersionResponse, error) {
	defer f.begin(ctx)()
	return &runtime.VersionResponse{RuntimeName: f.name, RuntimeVersion: "v1.2", RuntimeApiVersion: "v1"}, nil
}

func (f *fakeRuntime) ListContainers(ctx context.Context, _ *runtime.ListContainersRequest) (*runtime.ListContainersResponse, error) {
	defer f.begin(ctx)()
	answer := new(runtime.ListContainersResponse)
	for _, one := range f.containers {
		answer.Containers = append(answer.Containers, &runtime.Container{
			Id: one.status.GetId(), PodSandboxId: one.pod, Metadata: one.status.GetMetadata(), Image: one.status.GetImage(),
			State: one.status.GetState(), CreatedAt: one.status.GetCreatedAt(), Labels: one.status.GetLabels(),
		})
	}
	return answer, nil
}

func (f *fakeRuntime) ListPodSandbox(ctx context.Context, _ *runtime.ListPodSandboxRequest) (*runtime.ListPodSandboxResponse, error) {
	defer f.begin(ctx)()
	answer := new(runtime.ListPodSandboxResponse)
	for _, one := range f.pods {
		answer.Items = append(answer.Items, &runtime.PodSandbox{
			Id: one.GetId(), Metadata: one.GetMetadata(), State: one.GetState(), CreatedAt: one.GetCreatedAt(), Labels: one.GetLabels(), Annotations: one.GetAnnotations(),
		})
	}
	return answer, nil
}

func (f *fakeRuntime) ContainerStatus(ctx context.Context, request *runtime.ContainerStatusRequest) (*runtime.ContainerStatusResponse, error) {
	defer f.begin(ctx)()
	one, ok := f.containers[request.GetContainerId()]
	if !ok {
		return nil, status.Error(codes.NotFound, "no such container")
	}
	return &runtime.ContainerStatusResponse{Status: one.status, Info: map[string]string{"info": one.info}}, nil
}

func (f *fakeRuntime) PodSandboxStatus(ctx context.Context, request *runtime.PodSandboxStatusRequest) (*runtime.PodSandboxStatusResponse, error) {
	defer f.begin(ctx)()
	one, ok := f.pods[request.GetPodSandboxId()]
	if !ok {
		return nil, status.Error(codes.NotFound, "no such pod")
	}
	answer := &runtime.PodSandboxStatusResponse{Status: one}
	if request.GetVerbose() {
		answer.Info = map[string]string{"info": verbose(one.GetId(), "sandbox")}
	}
	return answer, nil
}

func (f *fakeRuntime) ImageStatus(ctx context.Context, request *runtime.ImageStatusRequest) (*runtime.ImageStatusResponse, error) {
	defer f.begin(ctx)()
	return &runtime.ImageStatusResponse{Image: &runtime.Image{
		Id: "sha256:configuration", RepoTags: []string{"docker.io/library/bb:1"}, RepoDigests: []string{"docker.io/library/bb@sha256:manifest"},
	}}, nil
}

// GetContainerEvents would take the events away from the kubelet.
func (f *fakeRuntime) GetContainerEvents(*runtime.GetEventsRequest, grpc.ServerStreamingServer[runtime.ContainerEventResponse]) error {
	f.t.Error("capmon requested the events of the CRI")
	return nil
}

// verbose returns the verbose information about a container in the pod podID.
func verbose(pod, kind string) string {
	return fmt.Sprintf(`{"sandboxID": %q, "pid": 0, "runtimeSpec": {
		"process": {"capabilities": {"bounding": ["CAP_CHOWN"]}, "user": {"uid": 7, "gid": 8}},
		"linux": {"cgroupsPath": "/kubepods/pod1/x", "namespaces": [{"type": "pid"}, {"type": "network", "path": "/proc/7/ns/net"}]},
		"annotations": {"io.kubernetes.cri.container-type": %q, "io.kubernetes.cri.sandbox-id": %q}
	}, "config": {"linux": {"security_context": {"privileged": true}}}}`, pod, kind, pod)
}

var (
	podID   = strings.Repeat("a0", 32)
	mainID  = strings.Repeat("b1", 32)
	endedID = strings.Repeat("c2", 32)
)

// newFakeRuntime returns a runtime with a pod that has a running container and one that has ended.
func newFakeRuntime(t *testing.T) *fakeRuntime {
	node := &runtime.LinuxPodSandboxStatus{Namespaces: &runtime.Namespace{Options: &runtime.NamespaceOption{Network: runtime.NamespaceMode_NODE}}}
	f := &fakeRuntime{t: t, name: "containerd", containers: make(map[string]*fakeContainer), pods: map[string]*runtime.PodSandboxStatus{podID: {
		Id: podID, Metadata: &runtime.PodSandboxMetadata{Name: "web-7d9f-x2x4q", Namespace: "pay", Uid: "u1"}, CreatedAt: 1e9,
		Labels: map[string]string{"app": "web", "pod-template-hash": "7d9f", kubernetes.PodLabel: "victim"}, Linux: node,
	}}}
	f.add(mainID, "main", runtime.ContainerState_CONTAINER_RUNNING)
	f.add(endedID, "init", runtime.ContainerState_CONTAINER_EXITED)
	return f
}

func (f *fakeRuntime) add(id, name string, state runtime.ContainerState) {
	one := &runtime.ContainerStatus{
		Id: id, Metadata: &runtime.ContainerMetadata{Name: name}, State: state, CreatedAt: 2e9, StartedAt: 3e9,
		Image: &runtime.ImageSpec{Image: "sha256:configuration"}, ImageRef: "docker.io/library/bb@sha256:manifest",
		Labels: map[string]string{kubernetes.ContainerLabel: "victim", "own": "1"},
	}
	if state == runtime.ContainerState_CONTAINER_EXITED {
		one.FinishedAt, one.ExitCode = 4e9, 3
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.containers[id] = &fakeContainer{podID, one, verbose(podID, "container")}
}

func (f *fakeRuntime) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func TestContainersOfTheCRI(t *testing.T) {
	t.Parallel()
	c := newFakeRuntime(t).serve()
	want := kubernetes.Pod{Namespace: "pay", Name: "web-7d9f-x2x4q", UID: "u1", Owner: "Deployment/web"}
	check := func(info Info, name string, sandbox bool) {
		t.Helper()
		if info.Name != name || info.Sandbox != sandbox || info.Pod != podID || info.Kubernetes != want || info.Engine != "containerd" {
			t.Errorf("%+v", info)
		}
		if info.Labels["app"] != "web" || info.Labels[kubernetes.PodLabel] != want.Name || info.Labels[kubernetes.ContainerLabel] == "victim" {
			t.Errorf("%s has the labels %v", name, info.Labels)
		}
	}
	names := map[string]string{podID: "pay/web-7d9f-x2x4q", mainID: "pay/web-7d9f-x2x4q/main", endedID: "pay/web-7d9f-x2x4q/init"}
	all, err := c.List(t.Context(), true)
	if err != nil || len(all) != len(names) {
		t.Fatalf("%v, %+v", err, all)
	}
	for _, info := range all {
		check(info, names[info.ID], info.ID == podID)
	}
	running, err := c.List(t.Context(), false)
	if err != nil || len(running) != 2 || slices.ContainsFunc(running, func(info Info) bool { return info.ID == endedID }) {
		t.Errorf("running: %v, %+v", err, running)
	}
	for id, name := range names {
		info, err := c.Inspect(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		check(info, name, id == podID)
		if byName, err := c.Inspect(t.Context(), name); err != nil || byName.ID != id {
			t.Errorf("%s: %v, %+v", name, err, byName)
		}
		if *info.Granted != capability.Of(capability.Chown) || info.NetworkMode != "host" || info.PidMode != "" || !info.Inspected || info.User != "7:8" || !info.Privileged {
			t.Errorf("%s: %+v", name, info)
		}
		if id != podID && (info.Image != "docker.io/library/bb:1" || info.ImageID != "sha256:configuration" || info.ImageDigest != "sha256:manifest") {
			t.Errorf("%s: image %q, %q, %q", name, info.Image, info.ImageID, info.ImageDigest)
		}
	}
	for _, id := range []string{strings.Repeat("f", 64), "pay/web", "\x1b[31m", ""} {
		if _, err := c.Inspect(t.Context(), id); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: %v", id, err)
		}
	}
}

// The runtime must not take what it does not report for Docker's defaults.
func TestCRIWithoutSpecification(t *testing.T) {
	t.Parallel()
	f := newFakeRuntime(t)
	c := f.serve()
	for _, info := range []string{"", "null", `{"pid": 7}`, `{"runtimeSpec": {}}`, `{"runtimeSpec": {"linux": {}, "process": {}}}`, strings.Repeat("[", 1<<20)} {
		f.set(func() { f.containers[mainID].info = info })
		if got, err := c.Inspect(t.Context(), mainID); err == nil {
			t.Errorf("%.30q: %+v", info, got)
		}
	}
}

func TestEventsOfTheCRI(t *testing.T) {
	t.Parallel()
	f := newFakeRuntime(t)
	c := f.serve()
	events, errs := c.Events(t.Context(), time.Unix(0, 0))
	next := func(want EventType, id string) Event {
		t.Helper()
		select {
		case event := <-events:
			if event.Type != want || event.ID != id {
				t.Fatalf("%+v, wanted %s of %s", event, want, id)
			}
			return event
		case err := <-errs:
			t.Fatal(err)
		case <-time.After(time.Minute):
			t.Fatalf("no event %s", want)
		}
		return Event{}
	}
	if end := next(Died, endedID); end.ExitStatus == nil || *end.ExitStatus != 3 || !end.Time.Equal(time.Unix(4, 0)) {
		t.Errorf("%+v", end)
	}
	newID := strings.Repeat("d3", 32)
	f.add(newID, "new", runtime.ContainerState_CONTAINER_CREATED)
	if created := next(Created, newID); created.Name != "pay/web-7d9f-x2x4q/new" || created.Labels["app"] != "web" {
		t.Errorf("%+v", created)
	}
	f.add(newID, "new", runtime.ContainerState_CONTAINER_RUNNING)
	next(Started, newID)
	f.add(newID, "new", runtime.ContainerState_CONTAINER_EXITED)
	if end := next(Died, newID); end.ExitStatus == nil || *end.ExitStatus != 3 {
		t.Errorf("%+v", end)
	}
	f.set(func() { delete(f.containers, newID) })
	next(Removed, newID)
	past, err := c.Past(t.Context(), time.Unix(0, 0), time.Now())
	if err != nil || len(past) != 1 || past[0].ID != endedID {
		t.Errorf("past: %v, %+v", err, past)
	}
	if past, err := c.Past(t.Context(), time.Unix(5, 0), time.Now()); err != nil || len(past) != 0 {
		t.Errorf("later: %v, %+v", err, past)
	}
}

func TestCRIThatHangs(t *testing.T) {
	t.Parallel()
	f := newFakeRuntime(t)
	c := f.serve()
	f.set(func() { f.hangs = true })
	ctx, cancel := context.WithTimeout(t.Context(), 3*criTimeout)
	defer cancel()
	events, errs := c.Events(ctx, time.Time{})
	select {
	case event := <-events:
		t.Errorf("%+v", event)
	case err := <-errs:
		if err == nil {
			t.Error("the events ended without an error")
		}
	}
	if _, err := c.Inspect(ctx, mainID); err == nil || ctx.Err() != nil {
		t.Errorf("Inspect: %v, %v", err, ctx.Err())
	}
}

// containerd reports its containers even if its CRI plugin hangs.
func TestCRIPluginThatHangs(t *testing.T) {
	t.Parallel()
	f := newFakeRuntime(t)
	var cautions []error
	plugin := &criPlugin{CRI: f.serve(), caution: func(err error) { cautions = append(cautions, err) }, infos: make(map[string]Info)}
	info := Info{ID: mainID, Name: "pay/web-7d9f-x2x4q/main", Image: "bb", Running: true, Pid: 7, Inspected: true}
	known := plugin.describe(t.Context(), info)
	if known.Labels["app"] != "web" || known.Kubernetes.Owner != "Deployment/web" || known.Pid != 7 || !known.Running {
		t.Errorf("%+v", known)
	}
	list := []Info{info, {ID: "k8s.io/other", Name: "other"}}
	plugin.describeAll(t.Context(), list)
	if list[0].Labels["app"] != "web" || list[1].Name != "other" || list[1].Labels != nil {
		t.Errorf("%+v", list)
	}
	if len(cautions) != 0 {
		t.Errorf("cautions: %v", cautions)
	}

	f.set(func() { f.hangs = true })
	if again := plugin.describe(t.Context(), info); again.Labels["app"] != "web" {
		t.Errorf("what the plugin has reported is forgotten: %+v", again)
	}
	began := time.Now()
	other := Info{ID: endedID, Name: "other"}
	for range 50 {
		if got := plugin.describe(t.Context(), other); got.Name != "other" {
			t.Errorf("%+v", got)
		}
	}
	if took := time.Since(began); took > 10*criPluginTimeout {
		t.Errorf("50 containers took %v", took)
	}
	if len(cautions) != 1 {
		t.Errorf("cautions: %v", cautions)
	}
}

// A containerd without the plugin answers as a server without the service.
func TestContainerdWithoutCRI(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "containerd.sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	c, err := ConnectCRI(path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	plugin := &criPlugin{CRI: c, caution: func(err error) { t.Error(err) }, infos: make(map[string]Info)}
	if got := plugin.describe(t.Context(), Info{ID: mainID, Name: "x"}); got.Name != "x" {
		t.Errorf("%+v", got)
	}
}
