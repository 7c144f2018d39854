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

// command runs a command and profiles the containers that it starts.
func (p *profiling) command(cmd *cobra.Command, names, command []string) error {
	switch {
	case len(command) == 0 || command[0] == "":
		return errors.New("no command after --: say what to run, such as capmon profile -- docker run IMAGE")
	case len(names) > 0:
		return fmt.Errorf("%s: name running containers or a command to run, not both; --container PATTERN selects among those that the command starts", strings.Join(names, " "))
	case p.duration != 0:
		return errors.New("--for goes with running containers; a command is watched until it ends")
	}
	log, err := p.check()
	if err != nil {
		return err
	}
	child, err := newChild(command, os.Environ(), p.stdout(cmd))
	if err != nil {
		return err
	}
	defer child.release()
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
	child.env = throughProxy(child.env, proxy.Host())
	if err := p.ready(); err != nil {
		return err
	}
	code := signalled(unix.SIGINT)
	if cmd.Context().Err() == nil { // else Ctrl-C came before there was a child to get it
		over := inForegroundOf(cmd.Context())
		code, err = child.run()
		over()
		if err != nil {
			return err
		}
	}
	if p.rendering.format == string(report.Table) {
		fmt.Fprintln(cmd.OutOrStdout()) // between the command's output and the report
	}
	err = p.finish(cmd, observer, log, func(run profile.Run) bool {
		return started.has(run.Container.ID) || p.allContainers && !run.Existed
	})
	if started.empty() && !p.allContainers && cmd.Context().Err() == nil {
		fmt.Fprintln(cmd.ErrOrStderr(), "capmon: the command started no container through the Docker engine that capmon sees; "+
			"if it starts a service of a swarm, uses another engine or sets DOCKER_HOST or --host itself, use --all-containers")
	}
	if none := (*noneSelectedError)(nil); code != 0 && errors.As(err, &none) {
		fmt.Fprintln(cmd.ErrOrStderr(), "capmon:", err) // most likely because the command failed
		err = nil
	}
	if err == nil && code != 0 {
		return &exitError{code}
	}
	return err
}

// startedContainers are those that the command created or started.
type startedContainers struct {
	observer *observe.Observer
	mu       sync.Mutex
	ids      map[string]bool
}

// add is called while the engine's reply is held back, so the container cannot
// be gone before its settings are known.
func (s *startedContainers) add(ctx context.Context, id string) {
	s.mu.Lock()
	if s.ids == nil {
		s.ids = make(map[string]bool)
	}
	s.ids[id] = true
	s.mu.Unlock()
	s.observer.Learn(ctx, id)
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

// throughProxy points the command's Docker clients at the proxy. The connection
// to the real engine has taken the other settings into account already.
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

// stdout is where the command's output goes: to ours, unless that carries a
// result that scripts read.
func (p *profiling) stdout(cmd *cobra.Command) io.Writer {
	if p.rendering.format == string(report.Table) {
		return cmd.OutOrStdout()
	}
	return os.Stderr
}
