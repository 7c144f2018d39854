package container

import (
	"strings"
	"testing"

	"github.com/containerd/containerd/api/services/containers/v1"
)

func TestNamesOfContainersOfContainerd(t *testing.T) {
	digits := strings.Repeat("a1", 32)
	for _, test := range []struct {
		namespace, id string
		labels        map[string]string
		want          string
	}{
		{"default", "web", nil, "web"},
		{"shop", "web", nil, "shop/web"},
		{"default", digits, map[string]string{"nerdctl/name": "web"}, "web"},
		{"shop", digits, map[string]string{"nerdctl/name": "web"}, "shop/web"},
		{"k8s.io", digits, map[string]string{"io.kubernetes.container.name": "web"}, "web"},
		{"k8s.io", digits, map[string]string{"nerdctl/name": "web"}, "web"},
		{"default", digits, nil, ""},
		// The labels of images do not count.
		{"default", "web", map[string]string{"nerdctl/name": "victim", "io.kubernetes.container.name": "victim"}, "web"},
		{"default", digits, map[string]string{"io.kubernetes.container.name": "victim"}, ""},
		{"k8s.io", digits, map[string]string{"io.kubernetes.container.name": "web", "nerdctl/name": "victim"}, "web"},
	} {
		if got := nameOf(test.namespace, &containers.Container{ID: test.id, Labels: test.labels}); got != test.want {
			t.Errorf("%s %.8s %v: %q, want %q", test.namespace, test.id, test.labels, got, test.want)
		}
	}
}
