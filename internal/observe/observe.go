// Package observe combines a recording of the kernel with what a container engine reports. The recording has the
// capability checks of each container. The engine has the names, images and grants.
package observe

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/bundle"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/containerid"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/standalone"
	"github.com/capmon/capmon/monitor"
)

// Options are the settings of [Start].
type Options struct {
	Monitor monitor.Options
	// Engine reports names, images and grants. It is nil if no engine is available.
	Engine container.Engine
	// KeptLabels selects the labels whose values profiles and uses contain.
	KeptLabels container.KeptLabels
	// Version is the version of capmon, for the profiles.
	Version string
	Log     *zap.Logger
	// Consumer receives the checks while they are recorded; nil if nobody receives them. With a Consumer and without
	// Storage, the observer does not inspect files. It also does not record the system calls that a seccomp profile
	// allows only with a capability. So the result of [Observer.Profile] has neither of these.
	Consumer Consumer
	// ChangesInterval is the interval between two calls of Consumer.HandleChanges; 0 if the observer must not call it.
	ChangesInterval time.Duration
	// Storage saves the recorded data of an observation without an end; nil if the observer keeps all data. A recording
	// that is pinned (monitor.Options.PinDirectory) requires it.
	Storage Storage
}

// readsCounts reports whether Consumer.HandleChanges is to be called.
func (o Options) readsCounts() bool { return o.Consumer != nil && o.ChangesInterval > 0 }

// Observer is a running or stopped observation. It is safe for concurrent use.
type Observer struct {
	exposedMonitor // the same as monitor

	monitor     *monitor.Monitor
	engine      container.Engine // nil if no engine is available
	keptLabels  container.KeptLabels
	log         *zap.Logger
	observation profile.Observation
	last        capability.Capability
	storage     Storage // nil if the observer keeps all data

	consumer      Consumer     // nil if nobody receives checks
	late          *lateChecks  // nil without a consumer
	counts        *countReader // nil if HandleChanges is not called
	eventsHandled oneTimeEvent // sent when the last event has been handled

	inspections   inspections
	announcements *announcements
	bundles       bundles
	standalone    *standalone.Finder
	// startingStandalone has one element for each container without an engine whose cgroup is awaited.
	startingStandalone chan struct{}
	lookups            fileLookups
	recent             recentProfile
	ofCommand          commandContainers
	cancel             context.CancelFunc
	done               sync.WaitGroup

	mu           sync.Mutex // guards the fields below
	recorder     recorderData
	fromEngine   engineData
	bundleData   bundleData
	owners       cgroupOwners
	files        fileRecords
	ended        endedContainers
	seccompCalls seccompCalls
}

// Start starts a recording. When it returns, every check of every container is counted.
func Start(ctx context.Context, options Options) (*Observer, error) {
	last, err := kernel.LastCapability()
	if err != nil {
		return nil, err
	}
	release, err := kernel.Release()
	if err != nil {
		return nil, err
	}
	cgroups, err := kernel.DetectCgroups()
	if err != nil {
		return nil, err
	}
	m, err := monitor.Start(options.Monitor)
	if err != nil {
		return nil, err
	}
	o := newObserver(m, options)
	if options.Monitor.NoRuntime {
		o.recorder.Engine = "none"
	}
	o.observation = profile.Observation{ID: m.ID(), Kernel: release, Start: m.Began()}
	o.last = capability.Capability(last)
	o.lookups = newFileLookups(cgroups, o.logSilentFileSystem)
	o.bundles = newBundles(bundle.NewReader(cgroups))
	o.standalone = standalone.NewFinder(cgroups)
	go o.lookups.Warm()
	ctx, o.cancel = context.WithCancel(ctx)
	for _, failed := range m.FailedHooks() {
		o.log.Debug("hook not available", zap.String("hook", string(failed.Hook)), zap.Error(failed.Err))
	}
	o.log.Debug("recording", zap.String("hook", string(m.Hook())))
	if err := o.continueRecording(); err != nil {
		o.cancel()
		return nil, errors.Join(err, m.Close())
	}
	o.follow(ctx, options)
	return o, nil
}

func newObserver(m *monitor.Monitor, options Options) *Observer {
	o := &Observer{
		exposedMonitor: m,
		monitor:        m,
		engine:         options.Engine,
		keptLabels:     options.KeptLabels,
		log:            options.Log,
		storage:        options.Storage,
		consumer:       options.Consumer,
		eventsHandled:  newOneTimeEvent(),
		inspections:    newInspections(),

		startingStandalone: make(chan struct{}, maxStarting),
		announcements:      newAnnouncements(),
		recorder:           newRecorderData(options.Version),
		fromEngine:         newEngineData(),
		bundleData:         newBundleData(),
		owners:             newCgroupOwners(),
		files:              newFileRecords(),
		ended:              newEndedContainers(options.readsCounts()),
		seccompCalls:       newSeccompCalls(),
	}
	if o.consumer != nil {
		o.late = &lateChecks{monitor: m, log: o.log, passOn: o.handleLateChecks}
	}
	if o.engine != nil {
		o.setEngineProcs(o.engine.PIDs())
	} else {
		o.inspections.runningInspected.send()
	}
	return o
}

// follow starts the goroutines. They end when ctx has ended and the monitor is closed.
func (o *Observer) follow(ctx context.Context, options Options) {
	o.done.Go(o.followKernel(ctx))
	o.done.Go(o.makeRoomWhenDue(ctx))
	o.done.Go(o.followStandalone(ctx))
	o.done.Go(func() {
		o.addAllStandalone(ctx)
		o.readMissingBundles(ctx)
		o.bundles.runningRead.send()
	})
	if o.consumer != nil {
		o.done.Go(o.late.follow(ctx))
	}
	if o.wantsProfiles() {
		o.done.Go(o.lookups.follow(ctx))
	}
	if options.readsCounts() {
		o.counts = newCountReader(o.monitor)
		o.done.Go(o.followCounts(ctx, options.ChangesInterval))
	}
	if o.engine != nil {
		o.done.Go(o.followEngine(ctx))
	}
}

// followKernel handles the kernel's events. When the kernel sees a container for the first time, it reads the bundle of
// the container, and inspects the container with the engine.
func (o *Observer) followKernel(ctx context.Context) func() {
	return func() {
		for {
			event, err := o.monitor.Next()
			if errors.Is(err, monitor.ErrClosed) {
				return
			}
			if errors.Is(err, monitor.ErrFlushed) {
				o.eventsHandled.send()
				continue
			}
			if err != nil {
				o.log.Warn("reading an event of the kernel failed", zap.Error(err))
				continue
			}
			switch {
			case event.Started != nil:
				o.ofCommand.add(*event.Started)
			case event.Check != nil:
				if o.consumer != nil {
					o.handleCheck(ctx, event)
				}
			case event.Execution != nil:
				if o.consumer != nil {
					o.recordExecutable(event.Cgroup, *event.Execution)
				}
				o.inspectFile(ctx, event)
			case event.File != nil:
				o.inspectFile(ctx, event)
			case event.ID != "" && o.addedWithoutRuntime(event):
			case event.ID != "":
				o.recordNewCgroup(event)
				if !containerid.IsQualified(event.ID) { // the engine has announced the others
					o.readBundleInBackground(ctx, event.Cgroup, event.ID, int(event.PID))
				}
				if o.engine != nil {
					o.inspectInBackground(ctx, event.ID)
				}
			}
		}
	}
}

// inspectFile inspects the file of an event in the goroutine of lookups.follow, if profiles are wanted. The goroutine
// that calls it stays free for new containers, which can be short-lived. If too many files wait, inspectFile waits as
// well. With a consumer, it does not wait. Then the next Profile inspects the file.
func (o *Observer) inspectFile(ctx context.Context, event monitor.Event) {
	inspect := func() {
		if event.File != nil {
			o.resolvePath(ctx, event.ID, event.Cgroup, *event.File)
			return
		}
		o.recordFirstProcess(event.Cgroup, int(event.PID))
		o.readFileCapabilities(ctx, event.ID, event.Cgroup, *event.Execution)
	}
	switch {
	case !o.wantsProfiles():
	case o.consumer == nil:
		o.lookups.mustQueue(ctx, inspect)
	default:
		o.lookups.queue(inspect)
	}
}

// makeRoomWhenDue removes the data of ended containers from the kernel's maps whenever many entries were added. It logs
// only the first failure. After a failure the maps may become full.
func (o *Observer) makeRoomWhenDue(ctx context.Context) func() {
	return func() {
		logged := false
		for {
			select {
			case <-ctx.Done():
				return
			case <-o.monitor.CollectionDue():
			}
			err := o.makeRoomInMaps(ctx)
			if err != nil && !logged {
				o.log.Warn("removing the data of ended containers from the kernel's maps failed; the maps may become full: raise --max-checks or --max-containers if this error persists", zap.Error(err))
				logged = true
			}
			if err == nil {
				o.log.Debug("made room for other containers")
			}
		}
	}
}

// Profile returns what was recorded until now.
func (o *Observer) Profile() (profile.Profile, error) {
	snapshot, err := o.monitor.Snapshot()
	if err != nil {
		return profile.Profile{}, fmt.Errorf("reading the recording: %w", err)
	}
	return o.profileOf(snapshot), nil
}

// profileOf combines a snapshot of the kernel's data with what the observer knows from other sources.
func (o *Observer) profileOf(snapshot monitor.Snapshot) profile.Profile {
	o.lookUpMissingFiles(snapshot.Containers)
	o.findCgroupPaths(snapshot.Containers)
	o.logUnreadCgroups()
	o.mu.Lock()
	defer o.mu.Unlock()
	unconfirmed := o.assignIDs(snapshot.Containers)
	sources := profile.Sources{
		Infos: o.fromEngine.infos, NewContainers: o.fromEngine.newContainers, Unconfirmed: unconfirmed, EngineErrors: o.unknownReasons(snapshot.Containers),
		Files: o.files.capabilities, Walks: o.files.paths.walks, Unresponsive: o.lookups.Unresponsive(), SeccompCallsSince: o.seccompCalls.since, Exits: o.fromEngine.exits, Stops: o.fromEngine.stops,
		KeptLabels: o.keptLabels, Last: o.last,
	}
	observation := o.observation
	observation.Recorder = o.recorder.Recorder
	return profile.New(profile.Record(snapshot, observation, sources)...)
}

// wantsProfiles reports whether the observer has to collect what a Profile needs.
func (o *Observer) wantsProfiles() bool { return o.consumer == nil || o.storage != nil }

// Stop stops the recording. [Observer.Profile] still works after that, and its result has everything that the engine
// reports. When Stop returns, the Consumer has received everything that was recorded.
func (o *Observer) Stop(ctx context.Context) error {
	if o.consumer != nil {
		return o.stopWithChecks()
	}
	return errors.Join(o.monitor.Stop(), o.syncWithEngine(ctx))
}

// stopWithChecks stops the recording and passes on the remaining checks and changes.
func (o *Observer) stopWithChecks() error {
	if err := o.monitor.Stop(); err != nil {
		return err
	}
	if err := o.monitor.FlushEvents(); err != nil {
		return fmt.Errorf("reading the last events: %w", err)
	}
	<-o.eventsHandled.sent
	return errors.Join(o.late.passOnAll(), o.readCounts())
}

// Close ends the observation and releases all its resources.
func (o *Observer) Close() error {
	o.cancel()
	err := o.monitor.Close()
	o.lookups.Close()
	o.done.Wait()
	return err
}
