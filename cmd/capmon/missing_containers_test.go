package main

import (
	"crypto/rand"
	"slices"
	"strings"
	"testing"

	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/internal/observe"
	"github.com/capmon/capmon/internal/profile"
)

func TestContainersThatCannotBeSeenAreNamed(t *testing.T) {
	id := strings.Repeat("1a", 32)
	for _, test := range []struct {
		unseen []observe.PodmanContainer
		cgroup kernel.Cgroups
		want   []string
	}{
		{[]observe.PodmanContainer{{ID: id, Name: "web", Rootless: true}, {ID: id}}, kernel.Cgroups{Controller: "pids"}, []string{": web, 1a1a1a1a1a1a; with cgroup v1", "run podman as root"}},
		{[]observe.PodmanContainer{{ID: id, Name: "web", Rootless: true}}, kernel.Cgroups{}, []string{": web; leave out --cgroups=disabled"}},
		{[]observe.PodmanContainer{{ID: id, Name: "web"}}, kernel.Cgroups{Controller: "pids"}, []string{": web; leave out --cgroups=disabled"}},
		{[]observe.PodmanContainer{{ID: id, Name: "\x1b[31m"}}, kernel.Cgroups{}, []string{`: "\x1b[31m"; `}},
	} {
		got := unseenText(test.unseen, test.cgroup)
		for _, want := range test.want {
			if !strings.Contains(got, want) {
				t.Errorf("%+v: %q lacks %q", test.unseen, got, want)
			}
		}
	}
}

func TestContainersOfUnknownOriginAreNamed(t *testing.T) {
	run := func(engine, name string, existed bool) profile.Run {
		return profile.Run{ID: rand.Text(), Container: profile.Container{Engine: engine, Name: name}, Existed: existed}
	}
	got := noneText(profile.New(run("containerd", "web", false), run("", "db", false), run("", "db", false), run("", "before", true)))
	if want := "cannot tell whether the command started them: db (docker), web (containerd); to profile them, use --all-containers."; !strings.Contains(got, want) {
		t.Errorf("%q lacks %q", got, want)
	}
	if got := noneText(profile.New(run("", "before", true))); strings.Contains(got, "before") || strings.Contains(got, "--all-containers") {
		t.Error(got)
	}
}

func TestVariablesAreReplaced(t *testing.T) {
	env := []string{"A=1", "DOCKER_HOST=unix:///old", "DOCKER_HOST_X=kept", "DOCKER_TLS=", "CONTAINER_HOST=unix:///podman", "A=2"}
	want := []string{"A=1", "DOCKER_HOST_X=kept", "CONTAINER_HOST=unix:///podman", "A=2", "DOCKER_HOST=unix:///new"}
	if got := replaceVariables(env, "DOCKER_HOST=unix:///new", "DOCKER_TLS"); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
