package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/observe"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/report"
)

// command runs a command and profiles the containers that it starts.
func (p *profiling) command(cmd *cobra.Command, names, command []string) error {
	hook, filter, err := p.check()
	if err != nil {
		return err
	}
	switch {
	case len(command) == 0:
		return errors.New("no command after --: say what to run, such as capmon profile -- docker run IMAGE")
	case len(names) > 0:
		return fmt.Errorf("%s: name running containers or a command to run, not both; --container PATTERN selects among those that the command starts", strings.Join(names, " "))
	case p.duration > 0:
		return errors.New("--for goes with running containers; a command is watched until it ends")
	}
	path, err := exec.LookPath(command[0])
	if err != nil {
		return fmt.Errorf("cannot run %s: %w", command[0], err)
	}
	log, err := p.logging.logger()
	if err != nil {
		return err
	}
	// The engine and the kernel are asked until the report is out, whatever
	// signal ends the command.
	ctx := context.WithoutCancel(cmd.Context())
	docker, err := connect(ctx, !p.allContainers, log)
	if err != nil {
		return err
	}
	observer, err := p.start(ctx, docker, hook, log)
	if err != nil {
		return err
	}
	defer observer.Close()

	started := &startedContainers{observer: observer}
	env := os.Environ()
	if docker != nil {
		defer docker.Close()
		proxy, err := container.NewProxy(docker, started.add)
		if err != nil {
			return err
		}
		defer proxy.Close()
		env = throughProxy(env, proxy.Host())
	}
	if err := p.ready(); err != nil {
		return err
	}
	code, err := runCommand(path, command, env, p.stdout(cmd))
	if err != nil {
		return err
	}
	err = p.finish(cmd, observer, func(run profile.Run) bool {
		if !filter.Match(infoOf(run)) {
			return false
		}
		return started.has(run.Container.ID) || p.allContainers && !run.Existed
	})
	if err != nil {
		return err
	}
	if started.empty() && !p.allContainers {
		fmt.Fprintln(cmd.ErrOrStderr(), "capmon: the command started no container through the Docker engine that capmon sees; "+
			"if it uses another engine or sets DOCKER_HOST or --host itself, use --all-containers")
	}
	if code != 0 {
		return &exitError{code: code}
	}
	return nil
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
	return cmd.ErrOrStderr()
}

// runCommand runs a command in our place: same terminal, same process group,
// signals passed on. It returns the exit code a shell would.
func runCommand(path string, command, env []string, stdout io.Writer) (int, error) {
	child := &exec.Cmd{Path: path, Args: command, Env: env, Stdin: os.Stdin, Stdout: stdout, Stderr: os.Stderr}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
	defer signal.Stop(signals)
	if err := child.Start(); err != nil {
		return 0, fmt.Errorf("starting %s: %w", command[0], err)
	}
	ended := make(chan struct{})
	go passOn(signals, child.Process, ended)
	err := child.Wait()
	close(ended)

	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0, nil
	case errors.As(err, &exit):
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			return 128 + int(status.Signal()), nil
		}
		return exit.ExitCode(), nil
	}
	return 0, fmt.Errorf("running %s: %w", command[0], err)
}

// passOn hands signals to the command, but for those that a terminal has sent to
// the whole process group already.
func passOn(signals <-chan os.Signal, process *os.Process, ended <-chan struct{}) {
	fromTerminal := isTerminal(os.Stdin)
	for {
		select {
		case <-ended:
			return
		case s := <-signals:
			if fromTerminal && (s == syscall.SIGINT || s == syscall.SIGQUIT) {
				continue
			}
			_ = process.Signal(s) // it may just have ended
		}
	}
}
