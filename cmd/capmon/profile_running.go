package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/doctor"
	"github.com/capmon/capmon/internal/observe"
	"github.com/capmon/capmon/internal/profile"
)

// profileRunning profiles running containers.
func (p *profileFlags) profileRunning(cmd *cobra.Command, names []string) error {
	if p.allContainers {
		return errors.New("--all-containers requires a command; to profile all running containers, name no container")
	}
	log, err := p.validate()
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	engine, err := p.engine.connect(ctx, len(names) > 0 && !areStandalone(names), log)
	if err != nil {
		return err
	}
	defer engine.Close()
	wanted, err := resolve(ctx, engine, names)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		warnIfNoneSelected(ctx, cmd, engine, p.filter, p.asSelection())
	}
	for _, finding := range doctor.VisibilityWarnings() {
		log.Warn(finding.Subject+": "+finding.Text, zap.String("remedy", finding.Remedy))
	}
	observer, err := p.start(ctx, engine, log)
	if err != nil {
		return err
	}
	defer observer.Close()
	observer.WaitForEngine(ctx)
	if err := createReadyFile(p.readyFile); err != nil {
		return err
	}
	ctx, cancel := p.limited(ctx)
	defer cancel()
	belongs := func(run profile.Run) bool { return len(names) == 0 || wanted[run.Container.ID] }
	p.waitShowing(ctx, cmd, observer, func(run profile.Run) bool { return belongs(run) && p.filter.Match(infoOf(observer, run)) })
	all, err := stop(cmd, observer)
	if err != nil {
		return err
	}
	return p.finish(cmd, observer, log, runningScope(names, p.asSelection()), all, belongs)
}

// limited returns a context that ends with ctx or after --for.
func (p *profileFlags) limited(ctx context.Context) (context.Context, context.CancelFunc) {
	if p.duration > 0 {
		return context.WithTimeout(ctx, time.Duration(p.duration))
	}
	return context.WithCancel(ctx)
}

// waitShowing waits until ctx ends, and shows the progress of the selected runs.
func (p *profileFlags) waitShowing(ctx context.Context, cmd *cobra.Command, observer *observe.Observer, selected func(profile.Run) bool) {
	progress := recordingProgress{read: observer.Profile, begun: time.Now(), limit: time.Duration(p.duration), selected: selected}
	progress.waitShowing(ctx, optional(cmd, endNote), optional(cmd, progressNote))
}

// listTime is how long resolve waits for the engine. A busy engine needs seconds for a thousand containers.
const listTime = 30 * time.Second

// resolve returns the IDs of the named containers.
func resolve(ctx context.Context, engine container.Engine, names []string) (map[string]bool, error) {
	ids := make(map[string]bool)
	if len(names) == 0 {
		return ids, nil
	}
	ctx, cancel := context.WithTimeout(ctx, listTime)
	defer cancel()
	infos, err := container.Resolve(ctx, withStandalone{engine}, names)
	if err != nil {
		return nil, err
	}
	for _, info := range infos {
		ids[info.ID] = true
	}
	return ids, nil
}
