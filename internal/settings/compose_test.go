package settings

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/settings/settingstest"
)

func TestComposeSettings(t *testing.T) {
	replica := func(id int, name, service, project string, needs capability.Set) profile.Run {
		run := settingstest.Needing(id, name, needs)
		run.Container.Labels = map[string]string{"com.docker.compose.service": service, "com.docker.compose.project": project}
		return run
	}
	task := settingstest.Needing(5, "shop_api.1.x", capability.Of(capability.Kill))
	task.Container.Labels = map[string]string{"com.docker.swarm.service.name": "shop_api", "com.docker.stack.namespace": "shop"}
	runs := []profile.Run{
		replica(1, "shop-web-1", "web", "shop", capability.Of(capability.NetRaw)),
		replica(2, "shop-web-2", "web", "shop", capability.Of(capability.Setuid)),
		settingstest.Needing(3, "true", 0), settingstest.Needing(4, "pinger", capability.Of(capability.NetRaw)), task,
	}
	text, notes, err := composeTarget().Settings(Containers(profile.New(runs...)), Absolute)
	want := `services:
  # shop-web-1, shop-web-2
  web:
    cap_drop: [ALL]
    cap_add: [NET_RAW, SETUID]
  "true":
    cap_drop: [ALL]
  pinger:
    cap_drop: [ALL]
    cap_add: [NET_RAW]
  # shop_api
  api:
    cap_drop: [ALL]
    cap_add: [KILL]
`
	if diff := cmp.Diff(want, text); diff != "" || err != nil || len(notes) > 0 {
		t.Errorf("%v %v %s", err, notes, diff)
	}
	// A service that is needed nothing else than Docker's default for has no settings.
	text, _, err = composeTarget().Settings(Containers(profile.New(settingstest.Needing(1, "web", capability.DockerDefault()))), Delta)
	if err != nil || text != "services:\n  web: {}\n" {
		t.Errorf("%v %q", err, text)
	}
	_, _, err = composeTarget().Settings(Containers(profile.New(append(runs, replica(6, "blog-web-1", "web", "blog", 0))...)), Absolute)
	if err == nil || !strings.Contains(err.Error(), "shop-web-1 and blog-web-1 are both named \"web\"") {
		t.Errorf("services of different projects in one file: %v", err)
	}
}

// Anyone can give a container the label of a service.
func TestComposeServicesOfOtherImagesAreRejected(t *testing.T) {
	web, other := settingstest.Needing(1, "web", 0), settingstest.Needing(2, "other", capability.Of(capability.SysAdmin))
	other.Container.Image, other.Container.Labels = "other", map[string]string{"com.docker.compose.service": "web"}
	if text, _, err := composeTarget().Settings(Containers(profile.New(web, other)), Absolute); err == nil {
		t.Error(text)
	}
}

func TestComposeListsAddUp(t *testing.T) {
	run := settingstest.Needing(1, "web", 0)
	run.Grants.Kernel = ptr(capability.DockerDefault().With(capability.SysTime))
	_, notes, err := composeTarget().Settings(Containers(profile.New(run)), Absolute)
	if err != nil || len(notes) != 1 || !strings.Contains(notes[0].Text, "may already have a cap_add in its compose file (SYS_TIME)") {
		t.Errorf("%v %v", notes, err)
	}
}

// A list that is too short for one replica is too short for the service.
func TestComposeServiceWithAnUnknownNeedIsLeftOut(t *testing.T) {
	one, other := settingstest.Needing(1, "shop-web-1", 0), settingstest.Needing(2, "shop-web-2", capability.Of(63))
	for _, run := range []*profile.Run{&one, &other} {
		run.Container.Labels = map[string]string{"com.docker.compose.service": "web"}
	}
	text, _, err := composeTarget().Settings(Containers(profile.New(one, other)), Absolute)
	if err != nil || text != "" {
		t.Errorf("%v %q", err, text)
	}
}

func TestComposeLines(t *testing.T) {
	for needs, want := range map[capability.Set]string{
		0:                                "cap_drop: [ALL]",
		capability.Of(capability.NetRaw): "cap_drop: [ALL]\ncap_add: [NET_RAW]",
		capability.Of(capability.Setuid, capability.Chown): "cap_drop: [ALL]\ncap_add: [CHOWN, SETUID]",
	} {
		if diff := cmp.Diff(want, strings.Join(ComposeLines(needs), "\n")); diff != "" {
			t.Error(diff)
		}
	}
}

// The settings of one replica alone may lack what another one needs.
func TestReplicasOfAComposeServiceHaveSettingsInCommon(t *testing.T) {
	of := func(id int, name, project, image, oneOff string) profile.Run {
		run := settingstest.Needing(id, name, 0)
		run.Container.Image = image
		run.Container.Labels = map[string]string{
			"com.docker.compose.service": "web", "com.docker.compose.project": project, "com.docker.compose.oneoff": oneOff,
		}
		return run
	}
	all := Containers(profile.New(
		of(1, "shop-web-1", "shop", "web:1", ""), of(2, "shop-web-2", "shop", "web:1", ""), of(3, "shop-web-3", "shop", "web:2", ""),
		of(4, "blog-web-1", "blog", "web:1", ""), of(5, "shop-web-run-1", "shop", "web:1", "True"),
	))
	got := make(map[string]string)
	for label, replicas := range composeTarget().Replicas(all) {
		var labels []string
		for _, c := range replicas {
			labels = append(labels, c.Label)
		}
		got[label] = strings.Join(labels, " ")
	}
	want := map[string]string{
		"shop-web-1": "shop-web-1 shop-web-2", "shop-web-2": "shop-web-1 shop-web-2", "shop-web-3": "shop-web-3",
		"blog-web-1": "blog-web-1", "shop-web-run-1": "shop-web-run-1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for label, replicas := range dockerTarget().Replicas(all) {
		if len(replicas) != 1 || replicas[0].Label != label {
			t.Errorf("options of docker run for %s: %d containers", label, len(replicas))
		}
	}
}
