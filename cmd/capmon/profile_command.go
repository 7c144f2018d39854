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
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

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
		return fmt.Errorf("--engine=%s is for running containers: leave it out, because capmon profiles the containers that the command starts with any engine", p.engine.value)
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
	engines, err := p.connectForCommand(cmd.Context(), command, log)
	if err != nil {
		return err
	}
	defer engines.close()
	p.recording.monitor.FollowsCommand = true
	observer, err := p.start(cmd.Context(), engines.all, log)
	if err != nil {
		return err
	}
	defer observer.Close()

	started := &startedContainers{observer: observer, ids: make(map[string]bool)}
	defer engines.closeProxies() // before the observer, which their requests use
	if process.env, err = engines.startProxies(process.env, started.add); err != nil {
		return err
	}
	process.prepare = observer.FollowCommand
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
	return p.finishCommand(cmd, command, code, started, log)
}

// finishCommand ends the recording, and saves and prints the runs of the containers that the command started. code is
// the exit code of the command.
func (p *profileFlags) finishCommand(cmd *cobra.Command, command []string, code int, started *startedContainers, log *zap.Logger) error {
	all, err := stop(cmd, started.observer)
	if err != nil {
		return err
	}
	started.addMade(all)
	belongs := func(run profile.Run) bool { return started.has(run.Container.ID) || p.allContainers && !run.Existed }
	interrupted := cmd.Context().Err() != nil
	missing, err := missingContainers(started.observer, all, belongs, interrupted)
	if err != nil {
		return err
	}
	if missing != nil && missing.none && code == 0 {
		return missing
	}
	if p.report.format.value == string(report.Table) {
		fmt.Fprintln(cmd.OutOrStdout()) // separates the command's output from the report
	}
	err = p.finish(cmd, started.observer, log, commandScope(command, p.allContainers, p.asSelection()), all, belongs)
	if err != nil && !errors.As(err, new(*noneSelectedError)) {
		return err
	}
	if missing != nil {
		err = missing
	}
	if code == 0 {
		return err
	}
	if err != nil {
		fmt.Fprintln(cmd.ErrOrStderr(), "capmon:", err) // the failed command is the likely cause
	}
	return &exitError{code}
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
	s.ids[id] = true
	s.mu.Unlock()
	s.observer.Inspect(ctx, id)
}

// addMade records the containers that the command made without an engine that runs already, as podman does. A container
// that was started again was perhaps running before.
func (s *startedContainers) addMade(all profile.Profile) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, run := range all.Runs {
		if run.OfCommand {
			s.ids[run.Container.ID] = true
		}
	}
}

func (s *startedContainers) has(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ids[id]
}

// stdout returns the writer for the output of the command. It is standard output if capmon prints a table. Otherwise it
// is stderr, because scripts read the result of capmon from standard output.
func (p *profileFlags) stdout(cmd *cobra.Command) io.Writer {
	if p.report.format.value == string(report.Table) {
		return cmd.OutOrStdout()
	}
	return os.Stderr
}
