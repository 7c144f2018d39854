package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/doctor"
	"github.com/capmon/capmon/internal/observe"
	"github.com/capmon/capmon/internal/top"
)

const (
	// shortestInterval is the lower limit of --interval.
	shortestInterval = time.Second
	// restoreTime is how long top ignores further signals after the first one, so that it can restore the terminal.
	restoreTime = 2 * time.Second
	// lastLogLines is the number of lines of the log that top prints when the screen has ended.
	lastLogLines = 20
)

// topFlags contains the flags of capmon top.
type topFlags struct {
	logging *logging

	socket      string
	record      bool
	engine      engineFlag
	plain, once bool
	filter      string
	sort        choiceFlag
	interval    time.Duration
	recording   recordingFlags
	readyFile   string
}

func newTop(logging *logging) *cobra.Command {
	keys := top.SortKeys()
	t := &topFlags{logging: logging, sort: choiceFlag{keys[0], keys}}
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Show live which capabilities the containers are granted, use and do not use",
		Long: `top shows a screen with one line for each running container: how many capabilities it is
granted, uses, does not use and was denied. The gravest containers come first: privileged
ones, and those with unused risky capabilities or an unused NET_RAW. Press ? for the keys.

top shows the data of capmon serve if serve is running. Otherwise, top itself records the
containers until you quit.

With --plain, or if standard output is not a terminal, top prints lines of text: the
containers, and then a line for each change.`,
		Example: `  sudo capmon top
  sudo capmon top --filter unused:NET_RAW
  sudo capmon top --once
  sudo capmon top --plain | grep SYS_ADMIN`,
		Args: arguments(0, 0),
		RunE: t.run,
	}
	flags := cmd.Flags()
	flags.StringVar(&t.socket, "socket", defaultSocket, "unix socket `FILE` of the capmon serve to read from")
	flags.BoolVar(&t.record, "record", false, "record in this process, even if capmon serve is running")
	flags.BoolVar(&t.plain, "plain", false, "print lines of text instead of a screen")
	flags.BoolVar(&t.once, "once", false, "print the containers once as lines of text, and exit")
	flags.StringVar(&t.filter, "filter", "", "only containers that match all words of this `TEXT`, such as web or unused:NET_RAW")
	flags.Var(&t.sort, "sort", "`ORDER` of the containers: "+t.sort.list())
	flags.DurationVar(&t.interval, "interval", top.DefaultInterval, "`DURATION` between two updates, at least 1s")
	t.recording.register(flags)
	t.engine.register(flags, onlyDocker, onlyPodman, onlyContainerd, onlyCRI)
	registerReadyFile(flags, &t.readyFile)
	return cmd
}

// validate validates the flags.
func (t *topFlags) validate(cmd *cobra.Command) (top.Options, error) {
	options := top.Options{Interval: t.interval, Filter: t.filter, Sort: t.sort.value, Color: os.Getenv("NO_COLOR") == ""}
	if err := options.Validate(); err != nil {
		return options, fmt.Errorf("--filter: %w", err)
	}
	if t.interval < shortestInterval {
		return options, fmt.Errorf("--interval %s is too short: use 1s or more", t.interval)
	}
	if t.record && cmd.Flags().Changed("socket") {
		return options, errors.New("--record and --socket: top either records or reads from capmon serve, so use one of them")
	}
	host, err := os.Hostname()
	if err != nil {
		return options, fmt.Errorf("reading the name of this host: %w", err)
	}
	options.Host = host
	return options, t.recording.validate()
}

func (t *topFlags) run(cmd *cobra.Command, _ []string) error {
	options, err := t.validate(cmd)
	if err != nil {
		return err
	}
	screen := t.showsScreen(cmd)
	log := newScreenLog(screen)
	defer log.print(os.Stderr)
	source, closeSource, err := t.chooseSource(cmd, log)
	if err != nil {
		return err
	}
	defer func() { _ = closeSource() }()
	if err := createReadyFile(t.readyFile); err != nil {
		return err
	}
	if _, records := source.(*top.RecordingSource); records && t.once { // otherwise there is nothing to see
		select {
		case <-cmd.Context().Done():
			return nil
		case <-time.After(t.interval):
		}
	}
	if !screen {
		return top.RunPlain(cmd.Context(), source, options, t.once, cmd.OutOrStdout())
	}
	end := enterForeground(cmd.Context()) // another signal must not end capmon before it has restored the terminal
	defer end()
	context.AfterFunc(cmd.Context(), func() { time.AfterFunc(restoreTime, end) })
	return top.Run(cmd.Context(), source, options, log.lines, top.Terminal{Out: os.Stdout})
}

// showsScreen reports whether top shows a screen: standard output is a terminal that can show one.
func (t *topFlags) showsScreen(cmd *cobra.Command) bool {
	terminal := os.Getenv("TERM")
	return !t.plain && !t.once && cmd.OutOrStdout() == os.Stdout && isTerminal(os.Stdout) && terminal != "" && terminal != "dumb"
}

// chooseSource returns capmon serve if it runs, and otherwise a new recording. The caller calls closeSource after use.
func (t *topFlags) chooseSource(cmd *cobra.Command, log *screenLog) (source top.Source, closeSource func() error, err error) {
	if !t.record {
		serve := top.NewDaemonSource(t.socket)
		_, err := serve.Read(cmd.Context())
		switch {
		case err == nil:
			if name := t.changedRecordingFlag(cmd); name != "" {
				return nil, nil, fmt.Errorf("--%s is for a recording of top, but top reads from the running capmon serve: leave --%[1]s out, or add --record", name)
			}
			return serve, func() error { return nil }, nil
		case errors.Is(err, fs.ErrPermission):
			return nil, nil, fmt.Errorf("%w; run capmon top as root, or as a member of the group that capmon serve --group names", err)
		case !top.NotRunning(err) || cmd.Flags().Changed("socket"):
			return nil, nil, fmt.Errorf("%w; to record without capmon serve, use --record", err)
		}
	}
	recording, closeSource, err := t.startRecording(cmd, log)
	return recording, closeSource, err
}

// changedRecordingFlag returns the name of a flag of a recording that the user has set; "" for none.
func (t *topFlags) changedRecordingFlag(cmd *cobra.Command) string {
	for _, name := range []string{"hook", "max-checks", "max-containers", "outcomes", "btf"} {
		if cmd.Flags().Changed(name) {
			return name
		}
	}
	return ""
}

func (t *topFlags) startRecording(cmd *cobra.Command, lines *screenLog) (*top.RecordingSource, func() error, error) {
	log, err := t.logging.loggerTo(lines.writer())
	if err != nil {
		return nil, nil, err
	}
	if err := doctor.Check(); err != nil {
		return nil, nil, err
	}
	engine, err := t.engine.connect(cmd.Context(), false, log)
	if err != nil {
		return nil, nil, err
	}
	for _, finding := range doctor.VisibilityWarnings() {
		log.Warn(finding.Subject+": "+finding.Text, zap.String("remedy", finding.Remedy))
	}
	recording, err := top.Record(cmd.Context(), observe.Options{Monitor: t.recording.monitor, Engine: engine, Log: log})
	if err != nil {
		return nil, nil, errors.Join(withRemedy(err), engine.Close())
	}
	return recording, func() error { return errors.Join(recording.Close(), engine.Close()) }, nil
}

// screenLog holds the lines of the log back while the screen is shown, because they would overwrite it. The screen
// shows them as notices. screenLog is safe for concurrent use.
type screenLog struct {
	screen bool
	lines  chan string // for the screen; Write drops a line if the last one still waits

	mu   sync.Mutex
	last []string // for print, at most lastLogLines
}

func newScreenLog(screen bool) *screenLog {
	return &screenLog{screen: screen, lines: make(chan string, 1)}
}

// writer returns the destination of the log.
func (l *screenLog) writer() io.Writer {
	if l.screen {
		return l
	}
	return os.Stderr
}

// Write implements [io.Writer]. Each call has one line of the log.
func (l *screenLog) Write(line []byte) (int, error) {
	text := strings.TrimSuffix(string(line), "\n")
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last = append(l.last, text); len(l.last) > lastLogLines {
		l.last = l.last[1:]
	}
	select {
	case l.lines <- strings.ReplaceAll(text, "\t", "  "):
	default:
	}
	return len(line), nil
}

// print prints the last lines that Write has held back.
func (l *screenLog) print(out io.Writer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.last {
		fmt.Fprintln(out, line)
	}
}
