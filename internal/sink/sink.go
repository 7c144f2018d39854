// Package sink delivers alerts to where people and programs look for them: files, webhooks,
// syslog, journald, Prometheus. Each sink has a queue of its own, so none waits for another one,
// and whoever delivers waits for none.
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
	"github.com/capmon/capmon/internal/fair"
	"github.com/capmon/capmon/internal/spool"
)

// Config of a sink.
type Config struct {
	// Name of the sink, unique: that of its directory in the spool, and a label in metrics.
	Name string
	// MinSeverity is the least severity of the alerts that it takes; "" for all.
	MinSeverity alert.Severity
	// To is where it delivers to.
	To Destination
}

// Destination is a Log, Webhook, Syslog, Journald or Prometheus.
type Destination interface {
	// resolved is the destination with what is in the files that it names.
	resolved() (Destination, error)
}

// opener is a Destination that messages are brought to.
type opener interface{ open() (transport, error) }

// Spool is where alerts wait that cannot be delivered at once.
type Spool struct {
	// Directory that survives this process; "" for memory, which does not.
	Directory string
	// MaxSize is how much each sink may have there, in bytes.
	MaxSize int64
}

// Sinks deliver alerts.
type Sinks struct {
	spool Spool
	log   *zap.Logger
	lock  *os.File // of the spool's directory, or nil

	changing sync.Mutex // held while sinks are opened and closed; locked before mu
	closed   bool

	mu      sync.RWMutex
	outlets []outlet
}

// outlet is a sink at work: a courier, or an exposition.
type outlet struct {
	Config
	courier    *courier
	exposition *exposition
}

// Open opens sinks, and delivers what an earlier process has left in the spool. The error says
// which sink cannot be opened.
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
	s.tellForgotten()
	return s, nil
}

// Spool is where alerts wait.
func (s *Sinks) Spool() Spool { return s.spool }

// Deliver hands an alert to all sinks that want it, and reports whether it waits for one that will
// tell of it. It does not wait itself.
func (s *Sinks) Deliver(a alert.Alert) (taken bool) {
	record := sync.OnceValue(func() []byte { return messageOf(a).encode() })
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, o := range s.outlets {
		switch {
		case !o.wants(a):
		case o.exposition != nil:
			o.exposition.count(a)
		default:
			taken = o.courier.queue.Add(a.Origin(), a.Time, record) || taken
		}
	}
	return taken
}

func (c Config) wants(a alert.Alert) bool {
	severities := alert.Severities()
	return slices.Index(severities, a.Severity) >= slices.Index(severities, c.MinSeverity)
}

// Reload takes other configurations. Sinks that stay as they are go on undisturbed, and those
// that change keep what waits for them. If the error is not nil, nothing has changed.
func (s *Sinks) Reload(configs []Config) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	if s.closed {
		return errors.New("the sinks are closed")
	}
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	before := s.outlets
	var after []outlet
	var changes []func()
	for _, config := range configs {
		o, change, err := s.prepare(config, before)
		if err != nil {
			retire(ctx, missing(after, before))
			return fmt.Errorf("sink %s: %w", config.Name, err)
		}
		after = append(after, o)
		changes = append(changes, change)
	}
	s.mu.Lock()
	s.outlets = after
	s.mu.Unlock()
	for _, change := range changes {
		change()
	}
	retire(ctx, missing(before, after))
	return nil
}

// prepare opens a sink, as far as it is not open, and returns what there is to do when all
// others could be opened.
func (s *Sinks) prepare(config Config, before []outlet) (outlet, func(), error) {
	var was outlet
	if i := slices.IndexFunc(before, func(o outlet) bool { return o.Name == config.Name }); i >= 0 {
		was = before[i]
	}
	var err error
	if config.To, err = config.To.resolved(); err != nil {
		return was, nil, err
	}
	o := outlet{Config: config}
	if reflect.DeepEqual(was.To, config.To) {
		o.courier, o.exposition = was.courier, was.exposition
		return o, func() {}, nil
	}
	if p, ok := config.To.(Prometheus); ok {
		o.exposition, err = s.expose(p, before)
		return o, func() {}, err
	}
	transport, err := config.To.(opener).open()
	if err != nil {
		return o, nil, err
	}
	if o.courier = was.courier; o.courier == nil {
		if o.courier, err = s.newCourier(config.Name); err != nil {
			return o, nil, errors.Join(err, transport.close())
		}
		o.courier.take(transport)
		return o, func() {}, nil
	}
	return o, func() { o.courier.take(transport) }, nil
}

// expose takes who listens at the address already, under whatever name, or begins to.
func (s *Sinks) expose(p Prometheus, before []outlet) (*exposition, error) {
	for _, o := range before {
		if o.exposition != nil && o.exposition.Listen == p.Listen {
			return o.exposition, o.exposition.permit(p.Group)
		}
	}
	return p.serve(queueMetrics(s.couriers))
}

func (s *Sinks) newCourier(name string) (*courier, error) {
	c := &courier{name: name, log: s.log.With(zap.String("sink", name)), finishing: make(chan struct{})}
	options := spool.Options{
		MaxSize: s.spool.MaxSize, Log: c.log,
		Notice: func(d fair.Dropped) []byte { return noticeOf(name, d).encode() },
		Source: func(record []byte) fair.Source {
			m, err := decodeMessage(record)
			if err != nil {
				return fair.Source{} // it is buried when its turn comes
			}
			return m.origin()
		},
	}
	if s.spool.Directory != "" {
		options.Directory = filepath.Join(s.spool.Directory, name)
		c.dead = deadLetters{filepath.Join(options.Directory, "refused.json"), s.spool.MaxSize}
	}
	var err error
	c.queue, err = spool.Open(options)
	return c, err
}

// missing are the couriers and expositions of the one list that the other does not have.
func missing(of, in []outlet) (all []outlet) {
	for _, o := range of {
		if !slices.ContainsFunc(in, func(other outlet) bool { return other.courier == o.courier && other.exposition == o.exposition }) {
			all = append(all, o)
		}
	}
	return all
}

// retire ends sinks, all at once.
func retire(ctx context.Context, outlets []outlet) {
	var ending sync.WaitGroup
	for _, o := range outlets {
		ending.Go(func() {
			if o.courier != nil {
				o.courier.finish(ctx)
				return
			}
			_ = o.exposition.close(ctx) // whoever asks at this moment gets no answer
		})
	}
	ending.Wait()
}

func (s *Sinks) couriers() (all []*courier) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, o := range s.outlets {
		if o.courier != nil {
			all = append(all, o.courier)
		}
	}
	return all
}

// Close takes no more alerts, and delivers those that wait until the context ends or a sink does
// not take them; the second time it does nothing. What is left stays in the spool, and the log tells how much it is.
func (s *Sinks) Close(ctx context.Context) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	s.mu.Lock()
	outlets := s.outlets
	s.outlets = nil
	s.mu.Unlock()
	retire(ctx, outlets)
	return s.unlock()
}

// tellForgotten tells of alerts in the spool for sinks that there are no more.
func (s *Sinks) tellForgotten() {
	if s.spool.Directory == "" {
		return
	}
	entries, err := os.ReadDir(s.spool.Directory)
	if err != nil {
		s.log.Error("reading the spool", zap.Error(err))
	}
	for _, entry := range entries {
		known := slices.ContainsFunc(s.outlets, func(o outlet) bool { return o.courier != nil && o.Name == entry.Name() })
		if entry.IsDir() && !known {
			s.log.Warn("the spool may have alerts for a sink that there is no more; delete its directory, or give a sink its name",
				zap.String("directory", filepath.Join(s.spool.Directory, entry.Name())))
		}
	}
}

// lockDirectory makes a directory this process's alone: two would deliver the same.
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
			return nil, fmt.Errorf("another capmon uses %s: give each a directory of its own", path)
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
