// Package observe watches containers for a while, with the kernel's eyes and the
// engine's: the kernel tells what was used, the engine who it was.
package observe

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/untrustedfs"
	"github.com/capmon/capmon/monitor"
)

// waitingLooks is how many files may wait to be looked at.
const waitingLooks = 1024

// Options of Start.
type Options struct {
	Monitor monitor.Options
	// Engine tells names, images and grants; nil if none can be asked.
	Engine container.Engine
	// KeptLabels says which labels keep their values in profiles and in what is told of uses.
	KeptLabels container.KeptLabels
	Log        *zap.Logger
	// Sights is called for each kind of check that a workload makes for the first time, by
	// several goroutines and soon: it must not wait. What was asked because memory changed
	// its size may be missing. Without Keep, files are then not looked at, nor system calls
	// that seccomp locks, so that a Profile lacks them.
	Sights func(*Observer, Sight)
	// Keep is for observations without end: it is called with what was recorded when Save
	// is, and when room is needed in the kernel. What it has got of containers that have
	// ended is forgotten if it returns nil. Of the same run it gets more each time.
	Keep func(profile.Profile) error
	// Earlier is asked once, where the recording of an earlier process is taken up
	// (monitor.Options.Pins), for what that has kept of some containers, by their IDs.
	Earlier func(ids []string) profile.Profile
	// Changes is called, if it is there, for what was made since the last time: every Interval,
	// or more rarely if the looks take long, and by Stop, after the last Sights, for the rest.
	// It must not wait. The calls without changes are made, too.
	Changes func(*Observer, []monitor.Change)
	// Told is called at the start, if the recording is taken up, with what an earlier process
	// has told of (Observer.NoteTold).
	Told func(*Observer, []monitor.Change)
	// Forgotten is called with the cgroups of containers that have ended and whose record
	// was kept, when nothing more will be told of them.
	Forgotten func(cgroups []uint64)
	Interval  time.Duration
}

// Observer is an observation under way.
type Observer struct {
	monitor     *monitor.Monitor
	engine      container.Engine
	keptLabels  container.KeptLabels
	log         *zap.Logger
	observation profile.Observation
	last        capability.Capability

	sights    func(*Observer, Sight)      // nil if nobody wants them
	recount   func() error                // calls Changes
	keep      func(profile.Profile) error // nil if all is kept here
	forgotten func([]uint64)              // nil if nobody wants to know
	left      departure                   // those that it has not been called with
	counting  bool                        // Changes is called
	looked    time.Time                   // when the latest look at the counts began that it was called for
	missed    atomic.Uint64               // events that the kernel left out, when it was last caught up on
	missing   sync.Mutex                  // held while that is done

	cancel context.CancelFunc
	done   sync.WaitGroup
	asking chan struct{} // holds one for each question to the engine under way
	looks  chan func()   // at files, while sights have precedence
	// lookups asks the containers' file systems.
	lookups *untrustedfs.Pool
	// settled is closed, by settle, when the engine has told of those that run already.
	settled chan struct{}
	settle  func()
	// flushed is closed, by flush, when the last event has been dealt with.
	flushed chan struct{}
	flush   func()

	mu         sync.Mutex
	viewer     string // the engine's view of the files (kernel.Viewer), capmon's own without a connection to the engine
	known      knowledge
	identities identities
	// waiting has since when a container that has ended waits for the engine's word.
	waiting map[string]time.Time
	files   map[profile.Program]kernel.FileCapabilities
	ways    foundWays
	// firsts are the first processes that were seen of containers, by their cgroups.
	firsts map[uint64]int
	// paths are those of executed files, if sights is there.
	paths   map[profile.Program]string
	unread  string // what was told last of cgroups that cannot be read
	watches watches
}

// Start begins to record. When it returns every check of every container counts.
func Start(ctx context.Context, options Options) (*Observer, error) {
	last, err := kernel.LastCapability()
	if err != nil {
		return nil, err
	}
	release, err := kernel.Release()
	if err != nil {
		return nil, err
	}
	m, err := monitor.Start(options.Monitor)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	o := &Observer{
		monitor:     m,
		engine:      options.Engine,
		keptLabels:  options.KeptLabels,
		log:         options.Log,
		sights:      options.Sights,
		keep:        options.Keep,
		forgotten:   options.Forgotten,
		counting:    options.Changes != nil,
		observation: profile.Observation{ID: m.ID(), Kernel: release, Start: m.Began()},
		last:        capability.Capability(last),
		cancel:      cancel,
		asking:      make(chan struct{}, questions),
		looks:       make(chan func(), waitingLooks),
		settled:     make(chan struct{}),
		flushed:     make(chan struct{}),
		known:       newKnowledge(),
		identities:  newIdentities(),
		waiting:     make(map[string]time.Time),
		files:       make(map[profile.Program]kernel.FileCapabilities),
		ways:        newFoundWays(),
		firsts:      make(map[uint64]int),
		paths:       make(map[profile.Program]string),
		watches:     newWatches(),
	}
	o.lookups = untrustedfs.NewPool(o.tellSilent)
	go o.lookups.Warm()
	o.flush = sync.OnceFunc(func() { close(o.flushed) })
	o.settle = sync.OnceFunc(func() { close(o.settled) })
	o.viewer = kernel.Viewer(0)
	if o.engine != nil {
		o.viewer = kernel.Viewer(o.engine.PID())
	} else {
		o.settle()
	}
	for _, failed := range m.Failed() {
		o.log.Debug("hook not available", zap.String("hook", string(failed.Hook)), zap.Error(failed.Err))
	}
	o.log.Debug("recording", zap.String("hook", string(m.Hook())))
	if err := o.takeUp(options); err != nil {
		cancel()
		return nil, errors.Join(err, m.Close())
	}
	o.done.Go(o.followKernel(ctx))
	o.done.Go(o.makeRoom(ctx))
	if o.sights != nil {
		o.done.Go(o.followMissed(ctx))
		o.done.Go(o.lookBeside(ctx))
	}
	o.recount = func() error { return nil }
	if options.Changes != nil {
		o.recount = o.recounting(options.Changes)
		o.done.Go(o.followCounts(ctx, options.Interval))
	}
	if o.engine != nil {
		o.done.Go(o.followEngine(ctx))
	}
	return o, nil
}

// followKernel asks the engine about a container the moment the kernel sees it.
func (o *Observer) followKernel(ctx context.Context) func() {
	return func() {
		for {
			event, err := o.monitor.Next()
			if errors.Is(err, monitor.ErrClosed) {
				return
			}
			if errors.Is(err, monitor.ErrFlushed) {
				o.flush()
				continue
			}
			if err != nil {
				o.log.Warn("reading the kernel's events", zap.Error(err))
				continue
			}
			switch {
			case event.Check != nil:
				if o.sights != nil {
					o.see(ctx, event)
				}
			case event.Execution != nil:
				if o.sights != nil {
					o.notePath(event.Cgroup, *event.Execution)
				}
				o.look(ctx, event)
			case event.File != nil:
				o.look(ctx, event)
			case event.ID != "" && o.engine != nil:
				o.meet(event)
				o.learnSoon(ctx, event.ID)
			}
		}
	}
}

// look looks at the file that an event tells of, if profiles are wanted: at once, or where
// somebody waits for sights, beside them. What is too much then is left to the next Profile.
func (o *Observer) look(ctx context.Context, event monitor.Event) {
	looking := func() {
		if event.File != nil {
			o.find(ctx, event.ID, event.Cgroup, *event.File)
			return
		}
		o.first(event.Cgroup, int(event.PID))
		o.examine(ctx, event.ID, event.Cgroup, *event.Execution)
	}
	switch {
	case !o.profiles():
	case o.sights == nil:
		looking()
	default:
		select {
		case o.looks <- looking:
		default:
		}
	}
}

// lookBeside does what look has left.
func (o *Observer) lookBeside(ctx context.Context) func() {
	return func() {
		for {
			select {
			case <-ctx.Done():
				return
			case looking := <-o.looks:
				looking()
			}
		}
	}
}

// makeRoom takes what ended containers have recorded out of the kernel's maps whenever much
// has been added to them. It tells once that it cannot: then they may become full.
func (o *Observer) makeRoom(ctx context.Context) func() {
	return func() {
		told := false
		for {
			select {
			case <-ctx.Done():
				return
			case <-o.monitor.Crowded():
			}
			err := o.makeRoomBy(ctx)
			if err != nil && !told {
				o.log.Warn("what ended containers recorded stays in the kernel, and may leave no room for others (--max-checks, --max-containers)", zap.Error(err))
				told = true
			}
			o.log.Debug("made room for other containers", zap.Error(err))
		}
	}
}

// Profile is what has been seen up to now.
func (o *Observer) Profile() (profile.Profile, error) {
	snapshot, err := o.monitor.Snapshot()
	if err != nil {
		return profile.Profile{}, fmt.Errorf("reading what was recorded: %w", err)
	}
	return o.profileOf(snapshot), nil
}

// profileOf adds to what was recorded what else is known.
func (o *Observer) profileOf(snapshot monitor.Snapshot) profile.Profile {
	o.lookUpRest(snapshot.Containers)
	o.findPaths(snapshot.Containers)
	o.tellUnread()
	o.mu.Lock()
	defer o.mu.Unlock()
	unconfirmed := o.identify(snapshot.Containers)
	sources := profile.Sources{
		Infos: o.known.infos, Newcomers: o.known.newcomers, Unconfirmed: unconfirmed, Untold: o.untold(snapshot.Containers),
		Files: o.files, Ways: o.ways.of, Silent: o.lookups.Silent(), Watched: o.watches.since, Exits: o.known.exits, Stops: o.known.stops,
		KeptLabels: o.keptLabels, Last: o.last,
	}
	return profile.New(profile.Record(snapshot, o.observation, sources)...)
}

// profiles reports whether a Profile is wanted, and not sights alone.
func (o *Observer) profiles() bool { return o.sights == nil || o.keep != nil }

// Recording is the observation, which ends later.
func (o *Observer) Recording() profile.Observation { return o.observation }

// TakenUp reports whether it was begun by an earlier process.
func (o *Observer) TakenUp() bool { return o.monitor.TakenUp() }

// Hook tells how the kernel is being listened to.
func (o *Observer) Hook() monitor.Hook { return o.monitor.Hook() }

// Stop ends the recording; Profile still answers, with all that the engine knows. When it
// returns, Sights and Changes have been called for all that was recorded.
func (o *Observer) Stop(ctx context.Context) error {
	if o.sights != nil {
		return o.stopLive()
	}
	return errors.Join(o.monitor.Stop(), o.catchUp(ctx))
}

// Close ends the observation and leaves nothing behind.
func (o *Observer) Close() error {
	o.cancel()
	err := o.monitor.Close()
	o.lookups.Close()
	o.done.Wait()
	return err
}
