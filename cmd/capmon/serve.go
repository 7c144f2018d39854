package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
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
	"github.com/capmon/capmon/internal/uses"
	"github.com/capmon/capmon/monitor"
)

const (
	defaultPins = "/sys/fs/bpf/capmon"
	// runtimeDirectory is for what need not outlive the kernel.
	runtimeDirectory = "/run/capmon"
	defaultSocket    = runtimeDirectory + "/capmon.sock"
	// staleAfter is how many saves may be missing until the daemon is not ready.
	staleAfter = 3
)

// serving holds the flags of serve.
type serving struct {
	logging *logging

	rules            string
	config           string
	keep             keeping
	database, pins   string
	hook             string
	monitor          monitor.Options
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
	s := &serving{logging: logging}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Record all containers without end into a database",
		Long: `serve records what all containers use, for weeks, and keeps it in a database that
report, flags, diff and check read. The recording is pinned in the kernel: it goes on
when serve is killed, ended or upgraded, and the next serve takes it up, with nothing
lost and nothing counted twice. serve --uninstall ends it.

It answers on a socket: metrics for Prometheus, health, reports.`,
		Example: `  sudo capmon serve
  sudo capmon flags --image 'nginx:*'
  sudo capmon serve --uninstall`,
		Args: cobra.NoArgs,
		RunE: s.run,
	}
	registerBTF(cmd, &s.monitor)
	flags := cmd.Flags()
	flags.StringVar(&s.config, "config", "", "YAML file with values of these flags; those on the command line go first")
	registerDB(flags, &s.database)
	flags.StringVar(&s.pins, "pins", defaultPins, "directory in the BPF file system where the recording is pinned; empty: it ends with serve")
	flags.DurationVar(&s.every, "save-every", 30*time.Second, "how often what was recorded is saved; until then it is in the kernel")
	flags.StringVar(&s.olderThan, "older-than", "", "remove what ended longer ago: 90d, 36h (default: never)")
	flags.StringVar(&s.maxSize, "max-size", "", "remove what ended first until the database is no larger: 1GiB, 500MiB (default: never)")
	flags.StringVar(&s.socket, "socket", defaultSocket, "unix socket for HTTP; empty for none")
	flags.StringVar(&s.group, "group", "", "group that may use the socket (default: root alone)")
	flags.StringVar(&s.tcp, "tcp", "", "address for HTTPS, such as 127.0.0.1:9753 (default: none); takes --tls-cert, --tls-key and --token-file")
	flags.StringVar(&s.certificate, "tls-cert", "", "file of the certificate for --tcp, PEM")
	flags.StringVar(&s.key, "tls-key", "", "file of its key, PEM")
	flags.StringVar(&s.tokenFile, "token-file", "", "file of the token that requests by TCP have to bear")
	flags.StringVar(&s.rules, "rules", "", "YAML file of rules by which uses are alerts, and of the sinks that take them, or builtin; read anew at SIGHUP (default: none)")
	s.keep.register(flags)
	flags.BoolVar(&s.pprof, "pprof", false, "answer below /debug/pprof/, too")
	flags.StringVar(&s.hook, "hook", "auto", "how to listen to the kernel: auto, fexit, tp_btf or kprobe")
	flags.Uint32Var(&s.monitor.MaxChecks, "max-checks", 0, "room in the kernel for this many kinds of check (default 131072)")
	flags.Uint32Var(&s.monitor.MaxContainers, "max-containers", 0, "room in the kernel for this many containers (default 4096)")
	flags.BoolVar(&s.monitor.Outcomes, "outcomes", true, "tell refusals that made a system call fail from those that did not matter; slows all system calls of the host by some 0.15 µs")
	flags.BoolVar(&s.uninstall, "uninstall", false, "end the pinned recording and leave nothing in the kernel; the database stays")
	flags.StringVar(&s.readyFile, "ready-file", "", "create this file when serving has begun")
	_ = flags.MarkHidden("ready-file")
	return cmd
}

// check validates the flags before anything is started.
func (s *serving) check() (retention store.Retention, err error) {
	if s.monitor.Hook, err = monitor.ParseHook(s.hook); err != nil {
		return retention, fmt.Errorf("--hook: %w", err)
	}
	if s.every < time.Second {
		return retention, fmt.Errorf("--save-every %v is too short: choose a second or more", s.every)
	}
	if s.olderThan != "" || s.maxSize != "" {
		if err := parseRetention(&retention, s.olderThan, s.maxSize); err != nil {
			return retention, err
		}
	}
	secured := s.certificate != "" && s.key != "" && s.tokenFile != ""
	switch {
	case s.tcp != "" && !secured:
		return retention, errors.New("--tcp is never open to everybody: give --tls-cert, --tls-key and --token-file, too")
	case s.tcp == "" && (s.certificate != "" || s.key != "" || s.tokenFile != ""):
		return retention, errors.New("--tls-cert, --tls-key and --token-file are for --tcp: give an address, too")
	case s.group != "" && s.socket == "":
		return retention, errors.New("--group is for --socket, which is empty")
	}
	if err := s.keep.check(); err != nil {
		return retention, err
	}
	s.monitor.Pins = s.pins
	return retention, nil
}

func (s *serving) run(cmd *cobra.Command, _ []string) error {
	if s.config != "" {
		if err := readConfig(cmd, s.config); err != nil {
			return err
		}
	}
	retention, err := s.check()
	if err != nil {
		return err
	}
	if s.uninstall {
		return s.remove(cmd)
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
	docker, err := connect(ctx, false, log)
	if err != nil {
		return err
	}
	defer docker.Close()
	alive, err := watchdog(s.every)
	if err != nil {
		return err
	}
	options := daemon.Options{
		Observe:  observe.Options{Monitor: s.monitor, Engine: docker, KeptLabels: s.keep.labels},
		Database: s.database, Aside: aside(s.database), Retention: retention, Every: s.every, Alive: alive, Log: log,
	}
	options.Alerts = daemon.NewAlerts(log)
	options.Report = options.Alerts.Add
	alerting, err := s.alert(cmd, &options, log)
	if err != nil {
		return err
	}
	d, err := daemon.Start(ctx, options)
	if err != nil && alerting != nil {
		err = errors.Join(err, alerting.close())
	}
	if errors.Is(err, monitor.ErrPinsHeld) {
		return fmt.Errorf("another capmon serves already, with --pins %s: end it first, or choose another directory", s.pins)
	}
	if errors.Is(err, daemon.ErrHeld) {
		return fmt.Errorf("%w, %s: end it first, or choose another one with --db", err, s.database)
	}
	if err != nil {
		return explain(err)
	}
	if alerting != nil {
		alerting.follow(ctx)
	}
	err = s.serve(cmd, d, listeners, token, log)
	if alerting != nil {
		err = errors.Join(err, alerting.close())
	}
	return errors.Join(err, d.Close())
}

// aside is where what a database does not take is put: another file system, which goes with
// the kernel's record of it.
func aside(database string) string {
	if absolute, err := filepath.Abs(database); err == nil {
		database = absolute
	}
	return filepath.Join(runtimeDirectory, fmt.Sprintf("unsaved-%.8x.db", sha256.Sum256([]byte(database))))
}

// alert has rules look at what is recorded, if there are any.
func (s *serving) alert(cmd *cobra.Command, options *daemon.Options, log *zap.Logger) (*alerting, error) {
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
	a.keep = func(one alert.Alert, _ bool) { options.Alerts.Add(one) }
	a.sees = scope{a.rules.NeedsAll(), a.rules.NeedsEvery()}
	watcher := uses.New(uses.Options{
		Selection: uses.Selection{All: a.rules.NeedsAll()}, Outcomes: s.monitor.Outcomes, Log: log, Show: a.take,
	})
	observing := &options.Observe
	observing.Sights, observing.Told, observing.Forgotten = watcher.Take, watcher.TakeTold, watcher.Forget
	if a.rules.NeedsEvery() {
		observing.Changes, observing.Interval = watcher.TakeChanges, time.Second
	}
	return a, nil
}

// serve saves and answers until it is ended.
func (s *serving) serve(cmd *cobra.Command, d *daemon.Daemon, listeners []net.Listener, token string, log *zap.Logger) error {
	ctx, cancel := context.WithCancelCause(cmd.Context())
	defer cancel(nil)
	var serving sync.WaitGroup
	turn := api.NewTurn(1)
	for _, listener := range listeners {
		handler := s.handler(d, listener, token, turn, log)
		serving.Go(func() {
			if err := api.Serve(ctx, listener, handler); err != nil {
				cancel(err)
			}
		})
	}
	if err := createReady(s.readyFile); err != nil {
		return err
	}
	if _, err := sd.SdNotify(false, sd.SdNotifyReady); err != nil {
		log.Warn("telling systemd that serving has begun", zap.Error(err))
	}
	began := "recording"
	if state := d.State(); state.TakenUp {
		began = "recording on since " + state.Began.Local().Format(time.DateTime)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "capmon: %s, into %s; Ctrl-C ends serving\n", began, s.database)
	d.Run(ctx)
	serving.Wait()
	state := d.State()
	if state.Trouble != "" {
		fmt.Fprintf(cmd.ErrOrStderr(), "capmon: what was recorded since %s could not be saved: %s\n", state.Saved.Local().Format(time.DateTime), state.Trouble)
	}
	if s.pins != "" {
		fmt.Fprintln(cmd.ErrOrStderr(), "capmon: the kernel records on, until capmon serve --uninstall")
	}
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func (s *serving) handler(d *daemon.Daemon, listener net.Listener, token string, turn api.Turn, log *zap.Logger) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	options := api.Options{Pprof: s.pprof, Stale: staleAfter * s.every, Settled: s.every, Version: versionText(), Turn: turn, Log: log}
	if listener.Addr().Network() != "unix" {
		options.Token = token
	}
	return api.Handler(d, registry, options)
}

// listen opens what is to be answered at, before anything is recorded.
func (s *serving) listen() (listeners []net.Listener, token string, err error) {
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

// close closes them; the unix socket is the last one.
func (s *serving) close(listeners []net.Listener) {
	for _, listener := range listeners {
		_ = listener.Close()
		if listener.Addr().Network() == "unix" {
			_ = os.Remove(s.socket)
		}
	}
}

// watchdog tells systemd that the daemon is alive, if that wants to know. It has to hear it
// more often than things are saved.
func watchdog(every time.Duration) (alive func(), err error) {
	interval, err := sd.SdWatchdogEnabled(false)
	if err != nil {
		return nil, fmt.Errorf("reading what systemd wants to know: %w", err)
	}
	if interval == 0 {
		return nil, nil
	}
	if interval < 2*every {
		return nil, fmt.Errorf("systemd's watchdog waits %v, which is less than twice --save-every: let WatchdogSec be longer", interval)
	}
	return func() { _, _ = sd.SdNotify(false, sd.SdNotifyWatchdog) }, nil
}

// remove ends the pinned recording.
func (s *serving) remove(cmd *cobra.Command) error {
	if s.pins == "" {
		return errors.New("--uninstall: --pins is empty: name the directory of the recording")
	}
	err := monitor.RemovePins(s.pins)
	if errors.Is(err, monitor.ErrPinsHeld) {
		return fmt.Errorf("capmon serves with --pins %s: end it first", s.pins)
	}
	if err != nil {
		return err
	}
	stays := ""
	if _, err := os.Stat(s.database); err == nil {
		stays = "; the database " + s.database + " stays"
	}
	fmt.Fprintf(cmd.OutOrStdout(), "capmon: nothing of it is left in the kernel%s\n", stays)
	return nil
}
