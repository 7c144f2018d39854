package observe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/untrustedfs"
	"github.com/capmon/capmon/monitor"
)

const (
	// lookOut is how often it is asked whether events were left out, and caughtUp how long
	// after that to wait for those that are still unread.
	lookOut  = 200 * time.Millisecond
	caughtUp = 2 * time.Second
	// breath is how many times as long as it took to find them it rests: whoever makes ever new
	// kinds of check does not keep it busy.
	breath = 4
)

// memoryGrows asks for a capability whenever memory changes its size. No event tells of that
// (bpf/news.h).
const memoryGrows = "security_vm_enough_memory_mm"

// Sight is the first sight of a kind of check, or what a snapshot has of one.
type Sight struct {
	// ID and Cgroup as in monitor.Container.
	ID     string
	Cgroup uint64
	Check  monitor.WholeCheck
	// Executable is the path of the file that the process executed, as the process or else its
	// file system has it; it begins with … if that is missing, and is empty if it is not known.
	Executable string
	// Late: the kernel's event was left out, and the check was found afterwards. All that is
	// known of the process are its PID, Program and UID.
	Late bool

	first *monitor.FirstCheck // nil if it is late
}

// see hands on what an event tells.
func (o *Observer) see(ctx context.Context, event monitor.Event) {
	whole, err := o.monitor.Whole(event.Check)
	if err != nil {
		o.log.Warn("reading a check", zap.Error(err))
	}
	if whole != nil {
		o.sights(o, Sight{
			ID: event.ID, Cgroup: event.Cgroup, Check: *whole, first: event.Check,
			Executable: o.executable(ctx, event, whole),
		})
	}
}

// notePath keeps the path of a file for the checks that are made by who executes it.
func (o *Observer) notePath(cgroup uint64, execution monitor.Execution) {
	name := execution.Path
	if execution.Cut {
		name = path.Join("…", name)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.paths[profile.Program{Cgroup: cgroup, File: execution.File}] = name // of its latest version
}

// executable is the path of a file: as the process has it that executes it, or else as it was
// told when the container executed it for the first time.
func (o *Observer) executable(ctx context.Context, event monitor.Event, whole *monitor.WholeCheck) string {
	name, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", whole.PID)) // the kernel knows it
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, soon)
		defer cancel()
		same := untrustedfs.Executes{PID: whole.PID, Inode: whole.Executable.Inode}
		if _, ok := o.ask(ctx, event.Cgroup, untrustedfs.Request{Executes: &same}); ok {
			return name
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.paths[profile.Program{Cgroup: event.Cgroup, File: whole.Executable}]
}

// followMissed hands on the checks whose events were left out since there were too many.
func (o *Observer) followMissed(ctx context.Context) func() {
	return func() {
		var since time.Time // of when some were found to be missing
		pause := lookOut
		for wait(ctx, pause) {
			pause = lookOut
			missed, pending, err := o.monitor.Untold()
			switch {
			case errors.Is(err, monitor.ErrClosed):
				return
			case err != nil:
				o.log.Warn("asking whether the kernel has left out events", zap.Error(err))
				continue
			case missed == o.missed.Load():
				since = time.Time{}
				continue
			case since.IsZero():
				since = time.Now()
			}
			if pending && time.Since(since) < caughtUp {
				continue
			}
			begin := time.Now()
			if err := o.findMissed(); err != nil && !errors.Is(err, monitor.ErrClosed) {
				o.log.Warn("reading the checks whose events the kernel has left out", zap.Error(err))
			}
			pause = max(lookOut, breath*time.Since(begin))
			since = time.Time{}
		}
	}
}

// stopLive ends the recording and hands on what has not been handed on.
func (o *Observer) stopLive() error {
	if err := o.monitor.Stop(); err != nil {
		return err
	}
	if err := o.monitor.Flush(); err != nil {
		return fmt.Errorf("reading the last events: %w", err)
	}
	<-o.flushed
	return errors.Join(o.findMissed(), o.recount())
}

// findMissed hands on all checks that are recorded, of which those that no event told of are
// new to whoever gets them.
func (o *Observer) findMissed() error {
	o.missing.Lock()
	defer o.missing.Unlock()
	missed, _, err := o.monitor.Untold() // before the snapshot, which has all of these
	if err != nil {
		return err
	}
	snapshot, err := o.monitor.Snapshot()
	if err != nil {
		return err
	}
	o.showAll(snapshot.Containers)
	o.missed.Store(missed)
	return nil
}

// showAll hands on all checks of containers.
func (o *Observer) showAll(containers []monitor.Container) {
	for _, c := range containers {
		for _, check := range c.Checks {
			if check.Phase != monitor.Setup && !slices.Contains(check.Stack, memoryGrows) {
				o.sights(o, Sight{ID: c.ID, Cgroup: c.Cgroup, Check: monitor.WholeCheck{Check: check}, Late: true})
			}
		}
	}
}

// showMissed hands on what was recorded of containers whose record is about to leave the kernel,
// if events were left out since that was last done for all: findMissed would come too late.
func (o *Observer) showMissed(ended []monitor.Container) error {
	if o.sights == nil {
		return nil
	}
	missed, _, err := o.monitor.Untold()
	if err == nil && missed != o.missed.Load() {
		o.showAll(ended)
	}
	return err
}

// Missed counts the events that the kernel has left out.
func (o *Observer) Missed() (uint64, error) {
	missed, _, err := o.monitor.Untold()
	return missed, err
}

// Since is the time that has passed since a moment of the monitor's clock.
func (o *Observer) Since(moment time.Time) time.Duration { return o.monitor.Now().Sub(moment) }

// Now is this moment on the monitor's clock.
func (o *Observer) Now() time.Time { return o.monitor.Now() }

// Holders finds who has sockets open for which wanted is true, as monitor.Holders.
func (o *Observer) Holders(ctx context.Context, wanted func(monitor.Socket) bool, found func(monitor.Holder)) error {
	return o.monitor.Holders(ctx, wanted, found)
}

// Losses counts what could not be recorded up to now.
func (o *Observer) Losses() (monitor.Losses, error) { return o.monitor.Losses() }

// OwnLosses is monitor.Monitor's.
func (o *Observer) OwnLosses() (map[uint64]monitor.OwnLosses, error) { return o.monitor.OwnLosses() }

// Occupants is monitor.Monitor's.
func (o *Observer) Occupants(of monitor.Losses) ([]monitor.Occupant, error) {
	return o.monitor.Occupants(of)
}

// Later is what is known of a check by now: how its system calls ended. That of a late sight,
// or of one of a container that ended long ago, is as it was.
func (o *Observer) Later(sight Sight) (monitor.Check, error) {
	if sight.first == nil {
		return sight.Check.Check, nil
	}
	check, known, err := o.monitor.Later(sight.first)
	if err != nil || !known {
		return sight.Check.Check, err
	}
	return check, nil
}

// Identify waits until ctx ends for what the engine tells of a container, known by its cgroup and
// the ID that this is named by. It is false if the engine does not answer; of a container that it
// does not have, it has told the ID alone. If the cgroup is not the container's, the result is
// Unconfirmed and has another ID.
func (o *Observer) Identify(ctx context.Context, cgroup uint64, id string) (container.Info, bool) {
	var asked, heard bool
	for {
		o.mu.Lock()
		own, decided := o.owns(cgroup, id, ctx.Err() != nil)
		if decided && !own {
			defer o.mu.Unlock()
			return o.unknown(cgroup), true
		}
		info, known := o.known.infos[id]
		failure, news := o.known.failures[id], o.known.news
		_, learning := o.known.learning[id]
		o.mu.Unlock()
		gone := errors.Is(failure, container.ErrNotFound) // or another engine's
		switch {
		case known && decided:
			return info, true
		case o.engine == nil:
			return o.byName(cgroup, id), false
		case gone && heard:
			return o.byName(cgroup, id), true
		case gone && o.hearPast(ctx):
			heard = true
			continue
		case !gone && !learning && !asked: // the event that announced it was left out
			asked = true
			o.Learn(ctx, id)
			continue
		}
		select {
		case <-ctx.Done():
			if !decided {
				continue // what was told has to do
			}
			return o.byName(cgroup, id), false
		case <-news:
		}
	}
}

// hearPast hears what the engine remembers, and reports whether it answered.
func (o *Observer) hearPast(ctx context.Context) bool {
	past, err := o.engine.Past(ctx, ever, time.Now())
	if err != nil {
		o.log.Debug("asking the engine for what happened", zap.Error(err))
		return false
	}
	for _, event := range past {
		o.hear(event)
	}
	return true
}
