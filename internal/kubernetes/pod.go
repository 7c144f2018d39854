// Package kubernetes identifies the pods of Kubernetes, their containers and what owns them.
package kubernetes

import (
	"cmp"
	"maps"
	"regexp"
	"strings"
)

// The labels that the kubelet gives to each container. A client of the CRI that is not a kubelet can choose them.
const (
	ContainerLabel = "io.kubernetes.container.name"
	PodLabel       = "io.kubernetes.pod.name"
	NamespaceLabel = "io.kubernetes.pod.namespace"
	UIDLabel       = "io.kubernetes.pod.uid"
)

// Pod identifies a pod. Its fields are empty if they are not known.
type Pod struct {
	Namespace, Name, UID string
	// Owner is what made the pod, such as Deployment/web. It is Node for a static pod. It is empty if the pod has no
	// owner, or an owner that its labels do not show.
	Owner string
}

// FromLabels returns the pod of a container, according to the labels of the container. The owner is not known.
func FromLabels(labels map[string]string) Pod {
	return Pod{Namespace: labels[NamespaceLabel], Name: labels[PodLabel], UID: labels[UIDLabel]}
}

// Labels returns labels with those that the kubelet gives to a container of the pod. Such a label in the argument is
// replaced, because it may be another one's. container is the name of the container, empty for the sandbox of the pod.
func (p Pod) Labels(labels map[string]string, container string) map[string]string {
	if p.Name == "" {
		return labels
	}
	all := make(map[string]string, len(labels)+4)
	maps.Copy(all, labels)
	for label, value := range map[string]string{NamespaceLabel: p.Namespace, PodLabel: p.Name, UIDLabel: p.UID, ContainerLabel: container} {
		if all[label] = value; value == "" {
			delete(all, label)
		}
	}
	return all
}

// ContainerName returns the name by which capmon knows a container of the pod: NAMESPACE/POD/CONTAINER. The names of
// containers are unique only in their pods. Without a container, it is the name of the pod's sandbox: NAMESPACE/POD. If
// the pod is not known, it is the name of the container.
func (p Pod) ContainerName(container string) string {
	if p.Name == "" {
		return container
	}
	name := cmp.Or(p.Namespace, "default") + "/" + p.Name
	if container != "" {
		name += "/" + container
	}
	return name
}

// The labels and annotations that controllers and the kubelet give to pods.
const (
	jobLabel         = "job-name"
	newJobLabel      = "batch.kubernetes.io/job-name"
	statefulSetLabel = "statefulset.kubernetes.io/pod-name"
	revisionLabel    = "controller-revision-hash"
	templateLabel    = "pod-template-hash"
	sourceAnnotation = "kubernetes.io/config.source"
	sourceAPI        = "api"
)

// name matches the names that Kubernetes accepts for pods and their owners.
var name = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$`)

// OwnerOf returns the owner of a pod as in [Pod]. Runtimes do not know the owner. But controllers give labels to their
// pods, and derive the names of the pods from the name of the owner. The creator of a pod can choose its labels and its
// name, and so pretend another owner.
func OwnerOf(pod string, labels, annotations map[string]string) string {
	if source := annotations[sourceAnnotation]; source != "" && source != sourceAPI {
		return "Node"
	}
	kind, owner := ownerOf(pod, labels)
	if !name.MatchString(owner) {
		return ""
	}
	return kind + "/" + owner
}

func ownerOf(pod string, labels map[string]string) (kind, owner string) {
	if job := cmp.Or(labels[newJobLabel], labels[jobLabel]); job != "" {
		return "Job", job
	}
	prefix, _ := cutLast(pod)
	switch hash := labels[templateLabel]; {
	case hash != "":
		if deployment, ok := strings.CutSuffix(prefix, "-"+hash); ok {
			return "Deployment", deployment
		}
		return "ReplicaSet", prefix
	case labels[revisionLabel] == "":
		return "", ""
	case labels[statefulSetLabel] != "":
		return "StatefulSet", prefix
	}
	return "DaemonSet", prefix
}

// cutLast cuts a name at its last dash.
func cutLast(name string) (before, after string) {
	if i := strings.LastIndexByte(name, '-'); i >= 0 {
		return name[:i], name[i+1:]
	}
	return "", name
}
