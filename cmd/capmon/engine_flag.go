package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/pflag"
	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/audit"
	"github.com/capmon/capmon/internal/container"
)

const allEngines, onlyDocker, onlyPodman = "all", "docker", "podman"

// engineFlag is the value of the flag --engine: the engines that capmon asks.
type engineFlag struct{ choiceFlag }

func (e *engineFlag) register(flags *pflag.FlagSet) {
	e.choiceFlag = choiceFlag{allEngines, []string{allEngines, onlyDocker, onlyPodman}}
	flags.Var(e, "engine", "ask only this `ENGINE`: all, docker or podman; all are those that answer")
}

// engine is what commands need from one or several engines.
type engine interface {
	container.Engine
	audit.Engine
}

// connect connects to the engines. If required is set, at least one must answer. Otherwise capmon knows the containers
// of an engine only from the kernel and from their OCI bundles until the engine answers.
func (e *engineFlag) connect(ctx context.Context, required bool, log *zap.Logger) (engine, error) {
	var podmans []*container.Docker
	if e.value != onlyDocker {
		found, skipped, err := container.FindPodman()
		if err != nil {
			return nil, err
		}
		for socket, err := range skipped {
			log.Warn("left out a socket of Podman", zap.String("socket", socket), zap.Error(err))
		}
		podmans = found
	}
	caution := func(engine string, err error) {
		log.Warn(engine+" does not answer; until it answers, capmon knows its containers only from the kernel and from OCI bundles", zap.Error(err))
	}
	switch {
	case e.value == onlyPodman && len(podmans) == 0:
		return nil, errors.New("found no socket of Podman: run systemctl start podman.socket as root, or set CONTAINER_HOST to the address of the socket")
	case e.value == onlyPodman && len(podmans) == 1:
		return pinged(ctx, podmans[0], required, log)
	case e.value == onlyPodman:
		return container.NewEngines(ctx, podmans, caution), nil
	case len(podmans) == 0:
		return connectAny(ctx, required, log)
	}
	docker, err := container.ChooseDocker()
	if err != nil {
		return nil, err
	}
	engines := []*container.Docker{docker}
	for _, podman := range podmans {
		if docker.SameSocket(podman) {
			err = errors.Join(err, podman.Close())
			continue
		}
		engines = append(engines, podman)
	}
	if len(engines) == 1 {
		return connectAny(ctx, required, log)
	}
	return container.NewEngines(ctx, engines, caution), err
}

// pingTime is how long pinged waits for an engine.
const pingTime = 10 * time.Second

// pinged returns the engine, or an error if the engine is required and does not answer.
func pinged(ctx context.Context, only *container.Docker, required bool, log *zap.Logger) (engine, error) {
	ctx, cancel := context.WithTimeout(ctx, pingTime)
	defer cancel()
	err := only.Ping(ctx)
	if err != nil && required {
		return nil, errors.Join(fmt.Errorf("podman at %s does not answer: %w", only.Endpoint(), err), only.Close())
	}
	if err != nil {
		log.Warn("Podman does not answer; until it answers, capmon knows its containers only from OCI bundles", zap.Error(err))
	}
	return only, nil
}

// connectAny is like [connect], but connects to containerd if Docker does not answer and containerd does.
func connectAny(ctx context.Context, required bool, log *zap.Logger) (engine, error) {
	docker, err := connect(ctx, true, zap.NewNop())
	var unreachable *container.UnreachableError
	if err == nil || !errors.As(err, &unreachable) {
		return docker, err
	}
	if containerd, err := container.ChooseContainerd(container.ContainerdOptions{}); err == nil {
		if err = containerd.Ping(ctx); err == nil {
			return containerd, nil
		}
		log.Debug("containerd does not answer", zap.Error(errors.Join(err, containerd.Close())))
	}
	return connect(ctx, required, log)
}
