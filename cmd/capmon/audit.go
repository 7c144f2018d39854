package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/audit"
	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/doctor"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/internal/observe"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/store"
	"github.com/capmon/capmon/monitor"
)

// auditing holds the flags of audit.
type auditing struct {
	logging    *logging
	format     string
	files      []string
	source     source
	static     bool
	strict     bool
	withValues bool
	duration   period
	thresholds audit.Thresholds
}

func newAudit(logging *logging) *cobra.Command {
	a := &auditing{logging: logging}
	cmd := &cobra.Command{
		Use:   "audit [CONTAINER...] [--profile FILE | --for DURATION | --db FILE | --static]",
		Short: "Judge containers by CIS Docker Benchmark 5.4: only capabilities that are used",
		Long: `audit compares what each container of the host is granted, running or not, with what
its profile shows as used, and says pass, fail, or manual where that cannot be told,
with the commands that put it right.

What is used comes from profiles that --save wrote (--profile), from watching the
running containers for a while (--for), from the database of serve (--db), or several
of them; if none is named, from the database. --static looks at the grants alone: it
needs no root, and can only tell what is wrong whatever is used.

The commands leave out values that may be secret, such as those of environment
variables, and are comments then. --with-values prints them: keep that output secret.

The exit code is 1 if a container fails.`,
		Example: `  sudo capmon audit
  sudo capmon audit --for 10m
  capmon audit --profile web.json web
  capmon audit --static -o sarif >capmon.sarif`,
		RunE:              a.run,
		ValidArgsFunction: completeContainers,
	}
	flags := cmd.Flags()
	flags.StringVarP(&a.format, "output", "o", string(audit.Table), "form of the audit: table, json, csv, sarif, junit, html or oscal")
	flags.StringArrayVar(&a.files, "profile", nil, "profile with what the containers use; may be repeated")
	registerDB(flags, &a.source.db)
	flags.BoolVar(&a.static, "static", false, "look at what is granted only")
	flags.BoolVar(&a.strict, "strict", false, "exit with 1 also if one of the other paragraphs of CIS 5 fails that the audit mentions")
	flags.BoolVar(&a.withValues, "with-values", false, "print values that may be secret in the commands of the remedies: of environment variables, labels, options and arguments")
	flags.Var(&a.duration, "for", "watch the running containers for this time, such as 10m")
	flags.DurationVar(&a.thresholds.Observed, "min-observed", 10*time.Minute, "a capability counts as unused only after the workload was seen running for this time")
	flags.DurationVar(&a.thresholds.ObservedRisky, "min-observed-risky", time.Minute, "the same for NET_RAW and for risky ones such as SYS_ADMIN")
	flags.IntVar(&a.thresholds.Runs, "min-runs", 1, "and only after so many runs")
	flags.BoolVar(&a.thresholds.AnyStart, "any-start", false, "and also if it was never seen from its start on")
	return cmd
}

// check validates what can be told before anything is started. The database may be named.
func (a *auditing) check(stored bool) error {
	if _, err := audit.ParseFormat(a.format); err != nil {
		return err
	}
	switch t := a.thresholds; {
	case t.Observed < 0 || t.ObservedRisky < 0:
		return errors.New("--min-observed and --min-observed-risky: the times cannot be negative")
	case t.Runs < 1:
		return fmt.Errorf("--min-runs %d: give 1 or more", t.Runs)
	case a.static && (len(a.files) > 0 || a.duration > 0 || stored):
		return errors.New("--static looks at no use: leave out --profile, --for and --db, or --static")
	}
	// What suffices for all suffices for the risky ones, too.
	a.thresholds.ObservedRisky = min(a.thresholds.ObservedRisky, a.thresholds.Observed)
	return nil
}

func (a *auditing) run(cmd *cobra.Command, names []string) error {
	if err := a.check(cmd.Flags().Changed("db")); err != nil {
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
	if _, _, err := audit.Collect(cmd.Context(), docker, names); err != nil { // before the time to watch
		return a.explain(err)
	}
	if a.duration > 0 {
		watched, err := a.watch(cmd, docker)
		if err != nil {
			return err
		}
		profiles = append(profiles, watched)
	}
	return a.judge(cmd, docker, names, profiles)
}

// load reads what was recorded before.
func (a *auditing) load(cmd *cobra.Command) ([]profile.Profile, error) {
	saved, err := loadAll(a.files)
	if err != nil {
		return nil, err
	}
	none := len(a.files) == 0 && a.duration == 0
	if a.static || !none && !cmd.Flags().Changed("db") {
		return []profile.Profile{saved}, nil
	}
	if _, err := os.Stat(a.source.db); none && errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("nothing to tell what is used: give --profile FILE, watch with --for 10m, or look at the grants alone with --static; there is no database %s of capmon serve", a.source.db)
	}
	stored, err := a.source.stored(cmd, store.Selection{})
	return []profile.Profile{saved, stored}, err
}

// explain says what to do about a name that is none.
func (a *auditing) explain(err error) error {
	if errors.Is(err, container.ErrNotFound) {
		return fmt.Errorf("%w: docker ps --all lists the containers", err)
	}
	return err
}

// watch profiles the running containers, as profile does.
func (a *auditing) watch(cmd *cobra.Command, docker *container.Docker) (profile.Profile, error) {
	log, err := a.logging.logger()
	if err != nil {
		return profile.Profile{}, err
	}
	if err := doctor.Check(); err != nil {
		return profile.Profile{}, err
	}
	for _, finding := range doctor.Unseen() {
		log.Warn(finding.Subject+": "+finding.Text, zap.String("remedy", finding.Remedy))
	}
	unending := context.WithoutCancel(cmd.Context())
	observer, err := observe.Start(unending, observe.Options{Monitor: monitor.Options{Outcomes: true}, Engine: docker, Log: log})
	if err != nil {
		return profile.Profile{}, explain(err)
	}
	defer observer.Close()
	observer.Settle(cmd.Context())
	ctx, cancel := context.WithTimeout(cmd.Context(), time.Duration(a.duration))
	defer cancel()
	showProgress(ctx, cmd.ErrOrStderr(), observer, func(profile.Run) bool { return true })
	if err := observer.Stop(unending); err != nil {
		return profile.Profile{}, err
	}
	return observer.Profile()
}

func (a *auditing) judge(cmd *cobra.Command, docker *container.Docker, names []string, profiles []profile.Profile) error {
	ctx := context.WithoutCancel(cmd.Context()) // Ctrl-C ends the watching, not the report
	subjects, all, err := audit.Collect(ctx, docker, names)
	if err != nil {
		return a.explain(err)
	}
	options := audit.Options{Thresholds: a.thresholds, Names: all, WithValues: a.withValues, Strict: a.strict, Last: capability.CheckpointRestore, Time: time.Now()}
	if last, err := kernel.LastCapability(); err == nil { // else there is no Linux here, but where the containers are
		options.Last = capability.Capability(last)
	}
	if !a.static {
		merged := profile.Merge(profiles...)
		options.Profile = &merged
	}
	result := audit.Of(subjects, options)
	if err := audit.Write(cmd.OutOrStdout(), result, audit.Format(a.format), versionText()); err != nil {
		return err
	}
	if result.Failed() {
		return &exitError{exitFound}
	}
	return nil
}
