package container

import (
	"errors"
	"net/http"
	"strings"
	"testing"
)

// Docker lets users name a container like the ID of another engine's container. With --link, a name has a slash, as an
// ID of containerd. Such a container is not the one with the ID.
func TestContainersNamedLikeOthersAreNotThese(t *testing.T) {
	own := strings.Repeat("b", 64)
	docker := fake(t, func(w http.ResponseWriter, r *http.Request) { // it has one container, and any name means it
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"Id": "` + own + `", "Name": "/x", "State": {"Running": true}, "HostConfig": {"Privileged": true}, "Config": {"Image": "bb"}}`))
	})
	for _, id := range []string{whole, "default/web"} {
		if info, err := docker.Inspect(t.Context(), id); !errors.Is(err, ErrNotFound) {
			t.Errorf("inspecting %s: %s, %v", id, info.ID, err)
		}
		if settings, err := docker.Settings(t.Context(), id); !errors.Is(err, ErrNotFound) {
			t.Errorf("the settings of %s: %+v, %v", id, settings.Container.ContainerJSONBase, err)
		}
	}
	for _, id := range []string{own, own[:12], "x", "/x"} {
		if info, err := docker.Inspect(t.Context(), id); err != nil || info.ID != own {
			t.Errorf("inspecting %s: %s, %v", id, info.ID, err)
		}
	}
}

// The answer of an engine about a container that has another ID does not count.
func TestWholeIDsMeanNoNames(t *testing.T) {
	docker, podman := newFake("docker"), newFake("podman", whole)
	docker.containers[whole] = Info{ID: strings.Repeat("b", 64), Name: "attacker"}
	engines, _ := together(t, docker, podman)
	for range 50 { // the first answer counts
		if info, err := engines.Inspect(t.Context(), whole); err != nil || info.ID != whole {
			t.Fatalf("%+v, %v", info, err)
		}
	}
	podman.set(hangs)
	if info, err := engines.Inspect(t.Context(), whole); err == nil || errors.Is(err, ErrNotFound) {
		t.Errorf("while Podman does not answer: %+v, %v", info, err)
	}
}
