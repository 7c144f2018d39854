package top

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/api"
	"github.com/capmon/capmon/internal/observe"
	"github.com/capmon/capmon/internal/profile"
)

const (
	// saveInterval is the interval at which the data of ended containers is moved from the kernel to this process.
	saveInterval = 30 * time.Second
	// maxEndedRuns is the number of runs of ended containers that this process keeps.
	maxEndedRuns = 1000
)

// RecordingSource is a recording of this process, as capmon profile makes one.
type RecordingSource struct {
	observer *observe.Observer
	engine   string
	ended    *endedRuns
	stop     context.CancelFunc
	done     sync.WaitGroup
}

// Record starts a recording, and waits up to 10 seconds for the engine to report the running containers. The recording
// does not end with ctx: close it after use. It keeps its data in memory instead of in options.Storage.
func Record(ctx context.Context, options observe.Options) (*RecordingSource, error) {
	r := &RecordingSource{ended: &endedRuns{}}
	if options.Engine != nil {
		r.engine = options.Engine.Name()
	}
	options.Storage = r.ended
	var err error
	if r.observer, err = observe.Start(context.WithoutCancel(ctx), options); err != nil {
		return nil, err
	}
	r.observer.WaitForEngine(ctx)
	saving, stop := context.WithCancel(context.WithoutCancel(ctx))
	r.stop = stop
	r.done.Go(func() { r.saveUntil(saving, options.Log) })
	return r, nil
}

// saveUntil moves the data of ended containers out of the kernel's maps, so that these do not become full, until ctx
// ends.
func (r *RecordingSource) saveUntil(ctx context.Context, log *zap.Logger) {
	tick := time.NewTicker(saveInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if _, err := r.observer.Save(ctx); err != nil && ctx.Err() == nil {
				log.Warn("reading the data of ended containers failed, retrying; the kernel's maps may become full", zap.Error(err))
			}
		}
	}
}

// Name implements [Source].
func (r *RecordingSource) Name() string { return "own recording" }

// Read implements [Source].
func (r *RecordingSource) Read(context.Context) (Snapshot, error) {
	p, at, err := r.observer.Recent()
	if err != nil {
		return Snapshot{}, err
	}
	losses, err := r.observer.Losses()
	return Snapshot{Containers: api.CurrentContainers(at, p), Engine: r.engine, Hook: r.observer.Hook(), Losses: losses}, err
}

// Details implements [Source].
func (r *RecordingSource) Details(_ context.Context, c api.Container) (Details, error) {
	current, _, err := r.observer.Recent()
	if err != nil {
		return Details{}, err
	}
	ended, discarded := r.ended.profile()
	var cautions []string
	if discarded > 0 {
		cautions = append(cautions, fmt.Sprintf("capmon top keeps %d runs of ended containers, and has discarded %d earlier ones, which may have needed more: use capmon serve, which keeps all runs",
			maxEndedRuns, discarded))
	}
	return detailsOf(profile.Merge(ended, current), c, cautions...)
}

// Alerts implements [Source]. It returns [ErrNoAlerts].
func (r *RecordingSource) Alerts(context.Context, time.Time) ([]alert.Alert, error) {
	return nil, ErrNoAlerts
}

// Close ends the recording.
func (r *RecordingSource) Close() error {
	r.stop()
	r.done.Wait()
	return r.observer.Close()
}

// endedRuns keeps the latest maxEndedRuns runs of containers that have ended. It is the [observe.Storage] of a
// recording.
type endedRuns struct {
	mu        sync.Mutex
	runs      []profile.Run // the oldest first
	discarded int
}

// LoadEarlier implements [observe.Storage]. There is no earlier process.
func (e *endedRuns) LoadEarlier([]string) profile.Profile { return profile.Profile{} }

// SaveProfile implements [observe.Storage]. It keeps only the runs that have ended: the others stay in the kernel.
func (e *endedRuns) SaveProfile(p profile.Profile) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, run := range p.Runs {
		if run.Running {
			continue
		}
		if i := slices.IndexFunc(e.runs, func(known profile.Run) bool { return known.ID == run.ID }); i >= 0 {
			e.runs[i] = run
		} else {
			e.runs = append(e.runs, run)
		}
	}
	if more := len(e.runs) - maxEndedRuns; more > 0 {
		e.discarded += more
		e.runs = slices.Clone(e.runs[more:])
	}
	return nil
}

// profile returns the runs that are kept, and the number of discarded ones.
func (e *endedRuns) profile() (profile.Profile, int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return profile.New(e.runs...), e.discarded
}
