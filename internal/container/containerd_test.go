package container

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/api/services/containers/v1"
	"github.com/containerd/containerd/api/services/namespaces/v1"
	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types/task"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"
)

// fakeContainers is a containerd with one namespace. All its containers run.
type fakeContainers struct {
	namespaces.UnimplementedNamespacesServer
	namespace  string
	containers []*containers.Container
}

func (f *fakeContainers) List(context.Context, *namespaces.ListNamespacesRequest) (*namespaces.ListNamespacesResponse, error) {
	return &namespaces.ListNamespacesResponse{Namespaces: []*namespaces.Namespace{{Name: f.namespace}}}, nil
}

func (f *fakeContainers) find(ctx context.Context, id string) (*containers.Container, error) {
	header, _ := metadata.FromIncomingContext(ctx)
	for _, one := range f.containers {
		if one.GetID() == id && header.Get("containerd-namespace")[0] == f.namespace {
			return one, nil
		}
	}
	return nil, status.Error(codes.NotFound, "no such container")
}

type fakeContainersService struct {
	containers.UnimplementedContainersServer
	*fakeContainers
}

func (f fakeContainersService) Get(ctx context.Context, request *containers.GetContainerRequest) (*containers.GetContainerResponse, error) {
	one, err := f.find(ctx, request.GetID())
	return &containers.GetContainerResponse{Container: one}, err
}

func (f fakeContainersService) List(context.Context, *containers.ListContainersRequest) (*containers.ListContainersResponse, error) {
	return &containers.ListContainersResponse{Containers: f.containers}, nil
}

func (f fakeContainersService) ListStream(_ *containers.ListContainersRequest, stream containers.Containers_ListStreamServer) error {
	for _, one := range f.containers {
		if err := stream.Send(&containers.ListContainerMessage{Container: one}); err != nil {
			return err
		}
	}
	return nil
}

type fakeTasksService struct {
	tasks.UnimplementedTasksServer
	*fakeContainers
}

func (f fakeTasksService) process(id string) *task.Process {
	return &task.Process{ID: id, Pid: 1, Status: task.Status_RUNNING}
}

func (f fakeTasksService) Get(ctx context.Context, request *tasks.GetRequest) (*tasks.GetResponse, error) {
	_, err := f.find(ctx, request.GetContainerID())
	return &tasks.GetResponse{Process: f.process(request.GetContainerID())}, err
}

func (f fakeTasksService) List(context.Context, *tasks.ListTasksRequest) (*tasks.ListTasksResponse, error) {
	answer := &tasks.ListTasksResponse{}
	for _, one := range f.containers {
		answer.Tasks = append(answer.Tasks, f.process(one.GetID()))
	}
	return answer, nil
}

// serveContainers returns a containerd with these containers in a namespace.
func serveContainers(t *testing.T, namespace string, all ...*containers.Container) *Containerd {
	t.Helper()
	address := filepath.Join(t.TempDir(), "containerd.sock")
	listener, err := net.Listen("unix", address)
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeContainers{namespace: namespace, containers: all}
	server := grpc.NewServer()
	namespaces.RegisterNamespacesServer(server, f)
	containers.RegisterContainersServer(server, fakeContainersService{fakeContainers: f})
	tasks.RegisterTasksServer(server, fakeTasksService{fakeContainers: f})
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	c, err := ChooseContainerd(ContainerdOptions{Address: address})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// specOf returns an OCI specification with annotations.
func specOf(annotations string) *anypb.Any {
	return &anypb.Any{Value: []byte(`{"process": {"capabilities": {"bounding": ["CAP_CHOWN"]}}, "linux": {}, "annotations": {` + annotations + `}}`)}
}

// containerd's CRI plugin, nerdctl and ctr copy the labels of an image to the container. nerdctl also makes annotations
// of them. Each adds annotations of its own, which an image cannot remove.
func TestLabelsOfImagesNameNoContainers(t *testing.T) {
	digits := strings.Repeat("1a", 32)
	forged := map[string]string{
		"nerdctl/name": "victim", "nerdctl/namespace": "default", "io.kubernetes.container.name": "victim", "io.cri-containerd.kind": "sandbox",
	}
	cri := `"io.kubernetes.cri.container-type": "container", "io.kubernetes.cri.container-name": "web", "io.kubernetes.cri.sandbox-id": "x"`
	oldCRI := `"io.kubernetes.cri.container-type": "container", "io.kubernetes.cri.sandbox-id": "x"`
	pause := `"io.kubernetes.cri.container-type": "sandbox", "io.kubernetes.cri.sandbox-id": "` + digits + `"`
	nerdctl := `"nerdctl/namespace": "default", "nerdctl/name": "old", `
	renamed := map[string]string{"nerdctl/name": "web", "io.cri-containerd.kind": "sandbox"} // the name is nerdctl's
	for _, test := range []struct {
		about, namespace, id string
		labels               map[string]string
		annotations, name    string
		sandbox              bool
	}{
		{"of Kubernetes", kubernetesNamespace, digits, forged, cri, "web", false},
		{"of an old CRI plugin, which always sets this label", kubernetesNamespace, digits, map[string]string{"nerdctl/name": "victim", "io.kubernetes.container.name": "web"}, oldCRI, "web", false},
		{"a sandbox", kubernetesNamespace, digits, map[string]string{"nerdctl/name": "victim"}, pause, "", true},
		{"of nerdctl", defaultNamespace, digits, renamed, nerdctl + cri, "web", false},
		{"of nerdctl in that of Kubernetes", kubernetesNamespace, digits, renamed, nerdctl + cri, "k8s.io/web", false},
		{"of nerdctl, with a specification that lists leave out", "prod", digits, nil, nerdctl + `"large": "` + strings.Repeat("x", largeSpec) + `"`, "prod/old", false},
		{"of nerdctl in another namespace", "prod", digits, renamed, nerdctl + cri, "prod/web", false},
		{"of ctr", defaultNamespace, "web", forged, "", "web", false},
		{"of ctr, which makes annotations of labels", kubernetesNamespace, "web", forged, `"nerdctl/name": "victim"`, "k8s.io/web", false},
		{"of Docker", dockerNamespace, digits, forged, nerdctl + cri, "", false},
		{"of ctr in another namespace", "prod", "web", forged, "", "prod/web", false},
	} {
		c := serveContainers(t, test.namespace, &containers.Container{ID: test.id, Labels: test.labels, Spec: specOf(test.annotations)})
		all, err := c.List(t.Context(), true)
		if err != nil || len(all) != 1 {
			t.Fatal(all, err)
		}
		info, err := c.Inspect(t.Context(), all[0].ID)
		if err != nil {
			t.Fatal(err)
		}
		for request, got := range map[string]Info{"list": all[0], "inspection": info} {
			if request == "list" && strings.Contains(test.annotations, "large") {
				continue
			}
			if got.Name != test.name || got.Sandbox != test.sandbox {
				t.Errorf("a container %s, %s: name %q, sandbox %v", test.about, request, got.Name, got.Sandbox)
			}
		}
	}
}

// A user of Kubernetes can give a container so much environment that its description exceeds the limit for messages.
func TestOneLargeContainerHidesNoOthers(t *testing.T) {
	large := &anypb.Any{Value: make([]byte, maxGRPCMessage)}
	for i := range large.Value {
		large.Value[i] = ' '
	}
	c := serveContainers(t, defaultNamespace,
		&containers.Container{ID: "attacker", Spec: large}, &containers.Container{ID: "victim", Spec: specOf("")})
	all, err := c.List(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, info := range all {
		names = append(names, info.Name)
	}
	if got := strings.Join(names, " "); got != "attacker victim" {
		t.Errorf("got %q", got)
	}
	if _, err := c.Inspect(t.Context(), "default/attacker"); !errors.Is(err, ErrTooLarge) {
		t.Errorf("inspecting the large one: %v", err)
	}
}

// containerd has the path of a cgroup before the cgroup exists.
func TestAnnouncedContainersHaveTheirCgroups(t *testing.T) {
	for cgroupsPath, want := range map[string]string{
		"/default/web": "/default/web", "free/text": "/free/text", "a-b.slice:ctr:web": "/a.slice/a-b.slice/ctr-web.scope", "": "",
	} {
		spec := &anypb.Any{Value: []byte(`{"linux": {"cgroupsPath": "` + cgroupsPath + `"}}`)}
		c := serveContainers(t, defaultNamespace, &containers.Container{ID: "web", Spec: spec})
		all, err := c.List(t.Context(), true)
		if err != nil || len(all) != 1 || all[0].Cgroup != want {
			t.Errorf("%q: the list has %+v, %v", cgroupsPath, all, err)
		}
		engines := NewEngines(t.Context(), []Member{newFake("docker"), c}, func(Member, error) {})
		if info, err := engines.Announced(t.Context(), "default/web"); err != nil || info.ID != "default/web" || info.Cgroup != want {
			t.Errorf("%q: announced %+v, %v", cgroupsPath, info, err)
		}
		if info, err := engines.Announced(t.Context(), "default/other"); !errors.Is(err, ErrNotFound) {
			t.Errorf("another container: announced %+v, %v", info, err)
		}
	}
}
