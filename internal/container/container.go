// Package container provides what a container engine knows: the containers, their settings and events, and which of
// them a command started.
package container

import (
	"cmp"
	"errors"
	"time"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/bundle"
	"github.com/capmon/capmon/internal/kubernetes"
	"github.com/capmon/capmon/internal/seccomp"
)

// Info describes one container as the engine reports it. Fields that the engine does not report have the zero value.
type Info struct {
	ID   string
	Name string // without Docker's leading slash
	// Image is the image as the user named it, with its tag: nginx:latest, or an image ID.
	Image string
	// ImageID is the digest of the image's configuration. In engines with containerd's image store, it is the digest of
	// the image's index. It changes with the content of the image.
	ImageID string
	// ImageDigest is the digest by which registries know the image, sha256:…. It is "" for an image that was never
	// pushed or pulled. In engines with containerd's image store, such an image has its ImageID here.
	ImageDigest string
	Labels      map[string]string
	// User is the configured user: a name or number, "" for root.
	User                         string
	Privileged                   bool
	CapAdd, CapDrop, SecurityOpt []string
	// Seccomp is the profile in force. For a privileged container, it is the profile that the container would have
	// without --privileged. It is nil if the profile is not known.
	Seccomp *seccomp.Profile
	// The settings of the namespaces in Docker's words: "", host, container:ID, …
	PidMode, NetworkMode, UsernsMode, CgroupnsMode string
	CgroupParent                                   string

	Running bool
	Pid     int // PID of the first process on the engine's host; 0 if the container does not run
	// NeverStarted: the container was created but not started yet.
	NeverStarted bool
	// CreatedAt, StartedAt (of the last start) and FinishedAt are zero if the container was not created, was not
	// started or has not ended yet. Docker records the start with a small delay: a container that ends at once may have
	// a FinishedAt before its StartedAt.
	CreatedAt, StartedAt, FinishedAt time.Time
	ExitCode                         int

	// Layers are the directories on the engine's host that make up the container's root file system, the writable one
	// first. It is empty if the engine does not report them.
	Layers []string

	// Mounts are the mounts over the root file system. A mount without Source has an unknown source.
	Mounts []Mount

	// Kind is [Process] or [Unit] for a workload that is not a container.
	Kind Kind
	// Engine is the engine that made the container: podman, containerd, …. It is empty for Docker.
	Engine string
	// BundleOnly: no engine has reported the container. The facts are from its OCI bundle. Of the Labels, it has
	// only those that the kubelet gives.
	BundleOnly bool
	// Pod is the ID of the pod that the container is part of. Sandbox: the container only holds the namespaces of the
	// pod, and runs no workload (infra container, pause).
	Pod     string
	Sandbox bool
	// Kubernetes identifies the pod of a container of Kubernetes.
	Kubernetes kubernetes.Pod
	// Cgroup is the path of the container's cgroup, if the engine reports it: the name of the cgroup may not have the
	// ID.
	Cgroup string
	// Granted are the capabilities in the OCI bundle. It is nil if they result from CapAdd, CapDrop and Privileged, as
	// Docker defines them.
	Granted *capability.Set
	// OCIConfigPath is the config.json of the OCI bundle, if the engine reports it.
	OCIConfigPath string
	// Ambient is the ambient set that a unit gives its processes; nil for other workloads.
	Ambient *capability.Set

	// Unconfirmed is the cgroup of a container that no engine confirms. The ID of such a container begins with
	// [containerid.UnknownPrefix]. It is empty for other containers.
	Unconfirmed string

	// Inspected: the data comes from an inspection and is complete. Otherwise it comes from a list or an event, which
	// only have the ID, the name, the image, the labels and whether the container runs.
	Inspected bool
}

// Kind distinguishes containers from other workloads. It is empty for containers.
type Kind string

// The kinds of workload that are not containers.
const (
	Process Kind = "process" // a command that capmon has started
	Unit    Kind = "unit"    // a unit of systemd
)

// Grants returns the capabilities that the container was granted. last is the highest capability of the kernel. The
// error is about settings that Docker rejects, or about a unit whose grants are not known.
func (i Info) Grants(last capability.Capability) (capability.Set, error) {
	if i.Granted != nil {
		return *i.Granted, nil
	}
	if i.Kind != "" {
		return 0, errors.New("systemd does not report the grants of this unit")
	}
	return capability.Granted(i.CapAdd, i.CapDrop, i.Privileged, last)
}

// WithBundle returns what the engine reports about a container, completed by what its OCI bundle has.
func (i Info) WithBundle(known Info) Info {
	i.Engine, i.Pod, i.Sandbox, i.Granted = known.Engine, cmp.Or(known.Pod, i.Pod), i.Sandbox || known.Sandbox, cmp.Or(i.Granted, known.Granted)
	if i.Seccomp == nil {
		i.Seccomp = known.Seccomp
	}
	if i.Kubernetes == (kubernetes.Pod{}) {
		i.Kubernetes = known.Kubernetes
	}
	return i
}

// SetBundle sets the settings that the OCI bundle of a container has.
func (i *Info) SetBundle(b bundle.Bundle) {
	i.User, i.Privileged, i.Granted, i.Pod, i.Sandbox = b.User, b.Privileged, b.Bounding, b.Pod, b.Sandbox
	if b.Kubernetes.Name != "" { // the image can have such labels
		i.Name, i.Kubernetes, i.Labels = b.Name, b.Kubernetes, joined(i.Labels, b.Labels)
	}
	if !b.Seccomp && !b.Privileged { // a privileged container would have a filter without --privileged
		i.Seccomp = seccomp.None()
	}
	if b.HostPIDs {
		i.PidMode = "host"
	}
	if b.HostNetwork {
		i.NetworkMode = "host"
	}
	if b.NoNewPrivileges {
		i.SecurityOpt = append(i.SecurityOpt, "no-new-privileges")
	}
}

// Mount is a directory or file of the engine's host that is mounted in a container.
type Mount struct{ Source, Destination string }
