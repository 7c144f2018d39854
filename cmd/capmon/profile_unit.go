package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/containerid"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/internal/observe"
	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/systemd"
)

// profileUnit profiles a running unit of systemd, also if systemd starts it again.
func (p *profileFlags) profileUnit(cmd *cobra.Command, args []string) error {
	switch {
	case p.process:
		return errors.New("--unit and --process exclude each other: record a unit or a command")
	case len(args) > 0:
		return fmt.Errorf("%s: --unit records only the unit: leave the names and the command out", strings.Join(args, " "))
	}
	log, err := p.validateAlone("--unit")
	if err != nil {
		return err
	}
	unit, err := systemd.FindUnit(cmd.Context(), p.unit)
	if err != nil {
		return err
	}
	observer, cgroups, err := p.startAlone(cmd.Context(), log)
	if err != nil {
		return err
	}
	defer observer.Close()
	host, err := kernel.HostCapabilities()
	if err != nil {
		return err
	}
	recorded := &recordedUnit{observer: observer, cgroups: cgroups, info: unitInfo(unit, host)}
	if err := recorded.add(); err != nil {
		return err
	}
	if err := createReadyFile(p.readyFile); err != nil {
		return err
	}
	ctx, cancel := p.limited(cmd.Context())
	defer cancel()
	go recorded.keep(ctx, log)
	p.waitShowing(ctx, cmd, observer, func(run profile.Run) bool { return run.Container.ID == recorded.info.ID })
	return p.finishOne(cmd, observer, "unit "+printable.Word(unit.Name), recorded.info.ID)
}

// unitInfo returns what systemd reports about a unit. A unit without a bounding set has what systemd has: host.
func unitInfo(unit systemd.Unit, host capability.Set) container.Info {
	info := container.Info{
		ID: containerid.UnitPrefix + unit.Name, Name: unit.Name, Kind: container.Unit, Cgroup: unit.Cgroup, User: unit.User, StartedAt: unit.Started,
		Running: true, Pid: unit.MainPID,
	}
	if unit.Known {
		granted := unit.Bounding.Intersect(host)
		info.Granted, info.Ambient = &granted, &unit.Ambient
	}
	if unit.NoNewPrivileges {
		info.SecurityOpt = []string{"no-new-privileges"}
	}
	return info
}

// recordedUnit is a unit that capmon records.
type recordedUnit struct {
	observer *observe.Observer
	cgroups  kernel.Cgroups
	info     container.Info
	missed   uint64 // cgroup that was not recorded at the last look; 0: none
}

// add makes capmon record the unit.
func (u *recordedUnit) add() error {
	inside, err := u.containerBelow()
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("the unit %s has no cgroup of its own: set TasksAccounting=yes in the unit and start it again", u.info.Name)
	case err != nil:
		return err
	case inside != "":
		return fmt.Errorf("the unit %s contains the container %s: profile the container, such as with capmon profile %[2]s", u.info.Name, inside)
	}
	_, err = u.observer.AddUnit(u.info)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("the unit %s has ended: start it with systemctl start %[1]s", u.info.Name)
	case err != nil:
		return fmt.Errorf("capmon cannot record the unit %s: %w", u.info.Name, err)
	}
	return nil
}

// containerBelow returns the ID of a container in the cgroup of the unit or below it, "" if there is none.
func (u *recordedUnit) containerBelow() (id string, err error) {
	err = u.cgroups.WalkDirs(u.info.Cgroup, func(below kernel.CgroupDir) error {
		if found, ok := containerid.FromCgroup(below.Name()); ok {
			id = containerid.Short(found)
		}
		return nil
	})
	var unread *kernel.UnreadError
	if errors.As(err, &unread) {
		err = nil
	}
	return id, err
}

// keepInterval is how often keep looks at the unit.
const keepInterval = time.Second

// keep records the unit again if systemd has started it in a cgroup that the kernel's programs did not expect: systemd
// has also made the cgroup above it again. The report then says that the start was not seen. keep ends with ctx.
func (u *recordedUnit) keep(ctx context.Context, log *zap.Logger) {
	everyInterval(ctx, keepInterval, func(time.Time) {
		cgroup, err := u.cgroups.ID(u.info.Cgroup)
		if err != nil {
			return // it does not run
		}
		_, known, err := u.observer.CgroupInfo(cgroup)
		if known || err != nil || u.missed != cgroup { // a new cgroup becomes known with its first check
			u.missed = cgroup
			return
		}
		if err := u.add(); err != nil {
			log.Warn("capmon does not record the unit any longer", zap.String("unit", u.info.Name), zap.Error(err))
		}
	})
}
