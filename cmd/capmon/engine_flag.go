package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/container"
)

const allEngines, onlyDocker, onlyPodman, onlyContainerd, onlyCRI = "all", "docker", "podman", "containerd", "cri"

// engineFlag is the value of the flag --engine: the engines that capmon asks.
type engineFlag struct{ choiceFlag }

// register adds the flag for a command that can ask these engines.
func (e *engineFlag) register(flags *pflag.FlagSet, engines ...string) {
	e.choiceFlag = choiceFlag{allEngines, append([]string{allEngines}, engines...)}
	flags.Var(e, "engine", "`ENGINE` to ask: "+e.list()+"; all means every engine that answers")
}

// asks reports whether the user lets the command ask an engine.
func (e *engineFlag) asks(engine string) bool {
	return e.value == engine || e.value == allEngines && slices.Contains(e.of, engine)
}

// connect connects to the engines. If required is set, at least one must answer. Otherwise capmon knows the containers
// of an engine only from the kernel and from their OCI bundles until the engine answers.
func (e *engineFlag) connect(ctx context.Context, required bool, log *zap.Logger) (container.Engine, error) {
	if e.value == onlyDocker {
		return connect(ctx, required, log)
	}
	members, err := e.members(ctx, log)
	switch {
	case err != nil:
		return nil, err
	case len(members) > 1:
		return connectAll(ctx, members, required, log)
	case e.value == allEngines:
		return connect(ctx, required, log)
	}
	return connectOnly(ctx, members[0], required, log)
}

// members returns the engines that the user lets the command ask, Docker first. They need not answer.
func (e *engineFlag) members(ctx context.Context, log *zap.Logger) (members []container.Member, err error) {
	var docker *container.Docker
	if e.asks(onlyDocker) {
		if docker, err = container.ChooseDocker(); err != nil {
			return nil, err
		}
		members = append(members, docker)
		if !docker.Local() { // its containers are on another host
			return members, nil
		}
	}
	if e.asks(onlyPodman) {
		podmans, err := e.podmans(docker, log)
		if err != nil {
			return nil, err
		}
		members = append(members, podmans...)
	}
	kubernetes, err := e.runtimes(ctx, log)
	return append(members, kubernetes...), err
}

// runtimes returns the containerds and the other runtimes of Kubernetes.
func (e *engineFlag) runtimes(ctx context.Context, log *zap.Logger) (members []container.Member, err error) {
	var containerds []*container.Containerd
	if e.asks(onlyContainerd) {
		caution := func(err error) { log.Warn("containerd does not report the pods of its containers", zap.Error(err)) }
		if containerds, err = container.FindContainerd(container.ContainerdOptions{Caution: caution}); err != nil {
			return nil, err
		}
		if e.value == onlyContainerd && len(containerds) == 0 {
			return nil, container.ErrNoContainerd
		}
		for _, containerd := range containerds {
			members = append(members, containerd)
		}
	}
	if !e.asks(onlyCRI) {
		return members, nil
	}
	found, skipped, err := container.FindCRI(ctx, containerds)
	if err != nil {
		return nil, err
	}
	for socket, err := range skipped {
		log.Warn("left out a runtime of Kubernetes", zap.String("endpoint", socket), zap.Error(err))
	}
	if e.value == onlyCRI && len(found) == 0 {
		return nil, errors.New("found no runtime of Kubernetes: start one, or set CONTAINER_RUNTIME_ENDPOINT to the address of its socket")
	}
	for _, runtime := range found {
		members = append(members, runtime)
	}
	return members, nil
}

// podmans returns the services of Podman, without one that is the engine docker.
func (e *engineFlag) podmans(docker *container.Docker, log *zap.Logger) (members []container.Member, err error) {
	found, skipped, err := container.FindPodman()
	if err != nil {
		return nil, err
	}
	for socket, err := range skipped {
		log.Warn("left out a socket of Podman", zap.String("socket", socket), zap.Error(err))
	}
	if e.value == onlyPodman && len(found) == 0 {
		return nil, errors.New("found no socket of Podman: run systemctl start podman.socket as root, or set CONTAINER_HOST to the address of the socket")
	}
	for _, podman := range found {
		if docker == nil || !docker.SameSocket(podman) {
			members = append(members, podman)
		}
	}
	return members, nil
}

// connectAll connects to several engines.
func connectAll(ctx context.Context, members []container.Member, required bool, log *zap.Logger) (container.Engine, error) {
	caution := func(engine container.Member, err error) {
		report := log.Warn
		if isLeftOut(engine, err) {
			report = log.Debug
		}
		report(fmt.Sprintf("%s at %s does not answer; until it answers, capmon knows its containers only from the kernel and from OCI bundles", engine.Name(), engine.Endpoint()), zap.Error(err))
	}
	engines := container.NewEngines(ctx, members, caution)
	if engines.Answer() {
		return engines, nil
	}
	var addresses []string
	for _, member := range members {
		addresses = append(addresses, member.Name()+" at "+member.Endpoint())
	}
	if required {
		err := fmt.Errorf("no engine answers: %s; start one, or correct DOCKER_HOST or the docker context, CONTAINER_HOST, CONTAINERD_ADDRESS or CONTAINER_RUNTIME_ENDPOINT", strings.Join(addresses, ", "))
		return nil, errors.Join(err, engines.Close())
	}
	return engines, nil
}

// isLeftOut reports whether the user need not know that an engine does not answer: there is no Docker, or this user may
// not use the runtime of Kubernetes.
func isLeftOut(engine container.Member, err error) bool {
	switch engine := engine.(type) {
	case *container.Docker:
		return !engine.Chosen() && errors.Is(err, os.ErrNotExist)
	case *container.Containerd, *container.CRI:
		return errors.Is(err, os.ErrPermission)
	}
	return false
}

// aliveTime is how long connectOnly waits for an engine.
const aliveTime = 10 * time.Second

// connectOnly connects to one engine that is not chosen by DOCKER_HOST or the docker context.
func connectOnly(ctx context.Context, only container.Member, required bool, log *zap.Logger) (container.Engine, error) {
	ctx, cancel := context.WithTimeout(ctx, aliveTime)
	defer cancel()
	err := only.Alive(ctx)
	if err != nil && required {
		return nil, errors.Join(fmt.Errorf("%s at %s does not answer: %w", only.Name(), only.Endpoint(), err), only.Close())
	}
	if err != nil {
		log.Warn(fmt.Sprintf("%s at %s does not answer; until it answers, capmon knows its containers only from OCI bundles", only.Name(), only.Endpoint()), zap.Error(err))
	}
	return only, nil
}
