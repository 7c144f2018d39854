// Package sink delivers alerts to files, webhooks, syslog, journald and Prometheus. Each sink has its own
// queue, so that it does not wait for other sinks, and the caller does not wait for any sink.
package sink

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/fairqueue"
	"github.com/capmon/capmon/internal/spool"
)

// Config is the configuration of a sink.
type Config struct {
	// Name of the sink. It is unique, because it names the sink's directory in the spool and is a label in
	// metrics.
	Name string
	// MinSeverity is the lowest severity of the alerts that the sink gets; "" for all alerts.
	MinSeverity alert.Severity
	// To is the destination of the alerts.
	To Destination
}

// Destination is a Log, Webhook, Syslog, Journald or Prometheus.
type Destination interface {
	// resolved returns the destination with the contents of the files that it names.
	resolved() (Destination, error)
}

// opener is a [Destination] that has a transport.
type opener interface{ open() (transport, error) }

// Spool is the place of alerts that wait for delivery.
type Spool struct {
	// Directory on disk; "" for memory, where alerts are lost when the process ends.
	Directory string
	// MaxSize is the maximum size of the waiting alerts of each sink, in bytes.
	MaxSize int64
}

// Sinks is a set of running sinks. It is safe for concurrent use.
type Sinks struct {
	spool Spool
	log   *zap.Logger
	lock  *os.File // of the spool's directory, or nil

	changing sync.Mutex // held while sinks are opened and closed; locked before mu
	closed   bool

	mu      sync.RWMutex
	running []runningSink
}

// runningSink is an open sink. It has either a sendLoop or an exposition.
type runningSink struct {
	Config
	loop       *sendLoop
	exposition *exposition
}

// Open opens sinks, and delivers the alerts that an earlier process left in the spool. The error names the
// sink that cannot be opened.
func Open(configs []Config, where Spool, log *zap.Logger) (*Sinks, error) {
	s := &Sinks{spool: where, log: log}
	if where.Directory != "" {
		var err error
		if s.lock, err = lockDirectory(where.Directory); err != nil {
			return nil, fmt.Errorf("spool: %w", err)
		}
	}
	if err := s.Reload(configs); err != nil {
		return nil, errors.Join(err, s.unlock())
	}
	s.warnAboutUnusedDirectories()
	return s, nil
}

// Spool returns the spool of the sinks.
func (s *Sinks) Spool() Spool { return s.spool }

// Deliver passes an alert to all sinks that accept its severity, without waiting. It reports whether the queue
// of at least one sink accepted the alert. Prometheus sinks have no queue.
func (s *Sinks) Deliver(a alert.Alert) (queued bool) {
	record := sync.OnceValue(func() []byte { return messageOf(a).encode() })
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, r := range s.running {
		switch {
		case !r.wants(a):
		case r.exposition != nil:
			r.exposition.count(a)
		default:
			queued = r.loop.queue.Add(a.Origin(), a.Time, record) || queued
		}
	}
	return queued
}

func (c Config) wants(a alert.Alert) bool {
	severities := alert.Severities()
	return slices.Index(severities, a.Severity) >= slices.Index(severities, c.MinSeverity)
}

// Reload replaces the configurations. Unchanged sinks continue undisturbed. A changed sink keeps its waiting
// alerts. After an error, all sinks are unchanged.
func (s *Sinks) Reload(configs []Config) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	if s.closed {
		return errors.New("the sinks are closed")
	}
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	before := s.running
	var after []runningSink
	var changes []func()
	for _, config := range configs {
		r, change, err := s.prepare(config, before)
		if err != nil {
			closeAll(ctx, missing(after, before))
			return fmt.Errorf("sink %s: %w", config.Name, err)
		}
		after = append(after, r)
		changes = append(changes, change)
	}
	s.mu.Lock()
	s.running = after
	s.mu.Unlock()
	for _, change := range changes {
		change()
	}
	closeAll(ctx, missing(before, after))
	return nil
}

// prepare opens a sink if it is not open yet. The returned function completes the change. The caller runs it
// after all other sinks could be opened.
func (s *Sinks) prepare(config Config, before []runningSink) (runningSink, func(), error) {
	var old runningSink
	if i := slices.IndexFunc(before, func(r runningSink) bool { return r.Name == config.Name }); i >= 0 {
		old = before[i]
	}
	var err error
	if config.To, err = config.To.resolved(); err != nil {
		return old, nil, err
	}
	r := runningSink{Config: config}
	if reflect.DeepEqual(old.To, config.To) {
		r.loop, r.exposition = old.loop, old.exposition
		return r, func() {}, nil
	}
	if p, ok := config.To.(Prometheus); ok {
		r.exposition, err = s.expose(p, before)
		return r, func() {}, err
	}
	transport, err := config.To.(opener).open()
	if err != nil {
		return r, nil, err
	}
	if r.loop = old.loop; r.loop == nil {
		if r.loop, err = s.newLoop(config.Name); err != nil {
			return r, nil, errors.Join(err, transport.close())
		}
		r.loop.start(transport)
		return r, func() {}, nil
	}
	return r, func() { r.loop.start(transport) }, nil
}

// expose returns the exposition that already listens at the address, even if its sink had another name. If there is
// none, expose starts a new one.
func (s *Sinks) expose(p Prometheus, before []runningSink) (*exposition, error) {
	for _, r := range before {
		if r.exposition != nil && r.exposition.Listen == p.Listen {
			return r.exposition, r.exposition.permit(p.Group)
		}
	}
	return p.serve(queueMetrics(s.loops))
}

func (s *Sinks) newLoop(name string) (*sendLoop, error) {
	l := &sendLoop{name: name, log: s.log.With(zap.String("sink", name)), finishing: make(chan struct{})}
	options := spool.Options{
		MaxSize: s.spool.MaxSize, Log: l.log,
		Notice: func(d fairqueue.Dropped) []byte { return noticeOf(name, d).encode() },
		Source: func(record []byte) fairqueue.Source {
			m, err := decodeMessage(record)
			if err != nil {
				return fairqueue.Source{} // decode removes it as rejected
			}
			return m.origin()
		},
	}
	if s.spool.Directory != "" {
		options.Directory = filepath.Join(s.spool.Directory, name)
		l.rejected = deadLetters{filepath.Join(options.Directory, rejectedFile), s.spool.MaxSize}
	}
	var err error
	l.queue, err = spool.Open(options)
	return l, err
}

// missing returns the sinks whose sendLoop or exposition is not in another list.
func missing(sinks, in []runningSink) (all []runningSink) {
	for _, r := range sinks {
		if !slices.ContainsFunc(in, func(other runningSink) bool { return other.loop == r.loop && other.exposition == r.exposition }) {
			all = append(all, r)
		}
	}
	return all
}

// closeAll closes sinks concurrently.
func closeAll(ctx context.Context, sinks []runningSink) {
	var closing sync.WaitGroup
	for _, r := range sinks {
		closing.Go(func() {
			if r.loop != nil {
				r.loop.finish(ctx)
				return
			}
			_ = r.exposition.close(ctx) // a request in progress can fail
		})
	}
	closing.Wait()
}

func (s *Sinks) loops() (all []*sendLoop) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, r := range s.running {
		if r.loop != nil {
			all = append(all, r.loop)
		}
	}
	return all
}

// Close stops accepting alerts and delivers the waiting ones, until the context ends or a delivery fails. The
// other alerts stay in the spool; Close logs how many. A second call does nothing.
func (s *Sinks) Close(ctx context.Context) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	s.mu.Lock()
	running := s.running
	s.running = nil
	s.mu.Unlock()
	closeAll(ctx, running)
	return s.unlock()
}

// warnAboutUnusedDirectories logs directories of the spool that no sink uses.
func (s *Sinks) warnAboutUnusedDirectories() {
	if s.spool.Directory == "" {
		return
	}
	entries, err := os.ReadDir(s.spool.Directory)
	if err != nil {
		s.log.Error("reading the spool failed", zap.Error(err))
	}
	for _, entry := range entries {
		used := slices.ContainsFunc(s.running, func(r runningSink) bool { return r.loop != nil && r.Name == entry.Name() })
		if entry.IsDir() && !used {
			s.log.Warn("the spool may contain alerts for a sink that is not configured; add a sink with the name of the directory, or delete the directory",
				zap.String("directory", filepath.Join(s.spool.Directory, entry.Name())))
		}
	}
}

// lockDirectory locks a directory against other processes, which would deliver the same alerts.
func lockDirectory(path string) (*os.File, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(path, ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("another capmon uses %s: configure a separate directory for each", path)
		}
		return nil, fmt.Errorf("locking %s: %w", lock.Name(), err)
	}
	return lock, nil
}

func (s *Sinks) unlock() error {
	if s.lock == nil {
		return nil
	}
	return s.lock.Close()
}
