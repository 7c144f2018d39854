package audit

import (
	"slices"
	"strings"
	"testing"
	"time"

	docker "github.com/docker/docker/api/types/container"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/kubernetes"
	"github.com/capmon/capmon/internal/profile"
)

// The users of another engine choose the names and images of its containers.
func TestContainersOfOtherEnginesAreNotEvidence(t *testing.T) {
	info := container.Info{ID: "1", Name: "web", Image: "nginx"}
	for engine, want := range map[string]bool{"": true, "containerd": false} {
		p := profile.New(profile.Run{ID: "run", Container: profile.Container{ID: "2", Name: "web", Image: "nginx", Engine: engine}})
		if found := find(profile.Summaries(p), info) != nil; found != want {
			t.Errorf("engine %q: found %v", engine, found)
		}
		if runs := recordings([]Subject{{Info: info}}, &p); len(runs) == 1 != want {
			t.Errorf("engine %q: %d recordings", engine, len(runs))
		}
	}
}

// capmon does not have all settings of containers of other engines, so it prints no commands that create them again.
func TestRemediesOfOtherEngines(t *testing.T) {
	pod := func(owner string) container.Info {
		return container.Info{Engine: "containerd", Name: "pay/web-7d9f-x2x4q/main", Kubernetes: kubernetes.Pod{Namespace: "pay", Name: "web-7d9f-x2x4q", Owner: owner}}
	}
	for _, test := range []struct {
		info           container.Info
		observe, fixed string
		audit          string
	}{
		{container.Info{Engine: container.Podman, Name: "web"}, "--container=web #", "with these options: --cap-drop=ALL --cap-add=CHOWN", "capmon audit --profile=./web.json web"},
		{container.Info{Engine: "containerd", Name: "prod/web"}, "--container=prod/web #", "with nerdctl, use these options: --cap-drop=ALL --cap-add=CHOWN", "capmon audit --profile=./prod-web.json prod/web"},
		{pod("Deployment/web"), "--container='pay/web-*/main' #", "in the specification of Deployment/web in the namespace pay, set for the container main: securityContext: {capabilities: {drop: [ALL], add: [CHOWN]}}", "capmon audit --profile=./pay-web-7d9f-x2x4q-main.json"},
		{pod("Node"), "--container=pay/web-7d9f-x2x4q/main #", "in the specification of Pod/web-7d9f-x2x4q in", "capmon audit --profile=./pay-web-7d9f-x2x4q-main.json pay/web-7d9f-x2x4q/main"},
		{pod(""), "--container=pay/web-7d9f-x2x4q/main #", "in the specification of Pod/web-7d9f-x2x4q in", "capmon audit --profile=./pay-web-7d9f-x2x4q-main.json pay/web-7d9f-x2x4q/main"},
	} {
		granted := capability.Of(capability.Chown, capability.NetRaw)
		test.info.ID, test.info.Image, test.info.Granted = strings.Repeat("a", 64), "bb", &granted
		subject := Subject{test.info, container.Settings{
			Container: docker.InspectResponse{ContainerJSONBase: &docker.ContainerJSONBase{HostConfig: &docker.HostConfig{}}}, ImageGone: true,
		}}
		options := Options{Last: capability.CheckpointRestore, Thresholds: thresholds, Time: noon, Profile: &profile.Profile{}}
		unseen := Of([]Subject{subject}, options).Containers[0]
		if observe := unseen.Remedy.Observe; len(observe) != 2 || !strings.Contains(observe[0], test.observe) || observe[1] != test.audit {
			t.Errorf("%+v: %q", test.info, observe)
		}
		run := ran(time.Hour, used(capability.Chown))
		run.Container = profile.Container{ID: test.info.ID, Name: test.info.Name, Image: "bb", Engine: test.info.Engine}
		p := profile.New(run)
		options.Profile = &p
		seen := Of([]Subject{subject}, options).Containers[0]
		if text := seen.Remedy.Text(); !strings.Contains(text, test.fixed) || len(seen.Remedy.Run) > 0 {
			t.Errorf("%+v: %s", test.info, text)
		}
		risky := ran(time.Hour, used(capability.SysAdmin), used(capability.CheckpointRestore+1))
		granted = granted.Union(capability.Of(capability.SysAdmin, capability.CheckpointRestore+1))
		risky.Container, risky.Grants.Kernel = run.Container, &granted
		p = profile.New(risky)
		risk := Of([]Subject{subject}, options).Containers[0].Remedy
		for _, caution := range []string{"risky even so", "is newer than this version of capmon"} {
			if text := risk.Text(); !strings.Contains(text, caution) || risk.Certain {
				t.Errorf("no caution %q, certain: %t: %s", caution, risk.Certain, text)
			}
		}
		rules := []string{"CIS-5.5", "CIS-5.17"} // the OCI specification does not show whether a container complies
		known := slices.ContainsFunc(seen.Related, func(r Related) bool { return slices.Contains(rules, r.Rule) })
		if known != (test.info.Engine == container.Podman) {
			t.Errorf("%s: %+v", test.info.Engine, seen.Related)
		}
	}
}
