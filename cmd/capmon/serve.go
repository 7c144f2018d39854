package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/api"
	"github.com/capmon/capmon/internal/daemon"
	"github.com/capmon/capmon/internal/doctor"
	"github.com/capmon/capmon/internal/observe"
	"github.com/capmon/capmon/internal/store"
	"github.com/capmon/capmon/internal/usewatch"
	"github.com/capmon/capmon/monitor"
)

const (
	defaultPins = "/sys/fs/bpf/capmon"
	// runtimeDirectory is for files that need not survive a reboot.
	runtimeDirectory = "/run/capmon"
	defaultSocket    = runtimeDirectory + "/capmon.sock"
	// staleAfter is the number of missing saves after which /readyz reports that serve is not ready.
	staleAfter = 3
)

// serveFlags contains the flags of capmon serve.
type serveFlags struct {
	logging *logging

	rules            string
	config           string
	keep             labelFlags
	engine           engineFlag
	database, pins   string
	recording        recordingFlags
	every            time.Duration
	olderThan        string
	maxSize          string
	socket, group    string
	tcp              string
	certificate, key string
	tokenFile        string
	pprof, uninstall bool
	readyFile        string
}

func newServe(logging *logging) *cobra.Command {
	s := &serveFlags{logging: logging}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Record all containers continuously in a database",
		Long: `serve records the uses of all containers and saves them in a database. report, flags,
diff, check, merge and audit read the database. serve pins the recording in the kernel.
The recording continues when serve ends or is killed, and the next serve resumes it,
also after an upgrade. No count is lost. serve --uninstall ends the recording.

serve responds to HTTP requests on a socket: a page for browsers that shows uses and alerts
as they happen, metrics for Prometheus, health and reports.`,
		Example: `  sudo capmon serve
  sudo capmon flags --image 'nginx:*'
  sudo capmon serve --uninstall`,
		Args: arguments(0, 0),
		RunE: s.run,
	}
	flags := cmd.Flags()
	flags.StringVar(&s.config, "config", "", "YAML `FILE` with values of these flags; flags on the command line take precedence")
	registerDB(flags, &s.database)
	flags.StringVar(&s.pins, "pins", defaultPins, "`DIRECTORY` in the BPF file system to pin the recording in; empty: the recording ends with serve")
	flags.DurationVar(&s.every, "save-every", 30*time.Second, "`DURATION` between two saves to the database; unsaved counts stay in the kernel")
	flags.StringVar(&s.olderThan, "older-than", "", "remove runs, proofs and alerts that ended longer ago than this `AGE`, such as 90d or 36h (default: never)")
	flags.StringVar(&s.maxSize, "max-size", "", "remove the oldest runs, proofs and alerts until the database is no larger than this `SIZE`, such as 1GiB or 500MiB (default: never)")
	flags.StringVar(&s.socket, "socket", defaultSocket, "`PATH` of the unix socket for HTTP; empty: no socket")
	flags.StringVar(&s.group, "group", "", "`GROUP` whose members may use the socket (default: none)")
	flags.StringVar(&s.tcp, "tcp", "", "`ADDRESS` for HTTPS, such as 127.0.0.1:9753 (default: none); requires --tls-cert, --tls-key and --token-file")
	flags.StringVar(&s.certificate, "tls-cert", "", "PEM `FILE` with the certificate for --tcp")
	flags.StringVar(&s.key, "tls-key", "", "PEM `FILE` with the key of the certificate")
	flags.StringVar(&s.tokenFile, "token-file", "", "`FILE` with the token that requests over TCP must contain")
	flags.StringVar(&s.rules, "rules", "", "YAML `FILE` with the rules and sinks for alerts; builtin: the built-in rules; reloaded on SIGHUP (default: none)")
	s.keep.register(flags)
	s.engine.register(flags, onlyDocker, onlyPodman, onlyContainerd, onlyCRI)
	flags.BoolVar(&s.pprof, "pprof", false, "also serve Go's profiler below /debug/pprof/")
	s.recording.register(flags)
	flags.BoolVar(&s.uninstall, "uninstall", false, "end the pinned recording and remove it from the kernel; keep the database")
	registerReadyFile(flags, &s.readyFile)
	return cmd
}

// validate validates the flags before serve starts anything.
func (s *serveFlags) validate() (retention store.Retention, err error) {
	if err = s.recording.validate(); err != nil {
		return retention, err
	}
	if s.every < time.Second {
		return retention, fmt.Errorf("--save-every %v is too short: use 1s or more", s.every)
	}
	if s.olderThan != "" || s.maxSize != "" {
		if err := parseRetention(&retention, s.olderThan, s.maxSize); err != nil {
			return retention, err
		}
	}
	secured := s.certificate != "" && s.key != "" && s.tokenFile != ""
	switch {
	case s.tcp != "" && !secured:
		return retention, errors.New("--tcp requires TLS and a token: also set --tls-cert, --tls-key and --token-file")
	case s.tcp == "" && (s.certificate != "" || s.key != "" || s.tokenFile != ""):
		return retention, errors.New("--tls-cert, --tls-key and --token-file are for --tcp: also set --tcp")
	case s.group != "" && s.socket == "":
		return retention, errors.New("--group is for --socket, but --socket is empty")
	}
	if err := s.keep.validate(); err != nil {
		return retention, err
	}
	s.recording.monitor.PinDirectory = s.pins
	return retention, nil
}

func (s *serveFlags) run(cmd *cobra.Command, _ []string) error {
	if s.config != "" {
		if err := readConfig(cmd, s.config); err != nil {
			return err
		}
	}
	retention, err := s.validate()
	if err != nil {
		return err
	}
	if s.uninstall {
		return s.removeRecording(cmd)
	}
	log, err := s.logging.logger()
	if err != nil {
		return err
	}
	if err := errors.Join(doctor.Check(), doctor.CheckCgroups()); err != nil {
		return err
	}
	listeners, token, err := s.listen()
	if err != nil {
		return err
	}
	defer s.close(listeners)
	ctx := cmd.Context()
	engine, err := s.engine.connect(ctx, false, log)
	if err != nil {
		return err
	}
	defer engine.Close()
	alive, err := watchdog(s.every)
	if err != nil {
		return err
	}
	options := daemon.Options{
		Observe:  observe.Options{Monitor: s.recording.monitor, Engine: engine, KeptLabels: s.keep.labels, Version: versionNumber()},
		Database: s.database, Fallback: daemon.FallbackPath(runtimeDirectory, s.database), Retention: retention, Every: s.every, Alive: alive, Log: log,
	}
	options.Alerts = daemon.NewAlertQueue(log)
	options.Report = options.Alerts.Add
	alerting, err := s.newAlerting(cmd, &options, log)
	if err != nil {
		return err
	}
	d, err := daemon.Start(ctx, options)
	if err != nil && alerting != nil {
		err = errors.Join(err, alerting.close())
	}
	if errors.Is(err, monitor.ErrPinsInUse) {
		return fmt.Errorf("another capmon serve is running with --pins %s: end it first, or use another directory", s.pins)
	}
	if errors.Is(err, monitor.ErrPinsOfAnotherForm) {
		return fmt.Errorf("%w: end it with capmon serve --uninstall --pins %s, and start serve again", err, s.pins)
	}
	if errors.Is(err, daemon.ErrInUse) {
		return fmt.Errorf("%w, %s: end it first, or use another database with --db", err, s.database)
	}
	if err != nil {
		return withRemedy(err)
	}
	if alerting != nil {
		alerting.start(ctx)
	}
	err = s.serve(cmd, d, listeners, token, log)
	if alerting != nil {
		err = errors.Join(err, alerting.close())
	}
	return errors.Join(err, d.Close())
}

// newAlerting configures the alerting; it returns nil without --rules.
func (s *serveFlags) newAlerting(cmd *cobra.Command, options *daemon.Options, log *zap.Logger) (*alerting, error) {
	if s.rules == "" {
		return nil, nil
	}
	a, err := newAlerting(s.rules, cmd.ErrOrStderr())
	if err != nil {
		return nil, err
	}
	if a.sinks, err = openSinks(a.rules, log); err != nil {
		return nil, err
	}
	options.Rules, options.Report = true, a.report
	a.onAlert = func(one alert.Alert, _ bool) { options.Alerts.Add(one) }
	a.scope = useScope{a.rules.NeedsAll(), a.rules.NeedsEvery()}
	watcher := usewatch.New(usewatch.Options{
		Selection: usewatch.Selection{All: a.rules.NeedsAll()}, Outcomes: s.recording.monitor.Outcomes, Log: log, Show: a.handle,
	})
	options.Observe.Consumer = watcher
	if a.rules.NeedsEvery() {
		options.Observe.ChangesInterval = time.Second
	}
	return a, nil
}

// serve saves the recording and answers requests until the context of cmd ends.
func (s *serveFlags) serve(cmd *cobra.Command, d *daemon.Daemon, listeners []net.Listener, token string, log *zap.Logger) error {
	ctx, cancel := context.WithCancelCause(cmd.Context())
	defer cancel(nil)
	var serving sync.WaitGroup
	limiter := api.NewLimiter(1)
	for _, listener := range listeners {
		handler := s.handler(ctx, d, listener, token, limiter, log)
		serving.Go(func() {
			if err := api.Serve(ctx, listener, handler); err != nil {
				cancel(err)
			}
		})
	}
	if err := createReadyFile(s.readyFile); err != nil {
		return err
	}
	if _, err := sd.SdNotify(false, sd.SdNotifyReady); err != nil {
		log.Warn("cannot notify systemd that serve is ready", zap.Error(err))
	}
	status := "recording"
	if state := d.State(); state.Resumed {
		status = "resumed the recording that began at " + state.Began.Local().Format(time.DateTime)
	}
	fmt.Fprintf(optional(cmd, endNote), "capmon: %s, saving to %s; press Ctrl-C to end serve\n", status, s.database)
	d.Run(ctx)
	serving.Wait()
	state := d.State()
	if state.Trouble != "" {
		fmt.Fprintf(cmd.ErrOrStderr(), "capmon: could not save what was recorded since %s: %s\n", state.Saved.Local().Format(time.DateTime), state.Trouble)
	}
	if s.pins != "" {
		fmt.Fprintln(optional(cmd, endNote), "capmon: the kernel continues to record; to end the recording, run capmon serve --uninstall")
	}
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// handler returns the handler of a listener. Its streams of events end with ctx.
func (s *serveFlags) handler(ctx context.Context, d *daemon.Daemon, listener net.Listener, token string, limiter api.Limiter, log *zap.Logger) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	options := api.Options{Pprof: s.pprof, Stale: staleAfter * s.every, Settled: s.every, Version: versionText(), VersionNumber: versionNumber(), Limiter: limiter, Ending: ctx, Log: log}
	if listener.Addr().Network() != "unix" {
		options.Token = token
	}
	return api.Handler(d, registry, options)
}

// listen opens the sockets before serve records anything.
func (s *serveFlags) listen() (listeners []net.Listener, token string, err error) {
	if s.tcp != "" {
		if token, err = api.ReadToken(s.tokenFile); err != nil {
			return nil, "", fmt.Errorf("--token-file: %w", err)
		}
		listener, err := api.ListenTLS(s.tcp, s.certificate, s.key)
		if err != nil {
			return nil, "", fmt.Errorf("--tcp: %w", err)
		}
		listeners = append(listeners, listener)
	}
	if s.socket != "" {
		listener, err := api.ListenUnix(s.socket, s.group)
		if err != nil {
			s.close(listeners)
			return nil, "", fmt.Errorf("--socket: %w", err)
		}
		listeners = append(listeners, listener)
	}
	return listeners, token, nil
}

// close closes the listeners and removes the unix socket.
func (s *serveFlags) close(listeners []net.Listener) {
	for _, listener := range listeners {
		_ = listener.Close()
		if listener.Addr().Network() == "unix" {
			_ = os.Remove(s.socket)
		}
	}
}

// watchdog returns a function that notifies systemd's watchdog; nil if the watchdog is not enabled. serve calls the
// function after each save, so watchdog returns an error if the watchdog's time is too short.
func watchdog(every time.Duration) (alive func(), err error) {
	interval, err := sd.SdWatchdogEnabled(false)
	if err != nil {
		return nil, fmt.Errorf("reading the time of systemd's watchdog: %w", err)
	}
	if interval == 0 {
		return nil, nil
	}
	if interval < 2*every {
		return nil, fmt.Errorf("systemd's watchdog waits %v, less than twice --save-every: increase WatchdogSec or set a shorter --save-every", interval)
	}
	return func() { _, _ = sd.SdNotify(false, sd.SdNotifyWatchdog) }, nil
}

// removeRecording ends the pinned recording.
func (s *serveFlags) removeRecording(cmd *cobra.Command) error {
	if s.pins == "" {
		return errors.New("--uninstall: --pins is empty: set the directory of the recording")
	}
	if _, err := os.Stat(s.pins); errors.Is(err, os.ErrNotExist) {
		fmt.Fprintf(cmd.OutOrStdout(), "capmon: there is no recording in %s: nothing to remove\n", s.pins)
		return nil
	}
	err := monitor.RemovePins(s.pins)
	if errors.Is(err, monitor.ErrPinsInUse) {
		return fmt.Errorf("capmon serve is running with --pins %s: end it first", s.pins)
	}
	if err != nil {
		return err
	}
	database := ""
	if _, err := os.Stat(s.database); err == nil {
		database = "; the database " + s.database + " stays"
	}
	fmt.Fprintf(cmd.OutOrStdout(), "capmon: removed the recording in %s from the kernel%s\n", s.pins, database)
	return nil
}
