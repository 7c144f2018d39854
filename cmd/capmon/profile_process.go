package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/commandcgroup"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/containerid"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/internal/observe"
	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/report"
)

// profileProcess runs a command in a cgroup of its own and profiles it.
func (p *profileFlags) profileProcess(cmd *cobra.Command, names, command []string) error {
	switch {
	case len(command) == 0 || command[0] == "":
		return errors.New("no command after --: give a command, such as capmon profile --process -- COMMAND")
	case len(names) > 0:
		return fmt.Errorf("%s: --process records only the command: leave the names out", strings.Join(names, " "))
	case p.duration != 0:
		return errors.New("--for is for running containers and units: leave it out, because capmon profiles a command until it ends")
	}
	log, err := p.validateAlone("--process")
	if err != nil {
		return err
	}
	process, err := newProfiledCommand(command, os.Environ(), p.stdout(cmd))
	if err != nil {
		return err
	}
	defer process.release()
	observer, cgroups, err := p.startAlone(cmd.Context(), log)
	if err != nil {
		return err
	}
	defer observer.Close()
	recorded := &recordedCommand{observer: observer, cgroups: cgroups, name: commandName(command[0])}
	defer recorded.removeCgroup(cmd, log)
	process.prepare = func(pid int) error { return recorded.add(cmd.Context(), pid) }
	if err := createReadyFile(p.readyFile); err != nil {
		return err
	}
	if cmd.Context().Err() != nil { // Ctrl-C arrived before the command started
		return cmd.Context().Err()
	}
	end := enterForeground(cmd.Context())
	code, err := process.run()
	end()
	if err != nil {
		return err
	}
	observer.RecordExit(recorded.id(), code)
	recorded.reportRunning(cmd)
	if p.report.format.value == string(report.Table) {
		fmt.Fprintln(cmd.OutOrStdout()) // separates the command's output from the report
	}
	err = p.finishOne(cmd, observer, "command "+printable.Word(recorded.name), recorded.id())
	if err == nil && code != 0 {
		return &exitError{code}
	}
	return err
}

// validateAlone is like [profileFlags.validate] for an option that records only one workload.
func (p *profileFlags) validateAlone(option string) (*zap.Logger, error) {
	if p.allContainers || selectsContainers(p.asSelection()) {
		return nil, fmt.Errorf("%s records no containers: leave out the options that select containers", option)
	}
	return p.validate()
}

// startAlone starts the recording of one workload that no container runtime starts.
func (p *profileFlags) startAlone(ctx context.Context, log *zap.Logger) (*observe.Observer, kernel.Cgroups, error) {
	cgroups, err := kernel.DetectCgroups()
	if err != nil {
		return nil, cgroups, err
	}
	p.recording.monitor.NoRuntime = true
	observer, err := p.start(ctx, nil, log)
	return observer, cgroups, err
}

// finishOne ends the recording, and saves and prints the runs of one workload.
func (p *profileFlags) finishOne(cmd *cobra.Command, observer *observe.Observer, scope, id string) error {
	all, err := stop(cmd, observer)
	if err != nil {
		return err
	}
	var runs []profile.Run
	for _, run := range all.Runs {
		if run.Container.ID == id {
			runs = append(runs, run)
		}
	}
	return p.saveAndPrint(cmd, runs, scope)
}

// maxCommandName limits the name of a command, in bytes. The kernel's maps have room for a bit more.
const maxCommandName = 100

// commandName returns the name by which capmon knows a command: the name of its file.
func commandName(command string) string {
	name := strings.ToValidUTF8(filepath.Base(command), "�")
	return strings.ToValidUTF8(name[:min(len(name), maxCommandName)], "") // it may end in a character
}

// recordedCommand is a command in a cgroup of its own.
type recordedCommand struct {
	observer *observe.Observer
	cgroups  kernel.Cgroups
	name     string
	cgroup   *commandcgroup.Cgroup // nil before add
	cgroupID uint64
}

func (r *recordedCommand) id() string { return containerid.ProcessPrefix + r.name }

// add puts the process that will execute the command into the cgroup, and makes capmon record it.
func (r *recordedCommand) add(ctx context.Context, pid int) error {
	bounding, err := kernel.BoundingSet(pid)
	if err != nil {
		return err
	}
	if r.cgroup, err = commandcgroup.Make(ctx, r.cgroups, pid, "capmon profile: "+printable.Text(r.name)); err != nil {
		return err
	}
	r.cgroupID, err = r.observer.AddCommand(container.Info{
		ID: r.id(), Name: r.name, Kind: container.Process, Cgroup: r.cgroup.Path, Granted: &bounding,
		Layers: []string{"/"}, // to find the files that it used when it has ended
	})
	return err
}

// reportRunning prints which processes of the command still run.
func (r *recordedCommand) reportRunning(cmd *cobra.Command) {
	var pids []string
	for _, pid := range r.observer.Descendants(r.cgroupID) {
		pids = append(pids, strconv.Itoa(pid))
	}
	if len(pids) == 0 {
		return
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "capmon: the command has ended, but processes that it started still run: %s; capmon stops recording them. "+
		"To record a daemon for longer, start it in the foreground\n", abbreviate(pids))
}

// removeCgroup removes the cgroup.
func (r *recordedCommand) removeCgroup(cmd *cobra.Command, log *zap.Logger) {
	if r.cgroup == nil {
		return
	}
	err := r.cgroup.Remove()
	var replaced *commandcgroup.ReplacedError
	switch {
	case errors.As(err, &replaced):
		fmt.Fprintf(cmd.ErrOrStderr(), "capmon: %v; capmon recorded its processes nevertheless\n", err)
	case err != nil:
		log.Warn("the command's cgroup stays", zap.Error(err), zap.Bool("busy", errors.Is(err, unix.EBUSY)))
	}
}
