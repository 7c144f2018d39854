// Package bundle finds and reads the OCI bundles of containers. A bundle has the file config.json, from which the
// runtime (runc, crun) made the container. So it has the container's exact grants, also if no engine answers.
//
// A container can give its processes any name and arguments, and make any files. So a bundle counts only under three
// conditions. A process outside the container names it: the monitor or shim of an engine, run by root on the host. Only
// root can have written it. It has the ID and the cgroup of the container.
package bundle

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/containerid"
	"github.com/capmon/capmon/internal/kubernetes"
)

// The engines that a [Bundle] can name.
const (
	Podman     = "podman"
	CRIO       = "cri-o"
	Containerd = "containerd"
	Docker     = "docker"
	Runc       = "runc"
	Crun       = "crun"
	LXC        = "lxc"
	Nspawn     = "nspawn"
)

// Bundle describes a container as its bundle does. Fields that the bundle does not have are empty. The bundle of a
// container of Docker has only the engine and the ID.
type Bundle struct {
	// Engine is the engine that made the container, or the runtime if no engine did.
	Engine string
	ID     string
	Name   string
	// Image is the image as the user named it. ImageID is the digest of its configuration.
	Image, ImageID string
	// Namespace is the namespace of containerd.
	Namespace string
	// Pod is the ID of the container's pod: Podman's ID, or otherwise the ID of the sandbox.
	Pod string
	// Sandbox: the container is the sandbox of its pod. It runs no workload.
	Sandbox bool
	// Kubernetes identifies the pod of a container of Kubernetes. The owner is not known.
	Kubernetes kubernetes.Pod
	// Labels are those that the kubelet gives to a container of Kubernetes.
	Labels      map[string]string
	Annotations map[string]string

	// Bounding, Permitted and Ambient are the capabilities of the first process; nil if they are not known.
	Bounding, Permitted, Ambient *capability.Set
	// Privileged: the engine made the container with --privileged.
	Privileged      bool
	NoNewPrivileges bool
	// Seccomp: the container has a seccomp filter.
	Seccomp bool
	// User is the user of the first process, UID:GID.
	User string
	// HostPIDs and HostNetwork: the container has the pid namespace, or the network namespace, of the host.
	HostPIDs, HostNetwork bool
	// CgroupsPath is the cgroup as the engine told the runtime: a path, or SLICE:PREFIX:NAME for systemd.
	CgroupsPath string
	// Layers are the directories of the container's root file system, the writable one first. They are below the root
	// directory of the engine's processes. It is empty if they are not known.
	Layers []string
	// Created is the time when the engine made the container.
	Created time.Time

	// pauses: the first process runs a program that only waits.
	pauses bool
}

// The annotations that describe containers, and what they say about a container's type.
const (
	crioPrefix    = "io.kubernetes.cri-o." // of CRI-O, and partly of Podman
	criPrefix     = "io.kubernetes.cri."   // of containerd's CRI plugin
	nerdctlPrefix = "nerdctl/"

	typeSandbox = "sandbox"
)

// kubernetesNamespace is the namespace of containerd in which the CRI plugin makes its containers.
const kubernetesNamespace = "k8s.io"

// Parse reads the OCI specification of a container that an engine reports.
func Parse(engine, namespace, id string, config []byte) (Bundle, error) {
	b := Bundle{Engine: engine, ID: id, Namespace: namespace}
	var spec specs.Spec
	if err := json.Unmarshal(config, &spec); err != nil {
		return Bundle{}, fmt.Errorf("reading the specification of container %s: %w", id, err)
	}
	if err := b.parse(&spec); err != nil {
		return Bundle{}, err
	}
	b.readAnnotations()
	return b, nil
}

// ParseAnnotations is like [Parse], but reads only the cgroup and what the annotations say. It is faster.
func ParseAnnotations(engine, namespace, id string, config []byte) (Bundle, error) {
	b := Bundle{Engine: engine, ID: id, Namespace: namespace}
	var spec struct {
		Annotations map[string]string `json:"annotations"`
		Linux       struct {
			CgroupsPath string `json:"cgroupsPath"`
		} `json:"linux"`
	}
	if err := json.Unmarshal(config, &spec); err != nil {
		return Bundle{}, fmt.Errorf("reading the annotations of container %s: %w", id, err)
	}
	b.Annotations, b.CgroupsPath = spec.Annotations, spec.Linux.CgroupsPath
	b.readAnnotations()
	return b, nil
}

// parse reads a config.json.
func (b *Bundle) parse(spec *specs.Spec) error {
	if spec.Process == nil || spec.Linux == nil {
		return errors.New("config.json has no process or no section for Linux")
	}
	b.Annotations = spec.Annotations
	b.NoNewPrivileges = spec.Process.NoNewPrivileges
	b.pauses = isPause(spec.Process.Args)
	b.User = fmt.Sprintf("%d:%d", spec.Process.User.UID, spec.Process.User.GID)
	b.Seccomp = spec.Linux.Seccomp != nil
	b.CgroupsPath = spec.Linux.CgroupsPath
	b.HostPIDs, b.HostNetwork = true, true
	for _, namespace := range spec.Linux.Namespaces {
		switch namespace.Type {
		case specs.PIDNamespace:
			b.HostPIDs = isSameNamespace(namespace.Path, "/proc/1/ns/pid")
		case specs.NetworkNamespace:
			b.HostNetwork = isSameNamespace(namespace.Path, "/proc/1/ns/net")
		}
	}
	if spec.Process.Capabilities != nil {
		b.setCapabilities(spec.Process.Capabilities)
	}
	return nil
}

func (b *Bundle) setCapabilities(capabilities *specs.LinuxCapabilities) {
	for _, set := range []struct {
		to    **capability.Set
		names []string
	}{{&b.Bounding, capabilities.Bounding}, {&b.Permitted, capabilities.Permitted}, {&b.Ambient, capabilities.Ambient}} {
		parsed := parseSet(set.names)
		*set.to = &parsed
	}
}

// isSameNamespace reports whether two paths have one namespace. The containers of a pod are in the namespaces of its
// sandbox, which can be the host's. Without a path, a container gets a namespace of its own.
func isSameNamespace(one, other string) bool {
	if one == "" {
		return false
	}
	first, err := os.Stat(one)
	if err != nil {
		return false
	}
	second, err := os.Stat(other)
	return err == nil && os.SameFile(first, second)
}

// parseSet returns the set of the capabilities with these names. Like runc and crun, it ignores unknown names:
// Kubernetes lets users add any.
func parseSet(names []string) (set capability.Set) {
	for _, name := range names {
		if c, known := ociNames[strings.ToUpper(name)]; known {
			set = set.With(c)
		}
	}
	return set
}

// ociNames has the capabilities by their names in OCI specifications.
var ociNames = func() map[string]capability.Capability {
	names := make(map[string]capability.Capability)
	for c := capability.Capability(0); c.Named(); c++ {
		names["CAP_"+strings.ToUpper(c.String())] = c
	}
	return names
}()

// readAnnotations sets what the annotations of the engine say. An image can choose annotations: Podman copies the
// annotations of the image, and nerdctl makes annotations of its labels. But an image can neither choose the cgroup,
// nor remove an annotation of the engine, nor know the ID of the container. These show which containers are sandboxes.
func (b *Bundle) readAnnotations() {
	a := b.Annotations
	switch b.Engine {
	case Podman:
		// An image can have the annotation. But --privileged means no seccomp filter, unless the user names one.
		b.Privileged = a["io.podman.annotations.privileged"] == "TRUE" && !b.Seccomp
		b.Pod = podOf(b.CgroupsPath)
		// Podman sets the type of all members of a pod but the sandbox (infra container).
		_, typed := a[crioPrefix+"ContainerType"]
		b.Sandbox = b.Pod != "" && !typed && b.pauses
	case CRIO:
		b.Image = cmp.Or(a[crioPrefix+"ImageName"], b.Image)
		b.Pod = a[crioPrefix+"SandboxID"]
		b.Sandbox = a[crioPrefix+"ContainerType"] == typeSandbox && b.Pod == b.ID
		b.setPod(kubernetes.FromLabels(a), a[kubernetes.ContainerLabel])
		b.Created = parseTime(a[crioPrefix+"Created"])
	case Containerd:
		if b.Nerdctl() {
			b.Name, b.Image = containerid.QualifiedName(b.Namespace, a[nerdctlPrefix+"name"]), a[nerdctlPrefix+"image-name"]
		} else if b.Namespace == kubernetesNamespace {
			b.Image = a[criPrefix+"image-name"]
			b.Pod = a[criPrefix+"sandbox-id"]
			b.Sandbox = a[criPrefix+"container-type"] == typeSandbox && b.Pod == b.ID
			pod := kubernetes.Pod{Namespace: a[criPrefix+"sandbox-namespace"], Name: a[criPrefix+"sandbox-name"], UID: a[criPrefix+"sandbox-uid"]}
			b.setPod(pod, a[criPrefix+"container-name"])
		}
	}
}

// Nerdctl reports whether nerdctl made the container.
func (b *Bundle) Nerdctl() bool {
	_, made := b.Annotations[nerdctlPrefix+"namespace"]
	return made && b.Engine == Containerd
}

// setPod sets the pod of a container of Kubernetes, and the name. container is its name in the pod.
func (b *Bundle) setPod(pod kubernetes.Pod, container string) {
	b.Kubernetes = pod
	if b.Sandbox {
		container = "" // CRI-O calls all sandboxes POD
	}
	b.Name, b.Labels = cmp.Or(pod.ContainerName(container), b.Name), pod.Labels(nil, container)
}

// isPause reports whether a command is that of the sandbox of a pod.
func isPause(command []string) bool {
	return len(command) > 0 && slices.Contains([]string{"catatonit", "pause"}, path.Base(command[0]))
}

// podOf returns the ID of Podman's pod to which a cgroup belongs: PARENT/PODID/libpod-ID, or with systemd the slice
// machine-libpod_pod_PODID.slice. It returns "" if there is no pod.
func podOf(cgroupsPath string) string {
	pod := path.Base(path.Dir(cgroupsPath))
	if slice, _, systemd := strings.Cut(cgroupsPath, ":"); systemd {
		_, pod, _ = strings.Cut(strings.TrimSuffix(slice, ".slice"), "libpod_pod_")
	}
	if !isID(pod) {
		return ""
	}
	return pod
}

func isID(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}

func parseTime(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Time{}
	}
	return t
}

// Cgroup returns the path of the container's cgroup, or "" if the bundle does not have it.
func (b *Bundle) Cgroup() string {
	slice, rest, systemd := strings.Cut(b.CgroupsPath, ":")
	if !systemd {
		if b.CgroupsPath == "" {
			return ""
		}
		return path.Join("/", b.CgroupsPath)
	}
	prefix, unit, found := strings.Cut(rest, ":")
	if !found {
		return ""
	}
	if prefix != "" {
		unit = prefix + "-" + unit
	}
	return path.Join(slicePath(cmp.Or(slice, "system.slice")), unit+".scope") // as runc does
}

// slicePath returns the cgroup of a slice: a-b.slice is in a.slice, and -.slice is the root.
func slicePath(slice string) string {
	if slice == "-.slice" {
		return "/"
	}
	name := strings.TrimSuffix(slice, ".slice")
	where := "/"
	for i := range name {
		if name[i] == '-' {
			where = path.Join(where, name[:i]+".slice")
		}
	}
	return path.Join(where, slice)
}
