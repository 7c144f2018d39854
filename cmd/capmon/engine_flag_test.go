package main

import (
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// socket returns the path of a socket that accepts connections and never answers.
func socket(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return path
}

// engineFlagWith returns the flag --engine with a value. The engines are at these addresses. The runtime of Kubernetes
// is containerd.
func engineFlagWith(t *testing.T, value, docker, podman, containerd string) *engineFlag {
	t.Helper()
	t.Setenv("DOCKER_HOST", docker)
	t.Setenv("CONTAINER_HOST", podman)
	t.Setenv("CONTAINERD_ADDRESS", containerd)
	t.Setenv("CONTAINER_RUNTIME_ENDPOINT", containerd)
	e := new(engineFlag)
	e.register(pflag.NewFlagSet("", pflag.ContinueOnError), onlyDocker, onlyPodman, onlyContainerd, onlyCRI)
	if err := e.Set(value); err != nil {
		t.Fatal(err)
	}
	return e
}

func TestEngineFlagSelectsEngines(t *testing.T) {
	docker, podman, containerd := "unix://"+socket(t), "unix://"+socket(t), "unix://"+socket(t)
	for _, test := range []struct {
		value, docker string
		want, not     []string
	}{
		{"all", docker, []string{docker, podman, containerd}, nil},
		{"all", podman, []string{podman, containerd}, []string{docker}}, // DOCKER_HOST is the socket of Podman
		{"all", "tcp://192.0.2.1:2375", []string{"tcp://192.0.2.1:2375"}, []string{podman, containerd}},
		{"docker", docker, []string{docker}, []string{podman, containerd}},
		{"podman", docker, []string{podman}, []string{docker, containerd}},
		{"CONTAINERD", docker, []string{containerd}, []string{docker, podman}},
		{"cri", docker, []string{containerd}, []string{docker, podman}},
	} {
		members, err := engineFlagWith(t, test.value, test.docker, podman, containerd).members(t.Context(), zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, member := range members {
			got = append(got, member.Endpoint())
			defer member.Close()
		}
		for _, endpoint := range slices.Concat(test.want, test.not) {
			count := 0
			for _, one := range got {
				if one == endpoint {
					count++
				}
			}
			if want := slices.Contains(test.want, endpoint); want != (count == 1) || count > 1 {
				t.Errorf("--engine=%s with Docker at %s: got %v, want %v and not %v", test.value, test.docker, got, test.want, test.not)
			}
		}
	}
}

// No engine answers: a command that needs one fails soon with all addresses. Others get one warning for each engine.
func TestNoEngineAnswers(t *testing.T) {
	docker, podman, containerd := "unix://"+socket(t), "unix://"+socket(t), "unix://"+socket(t)
	e := engineFlagWith(t, allEngines, docker, podman, containerd)
	begun := time.Now()
	_, err := e.connect(t.Context(), true, zap.NewNop())
	if err == nil || !strings.Contains(err.Error(), "no engine answers: docker at "+docker) || !strings.Contains(err.Error(), "containerd at "+containerd) {
		t.Errorf("got %v", err)
	}
	core, logged := observer.New(zap.WarnLevel)
	engines, err := e.connect(t.Context(), false, zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	defer engines.Close()
	for _, title := range []string{"docker at " + docker, "podman at " + podman, "containerd at " + containerd} {
		warnings := 0
		for _, entry := range logged.All() {
			if strings.HasPrefix(entry.Message, title+" does not answer") {
				warnings++
			}
		}
		if warnings != 1 {
			t.Errorf("%d warnings about %s: %+v", warnings, title, logged.All())
		}
	}
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestOneEngineThatIsMissing(t *testing.T) {
	nowhere := filepath.Join(t.TempDir(), "s")
	_, err := engineFlagWith(t, onlyContainerd, "", "", nowhere).connect(t.Context(), true, zap.NewNop())
	if err == nil || !strings.Contains(err.Error(), "containerd at unix://"+nowhere+" does not answer: dial unix") {
		t.Errorf("containerd: %v", err)
	}
	_, err = engineFlagWith(t, onlyPodman, "", "unix://"+nowhere, "").connect(t.Context(), true, zap.NewNop())
	if err == nil || !strings.Contains(err.Error(), "podman at unix://"+nowhere+" does not answer") {
		t.Errorf("podman: %v", err)
	}
}
