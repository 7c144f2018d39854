package main

import (
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"

	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/container"
)

// commandEngines are the engines with which a command may start containers.
type commandEngines struct {
	all container.Engine
	// docker is the engine that the docker command uses.
	docker *container.Docker
	// podman is the service of Podman at CONTAINER_HOST, which podman uses instead of making containers itself. It is
	// nil if CONTAINER_HOST is not the address of a socket.
	podman  *container.Docker
	proxies []*container.Proxy
}

// connectForCommand connects to the engines. At least one must answer, unless the command can start containers with
// podman, which needs no engine.
func (p *profileFlags) connectForCommand(ctx context.Context, command []string, log *zap.Logger) (*commandEngines, error) {
	mayUsePodman := isPodmanInstalled() && filepath.Base(command[0]) != "docker"
	all, err := p.engine.connect(ctx, !p.allContainers && !mayUsePodman, log)
	if err != nil {
		return nil, err
	}
	engines := &commandEngines{all: all}
	if engines.docker, err = container.ChooseDocker(); err == nil {
		engines.podman, err = container.PodmanAtHost()
	}
	if err != nil {
		engines.close()
		return nil, err
	}
	return engines, nil
}

func isPodmanInstalled() bool {
	_, err := exec.LookPath("podman")
	return err == nil
}

// startProxies starts a proxy for each engine at an address that clients read from a variable. It returns the
// environment with the addresses of the proxies. started is as in [container.NewProxy].
func (e *commandEngines) startProxies(env []string, started func(ctx context.Context, id string)) ([]string, error) {
	docker, err := e.startProxy(e.docker, started)
	if err != nil {
		return nil, err
	}
	// capmon's own connection to Docker already uses the other variables.
	env = replaceVariables(env, "DOCKER_HOST="+docker, "DOCKER_CONTEXT", "DOCKER_TLS", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH")
	if e.podman == nil { // podman would use a service if CONTAINER_HOST was set
		return env, nil
	}
	podman, err := e.startProxy(e.podman, started)
	return replaceVariables(env, "CONTAINER_HOST="+podman), err
}

func (e *commandEngines) startProxy(engine *container.Docker, started func(ctx context.Context, id string)) (address string, err error) {
	proxy, err := container.NewProxy(engine, started)
	if err != nil {
		return "", err
	}
	e.proxies = append(e.proxies, proxy)
	return proxy.Host(), nil
}

func (e *commandEngines) closeProxies() {
	for _, proxy := range e.proxies {
		_ = proxy.Close() // the recording has ended
	}
}

func (e *commandEngines) close() {
	var errs []error
	if e.docker != nil {
		errs = append(errs, e.docker.Close())
	}
	if e.podman != nil {
		errs = append(errs, e.podman.Close())
	}
	_ = errors.Join(append(errs, e.all.Close())...)
}

// replaceVariables returns the environment with a variable, and without its other value and without others.
func replaceVariables(env []string, variable string, others ...string) []string {
	name, _, _ := strings.Cut(variable, "=")
	removed := map[string]bool{name: true}
	for _, other := range others {
		removed[other] = true
	}
	var out []string
	for _, entry := range env {
		if name, _, _ := strings.Cut(entry, "="); !removed[name] {
			out = append(out, entry)
		}
	}
	return append(out, variable)
}
