package container

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd/api/services/containers/v1"
	"github.com/containerd/containerd/api/services/images/v1"
	"github.com/containerd/containerd/api/services/namespaces/v1"
	"github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/services/version/v1"
	"github.com/containerd/containerd/api/types/task"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/capmon/capmon/internal/bundle"
	"github.com/capmon/capmon/internal/containerid"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/internal/kubernetes"
)

const (
	// dockerNamespace has the containers of Docker. Docker itself reports more about them.
	dockerNamespace = "moby"
	// ctr and nerdctl use defaultNamespace by default. The kubelet uses kubernetesNamespace.
	defaultNamespace, kubernetesNamespace = "default", "k8s.io"
	// containerdTimeout is the time limit of one request, apart from lists and events.
	containerdTimeout = 5 * time.Second
	// largeSpec is the size of a large OCI specification. Ordinary ones have 10 kB. A list leaves out what larger ones
	// have, and an inspection reads one at a time.
	largeSpec = 1 << 20
	// maxKnownImages is the number of containers whose images and layers are kept.
	maxKnownImages = 4096
)

// Containerd is a containerd with the containers of all its namespaces. It implements [Engine].
type Containerd struct {
	address    string // path of the socket
	connection *grpc.ClientConn
	clock      kernel.Clock
	cri        *criPlugin
	// skipDocker reports whether to leave out the containers of Docker, because Docker itself reports more about them.
	// nil means no.
	skipDocker func() bool
	idle       atomic.Bool // at the last request, there was no namespace but those left out

	large sync.Mutex // held while a large specification is read

	mu     sync.Mutex
	images map[string]imageData // by container ID
}

// imageData is what containerd reports about the image and the root file system of a container. It does not change.
type imageData struct {
	created time.Time // of the container
	digest  string
	layers  []string
}

// ContainerdOptions configures [ChooseContainerd].
type ContainerdOptions struct {
	// Address is the path of the socket. "" means the first one that [FindContainerd] finds.
	Address string
	// WithoutDocker leaves out the containers of Docker. [NewEngines] leaves them out if Docker answers.
	WithoutDocker bool
	// Caution receives the error when the CRI plugin stops answering. It may be nil.
	Caution func(error)
}

// containerdSockets are the well-known paths of containerd's socket: of most distributions, of k3s and RKE2, of k0s,
// and of MicroK8s.
var containerdSockets = []string{
	"/run/containerd/containerd.sock",
	"/run/k3s/containerd/containerd.sock",
	"/run/k0s/containerd.sock",
	"/var/snap/microk8s/common/run/containerd.sock",
}

// ErrNoContainerd means that there is no socket of a containerd.
var ErrNoContainerd = errors.New("no containerd: CONTAINERD_ADDRESS is not set, and no well-known socket exists")

// containerdAddresses returns the paths of the sockets of containerd: CONTAINERD_ADDRESS, or otherwise the well-known
// sockets that exist.
func containerdAddresses() []string {
	if address := os.Getenv("CONTAINERD_ADDRESS"); address != "" {
		return []string{strings.TrimPrefix(address, "unix://")}
	}
	return existing(containerdSockets)
}

// FindContainerd returns the containerds on this host. Docker and Kubernetes may each have one of its own. They need
// not answer.
func FindContainerd(options ContainerdOptions) (found []*Containerd, err error) {
	for _, options.Address = range containerdAddresses() {
		containerd, err := ChooseContainerd(options)
		if err != nil {
			return nil, err
		}
		found = append(found, containerd)
	}
	return found, nil
}

// ChooseContainerd returns the containerd at an address. It need not answer. The error is [ErrNoContainerd] if there is
// no address.
func ChooseContainerd(options ContainerdOptions) (*Containerd, error) {
	if addresses := containerdAddresses(); options.Address == "" && len(addresses) > 0 {
		options.Address = addresses[0]
	}
	if options.Address == "" {
		return nil, ErrNoContainerd
	}
	c := &Containerd{address: options.Address, images: make(map[string]imageData)}
	if options.WithoutDocker {
		c.skipDocker = func() bool { return true }
	}
	var err error
	if c.clock, err = kernel.NewClock(); err != nil {
		return nil, err
	}
	if c.connection, err = dialGRPC(c.address); err != nil {
		return nil, fmt.Errorf("creating a client for containerd at %s: %w", c.address, err)
	}
	cri, err := newCRI(c.address, c.connection)
	if err != nil {
		return nil, errors.Join(err, c.connection.Close())
	}
	c.cri = &criPlugin{CRI: cri, caution: options.Caution, infos: make(map[string]Info)}
	return c, nil
}

// Alive implements [Member].
func (c *Containerd) Alive(ctx context.Context) error {
	_, err := c.namespaces(ctx)
	return causeOf(ctx, c.address, err)
}

// Name implements [Engine].
func (c *Containerd) Name() string { return "containerd" }

// Endpoint returns the address of containerd, such as unix:///run/containerd/containerd.sock.
func (c *Containerd) Endpoint() string { return "unix://" + c.address }

// Close implements [Engine].
func (c *Containerd) Close() error { return c.connection.Close() }

// Version implements [Engine].
func (c *Containerd) Version(ctx context.Context) (Version, error) {
	ctx, cancel := context.WithTimeout(ctx, containerdTimeout)
	defer cancel()
	answer, err := version.NewVersionClient(c.connection).Version(ctx, &emptypb.Empty{})
	if err != nil {
		return Version{}, c.failed("requesting the version", err)
	}
	release, err := kernel.Release() // containerd's socket is on this host
	if err != nil {
		return Version{}, err
	}
	return Version{Engine: strings.TrimPrefix(answer.GetVersion(), "v"), Kernel: release}, nil
}

// failed describes an error of a request.
func (c *Containerd) failed(request string, err error) error {
	return fmt.Errorf("%s from containerd at %s: %w", request, c.address, &grpcError{err})
}

// PIDs implements [Engine]. It reads from the socket which process listens.
func (c *Containerd) PIDs() map[string]int {
	pids := pidsOf(bundle.Containerd, listenerOf(c.address))
	if pid, known := pids[bundle.Containerd]; known && !c.skips(dockerNamespace) {
		pids[""] = pid
	}
	return pids
}

// listenerOf returns the PID of the process that listens on a socket, or 0 if it is not known.
func listenerOf(path string) int {
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(socket)
	if err := unix.Connect(socket, &unix.SockaddrUnix{Name: path}); err != nil {
		return 0
	}
	peer, err := unix.GetsockoptUcred(socket, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return 0
	}
	return int(peer.Pid)
}

// in returns a context for requests about a namespace.
func in(ctx context.Context, namespace string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "containerd-namespace", namespace)
}

// namespaces returns the namespaces whose containers are reported.
func (c *Containerd) namespaces(ctx context.Context) ([]string, error) {
	answer, err := namespaces.NewNamespacesClient(c.connection).List(ctx, &namespaces.ListNamespacesRequest{})
	if err != nil {
		return nil, c.failed("listing the namespaces", err)
	}
	var names []string
	for _, namespace := range answer.GetNamespaces() {
		if !c.skips(namespace.GetName()) {
			names = append(names, namespace.GetName())
		}
	}
	c.idle.Store(len(names) == 0)
	return names, nil
}

// skips reports whether the containers of a namespace are left out.
func (c *Containerd) skips(namespace string) bool {
	return namespace == dockerNamespace && c.skipDocker != nil && c.skipDocker()
}

// List implements [Engine].
func (c *Containerd) List(ctx context.Context, all bool) ([]Info, error) {
	names, err := c.namespaces(ctx)
	if err != nil {
		return nil, err
	}
	var infos []Info
	for _, namespace := range names {
		some, err := c.listNamespace(ctx, namespace, all)
		if err != nil {
			return nil, err
		}
		infos = append(infos, some...)
	}
	return infos, nil
}

func (c *Containerd) listNamespace(ctx context.Context, namespace string, all bool) ([]Info, error) {
	ctx = in(ctx, namespace)
	list, err := tasks.NewTasksClient(c.connection).List(ctx, &tasks.ListTasksRequest{})
	if err != nil {
		return nil, c.failed("listing the tasks", err)
	}
	processes := make(map[string]*task.Process)
	for _, process := range list.GetTasks() {
		processes[process.GetID()] = process
	}
	var infos []Info
	visit := func(one *containers.Container) {
		info := c.listed(namespace, one)
		info.setTask(processes[one.GetID()])
		delete(processes, one.GetID())
		if all || info.Running {
			infos = append(infos, info)
		}
	}
	err = c.visitContainers(ctx, visit)
	if status.Code(err) == codes.ResourceExhausted { // a container is larger than maxGRPCMessage, and hides others
		c.visitEach(ctx, slices.Sorted(maps.Keys(processes)), visit)
		err = nil
	}
	if err != nil {
		return nil, c.failed("listing the containers", err)
	}
	if slices.ContainsFunc(infos, func(info Info) bool { return mayBeOfCRI(namespace, info.Labels) }) {
		c.cri.describeAll(ctx, infos)
	}
	return infos, nil
}

// visitContainers calls visit for each container of a namespace.
func (c *Containerd) visitContainers(ctx context.Context, visit func(*containers.Container)) error {
	stream, err := containers.NewContainersClient(c.connection).ListStream(ctx, &containers.ListContainersRequest{})
	for err == nil {
		var answer *containers.ListContainerMessage
		if answer, err = stream.Recv(); err == nil {
			visit(answer.GetContainer())
		}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// visitEach calls visit for the containers with these IDs. Containers that are too large have only the ID.
func (c *Containerd) visitEach(ctx context.Context, ids []string, visit func(*containers.Container)) {
	for _, id := range ids {
		answer, err := containers.NewContainersClient(c.connection).Get(ctx, &containers.GetContainerRequest{ID: id})
		switch {
		case err == nil:
			visit(answer.GetContainer())
		case status.Code(err) == codes.ResourceExhausted:
			visit(&containers.Container{ID: id})
		}
	}
}

// listed returns what a list has about a container, without its task.
func (c *Containerd) listed(namespace string, one *containers.Container) Info {
	info := Info{
		ID: containerid.Qualified(namespace, one.GetID()), Image: one.GetImage(), Labels: one.GetLabels(),
		Engine: bundle.Containerd, NeverStarted: true,
	}
	if namespace == dockerNamespace {
		info.Engine = "" // Docker
	}
	var b bundle.Bundle
	if spec := one.GetSpec().GetValue(); len(spec) <= largeSpec {
		b, _ = bundle.ParseAnnotations(info.Engine, namespace, info.ID, spec) // an inspection reports the error
	}
	info.Name, info.Sandbox, info.Kubernetes, info.Labels = nameOf(namespace, one, b), b.Sandbox, b.Kubernetes, joined(info.Labels, b.Labels)
	info.Cgroup = b.Cgroup()
	if created := one.GetCreatedAt(); created != nil {
		info.CreatedAt = created.AsTime()
	}
	return info
}

// nameOf returns the name of a container: the one that nerdctl or Kubernetes has given it, or otherwise the one that
// the user has chosen. Names are unique only in their namespaces, so a name outside the default namespace is
// NAMESPACE/NAME. Docker's containers have their names only in Docker.
//
// A container has the labels of its image. So labels count only if annotations show who sets them: nerdctl, also when
// it renames the container, or the CRI plugin.
func nameOf(namespace string, one *containers.Container, b bundle.Bundle) string {
	labels := one.GetLabels()
	switch id := containerid.Qualified(namespace, one.GetID()); {
	case b.Nerdctl() && labels["nerdctl/name"] != "":
		return containerid.QualifiedName(namespace, labels["nerdctl/name"])
	case b.Name != "":
		return b.Name
	case b.Pod != "" && !b.Sandbox: // old versions of the CRI plugin have no annotation with the name
		return labels[kubernetes.ContainerLabel]
	case containerid.IsQualified(id):
		return containerid.QualifiedName(namespace, one.GetID())
	}
	return ""
}

// setTask sets whether a container runs. process is its first process, nil if it has none.
func (i *Info) setTask(process *task.Process) {
	if process == nil {
		return
	}
	i.NeverStarted = process.GetStatus() == task.Status_CREATED
	switch process.GetStatus() {
	case task.Status_STOPPED:
		i.ExitCode = int(process.GetExitStatus())
		if ended := process.GetExitedAt(); ended != nil && ended.GetSeconds() > 0 {
			i.FinishedAt = ended.AsTime()
		}
	case task.Status_UNKNOWN:
	default: // CREATED too: the process exists, in the cgroup of the container
		i.Running, i.Pid = true, int(process.GetPid())
	}
}

// Inspect implements [Engine]. id is an ID of [containerid.Qualified], or the name of a container in any namespace.
func (c *Containerd) Inspect(ctx context.Context, id string) (Info, error) {
	return c.find(ctx, id, c.inspectIn)
}

// Announced implements [Announcer]. id is as for Inspect.
func (c *Containerd) Announced(ctx context.Context, id string) (Info, error) {
	return c.find(ctx, id, func(ctx context.Context, namespace, name string) (Info, error) {
		one, err := c.get(ctx, namespace, name)
		if err != nil {
			return Info{}, err
		}
		return c.listed(namespace, one), nil
	})
}

// find returns what inspect reports about the container with an ID or a name. It calls inspect with a context for
// requests about the namespace.
func (c *Containerd) find(ctx context.Context, id string, inspect func(ctx context.Context, namespace, name string) (Info, error)) (Info, error) {
	ctx, cancel := context.WithTimeout(ctx, containerdTimeout)
	defer cancel()
	if namespace, name, ok := strings.Cut(id, "/"); ok {
		return inspect(in(ctx, namespace), namespace, name)
	}
	names, err := c.namespaces(ctx)
	if err != nil {
		return Info{}, err
	}
	for _, namespace := range names {
		if info, err := inspect(in(ctx, namespace), namespace, id); !errors.Is(err, ErrNotFound) {
			return info, err
		}
	}
	return Info{}, fmt.Errorf("%s: %w", id, ErrNotFound)
}

// get requests a container.
func (c *Containerd) get(ctx context.Context, namespace, name string) (*containers.Container, error) {
	if c.skips(namespace) {
		return nil, fmt.Errorf("%s: %w", name, ErrNotFound)
	}
	answer, err := containers.NewContainersClient(c.connection).Get(ctx, &containers.GetContainerRequest{ID: name})
	switch status.Code(err) {
	case codes.OK:
		return answer.GetContainer(), nil
	case codes.NotFound, codes.InvalidArgument:
		return nil, fmt.Errorf("%s: %w", name, ErrNotFound)
	case codes.ResourceExhausted:
		return nil, fmt.Errorf("%s: %w: the limit is %d bytes", name, ErrTooLarge, maxGRPCMessage)
	}
	return nil, c.failed("requesting container "+strconv.Quote(name), err)
}

func (c *Containerd) inspectIn(ctx context.Context, namespace, name string) (Info, error) {
	one, err := c.get(ctx, namespace, name)
	if err != nil {
		return Info{}, err
	}
	info := c.listed(namespace, one)
	got, err := tasks.NewTasksClient(c.connection).Get(ctx, &tasks.GetRequest{ContainerID: name})
	if err != nil && status.Code(err) != codes.NotFound {
		return Info{}, c.failed("requesting the task of container "+strconv.Quote(name), err)
	}
	if process := got.GetProcess(); err == nil && process != nil {
		info.setTask(process)
		info.StartedAt = startOf(c.clock, info.Pid)
	}
	if err := c.addSpec(&info, namespace, one.GetSpec().GetValue()); err != nil {
		return Info{}, err
	}
	c.addImage(ctx, &info, one)
	if mayBeOfCRI(namespace, one.GetLabels()) {
		info = c.cri.describe(ctx, info)
	}
	info.Inspected = true
	return info, nil
}

// addSpec adds what the OCI specification of a container has.
func (c *Containerd) addSpec(info *Info, namespace string, spec []byte) error {
	if len(spec) > largeSpec { // it needs several times its size
		c.large.Lock()
		defer c.large.Unlock()
	}
	return info.addSpec(namespace, spec)
}

// addSpec adds what the OCI specification of a container has.
func (i *Info) addSpec(namespace string, spec []byte) error {
	b, err := bundle.Parse(i.Engine, namespace, i.ID, spec)
	if err != nil {
		return err
	}
	i.Name = cmp.Or(i.Name, b.Name) // a list leaves out large specifications
	i.Image, i.Cgroup = cmp.Or(b.Image, i.Image), b.Cgroup()
	i.SetBundle(b)
	return nil
}

// addImage adds the digest of the image and the layers of the root file system. They are requested once, so that later
// requests about the container are fast. What containerd does not report remains empty.
func (c *Containerd) addImage(ctx context.Context, info *Info, one *containers.Container) {
	c.mu.Lock()
	known, ok := c.images[info.ID]
	c.mu.Unlock()
	if !ok || !known.created.Equal(info.CreatedAt) {
		known = imageData{info.CreatedAt, c.imageDigest(ctx, one.GetImage()), c.layersOf(ctx, one)}
		c.mu.Lock()
		if len(c.images) >= maxKnownImages {
			clear(c.images)
		}
		c.images[info.ID] = known
		c.mu.Unlock()
	}
	info.ImageID, info.ImageDigest, info.Layers = known.digest, known.digest, known.layers
}

func (c *Containerd) imageDigest(ctx context.Context, name string) string {
	if name == "" {
		return ""
	}
	answer, err := images.NewImagesClient(c.connection).Get(ctx, &images.GetImageRequest{Name: name})
	if err != nil {
		return "" // containerd allows removing the image of a container
	}
	return answer.GetImage().GetTarget().GetDigest()
}

func (c *Containerd) layersOf(ctx context.Context, one *containers.Container) []string {
	if one.GetSnapshotter() == "" || one.GetSnapshotKey() == "" {
		return nil
	}
	answer, err := snapshots.NewSnapshotsClient(c.connection).Mounts(ctx, &snapshots.MountsRequest{Snapshotter: one.GetSnapshotter(), Key: one.GetSnapshotKey()})
	if err != nil {
		return nil
	}
	for _, mount := range answer.GetMounts() {
		switch mount.GetType() {
		case "overlay":
			return overlayLayers(mount.GetOptions())
		case "bind", "rbind": // an image with one layer, or the native snapshotter
			return absolute([]string{mount.GetSource()})
		}
	}
	return nil
}

// startOf returns when a process started. It returns the zero time if the process has ended.
func startOf(clock kernel.Clock, pid int) time.Time {
	if pid <= 0 {
		return time.Time{}
	}
	ns, err := kernel.ProcessStart(pid)
	if err != nil {
		return time.Time{}
	}
	return clock.Time(ns)
}
