package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/audit"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/doctor"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/internal/observe"
	"github.com/capmon/capmon/internal/page"
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
	input      profileInput
	static     bool
	strict     bool
	withValues bool
	duration   forFlag
	thresholds audit.Thresholds
}

func newAudit(logging *logging) *cobra.Command {
	a := &auditFlags{logging: logging}
	cmd := &cobra.Command{
		Use:   "audit [CONTAINER...] [--static | --profile FILE --for DURATION --db FILE]",
		Short: "Audit containers against CIS Docker Benchmark 5.4: no unneeded capabilities",
		Long: `audit compares the capabilities that each container of the Docker engine, running or
not, is granted with the capabilities that it uses. The status is pass, fail, or manual
if capmon cannot decide. For each container that does not pass, audit prints commands
that fix it, or that find out what it needs.

audit reads what the containers use from profiles that --save wrote (--profile), from
an observation of the running containers (--for), from the database of capmon serve
(--db), or from several of these. Without these options, it reads the database. With
--static, audit reads only the grants: it does not need root, and finds only violations
that do not depend on the uses.

The commands leave out values that may be secret, such as the values of environment
variables. audit prints an incomplete command as a comment. With --with-values, it
prints the values: keep the output secret.

The exit code is 1 if a container fails.`,
		Example: `  sudo capmon audit
  sudo capmon audit --for 10m
  capmon audit --profile web.json web
  capmon audit --static -o sarif >capmon.sarif
  sudo capmon audit -o html >audit.html`,
		RunE:              a.run,
		ValidArgsFunction: completeContainers,
	}
	flags := cmd.Flags()
	registerOutput(flags, &a.format, append(audit.Formats(), htmlFormat)...)
	flags.StringArrayVar(&a.files, "profile", nil, "read what the containers use from the profile in this `FILE`; may be repeated")
	registerDB(flags, &a.input.db)
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
	profiles, err := a.load(cmd)
	if err != nil {
		return err
	}
	docker, err := container.NewDocker(cmd.Context())
	if err != nil {
		return err
	}
	defer docker.Close()
	if _, _, err := audit.Collect(cmd.Context(), docker, names); err != nil { // report errors before the observation
		return a.withRemedy(err)
	}
	if a.duration > 0 {
		observed, err := a.observe(cmd, docker)
		if err != nil {
			return err
		}
		profiles = append(profiles, observed)
	}
	return a.print(cmd, docker, names, profiles)
}

// load reads the saved profiles and the database.
func (a *auditFlags) load(cmd *cobra.Command) ([]profile.Profile, error) {
	saved, err := loadAll(a.files)
	if err != nil {
		return nil, err
	}
	none := len(a.files) == 0 && a.duration == 0
	if a.static || !none && !cmd.Flags().Changed("db") {
		return []profile.Profile{saved}, nil
	}
	if _, err := os.Stat(a.input.db); none && errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("no observation to audit with: there is no database %s of capmon serve; use --profile FILE, observe with --for 10m, or check only the grants with --static", a.input.db)
	}
	stored, err := a.input.fromDatabase(cmd, store.Selection{})
	return []profile.Profile{saved, stored}, err
}

// withRemedy adds what to do about an unknown container.
func (a *auditFlags) withRemedy(err error) error {
	if errors.Is(err, container.ErrNotFound) {
		return fmt.Errorf("%w: docker ps --all lists the containers", err)
	}
	return err
}

// observe profiles the running containers, as capmon profile does.
func (a *auditFlags) observe(cmd *cobra.Command, docker *container.Docker) (profile.Profile, error) {
	log, err := a.logging.logger()
	if err != nil {
		return profile.Profile{}, err
	}
	if err := doctor.Check(); err != nil {
		return profile.Profile{}, err
	}
	for _, finding := range doctor.VisibilityWarnings() {
		log.Warn(finding.Subject+": "+finding.Text, zap.String("remedy", finding.Remedy))
	}
	uncanceled := context.WithoutCancel(cmd.Context())
	observer, err := observe.Start(uncanceled, observe.Options{Monitor: monitor.Options{Outcomes: true}, Engine: docker, Log: log})
	if err != nil {
		return profile.Profile{}, withRemedy(err)
	}
	defer observer.Close()
	observer.WaitForEngine(cmd.Context())
	ctx, cancel := context.WithTimeout(cmd.Context(), time.Duration(a.duration))
	defer cancel()
	showProgress(ctx, cmd.ErrOrStderr(), observer, func(profile.Run) bool { return true })
	if err := observer.Stop(uncanceled); err != nil {
		return profile.Profile{}, err
	}
	return observer.Profile()
}

// print audits the containers and prints the result.
func (a *auditFlags) print(cmd *cobra.Command, docker *container.Docker, names []string, profiles []profile.Profile) error {
	ctx := context.WithoutCancel(cmd.Context()) // Ctrl-C ends the observation, not the report
	subjects, all, err := audit.Collect(ctx, docker, names)
	if err != nil {
		return a.withRemedy(err)
	}
	options := audit.Options{Thresholds: a.thresholds, Names: all, WithValues: a.withValues, Strict: a.strict, Last: capability.CheckpointRestore, Time: time.Now()}
	if last, err := kernel.LastCapability(); err == nil { // otherwise capmon does not run on Linux, but the containers do
		options.Last = capability.Capability(last)
	}
	if !a.static {
		merged := profile.Merge(profiles...)
		options.Profile = &merged
	}
	result := audit.Of(subjects, options)
	if a.format.value == htmlFormat {
		err = page.Write(cmd.OutOrStdout(), page.OfAudit(result, pageOptions()))
	} else {
		err = audit.Write(cmd.OutOrStdout(), result, audit.Format(a.format.value), versionText())
	}
	if err != nil {
		return err
	}
	if result.Failed() {
		return &exitError{exitFindings}
	}
	return nil
}
