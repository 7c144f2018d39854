package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/capmon/capmon/internal/testutil"
)

// Administrators make pods with crictl. Unlike the kubelet, it gives no labels to them.
func TestPodsOfCrictl(t *testing.T) {
	t.Parallel()
	const crictl = "../../.cache/containerd/crictl"
	testutil.NeedCommand(t, crictl, "--version")
	n := newKubernetesNode(t)
	run := func(args ...string) string {
		t.Helper()
		return strings.TrimSpace(mustExecute(t, slices.Concat([]string{crictl, "--runtime-endpoint=unix://" + n.address, "--image-endpoint=unix://" + n.address}, args)...))
	}
	directory := t.TempDir()
	write := func(name string, content any) string {
		t.Helper()
		text, err := json.Marshal(content)
		if err == nil {
			name = filepath.Join(directory, name)
			err = os.WriteFile(name, text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		return name
	}
	type object = map[string]any
	const cgroup = "/kubepods/burstable/podcrictl"
	t.Cleanup(func() { removeCgroups(cgroup) })
	namespaces := object{"network": 2 /* the node's */, "pid": 1 /* the container's */}
	podFile := write("pod.json", object{
		"metadata":      object{"name": "web", "namespace": "crictl", "uid": "1234"},
		"log_directory": directory,
		"linux":         object{"cgroup_parent": cgroup, "security_context": object{"namespace_options": namespaces}},
	})
	containerFile := write("container.json", object{
		"metadata": object{"name": "main"}, "image": object{"image": containerdImage}, "command": forever, "log_path": "main.log",
		"linux": object{"security_context": object{
			"capabilities":      object{"drop_capabilities": []string{"ALL"}, "add_capabilities": []string{"CHOWN", "NET_RAW"}},
			"namespace_options": namespaces,
		}},
	})

	observation := n.watch("--container=crictl/web/*")
	pod := run("runp", podFile)
	t.Cleanup(func() { run("rmp", "--force", pod) })
	id := run("create", pod, containerFile, podFile)
	run("start", id)
	run("exec", "--sync", id, "chown", "5", "/tmp")
	got := parseReport(t, observation.interrupt())
	if len(got) != 1 {
		t.Errorf("got %d containers: %+v", len(got), got)
	}
	one := only(t, got, "crictl/web/main")
	n.check(one, caps("CHOWN", "NET_RAW"))
	same(t, "required", one.Required, caps("CHOWN"))
	if one.ID != id || one.Pod != pod || one.Namespace != "crictl" || one.PodName != "web" || one.PodUID != "1234" || !one.StartSeen {
		t.Errorf("%+v", one)
	}
}
