// Package observe watches containers for a while, with the kernel's eyes and the
// engine's: the kernel tells what was used, the engine who it was.
package observe

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/monitor"
)

// askTimeout bounds one question to the engine. A slow engine costs a name, never
// a check.
const askTimeout = 10 * time.Second

// questions is how many questions the engine is asked at the same time.
const questions = 8

// Options of Start.
type Options struct {
	Monitor monitor.Options
	// Engine tells names, images and grants; nil if none can be asked.
	Engine container.Engine
	Log    *zap.Logger
}

// Observer is an observation under way.
type Observer struct {
	monitor     *monitor.Monitor
	engine      container.Engine
	log         *zap.Logger
	observation profile.Observation
	last        capability.Capability
	viewer      string // the engine's view of the files, as a directory in /proc

	cancel context.CancelFunc
	done   sync.WaitGroup
	asking chan struct{} // holds one for each question to the engine under way

	mu      sync.Mutex
	infos   map[string]container.Info
	files   map[profile.Program]kernel.FileCapabilities
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
		log:         options.Log,
		observation: profile.Observation{ID: rand.Text(), Kernel: release, Start: time.Now()},
		last:        capability.Capability(last),
		viewer:      kernel.Viewer(0), // our own
		cancel:      cancel,
		asking:      make(chan struct{}, questions),
		infos:       make(map[string]container.Info),
		files:       make(map[profile.Program]kernel.FileCapabilities),
		watches:     newWatches(),
	}
	if o.engine != nil {
		o.viewer = kernel.Viewer(o.engine.PID())
	}
	for _, failed := range m.Failed() {
		o.log.Debug("hook not available", zap.String("hook", string(failed.Hook)), zap.Error(failed.Err))
	}
	o.log.Debug("recording", zap.String("hook", string(m.Hook())))
	o.done.Go(o.followKernel(ctx))
	if o.engine != nil {
		o.done.Go(o.followEngine(ctx))
		o.done.Go(o.learnRunning(ctx))
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
			if err != nil {
				o.log.Warn("reading the kernel's events", zap.Error(err))
				continue
			}
			switch {
			case event.Execution != nil:
				o.examine(event.ID, event.Cgroup, *event.Execution)
			case event.Check == nil && event.ID != "":
				o.learnSoon(ctx, event.ID)
			}
		}
	}
}

// followEngine takes names and images from the engine's events, which are told
// even of containers that are gone before anybody could inspect them.
func (o *Observer) followEngine(ctx context.Context) func() {
	events, errs := o.engine.Events(ctx, o.observation.Start)
	return func() {
		for {
			select {
			case <-ctx.Done():
				return
			case err := <-errs:
				if err != nil && ctx.Err() == nil {
					o.log.Warn("the engine's events ended; containers that live shortly may stay without a name", zap.Error(err))
				}
				return
			case event := <-events:
				o.hear(event)
				if event.Type == container.Created || event.Type == container.Started {
					o.learnSoon(ctx, event.ID)
				}
			}
		}
	}
}

// hear notes what an event tells.
func (o *Observer) hear(event container.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	info, known := o.infos[event.ID]
	switch {
	case event.Type == container.Removed: // until then it may be started again
		o.unwatch(event.ID)
		return
	case event.Type == container.Renamed && known:
		info.Name = event.Name
	case event.Type == container.Created && !known, event.Type == container.Started && !known:
		info = container.Info{ID: event.ID, Name: event.Name, Image: event.Image, Labels: event.Labels}
	default:
		return
	}
	o.infos[event.ID] = info
}

func (o *Observer) learnRunning(ctx context.Context) func() {
	return func() {
		running, err := o.engine.List(ctx, false)
		if err != nil {
			if ctx.Err() == nil { // else the observation has ended already
				o.log.Warn("listing the running containers", zap.Error(err))
			}
			return
		}
		for _, info := range running {
			o.learnSoon(ctx, info.ID)
		}
	}
}

// learnSoon is Learn in a goroutine of its own, so that a slow engine holds up no
// event. It must be called from one that done waits for.
func (o *Observer) learnSoon(ctx context.Context, id string) {
	if o.engine == nil || o.inspected(id) {
		return
	}
	o.done.Go(func() {
		o.asking <- struct{}{}
		defer func() { <-o.asking }()
		o.Learn(ctx, id)
	})
}

// Learn asks the engine about a container, unless it has been asked before.
func (o *Observer) Learn(ctx context.Context, id string) {
	if o.engine == nil || o.inspected(id) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	info, err := o.engine.Inspect(ctx, id)
	if err != nil {
		// Gone already, or another engine's: the kernel's word remains.
		o.log.Debug("inspecting a container", zap.String("id", id), zap.Error(err))
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.infos[id] = info
	o.watch(info)
}

func (o *Observer) inspected(id string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.infos[id].Inspected
}

// catchUp learns what the engine's events, which come with a delay, have not
// told yet of the containers that were seen.
func (o *Observer) catchUp(ctx context.Context) error {
	ids, err := o.monitor.IDs()
	if err != nil || o.engine == nil {
		return err
	}
	unknown := false
	for _, id := range ids {
		o.Learn(ctx, id)
		o.mu.Lock()
		_, known := o.infos[id]
		o.mu.Unlock()
		unknown = unknown || !known
	}
	if !unknown {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	// Some were created, but not started, before the observation began.
	past, err := o.engine.Past(ctx, o.observation.Start.Add(-time.Minute), time.Now())
	if err != nil {
		o.log.Warn("containers that lived shortly may stay without a name", zap.Error(err))
		return nil
	}
	for _, event := range past {
		o.hear(event)
	}
	return nil
}

// Profile is what has been seen up to now.
func (o *Observer) Profile() (profile.Profile, error) {
	snapshot, err := o.monitor.Snapshot()
	if err != nil {
		return profile.Profile{}, fmt.Errorf("reading what was recorded: %w", err)
	}
	o.examineRest(snapshot.Containers)
	o.mu.Lock()
	defer o.mu.Unlock()
	return profile.New(profile.Record(snapshot, o.observation, profile.Sources{Infos: o.infos, Files: o.files, Watched: o.watches.since, Last: o.last})...), nil
}

// Hook tells how the kernel is being listened to.
func (o *Observer) Hook() monitor.Hook { return o.monitor.Hook() }

// Stop ends the recording; Profile still answers, with all that the engine knows.
func (o *Observer) Stop(ctx context.Context) error {
	return errors.Join(o.monitor.Stop(), o.catchUp(ctx))
}

// Close ends the observation and leaves nothing behind.
func (o *Observer) Close() error {
	o.cancel()
	err := o.monitor.Close()
	o.done.Wait()
	return err
}
