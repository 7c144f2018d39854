package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/doctor"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/internal/observe"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/report"
	"github.com/capmon/capmon/internal/store"
	"github.com/capmon/capmon/monitor"
)

type profiling struct {
	logging   *logging
	rendering rendering

	duration      period
	hook          string
	monitor       monitor.Options
	filter        container.Filter
	save          string
	readyFile     string
	names         []string
	images        []string
	labels        []string
	keep          keeping
	allContainers bool
}

func newProfile(logging *logging) *cobra.Command {
	p := &profiling{logging: logging}
	cmd := &cobra.Command{
		Use:   "profile [CONTAINER...] [--for DURATION] | profile -- COMMAND [ARG...]",
		Short: "Watch containers and print the capabilities that they need",
		Long: `With a COMMAND, profile runs it and watches every container that it creates or
starts, from the container's first instruction. COMMAND talks to the Docker engine
through capmon, which is how its containers are told from those of others; its
output, signals, terminal and exit code pass through.

Without one, profile watches containers that run already, named by name or ID
prefix (none named: all), until Ctrl-C or the end of --for.`,
		Example: `  sudo capmon profile -- docker run --rm bb ping -c1 127.0.0.1
  sudo capmon profile -- make integration-test
  sudo capmon profile web --for 10m --save web.json
  docker run $(sudo capmon profile -o flags -- docker run --rm app selftest) app`,
		RunE: func(cmd *cobra.Command, args []string) error {
			dash := cmd.ArgsLenAtDash()
			if dash < 0 {
				return p.watch(cmd, args)
			}
			return p.command(cmd, args[:dash], args[dash:])
		},
		ValidArgsFunction: completeContainers,
	}
	p.rendering.register(cmd)
	registerBTF(cmd, &p.monitor)
	flags := cmd.Flags()
	flags.Var(&p.duration, "for", "stop after this time, such as 30s or 10m (default: at Ctrl-C)")
	flags.StringVar(&p.hook, "hook", "auto", "how to listen to the kernel: auto, fexit, tp_btf or kprobe")
	flags.Uint32Var(&p.monitor.MaxChecks, "max-checks", 0, "room in the kernel for this many kinds of check (default 131072)")
	flags.Uint32Var(&p.monitor.MaxContainers, "max-containers", 0, "room in the kernel for this many containers (default 4096)")
	flags.BoolVar(&p.monitor.Outcomes, "outcomes", true, "tell refusals that made a system call fail from those that did not matter; slows all system calls of the host by some 0.15 µs")
	flags.BoolVar(&p.monitor.Walk, "walk", false, "tell no call site from memory, but walk the kernel's stack at every check: slower, and says the same")
	flags.StringVar(&p.save, "save", "", "write the profile to this file")
	flags.StringArrayVar(&p.names, "container", nil, "only containers whose name or ID matches this pattern; may be repeated")
	flags.StringArrayVar(&p.images, "image", nil, "only containers whose image matches this pattern; may be repeated")
	flags.StringArrayVar(&p.labels, "label", nil, "only containers with this label, KEY or KEY=VALUE; may be repeated")
	p.keep.register(flags)
	flags.BoolVar(&p.allContainers, "all-containers", false, "with a COMMAND, also containers that others start meanwhile")
	flags.StringVar(&p.readyFile, "ready-file", "", "create this file when recording has begun")
	_ = flags.MarkHidden("ready-file")
	_ = flags.MarkHidden("walk")
	return cmd
}

// check validates the flags and this process's rights before anything is started,
// and makes the logger.
func (p *profiling) check() (*zap.Logger, error) {
	if _, err := report.ParseFormat(p.rendering.format); err != nil {
		return nil, err
	}
	var err error
	if p.monitor.Hook, err = monitor.ParseHook(p.hook); err != nil {
		return nil, fmt.Errorf("--hook: %w", err)
	}
	if p.filter, err = container.NewFilter(p.names, p.images, p.labels); err != nil {
		return nil, err
	}
	if err := p.keep.check(); err != nil {
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

// start begins to record. Whatever ends the watching, the engine and the kernel
// are asked until the report is out.
func (p *profiling) start(ctx context.Context, docker *container.Docker, log *zap.Logger) (*observe.Observer, error) {
	observer, err := observe.Start(context.WithoutCancel(ctx), observe.Options{Monitor: p.monitor, Engine: docker, KeptLabels: p.keep.labels, Log: log})
	if err != nil {
		return nil, explain(err)
	}
	return observer, nil
}

// finish ends the recording and writes the runs for which meant returns true and which the filter
// selects. If the filter selects none, finish writes nothing and returns an error: most likely a name is misspelled.
func (p *profiling) finish(cmd *cobra.Command, observer *observe.Observer, log *zap.Logger, meant func(profile.Run) bool) error {
	if err := observer.Stop(context.WithoutCancel(cmd.Context())); err != nil {
		return err
	}
	all, err := observer.Profile()
	if err != nil {
		return err
	}
	var runs []profile.Run
	var candidates []profile.Container
	var left, unknown []string
	for _, run := range all.Runs {
		if meant(run) {
			candidates = append(candidates, run.Container)
		}
		switch {
		case meant(run) && p.filter.Match(infoOf(observer, run)):
			runs = append(runs, run)
		case meant(run) && run.Container.Name == "" && !observer.Answered(run.Container.ID):
			unknown = append(unknown, nameOf(run))
		case !run.Existed:
			left = append(left, nameOf(run))
		}
	}
	if len(unknown) > 0 {
		tellLeftOut(cmd, log, "since the engine could not tell whether the filter selects them", some(unknown), unknown)
	}
	if len(left) > 0 && !p.allContainers {
		tellLeftOut(cmd, log, "since others started them or a filter says so", fmt.Sprintf("%d (--log-level=debug names them)", len(left)), left)
	}
	if wanted := p.wanted(); len(runs)+len(unknown) == 0 && selectsContainers(wanted) {
		return noneSelected("watched container", wanted, candidates)
	}
	selection := profile.New(runs...)
	var saveErr error
	if p.save != "" {
		saveErr = profile.Save(p.save, selection)
	}
	// What cannot be saved is shown at least.
	return errors.Join(p.rendering.write(cmd, selection), saveErr)
}

// wanted is the filter as a selection.
func (p *profiling) wanted() store.Selection {
	return store.Selection{Containers: p.names, Images: p.images, Labels: p.labels}
}

// tellLeftOut tells which containers the report is without, and with --log-level=debug names all
// of them.
func tellLeftOut(cmd *cobra.Command, log *zap.Logger, why, which string, names []string) {
	fmt.Fprintf(cmd.ErrOrStderr(), "capmon: left out, %s: %s\n", why, which)
	log.Debug("left out, "+why, zap.Strings("containers", names))
}

// some lists a few names and says how many more there are.
func some(names []string) string {
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
	return container.ShortID(run.Container.ID)
}

// infoOf is what filters look at: the labels have all their values.
func infoOf(observer *observe.Observer, run profile.Run) container.Info {
	c := run.Container
	return container.Info{ID: c.ID, Name: c.Name, Image: c.Image, ImageID: c.ImageID, ImageDigest: c.ImageDigest, Labels: observer.Labels(c.ID)}
}

// ready tells whoever waits that all that happens from now on is recorded.
func (p *profiling) ready() error { return createReady(p.readyFile) }

// createReady makes a file, unless its path is empty.
func createReady(path string) error {
	if path == "" {
		return nil
	}
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		return fmt.Errorf("creating the ready file: %w", err)
	}
	return nil
}

// connect reaches the engine. If it cannot and it is not indispensable, the containers
// are known by the kernel's word alone until the engine answers.
func connect(ctx context.Context, required bool, log *zap.Logger) (*container.Docker, error) {
	docker, err := container.ChooseDocker()
	if err != nil {
		return nil, err
	}
	err = docker.Reach(ctx)
	if err == nil {
		return docker, nil
	}
	var unreachable *container.UnreachableError
	if required || !errors.As(err, &unreachable) {
		_ = docker.Close()
		return nil, err
	}
	log.Warn("Docker cannot be asked; until it can be, containers are shown by ID, grants as the kernel has them", zap.Error(err))
	return docker, nil
}

// registerBTF adds the flag for another file of type information, with which a
// kernel that has none is tried out.
func registerBTF(cmd *cobra.Command, options *monitor.Options) {
	cmd.Flags().StringVar(&options.BTF, "btf", "", "file with the kernel's type information (default "+kernel.BTFPath+")")
	_ = cmd.Flags().MarkHidden("btf") // it is there
}

// explain adds to an error of the monitor what can be done about it. The rights
// that recording takes are there, so a refusal is something else's.
func explain(err error) error {
	var noHook *monitor.NoHookError
	switch {
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w; the rights are there, so lockdown, kernel.perf_event_paranoid, a security module or a seccomp filter is against it: see capmon doctor", err)
	case errors.As(err, &noHook):
		return fmt.Errorf("%w; see capmon doctor", err)
	}
	return err
}
