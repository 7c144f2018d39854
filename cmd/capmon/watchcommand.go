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

	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/doctor"
	"github.com/capmon/capmon/internal/loss"
	"github.com/capmon/capmon/internal/observe"
	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/store"
	"github.com/capmon/capmon/internal/uses"
	"github.com/capmon/capmon/monitor"
)

const (
	// lossInterval is how often it is looked whether something was lost.
	lossInterval = time.Second
	// lossAlertEvery is the shortest time between two alerts of losses.
	lossAlertEvery = 30 * time.Second
)

// watching holds the flags of watch.
type watching struct {
	logging *logging

	format                string
	capabilities          []string
	names, images, labels []string
	keep                  keeping
	hook, readyFile       string
	rules                 string
	every                 bool
	interval              time.Duration // of lines of the same way
	monitor               monitor.Options
	selection             uses.Selection
}

func newWatch(logging *logging) *cobra.Command {
	w := &watching{logging: logging}
	cmd := &cobra.Command{
		Use:   "watch [CONTAINER...] [--cap CAPABILITIES]",
		Short: "Tell at once when a container uses a capability in a new way",
		Long: `watch prints a line when a container uses a capability for the first time in one way, or
is refused it: by a program, in a system call, for a kernel function. With --every it also
tells how often that happens again. What the kernel merely asked about is left out, unless
--all; raw sockets are always told, also those that were open before.
With --rules it prints alerts instead: what the rules of a file find in these uses.

It watches the containers named, which run already, or else all, also those that
start meanwhile, until Ctrl-C.`,
		Example: `  sudo capmon watch --cap NET_RAW
  sudo capmon watch web db --every
  sudo capmon watch --rules builtin
  sudo capmon watch --cap NET_RAW -o json | jq 'select(.rawSocket)'`,
		RunE:              w.run,
		ValidArgsFunction: completeContainers,
	}
	registerBTF(cmd, &w.monitor)
	flags := cmd.Flags()
	flags.StringVarP(&w.format, "output", "o", "text", "form of the lines: text or json")
	flags.StringSliceVar(&w.capabilities, "cap", nil, "only these capabilities, separated by commas (default: all)")
	flags.BoolVar(&w.every, "every", false, "all uses, not only the first of each way: the later ones as a line a second with their number")
	flags.DurationVar(&w.interval, "every-interval", time.Second, "with --every: time between two lines of the same way")
	flags.BoolVar(&w.selection.All, "all", false, "also what is neither needed nor refused: checks whose answer does not matter")
	flags.BoolVar(&w.selection.OnlyGranted, "granted-only", false, "nothing that was refused")
	flags.BoolVar(&w.selection.OnlyDenied, "denied-only", false, "nothing that was granted")
	flags.StringVar(&w.hook, "hook", "auto", "how to listen to the kernel: auto, fexit, tp_btf or kprobe")
	flags.Uint32Var(&w.monitor.MaxChecks, "max-checks", 0, "room in the kernel for this many kinds of check (default 131072)")
	flags.Uint32Var(&w.monitor.MaxContainers, "max-containers", 0, "room in the kernel for this many containers (default 4096)")
	flags.BoolVar(&w.monitor.Outcomes, "outcomes", true, "tell refusals that made a system call fail from those that did not matter; slows all system calls of the host by some 0.15 µs")
	flags.StringArrayVar(&w.names, "container", nil, "only containers whose name or ID matches this pattern; may be repeated")
	flags.StringArrayVar(&w.images, "image", nil, "only containers whose image matches this pattern; may be repeated")
	flags.StringArrayVar(&w.labels, "label", nil, "only containers with this label, KEY or KEY=VALUE; may be repeated")
	w.keep.register(flags)
	flags.StringVar(&w.rules, "rules", "", "show what the rules in this file find instead of uses; builtin for the built-in rules")
	flags.StringVar(&w.readyFile, "ready-file", "", "create this file when the watch has begun")
	_ = flags.MarkHidden("ready-file")
	return cmd
}

// check validates the flags and this process's rights before anything is started, and makes
// the logger.
func (w *watching) check(cmd *cobra.Command) (*zap.Logger, error) {
	if w.format != "text" && w.format != "json" {
		return nil, fmt.Errorf("unknown --output %q: choose text or json", w.format)
	}
	if w.selection.OnlyGranted && w.selection.OnlyDenied {
		return nil, errors.New("--granted-only and --denied-only leave nothing: give one of them")
	}
	if cmd.Flags().Changed("every-interval") {
		if w.interval <= 0 {
			return nil, fmt.Errorf("--every-interval %s: give a time above 0, such as 10s", w.interval)
		}
		if !w.every {
			return nil, errors.New("--every-interval says how often --every tells: give both")
		}
		if w.rules != "" {
			return nil, errors.New("--every-interval does not go with --rules, which see uses once a second: say in them how often they alert, by cool-down")
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
		return nil, errors.New("--cap names no capability: give some, such as NET_RAW, or leave it out for all")
	}
	var err error
	if w.monitor.Hook, err = monitor.ParseHook(w.hook); err != nil {
		return nil, fmt.Errorf("--hook: %w", err)
	}
	if w.selection.Filter, err = container.NewFilter(w.names, w.images, w.labels); err != nil {
		return nil, err
	}
	if err := w.keep.check(); err != nil {
		return nil, err
	}
	log, err := w.logging.logger()
	if err != nil {
		return nil, err
	}
	return log, doctor.Check()
}

func (w *watching) run(cmd *cobra.Command, names []string) error {
	log, err := w.check(cmd)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(cmd.Context())
	defer cancel(nil)
	show := w.show(cmd, cancel)
	alerting, err := w.alerting(cmd, cancel, log)
	if err != nil {
		return err
	}
	if alerting != nil {
		defer func() { _ = closeSinks(alerting.sinks) }() // if it does not come to the end
		show = alerting.take
		alerting.follow(ctx)
	}
	docker, err := connect(ctx, len(names) > 0, log)
	if err != nil {
		return err
	}
	defer docker.Close()
	if len(names) > 0 {
		if w.selection.IDs, err = resolve(ctx, docker, names); err != nil {
			return err
		}
	}
	if len(names) == 0 {
		tellNoneYet(ctx, cmd, docker, w.selection.Filter, store.Selection{Containers: w.names, Images: w.images, Labels: w.labels})
	}
	for _, finding := range doctor.Unseen() {
		log.Warn(finding.Subject+": "+finding.Text, zap.String("remedy", finding.Remedy))
	}
	watcher := uses.New(uses.Options{
		Selection: w.selection, Outcomes: w.monitor.Outcomes, Log: log, Show: show,
	})
	options := observe.Options{Monitor: w.monitor, Engine: docker, KeptLabels: w.keep.labels, Log: log, Sights: watcher.Take}
	if w.every {
		options.Changes, options.Interval = watcher.TakeChanges, w.interval
	}
	observer, err := observe.Start(context.WithoutCancel(ctx), options)
	if err != nil {
		return explain(err)
	}
	defer observer.Close()
	observer.Settle(ctx)
	w.tellOpen(ctx, observer, watcher, log)
	if err := createReady(w.readyFile); err != nil {
		return err
	}
	fmt.Fprintln(cmd.ErrOrStderr(), "capmon: watching; Ctrl-C ends")
	troubles := &troubles{out: cmd.ErrOrStderr(), observer: observer, watcher: watcher, tracker: trackLosses(observer, alerting, log)}
	troubles.follow(ctx)
	err = w.finish(cmd, observer, watcher, troubles)
	if alerting != nil {
		err = errors.Join(err, alerting.close())
	}
	return errors.Join(err, writeError(ctx))
}

// trackLosses reports what could not be recorded, as alerts if there are rules, and in the log.
func trackLosses(observer *observe.Observer, alerting *alerting, log *zap.Logger) *loss.Tracker {
	report := func(alert.Alert) {}
	if alerting != nil {
		report = alerting.report
	}
	return loss.New(loss.Options{
		Source: observer, Recording: observer.Recording().ID, Began: observer.Recording().Start, Every: lossAlertEvery,
		Identify: func(ctx context.Context, cgroup uint64, id string) uses.Container {
			return uses.Identify(ctx, observer, cgroup, id)
		},
		Report: report, Log: log,
	})
}

// tellOpen tells of the raw sockets that are open already. All that is opened meanwhile is
// recorded.
func (w *watching) tellOpen(ctx context.Context, observer *observe.Observer, watcher *uses.Watcher, log *zap.Logger) {
	err := observer.Holders(ctx, uses.IsRaw, func(holder monitor.Holder) { watcher.TakeOpen(observer, holder) })
	if err != nil && ctx.Err() == nil {
		log.Warn("raw sockets that were open already may not be told", zap.Error(err))
	}
}

// show writes uses, until that fails.
func (w *watching) show(cmd *cobra.Command, fail context.CancelCauseFunc) func(uses.Use) {
	write := w.writer(cmd, fail)
	return func(use uses.Use) { write(use) }
}

// line is what a watch shows, in both forms.
type line interface {
	Line(colors bool) string
	WriteJSON(io.Writer) error
}

func (w *watching) writer(cmd *cobra.Command, fail context.CancelCauseFunc) func(line) {
	out, colors := cmd.OutOrStdout(), colored(cmd)
	return func(shown line) {
		var err error
		if w.format == "json" {
			err = shown.WriteJSON(out)
		} else {
			_, err = fmt.Fprintln(out, shown.Line(colors))
		}
		if err != nil {
			fail(&showError{err})
		}
	}
}

// showError: a use could not be written.
type showError struct{ err error }

func (e *showError) Error() string { return fmt.Sprintf("writing a use: %v", e.err) }

// writeError is why a watch has ended that nobody has ended.
func writeError(ctx context.Context) error {
	var failed *showError
	if errors.As(context.Cause(ctx), &failed) {
		return failed
	}
	return nil
}

// finish ends the recording, shows what is still to be shown, and says how much it was.
func (w *watching) finish(cmd *cobra.Command, observer *observe.Observer, watcher *uses.Watcher, troubles *troubles) error {
	err := observer.Stop(context.WithoutCancel(cmd.Context()))
	watcher.Finish()
	troubles.tracker.Look(time.Now(), true)
	troubles.tell()
	uses, containers := watcher.Shown()
	fmt.Fprintf(cmd.ErrOrStderr(), "capmon: %s in %s%s\n", counted(uses, "use"), counted(uint64(containers), "container"), troubles.summary())
	return err
}

func counted(n uint64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// troubles tells what goes wrong: each growth of the losses, and other things when they are first seen.
type troubles struct {
	out      io.Writer
	observer *observe.Observer
	watcher  *uses.Watcher
	tracker  *loss.Tracker

	told     monitor.Losses
	late     uint64
	failed   bool // the counters could not be read
	withheld bool // it was said that uses are
}

func (t *troubles) follow(ctx context.Context) {
	tick := time.NewTicker(lossInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			t.tracker.Look(time.Now(), false)
			t.tell()
		}
	}
}

func (t *troubles) tell() {
	if _, ids := t.watcher.Withheld(); len(ids) > 0 && !t.withheld {
		fmt.Fprintln(t.out, "capmon: the engine has not described some containers yet, and without that capmon cannot tell whether they are selected: "+
			"their uses appear if it does; to see them at once, "+seeAll)
		t.withheld = true
	}
	losses, err := t.observer.Losses()
	late, lateErr := t.observer.Missed()
	if err := errors.Join(err, lateErr); err != nil {
		if !t.failed {
			fmt.Fprintln(t.out, "capmon: it cannot be told whether something was lost:", err)
		}
		t.failed = true
		return
	}
	if late > 0 && t.late == 0 {
		fmt.Fprintln(t.out, "capmon: uses came faster than they could be told; they are found afterwards and marked late")
	}
	t.told, t.late = losses, late
}

// summary is what there is to add at the end.
func (t *troubles) summary() string {
	text := ", nothing lost"
	switch texts := profile.LossTexts(t.told); {
	case t.failed:
		text = ", and it is not known whether something was lost"
	case len(texts) > 0:
		text = "; more may be missing: " + strings.Join(texts, "; ")
	}
	if t.late > 0 {
		text += fmt.Sprintf("; %s of the kernel's came too fast, and what they told was found afterwards", counted(t.late, "message"))
	}
	return text + t.unshown()
}

// seeAll tells how to see uses without waiting for the engine.
const seeAll = "select by --container ID, or run capmon watch without --container, --image and --label"

// unshown is what there is to add of uses that may have been selected.
func (t *troubles) unshown() string {
	uses, ids := t.watcher.Withheld()
	if uses == 0 {
		return ""
	}
	for i, id := range ids {
		ids[i] = printable.Word(container.ShortID(id))
	}
	return fmt.Sprintf("; not shown: %s by %s that the engine did not describe (%s): to see them, %s",
		counted(uses, "use"), counted(uint64(len(ids)), "container"), some(ids), seeAll)
}
