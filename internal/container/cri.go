package container

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/internal/kubernetes"
)

// criTimeout is the time limit of the requests for one answer.
const criTimeout = 5 * time.Second

// criRuntime has the requests to the runtime that capmon uses. GetContainerEvents is not one of them: early versions of
// containerd send each event to only one client, so the kubelet would miss the events that capmon receives.
type criRuntime interface {
	Version(context.Context, *runtime.VersionRequest, ...grpc.CallOption) (*runtime.VersionResponse, error)
	ListContainers(context.Context, *runtime.ListContainersRequest, ...grpc.CallOption) (*runtime.ListContainersResponse, error)
	ContainerStatus(context.Context, *runtime.ContainerStatusRequest, ...grpc.CallOption) (*runtime.ContainerStatusResponse, error)
	ListPodSandbox(context.Context, *runtime.ListPodSandboxRequest, ...grpc.CallOption) (*runtime.ListPodSandboxResponse, error)
	PodSandboxStatus(context.Context, *runtime.PodSandboxStatusRequest, ...grpc.CallOption) (*runtime.PodSandboxStatusResponse, error)
}

// criImages has the requests about images that capmon uses.
type criImages interface {
	ImageStatus(context.Context, *runtime.ImageStatusRequest, ...grpc.CallOption) (*runtime.ImageStatusResponse, error)
}

// CRI is a runtime of Kubernetes, such as containerd or CRI-O, with the containers of the kubelet. It implements
// [Engine].
type CRI struct {
	address    string // path of the socket
	connection *grpc.ClientConn
	runtime    criRuntime
	images     criImages
	clock      kernel.Clock

	mu     sync.Mutex
	engine string // the name of the runtime; empty until it has answered
}

// ConnectCRI returns the runtime at the socket with this path. It need not answer.
func ConnectCRI(path string) (*CRI, error) {
	connection, err := dialGRPC(path)
	if err != nil {
		return nil, fmt.Errorf("creating a client for the CRI at %s: %w", path, err)
	}
	c, err := newCRI(path, connection)
	if err != nil {
		return nil, errors.Join(err, connection.Close())
	}
	return c, nil
}

func newCRI(path string, connection *grpc.ClientConn) (*CRI, error) {
	clock, err := kernel.NewClock()
	if err != nil {
		return nil, err
	}
	return &CRI{
		address: path, connection: connection, clock: clock,
		runtime: runtime.NewRuntimeServiceClient(connection), images: runtime.NewImageServiceClient(connection),
	}, nil
}

// Name implements [Engine].
func (c *CRI) Name() string { return "cri" }

// Endpoint returns the address of the runtime, such as unix:///run/crio/crio.sock.
func (c *CRI) Endpoint() string { return "unix://" + c.address }

// PIDs implements [Engine]. It reads from the socket which process listens.
func (c *CRI) PIDs() map[string]int {
	c.mu.Lock()
	engine := c.engine
	c.mu.Unlock()
	return pidsOf(engine, listenerOf(c.address))
}

// Close implements [Engine].
func (c *CRI) Close() error { return c.connection.Close() }

// Alive implements [Member].
func (c *CRI) Alive(ctx context.Context) error {
	_, err := c.version(ctx)
	return causeOf(ctx, c.address, err)
}

// Version implements [Engine].
func (c *CRI) Version(ctx context.Context) (Version, error) {
	answer, err := c.version(ctx)
	if err != nil {
		return Version{}, err
	}
	release, err := kernel.Release() // the socket is on this host
	if err != nil {
		return Version{}, err
	}
	number := strings.TrimPrefix(answer.GetRuntimeVersion(), "v")
	return Version{
		Engine: number, API: answer.GetRuntimeApiVersion(), Kernel: release,
		Title: answer.GetRuntimeName() + " " + number + " (CRI)",
	}, nil
}

func (c *CRI) version(ctx context.Context) (*runtime.VersionResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, criTimeout)
	defer cancel()
	answer, err := c.runtime.Version(ctx, &runtime.VersionRequest{})
	if err != nil {
		return nil, c.failed("requesting the version", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.engine = answer.GetRuntimeName()
	return answer, nil
}

// engineName returns the engine of the containers, as bundles name it.
func (c *CRI) engineName(ctx context.Context) (string, error) {
	c.mu.Lock()
	known := c.engine
	c.mu.Unlock()
	if known != "" {
		return known, nil
	}
	answer, err := c.version(ctx)
	return answer.GetRuntimeName(), err
}

// failed describes an error of a request.
func (c *CRI) failed(request string, err error) error {
	return fmt.Errorf("%s from the CRI at %s: %w", request, c.address, &grpcError{err})
}

// criPod is what the CRI reports about a pod.
type criPod struct {
	pod    kubernetes.Pod
	labels map[string]string
}

func podOf(metadata *runtime.PodSandboxMetadata, labels, annotations map[string]string) criPod {
	return criPod{
		pod: kubernetes.Pod{
			Namespace: metadata.GetNamespace(), Name: metadata.GetName(), UID: metadata.GetUid(),
			Owner: kubernetes.OwnerOf(metadata.GetName(), labels, annotations),
		},
		labels: labels,
	}
}

// describe sets the pod of a container, its name and its labels. own are the labels of the container. The labels of the
// pod count for all its containers. container is empty for the sandbox of the pod.
func (p criPod) describe(i *Info, container string, own map[string]string) {
	i.Kubernetes, i.Name, i.Labels = p.pod, p.pod.ContainerName(container), p.pod.Labels(joined(p.labels, own), container)
}

// joined returns the labels of both. If both have a label, the second one counts.
func joined(one, other map[string]string) map[string]string {
	both := make(map[string]string, len(one)+len(other))
	maps.Copy(both, one)
	maps.Copy(both, other)
	return both
}

// List implements [Engine].
func (c *CRI) List(ctx context.Context, all bool) ([]Info, error) {
	ctx, cancel := context.WithTimeout(ctx, criTimeout)
	defer cancel()
	engine, err := c.engineName(ctx)
	if err != nil {
		return nil, err
	}
	containers, err := c.runtime.ListContainers(ctx, &runtime.ListContainersRequest{})
	if err != nil {
		return nil, c.failed("listing the containers", err)
	}
	sandboxes, err := c.runtime.ListPodSandbox(ctx, &runtime.ListPodSandboxRequest{}) // after the containers: each has its pod
	if err != nil {
		return nil, c.failed("listing the pods", err)
	}
	var infos []Info
	pods := make(map[string]criPod)
	for _, sandbox := range sandboxes.GetItems() {
		pod := podOf(sandbox.GetMetadata(), sandbox.GetLabels(), sandbox.GetAnnotations())
		pods[sandbox.GetId()] = pod
		infos = append(infos, sandboxOf(sandbox, pod))
	}
	for _, one := range containers.GetContainers() {
		infos = append(infos, listedByCRI(one, pods[one.GetPodSandboxId()]))
	}
	infos = slices.DeleteFunc(infos, func(i Info) bool { return !all && !i.Running })
	for i := range infos {
		infos[i].Engine = engine
	}
	return infos, nil
}

func sandboxOf(sandbox *runtime.PodSandbox, pod criPod) Info {
	info := Info{
		ID: sandbox.GetId(), Pod: sandbox.GetId(), Sandbox: true,
		Running: sandbox.GetState() == runtime.PodSandboxState_SANDBOX_READY, CreatedAt: criTime(sandbox.GetCreatedAt()),
	}
	pod.describe(&info, "", nil)
	return info
}

func listedByCRI(one *runtime.Container, pod criPod) Info {
	info := Info{ID: one.GetId(), Pod: one.GetPodSandboxId(), Image: imageName(one.GetImage(), nil), CreatedAt: criTime(one.GetCreatedAt())}
	info.setState(one.GetState())
	pod.describe(&info, one.GetMetadata().GetName(), one.GetLabels())
	return info
}

func (i *Info) setState(state runtime.ContainerState) {
	i.Running = state == runtime.ContainerState_CONTAINER_RUNNING
	i.NeverStarted = state == runtime.ContainerState_CONTAINER_CREATED
}

// criTime converts a time of the CRI, in nanoseconds since 1970. 0 means that there is none.
func criTime(nanoseconds int64) time.Time {
	if nanoseconds <= 0 {
		return time.Time{}
	}
	return time.Unix(0, nanoseconds)
}

// Inspect implements [Engine]. id is the ID or the name of a container, or of the sandbox of a pod.
func (c *CRI) Inspect(ctx context.Context, id string) (Info, error) {
	ctx, cancel := context.WithTimeout(ctx, criTimeout)
	defer cancel()
	engine, err := c.engineName(ctx)
	if err != nil {
		return Info{}, err
	}
	info, err := c.inspectID(ctx, engine, id)
	if !errors.Is(err, ErrNotFound) || !strings.Contains(id, "/") { // names have the namespace and the pod
		return info, err
	}
	all, err := c.List(ctx, true)
	if err != nil {
		return Info{}, err
	}
	i := slices.IndexFunc(all, func(info Info) bool { return info.Name == id })
	if i < 0 {
		return Info{}, fmt.Errorf("%s: %w", id, ErrNotFound)
	}
	return c.inspectID(ctx, engine, all[i].ID)
}

func (c *CRI) inspectID(ctx context.Context, engine, id string) (Info, error) {
	info, err := c.inspectContainer(ctx, engine, id)
	if errors.Is(err, ErrNotFound) {
		return c.inspectSandbox(ctx, engine, id)
	}
	return info, err
}

// criDetails is the part of the verbose information of containerd and CRI-O that capmon uses.
type criDetails struct {
	SandboxID   string          `json:"sandboxID"`
	PID         int             `json:"pid"`
	RuntimeSpec json.RawMessage `json:"runtimeSpec"`
	Privileged  bool            `json:"privileged"` // of CRI-O
	Config      struct {        // of containerd
		Linux struct {
			SecurityContext struct {
				Privileged bool `json:"privileged"`
			} `json:"security_context"`
		} `json:"linux"`
	} `json:"config"`
}

// addDetails adds what the verbose information about a container has.
func (c *CRI) addDetails(info *Info, verbose map[string]string) (criDetails, error) {
	failed := func(err error) (criDetails, error) {
		return criDetails{}, c.failed("reading the verbose information about container "+strconv.Quote(info.ID), err)
	}
	var details criDetails
	if err := json.Unmarshal([]byte(verbose["info"]), &details); err != nil {
		return failed(err)
	}
	if details.RuntimeSpec == nil {
		return failed(errors.New("it does not have the OCI specification"))
	}
	if err := info.addSpec(kubernetesNamespace, details.RuntimeSpec); err != nil {
		return failed(err)
	}
	if info.Granted == nil {
		return failed(errors.New("the OCI specification does not have the capabilities"))
	}
	info.Privileged = details.Privileged || details.Config.Linux.SecurityContext.Privileged
	if info.Running {
		info.Pid = details.PID
	}
	return details, nil
}

func (c *CRI) inspectContainer(ctx context.Context, engine, id string) (Info, error) {
	answer, err := c.runtime.ContainerStatus(ctx, &runtime.ContainerStatusRequest{ContainerId: id, Verbose: true})
	if err != nil {
		return Info{}, c.notFound("requesting container", id, err)
	}
	one := answer.GetStatus()
	info := Info{
		ID: one.GetId(), Engine: engine, ExitCode: int(one.GetExitCode()),
		CreatedAt: criTime(one.GetCreatedAt()), StartedAt: criTime(one.GetStartedAt()), FinishedAt: criTime(one.GetFinishedAt()),
	}
	info.setState(one.GetState())
	details, err := c.addDetails(&info, answer.GetInfo())
	if err != nil {
		return Info{}, err
	}
	info.Sandbox = false // the CRI knows the sandboxes
	if info.Pod = cmp.Or(details.SandboxID, info.Pod); info.Pod != "" {
		sandbox, err := c.runtime.PodSandboxStatus(ctx, &runtime.PodSandboxStatusRequest{PodSandboxId: info.Pod})
		if err != nil {
			return Info{}, c.notFound("requesting pod", info.Pod, err)
		}
		pod := sandbox.GetStatus()
		info.setNamespaces(pod)
		podOf(pod.GetMetadata(), pod.GetLabels(), pod.GetAnnotations()).describe(&info, one.GetMetadata().GetName(), one.GetLabels())
	}
	c.addImage(ctx, &info, one)
	info.Inspected = true
	return info, nil
}

func (c *CRI) inspectSandbox(ctx context.Context, engine, id string) (Info, error) {
	answer, err := c.runtime.PodSandboxStatus(ctx, &runtime.PodSandboxStatusRequest{PodSandboxId: id, Verbose: true})
	if err != nil {
		return Info{}, c.notFound("requesting pod", id, err)
	}
	sandbox := answer.GetStatus()
	info := Info{
		ID: sandbox.GetId(), Engine: engine,
		Running: sandbox.GetState() == runtime.PodSandboxState_SANDBOX_READY, CreatedAt: criTime(sandbox.GetCreatedAt()),
	}
	if _, err := c.addDetails(&info, answer.GetInfo()); err != nil {
		return Info{}, err
	}
	info.Pod, info.Sandbox = info.ID, true
	info.StartedAt = startOf(c.clock, info.Pid)
	info.setNamespaces(sandbox)
	podOf(sandbox.GetMetadata(), sandbox.GetLabels(), sandbox.GetAnnotations()).describe(&info, "", nil)
	info.Inspected = true
	return info, nil
}

// setNamespaces sets which namespaces of the host the pod shares. The OCI specification of a container only has the
// path of the pod's namespace.
func (i *Info) setNamespaces(pod *runtime.PodSandboxStatus) {
	options := pod.GetLinux().GetNamespaces().GetOptions()
	if options.GetNetwork() == runtime.NamespaceMode_NODE {
		i.NetworkMode = "host"
	}
	if options.GetPid() == runtime.NamespaceMode_NODE {
		i.PidMode = "host"
	}
}

// notFound describes an error of a request about a container or pod.
func (c *CRI) notFound(request, id string, err error) error {
	if status.Code(err) == codes.NotFound {
		return fmt.Errorf("%s: %w", id, ErrNotFound)
	}
	return c.failed(request+" "+strconv.Quote(id), err)
}

// addImage adds the name and the digests of the image. What the runtime does not report remains empty.
func (c *CRI) addImage(ctx context.Context, info *Info, one *runtime.ContainerStatus) {
	answer, err := c.images.ImageStatus(ctx, &runtime.ImageStatusRequest{Image: &runtime.ImageSpec{Image: one.GetImageRef()}})
	if err != nil {
		answer = nil // the kubelet can remove the image of a container that has ended
	}
	image := answer.GetImage()
	info.Image = cmp.Or(imageName(one.GetImage(), image.GetRepoTags()), info.Image)
	info.ImageID = cmp.Or(image.GetId(), one.GetImageId(), info.ImageID)
	info.ImageDigest = digestOf(append([]string{one.GetImageRef()}, image.GetRepoDigests()...))
}

// imageName returns the name of an image as the user wrote it, if the runtime reports it. The kubelet requests images
// by digest.
func imageName(spec *runtime.ImageSpec, tags []string) string {
	name := cmp.Or(spec.GetUserSpecifiedImage(), spec.GetImage())
	if _, isID := strings.CutPrefix(name, "sha256:"); isID && len(tags) > 0 {
		return tags[0]
	}
	return name
}

// digestOf returns the digest in the first reference that has one: REPOSITORY@DIGEST.
func digestOf(references []string) string {
	for _, reference := range references {
		if _, digest, found := strings.Cut(reference, "@"); found {
			return digest
		}
	}
	return ""
}
