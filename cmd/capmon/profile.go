package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/containerid"
	"github.com/capmon/capmon/internal/doctor"
	"github.com/capmon/capmon/internal/observe"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/store"
	"github.com/capmon/capmon/monitor"
)

// profileFlags contains the flags of capmon profile.
type profileFlags struct {
	logging *logging
	report  reportFlags

	duration      forFlag
	recording     recordingFlags
	filter        container.Filter
	save          string
	readyFile     string
	names         []string
	images        []string
	labels        []string
	keep          labelFlags
	allContainers bool
	engine        engineFlag
	process       bool
	unit          string
}

func newProfile(logging *logging) *cobra.Command {
	p := &profileFlags{logging: logging}
	cmd := &cobra.Command{
		Use:   "profile [CONTAINER...] [flags] | capmon profile [flags] -- COMMAND [ARG...]",
		Short: "Record containers and report the capabilities that they need",
		Long: `profile prints the capabilities that each container needs, and where it uses them. For
several containers, it first prints an overview: one line for each container, the gravest
first (capmon report --help explains the status). With --save, the overview suffices:
capmon report prints the details of the saved profile.

With a COMMAND, profile runs it and records every container that it creates or starts with
docker or podman, from the container's first instruction. The requests of COMMAND to Docker
and to CONTAINER_HOST pass through capmon, and podman's own containers descend from COMMAND,
so capmon knows which containers these are. The signals, terminal, output and exit code of
COMMAND do not change. But with -o json, -o flags, -o markdown or -o html, the standard
output of COMMAND goes to stderr. The exit code is 2 if capmon saw no container of COMMAND.

Without a COMMAND, profile records running containers until Ctrl-C or the end of --for.
CONTAINER is a name or the beginning of an ID. Without names, profile records all
containers.

With --process, profile records COMMAND itself and all its descendants, not containers.
With --unit, it records a running unit of systemd, also if systemd starts it again.`,
		Example: `  sudo capmon profile -- docker run --rm bb ping -c1 127.0.0.1
  sudo capmon profile -- podman run --rm --pod shop app
  sudo capmon profile -- make integration-test
  sudo capmon profile web --for 10m --save web.json
  sudo capmon profile --process -- tcpdump -c1
  sudo capmon profile --unit nginx.service --for 10m
  docker run $(sudo capmon profile -o flags -- docker run --rm app selftest) app`,
		RunE: func(cmd *cobra.Command, args []string) error {
			dash := cmd.ArgsLenAtDash()
			switch {
			case p.unit != "":
				return p.profileUnit(cmd, args)
			case p.process && dash < 0:
				return errors.New("--process requires a command: give it after --, such as capmon profile --process -- COMMAND")
			case p.process:
				return p.profileProcess(cmd, args[:dash], args[dash:])
			case dash < 0:
				return p.profileRunning(cmd, args)
			}
			return p.profileCommand(cmd, args[:dash], args[dash:])
		},
		ValidArgsFunction: completeContainers,
	}
	p.report.register(cmd)
	flags := cmd.Flags()
	p.recording.register(flags)
	flags.Var(&p.duration, "for", "end the recording after this `DURATION`, such as 30s or 10m (default: at Ctrl-C)")
	flags.BoolVar(&p.recording.monitor.NoStackCache, "walk", false, "walk the kernel's stack at every check instead of caching call sites: slower, with the same result")
	flags.StringVar(&p.save, "save", "", "write the profile to this `FILE`")
	registerFilter(flags, &p.names, &p.images, &p.labels)
	p.keep.register(flags)
	p.engine.register(flags, onlyDocker, onlyPodman, onlyContainerd, onlyCRI)
	flags.BoolVar(&p.allContainers, "all-containers", false, "with a COMMAND, also profile the containers that others start while it runs")
	flags.BoolVar(&p.process, "process", false, "record the COMMAND itself and all its descendants, not the containers that it starts")
	flags.StringVar(&p.unit, "unit", "", "record this running `UNIT` of systemd, such as nginx.service")
	registerReadyFile(flags, &p.readyFile)
	_ = flags.MarkHidden("walk")
	return cmd
}

// validate validates the flags and the rights of this process before profile starts anything. It returns the logger.
func (p *profileFlags) validate() (*zap.Logger, error) {
	err := p.recording.validate()
	if err != nil {
		return nil, err
	}
	if p.filter, err = container.NewFilter(p.names, p.images, p.labels); err != nil {
		return nil, err
	}
	if err := p.keep.validate(); err != nil {
		return nil, err
	}
	if p.save != "" {
		if err := profile.CheckSave(p.save); err != nil {
			return nil, err
		}
	}
	log, err := p.logging.logger()
	if err != nil {
		return nil, err
	}
	return log, doctor.Check()
}

// start starts the recording. It ignores the cancellation of ctx, because the report still needs the engine and the
// kernel.
func (p *profileFlags) start(ctx context.Context, engine container.Engine, log *zap.Logger) (*observe.Observer, error) {
	observer, err := observe.Start(context.WithoutCancel(ctx), observe.Options{Monitor: p.recording.monitor, Engine: engine, KeptLabels: p.keep.labels, Version: versionNumber(), Log: log})
	if err != nil {
		return nil, withRemedy(err)
	}
	return observer, nil
}

// stop ends the recording and returns the profile of all containers.
func stop(cmd *cobra.Command, observer *observe.Observer) (profile.Profile, error) {
	if err := observer.Stop(context.WithoutCancel(cmd.Context())); err != nil {
		return profile.Profile{}, err
	}
	return observer.Profile()
}

// finish saves and prints the runs in all for which belongs returns true and that the filter selects. If the filter
// selects none, finish saves nothing and returns an error, because a name is probably misspelled. scope describes these
// runs.
func (p *profileFlags) finish(cmd *cobra.Command, observer *observe.Observer, log *zap.Logger, scope string, all profile.Profile, belongs func(profile.Run) bool) error {
	var runs []profile.Run
	var candidates []profile.Container
	var leftOut, unknown []string
	for _, run := range all.Runs {
		if belongs(run) {
			candidates = append(candidates, run.Container)
		}
		switch {
		case belongs(run) && p.filter.Match(infoOf(observer, run)):
			runs = append(runs, run)
		case belongs(run) && run.Container.Name == "" && !observer.Answered(run.Container.ID):
			unknown = append(unknown, nameOf(run))
		case !run.Existed:
			leftOut = append(leftOut, nameOf(run))
		}
	}
	if len(unknown) > 0 {
		reportLeftOut(cmd.ErrOrStderr(), log, "because the engine did not describe them, so capmon does not know whether they are selected", abbreviate(unknown), unknown)
	}
	if len(leftOut) > 0 && !p.allContainers {
		reportLeftOut(optional(cmd, othersNote), log, "because others started them or the filter does not select them", fmt.Sprintf("%d (--log-level=debug names them)", len(leftOut)), leftOut)
	}
	if wanted := p.asSelection(); len(runs)+len(unknown) == 0 && selectsContainers(wanted) {
		return noneSelected("recorded container", wanted, candidates)
	}
	return p.saveAndPrint(cmd, runs, scope)
}

// saveAndPrint saves the runs, if that was asked for, and prints them.
func (p *profileFlags) saveAndPrint(cmd *cobra.Command, runs []profile.Run, scope string) error {
	selection := profile.New(runs...)
	var saveErr error
	var again []string
	if p.save != "" {
		if saveErr = profile.Save(p.save, selection); saveErr == nil {
			again = []string{"capmon", "report", p.save}
		}
	}
	// Print the report even if the profile could not be saved.
	return errors.Join(p.report.write(cmd, selection, scope, again), saveErr)
}

// asSelection returns the filter as a selection.
func (p *profileFlags) asSelection() store.Selection {
	return store.Selection{Containers: p.names, Images: p.images, Labels: p.labels}
}

// reportLeftOut prints which containers the report does not contain. With --log-level=debug, it logs all of their
// names. why begins with "because".
func reportLeftOut(notes io.Writer, log *zap.Logger, why, which string, names []string) {
	fmt.Fprintf(notes, "capmon: left out %s: %s\n", why, which)
	log.Debug("left out "+why, zap.Strings("containers", names))
}

// abbreviate lists the first few names, and the number of the others.
func abbreviate(names []string) string {
	const few = 5
	if len(names) <= few+1 {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d others", strings.Join(names[:few], ", "), len(names)-few)
}

func nameOf(run profile.Run) string {
	if run.Container.Name != "" {
		return run.Container.Name
	}
	return containerid.Short(run.Container.ID)
}

// infoOf returns what filters match against: labels have all their values.
func infoOf(observer *observe.Observer, run profile.Run) container.Info {
	c := run.Container
	return container.Info{ID: c.ID, Name: c.Name, Image: c.Image, ImageID: c.ImageID, ImageDigest: c.ImageDigest, Labels: observer.Labels(c.ID)}
}

// connect connects to the engine. If the engine is unavailable and not required, capmon knows the containers only from
// the kernel until the engine answers.
func connect(ctx context.Context, required bool, log *zap.Logger) (*container.Docker, error) {
	docker, err := container.ChooseDocker()
	if err != nil {
		return nil, err
	}
	err = docker.Ping(ctx)
	if err == nil {
		return docker, nil
	}
	var unreachable *container.UnreachableError
	if required || !errors.As(err, &unreachable) {
		_ = docker.Close()
		return nil, err
	}
	report := log.Warn
	if isLeftOut(docker, err) && isPodmanInstalled() { // the host has no Docker
		report = log.Debug
	}
	report("cannot reach Docker; until Docker answers, capmon knows only the IDs of Docker's containers, and reads their grants from the kernel", zap.Error(err))
	return docker, nil
}

// withRemedy adds a remedy to an error of the monitor. capmon has already verified its rights, so a permission error
// has another cause.
func withRemedy(err error) error {
	var noHook *monitor.NoHookError
	switch {
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w; capmon has the necessary capabilities, so lockdown, kernel.perf_event_paranoid, a security module or a seccomp filter denies it: run capmon doctor", err)
	case errors.As(err, &noHook):
		return fmt.Errorf("%w; run capmon doctor", err)
	}
	return err
}
