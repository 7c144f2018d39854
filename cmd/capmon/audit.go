package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.uber.org/zap"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/audit"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/containerid"
	"github.com/capmon/capmon/internal/daemon"
	"github.com/capmon/capmon/internal/doctor"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/internal/observe"
	"github.com/capmon/capmon/internal/page"
	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/settings"
	"github.com/capmon/capmon/internal/store"
	"github.com/capmon/capmon/monitor"
)

// auditFlags contains the flags of capmon audit.
type auditFlags struct {
	logging    *logging
	format     choiceFlag
	files      []string
	waivers    string
	input      profileInput
	static     bool
	strict     bool
	withValues bool
	duration   forFlag
	thresholds audit.Thresholds
	overview   overviewFlags
	engine     engineFlag
}

func newAudit(logging *logging) *cobra.Command {
	a := &auditFlags{logging: logging}
	cmd := &cobra.Command{
		Use:   "audit [CONTAINER...] [--static | --profile FILE --for DURATION --db FILE]",
		Short: "Audit containers against CIS Docker Benchmark 5.4: no unneeded capabilities",
		Long: `audit compares the capabilities that each container is granted with the capabilities
that it uses. It reads the containers, running or not, from the engines that answer:
Docker, the service of Podman, containerd and the runtimes of Kubernetes. The status is
pass, fail, or manual if capmon cannot decide. audit prints an overview with a line for
each container, the gravest first. For a named container that does not pass, and with
--details for each one, audit also prints the reasons, and commands that fix the
container or find out what it needs. If it does not know what several containers need,
it describes how to record all of them at once with capmon serve.

audit reads what the containers use from profiles that --save wrote (--profile), from
an observation of the running containers (--for), from the database of capmon serve
(--db), or from several of these. Without these options, it reads the database. With
--static, audit reads only the grants: it needs only access to the sockets of the
engines, and finds only violations that do not depend on the uses.

The commands leave out values that may be secret, such as the values of environment
variables. audit prints an incomplete command as a comment. With --with-values, it
prints the values: keep the output secret.

With --waivers, a container is waived if it fails only because of capabilities that a
waiver covers. The report lists all waivers, also those that have expired.

The exit code is 1 if a container fails.`,
		Example: `  sudo capmon audit
  sudo capmon audit web
  sudo capmon audit --for 10m
  capmon audit --profile web.json web
  sudo capmon audit --waivers waivers.yaml -o html >audit.html
  capmon audit --static -o sarif >capmon.sarif`,
		RunE:              a.run,
		ValidArgsFunction: completeContainers,
	}
	flags := cmd.Flags()
	registerOutput(flags, &a.format, append(audit.Formats(), htmlFormat)...)
	a.overview.register(flags)
	a.engine.register(flags, onlyDocker, onlyPodman, onlyContainerd, onlyCRI)
	flags.StringArrayVar(&a.files, "profile", nil, "read what the containers use from the profile in this `FILE`; may be repeated")
	registerDB(flags, &a.input.db)
	registerWaivers(flags, &a.waivers)
	flags.BoolVar(&a.static, "static", false, "check only the grants, not what the containers use")
	flags.BoolVar(&a.strict, "strict", false, "also exit with 1 if a container violates one of the related CIS rules")
	flags.BoolVar(&a.withValues, "with-values", false, "in the commands, print the values of environment variables, labels, options and arguments, which may be secret")
	flags.Var(&a.duration, "for", "observe the running containers for this `DURATION`, such as 10m")
	flags.DurationVar(&a.thresholds.Observed, "min-observed", 10*time.Minute, "a capability counts as unused only if capmon observed the workload for at least this `DURATION`")
	flags.DurationVar(&a.thresholds.ObservedRisky, "min-observed-risky", time.Minute, "the `DURATION` for NET_RAW and for risky capabilities such as SYS_ADMIN, instead of --min-observed")
	flags.IntVar(&a.thresholds.Runs, "min-runs", 1, "a capability counts as unused only if capmon observed at least `N` runs")
	flags.BoolVar(&a.thresholds.EvenIfStartUnseen, settings.EvenIfStartUnseen, false, "do not require that capmon saw the start of the container")
	return cmd
}

// validate validates the flags before audit starts anything. hasDB reports whether --db is set.
func (a *auditFlags) validate(hasDB bool) error {
	switch t := a.thresholds; {
	case t.Observed < 0 || t.ObservedRisky < 0:
		return errors.New("--min-observed and --min-observed-risky: use times that are not negative")
	case t.Runs < 1:
		return fmt.Errorf("--min-runs %d: use 1 or more", t.Runs)
	case a.static && (len(a.files) > 0 || a.duration > 0 || hasDB):
		return errors.New("--static checks only the grants: do not combine it with --profile, --for or --db")
	}
	// A time that is sufficient for all capabilities is sufficient for the risky ones.
	a.thresholds.ObservedRisky = min(a.thresholds.ObservedRisky, a.thresholds.Observed)
	return nil
}

func (a *auditFlags) run(cmd *cobra.Command, names []string) error {
	if err := a.validate(cmd.Flags().Changed("db")); err != nil {
		return err
	}
	waivers, err := loadWaivers(a.waivers)
	if err != nil {
		return err
	}
	profiles, err := a.load(cmd)
	if err != nil {
		return err
	}
	log, err := a.logging.logger()
	if err != nil {
		return err
	}
	engine, err := a.connect(cmd.Context(), log)
	if err != nil {
		return err
	}
	defer engine.Close()
	subjects, all, err := a.collect(cmd.Context(), cmd, engine, names) // to report errors before the observation
	if err != nil {
		return err
	}
	if docker, only := engine.(*container.Docker); len(names) == 0 && a.engine.value == allEngines && (!only || docker.Local()) {
		reportNotAudited(cmd, log, all)
	}
	if a.duration > 0 {
		audited := func(run profile.Run) bool { return len(names) == 0 || audit.Has(subjects, run.Container.ID) }
		observed, err := a.observe(cmd, engine, log, audited)
		if err != nil {
			return err
		}
		profiles = append(profiles, observed)
		// Ctrl-C ends the observation, not the report.
		if subjects, all, err = a.collect(context.WithoutCancel(cmd.Context()), cmd, engine, names); err != nil {
			return err
		}
	}
	options := a.options(cmd, engine, names, len(subjects))
	options.Names, options.Waivers = all, waivers
	if !a.static {
		merged := profile.Merge(profiles...)
		options.Profile = &merged
	}
	return a.print(cmd, audit.Of(subjects, options), names)
}

// auditedEngines are the engines that an audit can ask.
type auditedEngines interface {
	container.Engine
	audit.Engine
}

// connect connects to the engines.
func (a *auditFlags) connect(ctx context.Context, log *zap.Logger) (auditedEngines, error) {
	engine, err := a.engine.connect(ctx, true, log)
	if err != nil {
		return nil, err
	}
	audited, ok := engine.(auditedEngines)
	if !ok {
		return nil, errors.Join(fmt.Errorf("capmon does not audit containers of %s", engine.Name()), engine.Close())
	}
	return audited, nil
}

// reportNotAudited prints which running containers the audit leaves out, because no engine has reported their settings.
// audited has the names of the audited ones, by their IDs.
func reportNotAudited(cmd *cobra.Command, log *zap.Logger, audited map[string]string) {
	var without, silent []string
	for _, info := range standaloneContainers() {
		without = append(without, printable.Word(info.Name))
	}
	for id, name := range monitoredContainers() {
		if _, known := audited[id]; !known {
			silent = append(silent, printable.Word(cmp.Or(name, containerid.Short(id))))
		}
	}
	slices.Sort(silent)
	for _, leftOut := range []struct {
		why   string
		names []string
	}{
		{"because no engine manages them", without},
		{"because their engine does not answer; podman system service starts the service of Podman", silent},
	} {
		if len(leftOut.names) > 0 {
			reportLeftOut(cmd.ErrOrStderr(), log, leftOut.why, abbreviate(leftOut.names), leftOut.names)
		}
	}
}

// load reads the saved profiles and the database.
func (a *auditFlags) load(cmd *cobra.Command) ([]profile.Profile, error) {
	saved, err := loadAll(a.files)
	if err != nil {
		return nil, err
	}
	if !a.readsDB(cmd) {
		return []profile.Profile{saved}, nil
	}
	if _, err := os.Stat(a.input.db); a.onlyDB() && errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("no observation to audit with: there is no database %s of capmon serve; use --profile FILE, observe with --for 10m, or check only the grants with --static", a.input.db)
	}
	stored, err := a.input.fromDatabase(cmd, store.Selection{})
	return []profile.Profile{saved, stored}, err
}

// onlyDB reports whether no flag names a source of what the containers use, apart from the database.
func (a *auditFlags) onlyDB() bool { return len(a.files) == 0 && a.duration == 0 }

// readsDB reports whether the audit reads the database.
func (a *auditFlags) readsDB(cmd *cobra.Command) bool {
	return !a.static && (a.onlyDB() || cmd.Flags().Changed("db"))
}

// collect reads the settings of the containers, as [audit.Collect] does.
func (a *auditFlags) collect(ctx context.Context, cmd *cobra.Command, engine auditedEngines, names []string) (subjects []audit.Subject, all map[string]string, err error) {
	err = showSlow(statusLineOf(optional(cmd, progressNote)), "reading the settings of the containers", func() (err error) {
		subjects, all, err = audit.Collect(ctx, engine, names)
		return err
	})
	return subjects, all, err
}

// observe profiles the running containers, as capmon profile does. The progress shows the audited ones.
func (a *auditFlags) observe(cmd *cobra.Command, engine container.Engine, log *zap.Logger, audited func(profile.Run) bool) (profile.Profile, error) {
	if err := doctor.Check(); err != nil {
		return profile.Profile{}, err
	}
	for _, finding := range doctor.VisibilityWarnings() {
		log.Warn(finding.Subject+": "+finding.Text, zap.String("remedy", finding.Remedy))
	}
	uncanceled := context.WithoutCancel(cmd.Context())
	observer, err := observe.Start(uncanceled, observe.Options{Monitor: monitor.Options{Outcomes: true}, Engine: engine, Version: versionNumber(), Log: log})
	if err != nil {
		return profile.Profile{}, withRemedy(err)
	}
	defer observer.Close()
	observer.WaitForEngine(cmd.Context())
	ctx, cancel := context.WithTimeout(cmd.Context(), time.Duration(a.duration))
	defer cancel()
	progress := recordingProgress{read: observer.Profile, selected: audited, begun: time.Now(), limit: time.Duration(a.duration)}
	progress.waitShowing(ctx, optional(cmd, endNote), optional(cmd, progressNote))
	if err := observer.Stop(uncanceled); err != nil {
		return profile.Profile{}, err
	}
	return observer.Profile()
}

// view returns what the table shows. It shows the details of named containers, and of an observation that is not saved.
func (a *auditFlags) view(cmd *cobra.Command, names []string) audit.View {
	return audit.View{
		Details: a.overview.details || len(names) > 0 || a.duration > 0, Command: thisCommand(),
		Width: a.overview.width(cmd), Color: colored(cmd), Quiet: quiet(cmd),
	}
}

// recorder describes the capmon serve that saves to the database.
func (a *auditFlags) recorder() audit.Recorder {
	_, err := os.Stat(a.input.db)
	return audit.Recorder{
		Database: a.input.db, DefaultDatabase: a.input.db == store.DefaultPath,
		Exists: a.input.db != "" && !errors.Is(err, os.ErrNotExist), Running: daemon.Running(daemon.FallbackPath(runtimeDirectory, a.input.db)),
	}
}

// flags returns the flags of the command line that decide on the result, and not on its presentation.
func (a *auditFlags) flags(cmd *cobra.Command) []string {
	var set []string
	cmd.Flags().Visit(func(flag *pflag.Flag) {
		if cmd.InheritedFlags().Lookup(flag.Name) != nil || slices.Contains([]string{"output", "details", "wide", "with-values"}, flag.Name) {
			return
		}
		values := []string{flag.Value.String()}
		if several, ok := flag.Value.(pflag.SliceValue); ok {
			values = several.GetSlice()
		}
		for _, value := range values {
			set = append(set, "--"+flag.Name+"="+value)
		}
	})
	return set
}

// options returns the options of an audit of this number of containers, without the profiles and the waivers.
func (a *auditFlags) options(cmd *cobra.Command, engine auditedEngines, names []string, containers int) audit.Options {
	options := audit.Options{Thresholds: a.thresholds, WithValues: a.withValues, Strict: a.strict, Recorder: a.recorder(), Flags: a.flags(cmd), Last: capability.CheckpointRestore, Time: time.Now()}
	options.Evidence = newEvidence(a.scope(names, containers, a.readsDB(cmd)))
	options.Evidence.Audited = auditedEngine(context.WithoutCancel(cmd.Context()), engine)
	if last, err := kernel.LastCapability(); err == nil { // otherwise capmon does not run on Linux, but the containers do
		options.Last = capability.Capability(last)
	}
	if pid, known := engine.PIDs()[""]; known { // Docker's
		if bounding, err := kernel.BoundingSet(pid); err == nil { // otherwise the engine has just ended
			options.EngineBounding = &bounding
		}
	}
	return options
}

// print prints the result.
func (a *auditFlags) print(cmd *cobra.Command, result audit.Audit, names []string) (err error) {
	if a.format.value == htmlFormat {
		err = page.Write(cmd.OutOrStdout(), page.OfAudit(result, pageOptions()))
	} else {
		err = audit.Write(cmd.OutOrStdout(), result, audit.Format(a.format.value), versionText(), a.view(cmd, names))
	}
	if err != nil {
		return err
	}
	if result.Failed() {
		return &exitError{exitFindings}
	}
	return nil
}
