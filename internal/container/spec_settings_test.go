package container

import (
	"fmt"
	"testing"

	"github.com/containerd/containerd/api/services/containers/v1"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/capmon/capmon/capability"
)

func TestSettingsFromSpecifications(t *testing.T) {
	const spec = `{"process": {"user": {"uid": 33}, "noNewPrivileges": %v, "capabilities": {"bounding": ["CAP_CHOWN"]}}, "linux": {"namespaces": [%s]%s}}`
	filtered := fmt.Sprintf(spec, true, `{"type": "pid"}, {"type": "network"}`, `, "seccomp": {"defaultAction": "SCMP_ACT_ERRNO"}`)
	open := fmt.Sprintf(spec, false, "", "")
	c := serveContainers(t, defaultNamespace,
		&containers.Container{ID: "filtered", Spec: &anypb.Any{Value: []byte(filtered)}}, &containers.Container{ID: "open", Spec: &anypb.Any{Value: []byte(open)}})
	for _, test := range []struct {
		name, network, pid string
		security           []string
	}{
		{"filtered", "", "", []string{"no-new-privileges"}},
		{"open", "host", "host", []string{"seccomp=unconfined"}},
	} {
		s, err := c.Settings(t.Context(), "default/"+test.name)
		if err != nil {
			t.Fatal(err)
		}
		host := s.Container.HostConfig
		if s.Container.ID != "default/"+test.name || s.Container.Name != "/"+test.name || s.Container.Config.User != "33:0" {
			t.Errorf("%+v, %+v", s.Container.ContainerJSONBase, s.Container.Config)
		}
		if string(host.NetworkMode) != test.network || string(host.PidMode) != test.pid || fmt.Sprint(host.SecurityOpt) != fmt.Sprint(test.security) {
			t.Errorf("%s: %+v", test.name, host)
		}
	}
	if _, err := c.Settings(t.Context(), "default/missing"); err == nil {
		t.Error("a missing container has settings")
	}
	info, err := c.Inspect(t.Context(), "default/open")
	if granted, _ := info.Grants(capability.CheckpointRestore); err != nil || granted != capability.Of(capability.Chown) {
		t.Errorf("%v, granted %s", err, granted.Text())
	}
}
