package settings

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/settings/settingstest"
)

func ptr[T any](value T) *T { return &value }

func TestLabelsAreUnique(t *testing.T) {
	run := func(id int, name, image string) profile.Run {
		r := settingstest.Needing(id, name, 0)
		r.Container.Image = image
		return r
	}
	service := run(7, "api.1.x", "api")
	service.Container.Labels = map[string]string{"com.docker.swarm.service.name": "api"}
	var got []string
	for _, c := range Containers(profile.New(run(1, "web", "nginx"), run(2, "web", "nginx:2"), run(3, "db", "pg"), run(4, "", ""), run(5, "", ""),
		run(6, "db 2", "pg"), service, run(8, "api", ""))) {
		got = append(got, c.Label)
	}
	want := []string{`"web (nginx)"`, `"web (nginx:2)"`, "db", "000400040004", "000500050005", `"db 2"`, `"api (api)"`,
		`"api (` + strings.Repeat("0008", 16) + `)"`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestDefaultTarget(t *testing.T) {
	docker, podman, pod, unit := settingstest.Needing(1, "d", 0), settingstest.Needing(2, "p", 0), settingstest.Needing(3, "k", 0), settingstest.Needing(4, "u", 0)
	containerd := settingstest.Needing(5, "c", 0)
	podman.Container.Engine, containerd.Container.Engine, unit.Container.Kind = "podman", "containerd", container.Unit
	pod.Container.Engine, pod.Container.PodName = "containerd", "web"
	for _, test := range []struct {
		want string
		runs []profile.Run
	}{
		{Docker, []profile.Run{docker}},
		{Podman, []profile.Run{podman}},
		{Podman, []profile.Run{podman, unit}},
		{Podman, []profile.Run{unit, podman}},
		{Kubernetes, []profile.Run{pod}},
		{Systemd, []profile.Run{unit}},
		{Docker, []profile.Run{containerd}},
		{Docker, []profile.Run{podman, pod}},
		{Docker, []profile.Run{docker, podman, unit}},
	} {
		if got := DefaultTarget(Containers(profile.New(test.runs...))); got != test.want {
			t.Errorf("%v: got %s, wanted %s", test.runs, got, test.want)
		}
	}
}

func TestNoSettingsWithoutAList(t *testing.T) {
	unseen, unnamed := settingstest.Needing(1, "unseen", 0), settingstest.Needing(2, "newer", capability.Of(63, capability.Chown))
	unseen.Started = nil
	all := Containers(profile.New(unseen, unnamed, settingstest.Needing(3, "web", capability.Of(capability.Chown))))
	for _, target := range Targets() {
		text, _, err := target.Settings(all, Absolute)
		if err != nil || text == "" || strings.Contains(text, "63") || strings.Contains(text, "newer") || strings.Contains(text, "unseen") {
			t.Errorf("%s: %v, %q", target.Name, err, text)
		}
		for _, c := range all {
			text, _, err := target.Settings([]LabeledContainer{c}, Absolute)
			if err != nil || (text != "") != (c.Label == "web") {
				t.Errorf("%s: %s: %v, %q", target.Name, c.Label, err, text)
			}
		}
	}
	for i, want := range []string{"capability 63", "", "saw only the runtime setup of the container, not its workload"} { // in the order of their starts
		if reason := all[i].Unavailable(); !strings.Contains(reason, want) || (reason == "") != (want == "") {
			t.Errorf("%s: %q, wanted %q", all[i].Label, reason, want)
		}
	}
}

func TestDeltaRequiresKnownGrants(t *testing.T) {
	run := settingstest.Needing(1, "web", 0)
	run.Grants = profile.Grants{}
	for _, target := range Targets() {
		_, _, err := target.Settings(Containers(profile.New(run)), Delta)
		want := "web: the grants of the container are unknown"
		if target.noDelta != "" {
			want = "is not available for " + target.Name
		}
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "--style absolute") {
			t.Errorf("%s: %v; wanted %s", target.Name, err, want)
		}
	}
}

func TestNotesAboutCurrentSettings(t *testing.T) {
	privileged, added, plain := settingstest.Needing(1, "p", 0), settingstest.Needing(2, "a", 0), settingstest.Needing(3, "n", 0)
	privileged.Grants.Privileged = true
	added.Grants.Kernel = ptr(capability.DockerDefault().With(capability.SysTime).Without(capability.Kill))
	all := Containers(profile.New(privileged, added, plain))
	for style, want := range map[Style]map[string]string{
		Absolute: {"p": "remove --privileged first"},
		Delta:    {"p": "remove --privileged first", "a": "the container was run with SYS_TIME and without KILL"},
	} {
		_, notes, err := dockerTarget().Settings(all, style)
		if err != nil || len(notes) != len(want) {
			t.Errorf("%s: %v, %v", style, notes, err)
		}
		for _, note := range notes {
			if want[note.Label] == "" || !strings.Contains(note.Text, want[note.Label]) {
				t.Errorf("%s: %+v, wanted %s", style, note, want[note.Label])
			}
		}
	}
}

func TestErrorsForUnknownNamesListTheKnownOnes(t *testing.T) {
	if _, err := ParseTarget("swarm"); err == nil || !strings.Contains(err.Error(), `"swarm": choose docker, service,`) || !strings.Contains(err.Error(), "or devcontainer") {
		t.Error(err)
	}
	if _, err := ParseStyle("relative"); err == nil || !strings.Contains(err.Error(), "absolute or delta") {
		t.Error(err)
	}
}

func TestHasName(t *testing.T) {
	run := settingstest.Needing(0xabcd, "shop-web-1", 0)
	run.Container.Labels = map[string]string{"com.docker.compose.service": "web", "io.kubernetes.container.name": "front"}
	c := Containers(profile.New(run))[0]
	for name, want := range map[string]bool{
		"shop-web-1": true, "web": true, "front": true, "abcdab": true, run.Container.ID: true,
		"": false, "abc": false, "shop": false, "bcda": false,
	} {
		if c.HasName(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
}

func TestEveryTargetIsDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/flags.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range Targets() {
		delta := "yes"
		if target.noDelta != "" {
			delta = "no"
		}
		row := regexp.MustCompile("(?m)^\\| `" + target.Name + "` \\| [^|]+\\| *" + delta + " *\\|$")
		if !row.Match(doc) {
			t.Errorf("no row for %s in docs/flags.md, or a wrong entry for the style delta", target.Name)
		}
	}
}
