package kubernetes

import (
	"maps"
	"strings"
	"testing"
)

func TestContainerName(t *testing.T) {
	for _, test := range []struct {
		pod             Pod
		container, want string
	}{
		{Pod{Namespace: "pay", Name: "web-1"}, "main", "pay/web-1/main"},
		{Pod{Namespace: "pay", Name: "web-1"}, "", "pay/web-1"},
		{Pod{Name: "web-1"}, "main", "default/web-1/main"},
		{Pod{Namespace: "pay"}, "main", "main"},
		{Pod{}, "", ""},
	} {
		if got := test.pod.ContainerName(test.container); got != test.want {
			t.Errorf("%+v, %q: %q, wanted %q", test.pod, test.container, got, test.want)
		}
	}
}

func TestLabels(t *testing.T) {
	type values = map[string]string
	pod := Pod{Namespace: "pay", Name: "web-1", UID: "7"}
	given := values{"app": "web", PodLabel: "victim", ContainerLabel: "victim"}
	for _, test := range []struct {
		pod       Pod
		container string
		want      values
	}{
		{pod, "main", values{"app": "web", NamespaceLabel: "pay", PodLabel: "web-1", UIDLabel: "7", ContainerLabel: "main"}},
		{pod, "", values{"app": "web", NamespaceLabel: "pay", PodLabel: "web-1", UIDLabel: "7"}},
		{Pod{}, "main", given},
	} {
		if got := test.pod.Labels(given, test.container); !maps.Equal(got, test.want) {
			t.Errorf("%+v, %q: %v, wanted %v", test.pod, test.container, got, test.want)
		}
	}
	if given[PodLabel] != "victim" {
		t.Error("the argument has changed")
	}
}

func TestOwnerOf(t *testing.T) {
	type values = map[string]string
	for _, test := range []struct {
		pod                 string
		labels, annotations values
		want                string
	}{
		{"web-7d9f-x2x4q", values{"pod-template-hash": "7d9f"}, nil, "Deployment/web"},
		{"web-7d9f-x2x4q", values{"pod-template-hash": "7d9f"}, values{"kubernetes.io/config.source": "api"}, "Deployment/web"},
		{"my-web-x2x4q", values{"pod-template-hash": "7d9f"}, nil, "ReplicaSet/my-web"},
		{"backup-29-k8s2l", values{"job-name": "backup-29"}, nil, "Job/backup-29"},
		{"backup-29-k8s2l", values{"batch.kubernetes.io/job-name": "backup-29", "job-name": "other"}, nil, "Job/backup-29"},
		{"db-0", values{"controller-revision-hash": "db-5", "statefulset.kubernetes.io/pod-name": "db-0"}, nil, "StatefulSet/db"},
		{"agent-x2x4q", values{"controller-revision-hash": "5"}, nil, "DaemonSet/agent"},
		{"etcd-node1", nil, values{"kubernetes.io/config.source": "file"}, "Node"},
		{"alone", values{"app": "alone"}, nil, ""},
		// Chosen by an attacker:
		{"web", values{"pod-template-hash": "7d9f"}, nil, ""},
		{"web-1", values{"job-name": "a\x1b[31mb"}, nil, ""},
		{"web-1", values{"job-name": "<script>"}, nil, ""},
		{"web-1", values{"job-name": strings.Repeat("a", 1<<20)}, nil, ""},
		{"\u202eweb-1", values{"controller-revision-hash": "5"}, nil, ""},
	} {
		if got := OwnerOf(test.pod, test.labels, test.annotations); got != test.want {
			t.Errorf("%s with %.80q: %q, wanted %q", test.pod, test.labels, got, test.want)
		}
	}
}
