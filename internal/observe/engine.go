package observe

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/monitor"
)

// askTimeout bounds one question to the engine. A slow engine costs a name, never
// a check.
const askTimeout = 10 * time.Second

// questions is how many questions the engine is asked at the same time.
const questions = 8

// pause is how long an engine that has not answered is left alone, the first time.
const pause = time.Second

// ever is before all that an engine remembers. Where its events are asked for again,
// no later moment will do: the wall clock, which dates them, may have been set back.
var ever = time.Unix(0, 0)

// knowledge is what the engine has told of containers, by their IDs.
type knowledge struct {
	infos map[string]container.Info
	// names are the latest that events told of: an answer may have been on its way when
	// the container was renamed.
	names map[string]string
	// exits are the ends of the containers, in their order.
	exits map[string][]container.Exit
	// stops are the moments when they were told to end, in their order.
	stops map[string][]time.Time
	// learning are those that the engine is being asked about, each with a channel that is
	// closed when it has answered once; failures are what came of it the last time.
	learning map[string]chan struct{}
	failures map[string]error
	// strangers are those that the engine has never heard of: another engine's.
	strangers map[string]bool
	// newcomers are those that nobody had started before the recording began.
	newcomers map[string]bool
	answered  bool // the engine has, once at least
	// news is closed, and another one made, when something is learned of a container.
	news chan struct{}
}

func newKnowledge() knowledge {
	return knowledge{
		infos: make(map[string]container.Info), names: make(map[string]string), exits: make(map[string][]container.Exit), stops: make(map[string][]time.Time),
		learning: make(map[string]chan struct{}), failures: make(map[string]error), strangers: make(map[string]bool), newcomers: make(map[string]bool),
		news: make(chan struct{}),
	}
}

// forget frees what is known of a container.
func (k *knowledge) forget(id string) {
	delete(k.infos, id)
	delete(k.names, id)
	delete(k.exits, id)
	delete(k.stops, id)
	delete(k.failures, id)
	delete(k.strangers, id)
	delete(k.newcomers, id)
}

// eachID visits the containers of which forget would free anything, some more than once.
func (k *knowledge) eachID(visit func(id string)) {
	eachKey(k.infos, visit)
	eachKey(k.names, visit)
	eachKey(k.exits, visit)
	eachKey(k.stops, visit)
	eachKey(k.failures, visit)
	eachKey(k.strangers, visit)
	eachKey(k.newcomers, visit)
}

// tell wakes those who wait for news. The caller holds the observer's mu.
func (k *knowledge) tell() {
	close(k.news)
	k.news = make(chan struct{})
}

// followEngine keeps in touch with the engine, however often that is restarted or does
// not answer. It tells each reason once.
func (o *Observer) followEngine(ctx context.Context) func() {
	return func() {
		told := make(map[string]bool)
		since := o.observation.Start
		for delay := pause; ; delay = min(2*delay, askTimeout) {
			err := o.follow(ctx, since)
			if ctx.Err() != nil {
				return
			}
			if o.hasAnswered() && !told[err.Error()] { // else its user knows already
				o.log.Warn("the engine does not tell what happens, and is asked again until it does; containers that live shortly may stay without a name", zap.Error(err))
				told[err.Error()] = true
			}
			if !wait(ctx, delay) {
				return
			}
			since = ever
		}
	}
}

// follow takes names and images from the engine's events, which are told even of
// containers that are gone before anybody could inspect them, and asks about those
// that run already. It returns why the events ended.
func (o *Observer) follow(ctx context.Context, since time.Time) error {
	following, cancel := context.WithCancel(ctx)
	defer cancel()
	events, errs := o.engine.Events(following, since) // before the list, so that none is in neither
	all, err := o.list(ctx)
	if err != nil {
		o.settle()
		return err
	}
	o.viewAs(o.engine.PID())
	defer o.viewAs(0) // a process of a container may get the process ID of an engine that has exited
	o.learnAll(ctx, all)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-errs:
			return err
		case event := <-events:
			o.hear(event)
			if event.Type == container.Started {
				o.restarted(event.ID)
			}
			if event.Type == container.Created || event.Type == container.Started {
				o.learnSoon(ctx, event.ID)
			}
		}
	}
}

// view is the directory in /proc whose root shows files as the engine sees them.
func (o *Observer) view() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.viewer
}

// viewAs makes the observer see files as the process pid does, or as this process does if pid is 0.
func (o *Observer) viewAs(pid int) {
	viewer := kernel.Viewer(pid)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.viewer = viewer
}

// Settle waits until the engine has told of the containers that ran when the recording
// began, so that the system calls which their grants unlock are recorded too. It does
// not wait long for an engine that does not answer.
func (o *Observer) Settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	select {
	case <-o.settled:
	case <-ctx.Done():
	}
}

// learnAll asks about those that run; when the engine has answered once about each, if only that
// it cannot, all is settled.
func (o *Observer) learnAll(ctx context.Context, all []container.Info) {
	var answers []<-chan struct{}
	for _, info := range all {
		if info.Running {
			o.restarted(info.ID) // perhaps, while no events were heard
			answers = append(answers, o.learnSoon(ctx, info.ID))
		}
	}
	o.done.Go(func() {
		for _, answer := range answers {
			<-answer
		}
		o.settle()
	})
}

// hear notes what an event tells.
func (o *Observer) hear(event container.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch event.Type {
	case container.Removed: // until then it may be started again
		o.unwatch(event.ID)
	case container.Renamed:
		o.known.names[event.ID] = event.Name
		o.rename(event.ID, event.Name)
	}
	o.noteExit(event)
	o.noteStop(event)
	// Whatever has happened: the event of its creation may be lost.
	if _, known := o.known.infos[event.ID]; !known && event.Name != "" {
		o.known.infos[event.ID] = container.Info{ID: event.ID, Name: event.Name, Image: event.Image, Labels: event.Labels}
		o.known.tell()
	}
}

// noteStop notes when a container was told to end, once. The caller holds mu.
func (o *Observer) noteStop(event container.Event) {
	if event.Stops {
		o.known.stops[event.ID] = latest(o.known.stops[event.ID], event.Time, time.Time.Compare)
	}
}

// maxExits is how many ends of a container are known, and how many stops: of the last ones.
const maxExits = 64

// noteExit notes how a container ended, once, for an event may be heard again. The caller holds mu.
func (o *Observer) noteExit(event container.Event) {
	if event.ExitStatus != nil {
		exit := container.Exit{Time: event.Time, Status: *event.ExitStatus}
		o.known.exits[event.ID] = latest(o.known.exits[event.ID], exit, func(one, other container.Exit) int { return one.Time.Compare(other.Time) })
	}
}

// latest is an ordered list with one more in its place, unless it is there, and without the first
// ones beyond maxExits.
func latest[T any](list []T, one T, compare func(one, other T) int) []T {
	i, known := slices.BinarySearchFunc(list, one, compare)
	if !known {
		list = slices.Insert(list, i, one)
	}
	return list[max(0, len(list)-maxExits):]
}

// rename gives a container that is known its present name. The caller holds mu.
func (o *Observer) rename(id, name string) {
	if info, known := o.known.infos[id]; known && info.Name != name {
		o.log.Debug("a container has another name", zap.String("id", id), zap.String("name", name))
		info.Name = name
		o.known.infos[id] = info
	}
}

// list asks for all containers, and takes what may have changed while no events were heard.
func (o *Observer) list(ctx context.Context) ([]container.Info, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	all, err := o.engine.List(ctx, true)
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.known.answered = true
	for _, info := range all {
		o.rename(info.ID, info.Name)
		o.welcome(info)
	}
	for id := range o.watches.holders {
		if !slices.ContainsFunc(all, func(info container.Info) bool { return info.ID == id }) {
			o.unwatch(id)
		}
	}
	return all, nil
}

// welcome notes whether a container had been started before the recording began. The caller holds mu.
func (o *Observer) welcome(info container.Info) {
	began := o.observation.Start
	inItsFirst := info.Inspected && info.Running && info.FinishedAt.IsZero() && !info.StartedAt.Before(began)
	if info.NeverStarted || inItsFirst || info.Inspected && !info.CreatedAt.Before(began) {
		o.known.newcomers[info.ID] = true
	}
}

// wait lets some time pass; false if ctx ends before.
func wait(ctx context.Context, some time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(some):
		return true
	}
}

// learnSoon is Learn in a goroutine of its own, so that a slow engine holds up no
// event, and again until the engine answers. It returns a channel that is closed after
// the first time. It must be called from a goroutine that done waits for.
func (o *Observer) learnSoon(ctx context.Context, id string) <-chan struct{} {
	answer, learning := o.begin(id)
	if learning {
		return answer
	}
	o.done.Go(func() {
		known := o.learnInTurn(ctx, id)
		close(answer)
		for !o.end(id, known || !wait(ctx, pause)) {
			known = o.learnInTurn(ctx, id)
		}
	})
	return answer
}

// learnInTurn is Learn, with no more than so many questions at a time.
func (o *Observer) learnInTurn(ctx context.Context, id string) bool {
	o.asking <- struct{}{}
	defer func() { <-o.asking }()
	return o.Learn(ctx, id)
}

// begin returns the channel that tells of the first answer about a container, and
// whether somebody is asking already; else its caller asks, closes the channel and calls
// end.
func (o *Observer) begin(id string) (answer chan struct{}, learning bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if answer, learning = o.known.learning[id]; !learning {
		answer = make(chan struct{})
		o.known.learning[id] = answer
	}
	return answer, learning
}

// end ends it if it is done and nothing has come meanwhile that makes another question necessary.
func (o *Observer) end(id string, done bool) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if done && !o.identities.stale[id] {
		delete(o.known.learning, id)
		return true
	}
	return false
}

// Learn asks the engine about a container, unless it has told already and was not restarted
// since, and reports whether it answered.
func (o *Observer) Learn(ctx context.Context, id string) bool {
	if o.engine == nil || !o.mustAsk(id) {
		return true
	}
	asking, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	asked := o.monitor.Now()
	info, err := o.engine.Inspect(asking, id)
	var cgroup uint64
	if err == nil && info.Running && info.Pid != 0 {
		cgroup = o.findCgroup(info)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	defer o.known.tell()
	switch {
	case err == nil || errors.Is(err, container.ErrNotFound):
		o.identities.asked[id] = asked
	case ctx.Err() == nil:
		o.identities.stale[id] = true
	}
	if gone, known := o.known.infos[id]; known && errors.Is(err, container.ErrNotFound) {
		gone.Running, gone.Pid = false, 0
		o.known.infos[id] = gone
	}
	if err != nil {
		// Gone already, or another engine's, or the engine is away: the kernel's word
		// remains.
		o.known.failures[id] = err
		o.log.Debug("inspecting a container", zap.String("id", id), zap.Error(err))
		return errors.Is(err, container.ErrNotFound)
	}
	if len(info.Layers) == 0 { // containerd does not answer, or the root file system is not mounted any more
		info.Layers = o.known.infos[id].Layers
	}
	o.known.infos[id] = info
	o.welcome(info)
	if cgroup != 0 {
		o.confirm(info, cgroup)
	}
	if name, renamed := o.known.names[id]; renamed {
		o.rename(id, name)
	}
	if err := o.setGrant(info); err != nil {
		o.log.Warn("what the engine granted a container is not known to the recorder", zap.String("id", id), zap.Error(err))
	}
	if o.profiles() {
		o.watch(info)
	}
	o.log.Debug("the engine has told of a container", zap.String("id", id), zap.String("name", info.Name))
	return true
}

// mustAsk reports whether the engine has to be asked about a container, and notes that it is.
func (o *Observer) mustAsk(id string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	must := !o.known.infos[id].Inspected || o.identities.stale[id]
	delete(o.identities.stale, id)
	return must
}

// findCgroup is the cgroup of a container that runs, by its first process; 0 if that is not to be
// seen from here, or has ended.
func (o *Observer) findCgroup(info container.Info) uint64 {
	cgroup, where, err := o.monitor.CgroupOf(info.Pid, info.ID)
	if err == nil {
		err = o.monitor.Trust(where)
	}
	if err != nil {
		o.log.Debug("looking for a container's cgroup", zap.String("id", info.ID), zap.Error(err))
		return 0
	}
	return cgroup
}

// setGrant records what the engine granted a container.
func (o *Observer) setGrant(info container.Info) error {
	granted, err := capability.Granted(info.CapAdd, info.CapDrop, info.Privileged, o.last)
	if err != nil {
		return err
	}
	if err := o.monitor.SetGrant(info.ID, granted); !errors.Is(err, monitor.ErrClosed) { // the engine has told after the end
		return err
	}
	return nil
}

func (o *Observer) hasAnswered() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.known.answered
}

// Answered reports whether the engine has told of a container, if only that it has none
// such.
func (o *Observer) Answered(id string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.known.infos[id].Inspected || errors.Is(o.known.failures[id], container.ErrNotFound)
}

// Labels are those of a container with all their values, which are for filters alone.
func (o *Observer) Labels(id string) map[string]string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.known.infos[id].Labels
}

// ShownLabels are labels as they may be stored and shown.
func (o *Observer) ShownLabels(labels map[string]string) map[string]string {
	return o.keptLabels.Of(labels)
}

func (o *Observer) inspected(id string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.known.infos[id].Inspected
}

// catchUp learns what the engine's events, which come with a delay, have not told yet
// of the containers that were seen. It does not wait long for an engine that is away.
func (o *Observer) catchUp(ctx context.Context) error {
	if o.engine == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	before := o.acquainted()
	all, listErr := o.list(ctx)
	named, err := o.monitor.Named()
	if err != nil {
		return err
	}
	ids := slices.Compact(slices.Sorted(maps.Values(named)))
	if listErr != nil {
		if o.hasAnswered() {
			o.log.Warn("the engine does not answer; containers may have been renamed", zap.Error(listErr))
		}
		ids = slices.DeleteFunc(ids, o.inspected)
		o.mu.Lock()
		defer o.mu.Unlock()
		for _, id := range ids {
			o.known.failures[id] = listErr
		}
		return nil
	}
	if o.keep != nil {
		o.forgetRemoved(before, all, ids)
	}
	o.doubt(named)
	ids = slices.DeleteFunc(ids, o.isStranger)
	for _, id := range ids {
		o.Learn(ctx, id)
	}
	running := make(map[string]bool)
	for _, info := range all {
		running[info.ID] = info.Running
	}
	ids = slices.DeleteFunc(ids, func(id string) bool { return o.isKnown(id) && (o.keep != nil || running[id] || o.hasExit(id)) })
	if len(ids) == 0 {
		return nil
	}
	past, err := o.engine.Past(ctx, ever, time.Now())
	if err != nil {
		o.log.Warn("containers that lived shortly may stay without a name", zap.Error(err))
		return nil
	}
	for _, event := range past {
		o.hear(event)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, id := range ids {
		if _, known := o.known.infos[id]; !known && errors.Is(o.known.failures[id], container.ErrNotFound) {
			o.known.strangers[id] = true
		}
	}
	return nil
}

func (o *Observer) isKnown(id string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, known := o.known.infos[id]
	return known
}

func (o *Observer) hasExit(id string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.known.exits[id]) > 0
}

func (o *Observer) isStranger(id string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.known.strangers[id]
}

// untold tells of which containers the engine has not said how they are set up, and
// why. The caller holds mu.
func (o *Observer) untold(containers []monitor.Container) map[string]string {
	reasons := make(map[string]string)
	for _, c := range containers {
		err := o.known.failures[c.ID]
		switch {
		case strings.HasPrefix(c.ID, container.UnknownPrefix):
			reasons[c.ID] = "no engine says that this cgroup is a container's"
		case o.known.infos[c.ID].Inspected:
		case o.engine == nil:
			reasons[c.ID] = "none could be asked"
		case err == nil:
			reasons[c.ID] = "it has not answered yet"
		case errors.Is(err, container.ErrNotFound):
			reasons[c.ID] = fmt.Sprintf("%s has no such container, or no more", o.engine.Name())
		default:
			reasons[c.ID] = err.Error()
		}
	}
	return reasons
}
