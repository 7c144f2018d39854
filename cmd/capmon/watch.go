package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/containerid"
	"github.com/capmon/capmon/internal/doctor"
	"github.com/capmon/capmon/internal/loss"
	"github.com/capmon/capmon/internal/observe"
	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/store"
	"github.com/capmon/capmon/internal/uses"
	"github.com/capmon/capmon/internal/usewatch"
	"github.com/capmon/capmon/monitor"
)

const (
	// lossInterval is how often watch reads the counters of losses.
	lossInterval = time.Second
	// lossAlertEvery is the minimum time between two alerts about losses.
	lossAlertEvery = 30 * time.Second
)

// watchFlags contains the flags of capmon watch.
type watchFlags struct {
	logging *logging

	format                choiceFlag
	capabilities          []string
	names, images, labels []string
	keep                  labelFlags
	engine                engineFlag
	readyFile             string
	rules                 string
	every                 bool
	interval              time.Duration // between two lines of the same pattern of use
	recording             recordingFlags
	selection             usewatch.Selection
}

func newWatch(logging *logging) *cobra.Command {
	w := &watchFlags{logging: logging}
	cmd := &cobra.Command{
		Use:   "watch [CONTAINER...] [--cap CAPABILITIES]",
		Short: "Print uses of capabilities live, or alert on them",
		Long: `watch prints a line for each new pattern of use, as soon as it occurs: a container uses
a capability, or tries to and is denied. A pattern of use is one combination of
container, capability, program, system call, call site, answer and class. With --every,
watch also prints repeated uses. It leaves out checks that do not count as use, except
with --all. Unless --cap, --granted-only or --denied-only excludes them, it prints all
raw sockets, including those that are already open.

With --rules, watch prints alerts instead: the rules in a file decide which uses cause
alerts.

watch records the running containers that you name until Ctrl-C. Without names, it
records all containers, including containers that start later.`,
		Example: `  sudo capmon watch --cap NET_RAW
  sudo capmon watch web db --every
  sudo capmon watch --rules builtin
  sudo capmon watch --cap NET_RAW -o json | jq 'select(.rawSocket)'`,
		RunE:              w.run,
		ValidArgsFunction: completeContainers,
	}
	flags := cmd.Flags()
	registerOutput(flags, &w.format, "text", "json")
	flags.StringSliceVar(&w.capabilities, "cap", nil, "only these `CAPABILITIES`, separated by commas (default: all)")
	flags.BoolVar(&w.every, "every", false, "also print repeated uses: one line per second for each pattern of use, with the number of uses")
	flags.DurationVar(&w.interval, "every-interval", time.Second, "with --every: `DURATION` between two lines of the same pattern of use")
	flags.BoolVar(&w.selection.All, "all", false, "also print the checks that do not count as use")
	flags.BoolVar(&w.selection.OnlyGranted, "granted-only", false, "print only granted uses")
	flags.BoolVar(&w.selection.OnlyDenied, "denied-only", false, "print only denied uses")
	w.recording.register(flags)
	registerFilter(flags, &w.names, &w.images, &w.labels)
	w.keep.register(flags)
	w.engine.register(flags, onlyDocker, onlyPodman, onlyContainerd, onlyCRI)
	flags.StringVar(&w.rules, "rules", "", "print the alerts of the rules in this YAML `FILE` instead of uses; builtin: the built-in rules")
	registerReadyFile(flags, &w.readyFile)
	return cmd
}

// validate validates the flags and the rights of this process before watch starts anything. It returns the logger.
func (w *watchFlags) validate(cmd *cobra.Command) (*zap.Logger, error) {
	if w.selection.OnlyGranted && w.selection.OnlyDenied {
		return nil, errors.New("--granted-only and --denied-only together select nothing: use one of them")
	}
	if cmd.Flags().Changed("every-interval") {
		if w.interval <= 0 {
			return nil, fmt.Errorf("--every-interval %s: use a time greater than 0, such as 10s", w.interval)
		}
		if !w.every {
			return nil, errors.New("--every-interval requires --every: set both")
		}
		if w.rules != "" {
			return nil, errors.New("--every-interval and --rules: rules process uses once per second; leave out --every-interval, and set a cool-down in the rules")
		}
	}
	for _, name := range w.capabilities {
		c, err := capability.Parse(strings.TrimSpace(name))
		if err != nil {
			return nil, fmt.Errorf("--cap: %w", err)
		}
		w.selection.Capabilities = w.selection.Capabilities.With(c)
	}
	if cmd.Flags().Changed("cap") && w.selection.Capabilities.Empty() {
		return nil, errors.New("--cap names no capability: name at least one, such as NET_RAW, or leave --cap out for all")
	}
	var err error
	if err = w.recording.validate(); err != nil {
		return nil, err
	}
	if w.selection.Filter, err = container.NewFilter(w.names, w.images, w.labels); err != nil {
		return nil, err
	}
	if err := w.keep.validate(); err != nil {
		return nil, err
	}
	log, err := w.logging.logger()
	if err != nil {
		return nil, err
	}
	return log, doctor.Check()
}

func (w *watchFlags) run(cmd *cobra.Command, names []string) error {
	log, err := w.validate(cmd)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(cmd.Context())
	defer cancel(nil)
	show := w.newUseWriter(cmd, cancel)
	alerting, err := w.newAlerting(cmd, cancel, log)
	if err != nil {
		return err
	}
	if alerting != nil {
		defer func() { _ = closeSinks(alerting.sinks) }() // for an early return
		show = alerting.handle
		alerting.start(ctx)
	}
	engine, err := w.engine.connect(ctx, len(names) > 0, log)
	if err != nil {
		return err
	}
	defer engine.Close()
	if len(names) > 0 {
		if w.selection.IDs, err = resolve(ctx, engine, names); err != nil {
			return err
		}
	}
	if len(names) == 0 {
		warnIfNoneSelected(ctx, cmd, engine, w.selection.Filter, store.Selection{Containers: w.names, Images: w.images, Labels: w.labels})
	}
	for _, finding := range doctor.VisibilityWarnings() {
		log.Warn(finding.Subject+": "+finding.Text, zap.String("remedy", finding.Remedy))
	}
	watcher := usewatch.New(usewatch.Options{
		Selection: w.selection, Outcomes: w.recording.monitor.Outcomes, Log: log, Show: show,
	})
	options := observe.Options{Monitor: w.recording.monitor, Engine: engine, KeptLabels: w.keep.labels, Log: log, Consumer: watcher}
	if w.every {
		options.ChangesInterval = w.interval
	}
	observer, err := observe.Start(context.WithoutCancel(ctx), options)
	if err != nil {
		return withRemedy(err)
	}
	defer observer.Close()
	observer.WaitForEngine(ctx)
	w.reportOpenSockets(ctx, observer, watcher, log)
	if err := createReadyFile(w.readyFile); err != nil {
		return err
	}
	fmt.Fprintln(optional(cmd, endNote), "capmon: watching; press Ctrl-C to stop")
	problems := &problemReporter{out: cmd.ErrOrStderr(), observer: observer, watcher: watcher, tracker: trackLosses(observer, alerting, log)}
	problems.follow(ctx)
	err = w.finish(cmd, observer, watcher, problems)
	if alerting != nil {
		err = errors.Join(err, alerting.close())
	}
	return errors.Join(err, writeError(ctx))
}

// trackLosses returns a tracker that reports what capmon could not record: in the log and, with rules, as alerts.
func trackLosses(observer *observe.Observer, alerting *alerting, log *zap.Logger) *loss.Tracker {
	report := func(alert.Alert) {}
	if alerting != nil {
		report = alerting.report
	}
	return loss.New(loss.Options{
		Source: observer, Recording: observer.ID(), Began: observer.Began(), Every: lossAlertEvery,
		Identify: func(ctx context.Context, cgroup uint64, id string) uses.ContainerRef {
			return usewatch.Identify(ctx, observer, cgroup, id)
		},
		Report: report, Log: log,
	})
}

// reportOpenSockets reports the raw sockets that are already open. Call it while capmon records, so that it misses no
// socket.
func (w *watchFlags) reportOpenSockets(ctx context.Context, observer *observe.Observer, watcher *usewatch.Watcher, log *zap.Logger) {
	err := observer.SocketHolders(ctx, usewatch.IsRaw, func(holder monitor.SocketHolder) { watcher.HandleOpenSockets(observer, holder) })
	if err != nil && ctx.Err() == nil {
		log.Warn("capmon may not report all raw sockets that were already open", zap.Error(err))
	}
}

// newUseWriter returns a function that writes a use. It calls fail if the writing fails.
func (w *watchFlags) newUseWriter(cmd *cobra.Command, fail context.CancelCauseFunc) func(uses.Use) {
	write := w.newLineWriter(cmd, fail)
	return func(use uses.Use) { write(use) }
}

// outputLine is a use or an alert, which watch prints as text or as JSON.
type outputLine interface {
	Line(colors bool) string
	WriteJSON(io.Writer) error
}

func (w *watchFlags) newLineWriter(cmd *cobra.Command, fail context.CancelCauseFunc) func(outputLine) {
	out, colors := cmd.OutOrStdout(), colored(cmd)
	return func(shown outputLine) {
		var err error
		if w.format.value == "json" {
			err = shown.WriteJSON(out)
		} else {
			_, err = fmt.Fprintln(out, shown.Line(colors))
		}
		if err != nil {
			fail(&outputError{err})
		}
	}
}

// outputError is the error of a failed write to standard output.
type outputError struct{ err error }

func (e *outputError) Error() string {
	return fmt.Sprintf("cannot write to standard output: %v", e.err)
}

// writeError returns the failed write that has ended ctx; nil if ctx has ended for another reason.
func writeError(ctx context.Context) error {
	var failed *outputError
	if errors.As(context.Cause(ctx), &failed) {
		return failed
	}
	return nil
}

// finish ends the recording, prints the remaining uses, and prints the summary.
func (w *watchFlags) finish(cmd *cobra.Command, observer *observe.Observer, watcher *usewatch.Watcher, problems *problemReporter) error {
	err := observer.Stop(context.WithoutCancel(cmd.Context()))
	watcher.Finish()
	problems.tracker.Read(time.Now(), true)
	problems.report()
	uses, containers := watcher.Shown()
	summary, notes := problems.summary(), cmd.ErrOrStderr()
	if summary == nothingLost {
		notes = optional(cmd, nothingLostNote)
	}
	fmt.Fprintf(notes, "capmon: %s in %s%s\n", plural(uses, "use"), plural(uint64(containers), "container"), summary)
	return err
}

// plural returns a number with a noun: 1 use, 2 uses.
func plural(n uint64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// problemReporter reports losses, late uses and withheld uses.
type problemReporter struct {
	out      io.Writer
	observer *observe.Observer
	watcher  *usewatch.Watcher
	tracker  *loss.Tracker

	losses   monitor.Losses
	late     uint64
	failed   bool // capmon could not read the counters
	withheld bool // capmon has reported that it withholds uses
}

// follow reports problems until ctx ends.
func (p *problemReporter) follow(ctx context.Context) {
	tick := time.NewTicker(lossInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			p.tracker.Read(time.Now(), false)
			p.report()
		}
	}
}

// report updates the problems, and prints those that are new.
func (p *problemReporter) report() {
	if _, ids := p.watcher.Withheld(); len(ids) > 0 && !p.withheld {
		fmt.Fprintln(p.out, "capmon: the engine has not described some containers yet, so capmon does not know whether they are selected. "+
			"It prints their uses once the engine has described them; to see them immediately, "+seeAll)
		p.withheld = true
	}
	losses, err := p.observer.Losses()
	late, _, lateErr := p.observer.DroppedEvents()
	if err := errors.Join(err, lateErr); err != nil {
		if !p.failed {
			fmt.Fprintln(p.out, "capmon: cannot read the counters of lost checks:", err)
		}
		p.failed = true
		return
	}
	if late > 0 && p.late == 0 {
		fmt.Fprintln(p.out, "capmon: uses come faster than capmon can report them; it finds them later and marks them as late")
	}
	p.losses, p.late = losses, late
}

// nothingLost is the end of the last line if there were no problems.
const nothingLost = ", nothing lost"

// summary returns the end of the last line.
func (p *problemReporter) summary() string {
	text := nothingLost
	switch texts := profile.LossTexts(p.losses); {
	case p.failed:
		text = ", and capmon does not know whether something was lost"
	case len(texts) > 0:
		text = "; more may be missing: " + strings.Join(texts, "; ")
	}
	if p.late > 0 {
		text += fmt.Sprintf("; %s from the kernel came too fast, and capmon found their uses later", plural(p.late, "message"))
	}
	return text + p.unshown()
}

// seeAll is how to see uses without waiting for the engine.
const seeAll = "select with --container ID, or run capmon watch without --container, --image and --label"

// unshown returns the part of the summary about uses that may be selected.
func (p *problemReporter) unshown() string {
	uses, ids := p.watcher.Withheld()
	if uses == 0 {
		return ""
	}
	for i, id := range ids {
		ids[i] = printable.Word(containerid.Short(id))
	}
	return fmt.Sprintf("; not shown: %s in %s that the engine did not describe (%s): to see them, %s",
		plural(uses, "use"), plural(uint64(len(ids)), "container"), abbreviate(ids), seeAll)
}
