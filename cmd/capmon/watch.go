package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/doctor"
	"github.com/capmon/capmon/internal/profile"
)

// watch profiles containers that run already.
func (p *profiling) watch(cmd *cobra.Command, names []string) error {
	if p.allContainers {
		return errors.New("--all-containers goes with a command to run; without one, name no container to watch all")
	}
	log, err := p.check()
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	docker, err := connect(ctx, len(names) > 0, log)
	if err != nil {
		return err
	}
	defer docker.Close()
	wanted, err := resolve(ctx, docker, names)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		tellNoneYet(ctx, cmd, docker, p.filter, p.wanted())
	}
	for _, finding := range doctor.Unseen() {
		log.Warn(finding.Subject+": "+finding.Text, zap.String("remedy", finding.Remedy))
	}
	observer, err := p.start(ctx, docker, log)
	if err != nil {
		return err
	}
	defer observer.Close()
	observer.Settle(ctx)
	if err := p.ready(); err != nil {
		return err
	}
	if p.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(p.duration))
		defer cancel()
	}
	meant := func(run profile.Run) bool { return len(names) == 0 || wanted[run.Container.ID] }
	showProgress(ctx, cmd.ErrOrStderr(), observer, func(run profile.Run) bool { return meant(run) && p.filter.Match(infoOf(observer, run)) })
	return p.finish(cmd, observer, log, meant)
}

// listTime is how long resolve waits for the engine. A busy one takes seconds for a thousand containers.
const listTime = 30 * time.Second

// resolve finds the IDs of the containers named.
func resolve(ctx context.Context, docker *container.Docker, names []string) (map[string]bool, error) {
	ids := make(map[string]bool)
	if len(names) == 0 {
		return ids, nil
	}
	ctx, cancel := context.WithTimeout(ctx, listTime)
	defer cancel()
	infos, err := container.Resolve(ctx, docker, names)
	if err != nil {
		return nil, err
	}
	for _, info := range infos {
		ids[info.ID] = true
	}
	return ids, nil
}
