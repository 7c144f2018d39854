package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/observe"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/report"
)

// profileCommand runs a command and profiles the containers that it starts.
func (p *profileFlags) profileCommand(cmd *cobra.Command, names, command []string) error {
	switch {
	case len(command) == 0 || command[0] == "":
		return errors.New("no command after --: give a command, such as capmon profile -- docker run IMAGE")
	case len(names) > 0:
		return fmt.Errorf("%s: name running containers or a command, not both; to select containers that the command starts, use --container PATTERN", strings.Join(names, " "))
	case p.engine.value != allEngines:
		return fmt.Errorf("--engine=%s is for running containers: leave it out, because capmon profiles a command through the engine that DOCKER_HOST or the docker context names", p.engine.value)
	case p.duration != 0:
		return errors.New("--for is for running containers: leave it out, because capmon profiles a command until it ends")
	}
	log, err := p.validate()
	if err != nil {
		return err
	}
	process, err := newProfiledCommand(command, os.Environ(), p.stdout(cmd))
	if err != nil {
		return err
	}
	defer process.release()
	docker, err := connect(cmd.Context(), !p.allContainers, log)
	if err != nil {
		return err
	}
	observer, err := p.start(cmd.Context(), docker, log)
	if err != nil {
		return err
	}
	defer observer.Close()

	started := &startedContainers{observer: observer}
	defer docker.Close()
	proxy, err := container.NewProxy(docker, started.add)
	if err != nil {
		return err
	}
	defer proxy.Close()
	process.env = throughProxy(process.env, proxy.Host())
	if err := createReadyFile(p.readyFile); err != nil {
		return err
	}
	code := signalExitCode(unix.SIGINT)
	if cmd.Context().Err() == nil { // otherwise Ctrl-C arrived before the command started
		end := enterForeground(cmd.Context())
		code, err = process.run()
		end()
		if err != nil {
			return err
		}
	}
	if p.report.format.value == string(report.Table) {
		fmt.Fprintln(cmd.OutOrStdout()) // separates the command's output from the report
	}
	scope := commandScope(command, p.allContainers, p.asSelection())
	err = p.finish(cmd, observer, log, scope, func(run profile.Run) bool {
		return started.has(run.Container.ID) || p.allContainers && !run.Existed
	})
	if started.empty() && !p.allContainers && cmd.Context().Err() == nil {
		fmt.Fprintln(cmd.ErrOrStderr(), "capmon: the command started no container through the Docker engine that capmon sees; "+
			"if it starts a swarm service, uses another engine, or sets DOCKER_HOST or --host itself, use --all-containers")
	}
	if none := (*noneSelectedError)(nil); code != 0 && errors.As(err, &none) {
		fmt.Fprintln(cmd.ErrOrStderr(), "capmon:", err) // the failed command is the likely cause
		err = nil
	}
	if err == nil && code != 0 {
		return &exitError{code}
	}
	return err
}

// startedContainers contains the containers that the command created or started. It is safe for concurrent use.
type startedContainers struct {
	observer *observe.Observer
	mu       sync.Mutex
	ids      map[string]bool
}

// add records that the command created or started a container. The proxy calls add before it forwards the engine's
// reply, so capmon can read the settings before the container ends.
func (s *startedContainers) add(ctx context.Context, id string) {
	s.mu.Lock()
	if s.ids == nil {
		s.ids = make(map[string]bool)
	}
	s.ids[id] = true
	s.mu.Unlock()
	s.observer.Inspect(ctx, id)
}

func (s *startedContainers) has(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ids[id]
}

func (s *startedContainers) empty() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.ids) == 0
}

// throughProxy returns the environment with DOCKER_HOST set to the proxy. It removes the other variables for Docker
// clients: capmon's own connection to the engine already uses them.
func throughProxy(env []string, host string) []string {
	var out []string
	for _, entry := range env {
		name, _, _ := strings.Cut(entry, "=")
		switch name {
		case "DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH":
		default:
			out = append(out, entry)
		}
	}
	return append(out, "DOCKER_HOST="+host)
}

// stdout returns the writer for the output of the command. It is standard output if capmon prints a table. Otherwise it
// is stderr, because scripts read the result of capmon from standard output.
func (p *profileFlags) stdout(cmd *cobra.Command) io.Writer {
	if p.report.format.value == string(report.Table) {
		return cmd.OutOrStdout()
	}
	return os.Stderr
}
